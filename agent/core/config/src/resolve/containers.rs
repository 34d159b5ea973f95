//! The blocks `docker` and `aws`.

use super::Resolver;
use crate::config::{Aws, Docker, DockerMode};
use lictor_wire::{GoDuration, duration::go_quote};

impl Resolver<'_> {
    pub(super) fn aws(&mut self) -> Aws {
        Aws {
            leave_on_notice: self.bool("aws.leave_on_notice"),
            notice_interval: self.duration_min("aws.notice_interval", GoDuration::from_secs(1)),
            drain_time: self.duration("aws.drain_time"),
        }
    }

    pub(super) fn docker(&mut self) -> Docker {
        let mode = match self.text("docker.mode") {
            "off" => DockerMode::Off,
            "explicit" => DockerMode::Explicit,
            "published" | "" => DockerMode::Published,
            other => {
                let text = format!(
                    "docker.mode: invalid mode {}; must be off, explicit or published{}",
                    go_quote(other),
                    self.place("docker.mode")
                );
                self.error(text);
                DockerMode::Off
            }
        };
        let keep_failed = match self.text("docker.deregister") {
            "always" | "" => false,
            "on-success" => true,
            other => {
                let text = format!(
                    "docker.deregister: invalid value {}; must be always or on-success{}",
                    go_quote(other),
                    self.place("docker.deregister")
                );
                self.error(text);
                false
            }
        };
        let host_address = self.first_ip("docker.host_address");
        if host_address.is_some_and(|address| address.is_unspecified()) {
            let place = self.place("docker.host_address");
            self.error(format!(
                "docker.host_address cannot be 0.0.0.0, :: or [::]{place}"
            ));
        }
        if let Some(host) = self.maybe_text("docker.host")
            && !["unix://", "tcp://", "http://", "https://"]
                .iter()
                .any(|scheme| host.starts_with(scheme))
        {
            let place = self.place("docker.host");
            self.error(format!(
                "docker.host: {} is no address of a daemon: unix://, tcp:// and https:// are{place}",
                go_quote(&host)
            ));
        }
        Docker {
            mode: if self.bool("docker.enabled") {
                mode
            } else {
                DockerMode::Off
            },
            host: self.maybe_text("docker.host"),
            host_address,
            hostname: self.maybe_text("docker.hostname"),
            internal: self.bool("docker.internal"),
            ip_label: self.maybe_text("docker.ip_label"),
            network: self.maybe_text("docker.network"),
            tags: self.list("docker.tags"),
            filter_label: self.maybe_text("docker.filter_label"),
            keep_failed,
            resync_interval: self.duration_min("docker.resync_interval", GoDuration::from_secs(1)),
            drain_timeout: self.duration_min("docker.drain_timeout", GoDuration::from_secs(1)),
        }
    }
}
