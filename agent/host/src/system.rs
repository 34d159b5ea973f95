//! The operating system and what it runs on.

use std::fs;
use std::io;

use serde_json::{Value, json};

use crate::identity::host_id;
use crate::line;

/// The name of this machine, as the kernel has it. `localhost` if it has none.
pub fn hostname() -> String {
    line("/proc/sys/kernel/hostname")
        .or_else(|| line("/etc/hostname"))
        .unwrap_or_else(|| "localhost".to_owned())
}

/// `Host` of the answer; times in seconds.
pub(crate) fn facts() -> io::Result<Value> {
    let uptime = uptime(&crate::read("/proc/uptime")?);
    let boot = boot_time(&crate::read("/proc/stat")?);
    let release = line("/etc/os-release")
        .or_else(|| line("/usr/lib/os-release"))
        .unwrap_or_default();
    let release = Release::parse(&release);
    // Point releases of Debian are told there only.
    let exact = (release.id == "debian")
        .then(|| line("/etc/debian_version"))
        .flatten();
    let (system, role) = virtualization(&Signs::read());
    Ok(json!({
        "hostname": hostname(),
        "uptime": uptime,
        "bootTime": boot,
        "procs": processes(),
        "os": std::env::consts::OS,
        "platform": release.id,
        "platformFamily": release.family(),
        "platformVersion": exact.unwrap_or(release.version),
        "kernelVersion": line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        "kernelArch": line("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        "virtualizationSystem": system,
        "virtualizationRole": role,
        "hostId": host_id(),
    }))
}

fn uptime(text: &str) -> u64 {
    text.split(['.', ' '])
        .next()
        .and_then(|secs| secs.parse().ok())
        .unwrap_or(0)
}

fn boot_time(stat: &str) -> u64 {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        .unwrap_or(0)
}

fn processes() -> u64 {
    let Ok(list) = fs::read_dir("/proc") else {
        return 0;
    };
    let numbered = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    list.flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(numbered))
        .count() as u64
}

/// What os-release(5) says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Release {
    id: String,
    like: String,
    version: String,
}

impl Release {
    fn parse(text: &str) -> Release {
        let mut release = Release::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else {
                continue;
            };
            let value = value.trim_matches(['"', '\'']).to_owned();
            match key {
                "ID" => release.id = value,
                "ID_LIKE" => release.like = value,
                "VERSION_ID" => release.version = value,
                _ => {}
            }
        }
        release
    }

    /// The distribution that this one descends from, by the names Consul uses.
    fn family(&self) -> &str {
        let known = |id: &str| {
            Some(match id {
                "debian" | "ubuntu" | "linuxmint" | "raspbian" => "debian",
                "fedora" => "fedora",
                "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" | "oracle" | "redhat" => {
                    "rhel"
                }
                "suse" | "sles" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => "suse",
                "arch" | "manjaro" => "arch",
                "alpine" => "alpine",
                "gentoo" => "gentoo",
                _ => return None,
            })
        };
        known(&self.id)
            .or_else(|| self.like.split(' ').find_map(known))
            .unwrap_or_default()
    }
}

/// What gives away that a machine is virtual.
#[derive(Default)]
struct Signs {
    /// Docker has left its mark.
    docker: bool,
    /// Podman has left its mark.
    podman: bool,
    /// Maker and model of the machine, as its firmware tells.
    firmware: String,
    /// The processor says that there is a hypervisor.
    hypervisor: bool,
    /// The kernel can run virtual machines by itself.
    kvm: bool,
}

impl Signs {
    fn read() -> Signs {
        let firmware = |name: &str| line(&format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
        let flagged = |text: &str| {
            text.lines()
                .any(|l| l.starts_with("flags") && l.split(' ').any(|flag| flag == "hypervisor"))
        };
        Signs {
            docker: fs::exists("/.dockerenv").unwrap_or(false),
            podman: fs::exists("/run/.containerenv").unwrap_or(false),
            firmware: format!("{} {}", firmware("sys_vendor"), firmware("product_name")),
            hypervisor: crate::read("/proc/cpuinfo").is_ok_and(|text| flagged(&text)),
            kvm: fs::exists("/dev/kvm").unwrap_or(false),
        }
    }
}

/// What a machine is virtualized by, and on which side of it this is; empty if
/// it is not.
fn virtualization(signs: &Signs) -> (&'static str, &'static str) {
    const MAKERS: [(&str, &str); 9] = [
        ("VMware", "vmware"),
        ("VirtualBox", "vbox"),
        ("innotek", "vbox"),
        ("Microsoft Corporation Virtual", "hyperv"),
        ("Xen", "xen"),
        ("QEMU", "kvm"),
        ("KVM", "kvm"),
        ("Amazon EC2", "kvm"),
        ("Google Compute Engine", "kvm"),
    ];
    if signs.docker {
        return ("docker", "guest");
    }
    if signs.podman {
        return ("podman", "guest");
    }
    if let Some((_, system)) = MAKERS
        .iter()
        .find(|(maker, _)| signs.firmware.contains(maker))
    {
        // Machines of EC2 without a hypervisor have the same maker.
        if signs.hypervisor || !signs.firmware.contains("Amazon") {
            return (system, "guest");
        }
    }
    match (signs.hypervisor, signs.kvm) {
        (true, _) => ("kvm", "guest"),
        (false, true) => ("kvm", "host"),
        (false, false) => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let debian = Release::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\n# x\nID=debian\nodd\n",
        );
        assert_eq!(
            debian,
            Release {
                id: "debian".into(),
                like: String::new(),
                version: "12".into()
            }
        );
        assert_eq!(debian.family(), "debian");
        for (text, family) in [
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", "rhel"),
            ("ID=fedora", "fedora"),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"", "debian"),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"", "suse"),
            ("ID=alpine", "alpine"),
            ("ID=nixos", ""),
            ("", ""),
        ] {
            assert_eq!(Release::parse(text).family(), family, "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(uptime("3770.07 7201.42\n"), 3770);
        assert_eq!(uptime(""), 0);
        assert_eq!(
            boot_time("cpu  1 2 3\nbtime 1795256000\nprocesses 3\n"),
            1_795_256_000
        );
        assert_eq!(boot_time("btime x\n"), 0);
    }

    #[test]
    fn virtual_machines() {
        let base = |firmware: &str, hypervisor, kvm| {
            virtualization(&Signs {
                firmware: firmware.into(),
                hypervisor,
                kvm,
                ..Signs::default()
            })
        };
        assert_eq!(base("Dell Inc. PowerEdge", false, false), ("", ""));
        assert_eq!(base("Dell Inc. PowerEdge", false, true), ("kvm", "host"));
        assert_eq!(base("QEMU Standard PC", true, false), ("kvm", "guest"));
        assert_eq!(base("Amazon EC2 m5.metal", false, true), ("kvm", "host"));
        assert_eq!(base("Amazon EC2 m5.large", true, false), ("kvm", "guest"));
        assert_eq!(
            base("VMware, Inc. VMware7,1", true, false),
            ("vmware", "guest")
        );
        assert_eq!(base(" ", true, false), ("kvm", "guest"));
        let docker = Signs {
            docker: true,
            ..Signs::default()
        };
        assert_eq!(virtualization(&docker), ("docker", "guest"));
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(!hostname().is_empty() && hostname().trim() == hostname());
    }
}
