//! One run of a check: what there is to do, the means to do it, and what came of it.

use crate::dial::Dialer;
use crate::exec::{ContainerCheck, Exec};
use crate::grpc::GrpcCheck;
use crate::h2ping::PingCheck;
use crate::http_check::HttpCheck;
use crate::options::Options;
use crate::schedule;
use crate::script::ScriptCheck;
use crate::tcp::TcpCheck;
use crate::tls::Connector;
use crate::udp::UdpCheck;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::Semaphore;

/// The limit of a network check where its definition has none. Consul's default.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for commands.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a check does when its time comes.
pub(crate) enum Job {
    Http(Box<HttpCheck>),
    Tcp(TcpCheck),
    Udp(UdpCheck),
    Script(ScriptCheck),
    Container(ContainerCheck),
    Grpc(GrpcCheck),
    Ping(PingCheck),
    /// Nothing; it is critical for this reason.
    Cannot(&'static str),
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) output: String,
    /// Whether it counts at once, whatever the thresholds are.
    pub(crate) at_once: bool,
    /// A killed process whose end is still to come: the run is over only then.
    pub(crate) lingers: Option<Child>,
}

impl Outcome {
    pub(crate) fn new(status: Status, output: impl Into<String>) -> Outcome {
        Outcome {
            status,
            output: output.into(),
            at_once: false,
            lingers: None,
        }
    }

    pub(crate) fn critical(output: impl Into<String>) -> Outcome {
        Outcome::new(Status::Critical, output)
    }

    /// Critical, and thresholds do not matter.
    pub(crate) fn critical_at_once(output: impl Into<String>) -> Outcome {
        Outcome {
            at_once: true,
            ..Outcome::critical(output)
        }
    }
}

/// The status of a command's exit code: 0 passes, 1 warns, anything else is critical.
pub(crate) fn status_of_exit(code: Option<i64>) -> Status {
    match code {
        Some(0) => Status::Passing,
        Some(1) => Status::Warning,
        _ => Status::Critical,
    }
}

impl Job {
    /// The job of a definition that runs at intervals; `None` for those that wait to be told.
    pub(crate) fn of(check: &CheckType, output_max_size: usize) -> Option<Job> {
        let limit = output_limit(check, output_max_size);
        let network = schedule::timeout(check.timeout, NETWORK_TIMEOUT);
        let command = schedule::timeout(check.timeout, SCRIPT_TIMEOUT);
        Some(match check.kind() {
            "script" => Job::Script(ScriptCheck::new(check, command, limit)),
            "http" => Job::Http(Box::new(HttpCheck::new(check, network, limit))),
            "tcp" => Job::Tcp(TcpCheck::new(check, network)),
            "udp" => Job::Udp(UdpCheck::new(check, network)),
            "docker" => Job::Container(ContainerCheck::new(check, command, limit)),
            "grpc" => Job::Grpc(GrpcCheck::new(check, network)),
            "h2ping" => Job::Ping(PingCheck::new(check, network)),
            "os_service" => Job::Cannot("not implemented"),
            _ => return None,
        })
    }
}

/// Most bytes of output kept of a check: the agent's limit, or less if the definition says so.
pub(crate) fn output_limit(check: &CheckType, output_max_size: usize) -> usize {
    let own = usize::try_from(check.output_max_size)
        .ok()
        .filter(|own| *own > 0);
    own.map_or(output_max_size, |own| own.min(output_max_size))
        .max(1)
}

/// The means that all runs share.
pub(crate) struct Runner {
    dialer: Dialer,
    tls: Connector,
    scripts: Semaphore,
    connections: Semaphore,
    exec: Option<Arc<dyn Exec>>,
}

impl Runner {
    pub(crate) fn new(options: Options) -> Runner {
        let permits = |n: usize| Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS));
        Runner {
            dialer: Dialer::new(),
            tls: Connector::new(options.tls),
            scripts: permits(options.max_scripts),
            connections: permits(options.max_connections),
            exec: options.exec,
        }
    }

    /// Runs a job once. Ends by itself: every job has a limit of its own, which begins when it has
    /// got its turn.
    pub(crate) async fn run(&self, job: &Job) -> Outcome {
        let turns = match job {
            Job::Script(_) | Job::Container(_) => &self.scripts,
            _ => &self.connections,
        };
        // Nobody closes the semaphores; if one were closed, running is better than not.
        let _turn = turns.acquire().await;
        match job {
            Job::Http(check) => check.run(&self.dialer, &self.tls).await,
            Job::Tcp(check) => check.run(&self.dialer, &self.tls).await,
            Job::Udp(check) => check.run(&self.dialer).await,
            Job::Script(check) => check.run().await,
            Job::Container(check) => check.run(self.exec.as_deref()).await,
            Job::Grpc(check) => check.run(&self.dialer, &self.tls).await,
            Job::Ping(check) => check.run(&self.dialer, &self.tls).await,
            Job::Cannot(why) => Outcome::critical(*why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_may_only_lower_the_limit() {
        let limit = |own, agent| {
            output_limit(
                &CheckType {
                    output_max_size: own,
                    ..CheckType::default()
                },
                agent,
            )
        };
        assert_eq!(
            [
                limit(0, 4096),
                limit(100, 4096),
                limit(9999, 4096),
                limit(0, 0),
                limit(-1, 9)
            ],
            [4096, 100, 4096, 1, 9]
        );
    }

    #[test]
    fn exit_codes_are_statuses() {
        let all = [Some(0), Some(1), Some(2), Some(-1), None].map(status_of_exit);
        assert_eq!(
            all,
            [
                Status::Passing,
                Status::Warning,
                Status::Critical,
                Status::Critical,
                Status::Critical
            ]
        );
    }
}
