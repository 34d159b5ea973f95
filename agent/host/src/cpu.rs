//! Processors, from `/proc/cpuinfo`.

use serde_json::{Value, json};

use crate::number;

/// What `/sys` tells of one processor, where that is better than `cpuinfo`.
#[derive(Default)]
pub(crate) struct Sys {
    /// Greatest frequency in MHz.
    pub(crate) mhz: Option<f64>,
    /// Number of its core.
    pub(crate) core_id: Option<String>,
}

/// Reads that of this machine.
pub(crate) fn from_sys(number: u32) -> Sys {
    let read = |name: &str| crate::line(&format!("/sys/devices/system/cpu/cpu{number}/{name}"));
    Sys {
        mhz: read("cpufreq/cpuinfo_max_freq")
            .and_then(|khz| khz.parse::<f64>().ok())
            .map(|khz| khz / 1000.0),
        core_id: read("topology/core_id"),
    }
}

#[derive(Default)]
struct Cpu<'a> {
    number: u32,
    vendor: &'a str,
    family: &'a str,
    model: &'a str,
    stepping: i64,
    physical_id: &'a str,
    core_id: &'a str,
    name: &'a str,
    mhz: f64,
    cache: i64,
    flags: Vec<&'a str>,
    microcode: &'a str,
}

/// `CPU` of the answer: one entry for each logical processor. `sys` is asked for
/// each.
pub(crate) fn facts(cpuinfo: &str, sys: &dyn Fn(u32) -> Sys) -> Value {
    let mut all: Vec<Cpu<'_>> = Vec::new();
    for line in cpuinfo.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            // Some machines use the key for a name as well.
            if let Ok(number) = value.parse() {
                all.push(Cpu {
                    number,
                    ..Cpu::default()
                });
            }
            continue;
        }
        let Some(cpu) = all.last_mut() else { continue };
        match key {
            "vendor_id" | "vendor" => cpu.vendor = value,
            "CPU implementer" => cpu.vendor = implementer(value),
            "cpu family" | "CPU architecture" => cpu.family = value,
            "model" | "CPU part" => cpu.model = value,
            "model name" | "cpu" | "Model Name" => cpu.name = value,
            "stepping" | "CPU revision" => cpu.stepping = value.parse().unwrap_or(0),
            "cpu MHz" | "clock" => cpu.mhz = value.trim_end_matches("MHz").parse().unwrap_or(0.0),
            "cache size" => {
                cpu.cache = value.trim_end_matches("KB").trim_end().parse().unwrap_or(0)
            }
            "physical id" => cpu.physical_id = value,
            "core id" => cpu.core_id = value,
            "flags" | "Features" => {
                cpu.flags = value
                    .split([' ', ','])
                    .filter(|flag| !flag.is_empty())
                    .collect()
            }
            "microcode" => cpu.microcode = value,
            _ => {}
        }
    }
    all.iter()
        .map(|cpu| {
            let sys = sys(cpu.number);
            json!({
                "cpu": cpu.number,
                "vendorId": cpu.vendor,
                "family": cpu.family,
                "model": cpu.model,
                "stepping": cpu.stepping,
                "physicalId": cpu.physical_id,
                "coreId": sys.core_id.as_deref().unwrap_or(cpu.core_id),
                "cores": 1,
                "modelName": cpu.name,
                "mhz": number(sys.mhz.unwrap_or(cpu.mhz)),
                "cacheSize": cpu.cache,
                "flags": cpu.flags,
                "microcode": cpu.microcode,
            })
        })
        .collect()
}

/// Makers of ARM processors by their numbers in `MIDR_EL1`.
fn implementer(code: &str) -> &str {
    match code {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x48" => "HiSilicon",
        "0x4e" => "NVIDIA",
        "0x50" => "APM",
        "0x51" => "Qualcomm",
        "0x53" => "Samsung",
        "0x56" => "Marvell",
        "0x61" => "Apple",
        "0x69" => "Intel",
        "0xc0" => "Ampere",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86() {
        let text = "\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
microcode\t: 0x1000065
cpu MHz\t\t: 2596.138
cache size\t: 1024 KB
physical id\t: 0
core id\t\t: 3
flags\t\t: fpu vme de

processor\t: 1
vendor_id\t: AuthenticAMD
";
        let sys = |n| Sys {
            mhz: (n == 1).then_some(3500.0),
            core_id: (n == 1).then(|| "9".to_owned()),
        };
        let all = facts(text, &sys);
        assert_eq!(
            all[0].to_string(),
            r#"{"cpu":0,"vendorId":"AuthenticAMD","family":"25","model":"17","stepping":1,"physicalId":"0","coreId":"3","cores":1,"modelName":"AMD EPYC","mhz":2596.138,"cacheSize":1024,"flags":["fpu","vme","de"],"microcode":"0x1000065"}"#
        );
        assert_eq!(
            (&all[1]["mhz"], &all[1]["coreId"], &all[1]["flags"]),
            (&json!(3500), &json!("9"), &json!([]))
        );
        assert_eq!(all.as_array().unwrap().len(), 2);
    }

    #[test]
    fn arm() {
        let text = "\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
";
        let all = facts(text, &|_| Sys::default());
        assert_eq!(all[0]["vendorId"], "ARM");
        assert_eq!(all[0]["family"], "8");
        assert_eq!(all[0]["model"], "0xd0c");
        assert_eq!(all[0]["stepping"], 1);
        assert_eq!(all[0]["flags"], json!(["fp", "asimd", "evtstrm"]));
        assert_eq!(all[0]["mhz"], 0);
    }

    #[test]
    fn garbage_is_passed_over() {
        assert_eq!(
            facts("model: 3\nprocessor: x\n:::\n", &|_| Sys::default()),
            json!([])
        );
    }
}
