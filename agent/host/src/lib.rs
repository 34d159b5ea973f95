//! Facts about the machine that the agent runs on, and its service manager.
//!
//! This is the edge to Linux: it reads `/proc`, `/sys` and `/etc`, and makes the
//! few system calls that the standard library has no name for. What is read is
//! taken apart by functions over text, which never ask the system themselves.

mod cpu;
mod disk;
mod identity;
mod interfaces;
mod memory;
mod notify;
mod process;
mod route;
mod system;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub use identity::stable_id;
pub use interfaces::interfaces;
pub use notify::sd_notify;
pub use process::{ProcessStats, process_stats};
pub use route::default_route_sources;
pub use system::hostname;

/// What `GET /v1/agent/host` answers: memory, processors, system and disk, in
/// the keys and units of Consul's answer (bytes, seconds, percents, MHz).
///
/// The disk is the one of `data_dir`, or of `/` without one. A part that cannot
/// be found out is null, and `Errors` says why; without such it is null.
pub fn facts(data_dir: Option<&Path>) -> Value {
    let mut errors: Vec<String> = Vec::new();
    let mut part = |result: io::Result<Value>| {
        result.unwrap_or_else(|error| {
            errors.push(error.to_string());
            Value::Null
        })
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let host = part(system::facts());
    let memory = part(read("/proc/meminfo").map(|text| memory::facts(&text)));
    let disk = part(disk::facts(data_dir.unwrap_or(Path::new("/"))));
    let cpu = part(read("/proc/cpuinfo").map(|text| cpu::facts(&text, &cpu::from_sys)));
    json!({
        "Memory": memory,
        "CPU": cpu,
        "Host": host,
        "Disk": disk,
        "CollectionTime": u64::try_from(now).unwrap_or(u64::MAX),
        "Errors": if errors.is_empty() { Value::Null } else { json!(errors) },
    })
}

/// The text of a file; errors name it. What is not UTF-8 in it is replaced.
fn read(path: &str) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("open {path}: {error}"),
        )),
    }
}

/// The text of a file without blanks around it; `None` if there is none.
fn line(path: &str) -> Option<String> {
    let text = read(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// `part` of `whole` in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> Value {
    if whole == 0 {
        json!(0)
    } else {
        number(part as f64 / whole as f64 * 100.0)
    }
}

/// A number as Go writes it: without a fraction if that is zero.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: &Value) -> Vec<&str> {
        value
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    #[test]
    fn facts_of_this_machine() {
        let dir = std::env::temp_dir();
        let facts = facts(Some(&dir));
        assert_eq!(
            keys(&facts),
            ["Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"]
        );
        assert_eq!(facts["Errors"], Value::Null);
        let total = facts["Memory"]["total"].as_u64().unwrap();
        assert!(total > facts["Memory"]["free"].as_u64().unwrap());
        assert_eq!(facts["CPU"][0]["cpu"], 0);
        assert_eq!(facts["Disk"]["path"], dir.to_str().unwrap());
        assert!(facts["Disk"]["total"].as_u64().unwrap() > 0);
        assert_eq!(facts["Host"]["hostname"], hostname());
        assert!(
            facts["Host"]["bootTime"].as_u64().unwrap() * 1_000_000_000
                < facts["CollectionTime"].as_u64().unwrap()
        );
    }

    #[test]
    fn errors_are_told() {
        let facts = facts(Some(Path::new("/does/not/exist")));
        assert_eq!(facts["Disk"], Value::Null);
        let error = facts["Errors"][0].as_str().unwrap();
        assert!(error.starts_with("statvfs /does/not/exist: "), "{error}");
        assert!(facts["Memory"].is_object());
    }
}
