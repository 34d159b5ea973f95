//! Memory, from `/proc/meminfo`.

use serde_json::{Map, Value};

use crate::percent;

/// Where a key of the answer comes from.
enum From {
    /// The line of this name.
    Line(&'static str),
    /// Computed below.
    Sum,
    /// Another system's number, always 0 on Linux.
    Absent,
}

/// The keys in the order of Consul's answer.
const KEYS: [(&str, From); 38] = [
    ("total", From::Line("MemTotal")),
    ("available", From::Sum),
    ("used", From::Sum),
    ("usedPercent", From::Sum),
    ("free", From::Line("MemFree")),
    ("active", From::Line("Active")),
    ("inactive", From::Line("Inactive")),
    ("wired", From::Absent),
    ("laundry", From::Absent),
    ("buffers", From::Line("Buffers")),
    ("cached", From::Sum),
    ("writeBack", From::Line("Writeback")),
    ("dirty", From::Line("Dirty")),
    ("writeBackTmp", From::Line("WritebackTmp")),
    ("shared", From::Line("Shmem")),
    ("slab", From::Line("Slab")),
    ("sreclaimable", From::Line("SReclaimable")),
    ("sunreclaim", From::Line("SUnreclaim")),
    ("pageTables", From::Line("PageTables")),
    ("swapCached", From::Line("SwapCached")),
    ("commitLimit", From::Line("CommitLimit")),
    ("committedAS", From::Line("Committed_AS")),
    ("highTotal", From::Line("HighTotal")),
    ("highFree", From::Line("HighFree")),
    ("lowTotal", From::Line("LowTotal")),
    ("lowFree", From::Line("LowFree")),
    ("swapTotal", From::Line("SwapTotal")),
    ("swapFree", From::Line("SwapFree")),
    ("mapped", From::Line("Mapped")),
    ("vmallocTotal", From::Line("VmallocTotal")),
    ("vmallocUsed", From::Line("VmallocUsed")),
    ("vmallocChunk", From::Line("VmallocChunk")),
    ("hugePagesTotal", From::Line("HugePages_Total")),
    ("hugePagesFree", From::Line("HugePages_Free")),
    ("hugePagesRsvd", From::Line("HugePages_Rsvd")),
    ("hugePagesSurp", From::Line("HugePages_Surp")),
    ("hugePageSize", From::Line("Hugepagesize")),
    ("anonHugePages", From::Line("AnonHugePages")),
];

/// `Memory` of the answer, in bytes; pages of the `HugePages_` lines are counts.
///
/// What the kernel can give back at once (`SReclaimable`) counts as cached, and
/// neither cache nor buffers as used. Missing lines are 0.
pub(crate) fn facts(meminfo: &str) -> Value {
    let line = |name: &str| value(meminfo, name);
    let (total, free) = (line("MemTotal").unwrap_or(0), line("MemFree").unwrap_or(0));
    let cached = line("Cached")
        .unwrap_or(0)
        .saturating_add(line("SReclaimable").unwrap_or(0));
    let idle = [free, line("Buffers").unwrap_or(0), cached]
        .into_iter()
        .fold(0, u64::saturating_add);
    let used = total.saturating_sub(idle);
    // Kernels before 3.14 do not estimate it.
    let available = line("MemAvailable").unwrap_or_else(|| free.saturating_add(cached).min(total));
    KEYS.iter()
        .map(|(key, from)| {
            let value = match (from, *key) {
                (From::Line(name), _) => line(name).unwrap_or(0).into(),
                (From::Absent, _) => 0.into(),
                (From::Sum, "available") => available.into(),
                (From::Sum, "used") => used.into(),
                (From::Sum, "cached") => cached.into(),
                (From::Sum, _) => percent(used, total),
            };
            ((*key).to_owned(), value)
        })
        .collect::<Map<String, Value>>()
        .into()
}

/// The number of a line `name:  12 kB`, in bytes if it has a unit.
fn value(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = rest.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    Some(if words.next() == Some("kB") {
        number.saturating_mul(1024)
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
MemTotal:        1000 kB
MemFree:          200 kB
MemAvailable:     600 kB
Buffers:           50 kB
Cached:           240 kB
SwapCached:         0 kB
Active:           300 kB
Active(anon):     100 kB
Writeback:          1 kB
WritebackTmp:       2 kB
SReclaimable:      10 kB
Committed_AS:      77 kB
HugePages_Total:    5
HugePages_Free:     4
Hugepagesize:    2048 kB
garbage
Odd: x kB
";

    #[test]
    fn bytes_and_sums() {
        let m = facts(SAMPLE);
        assert_eq!(m["total"], 1_024_000);
        assert_eq!(m["available"], 614_400);
        assert_eq!(m["cached"], 256_000);
        assert_eq!(m["used"], 512_000);
        assert_eq!(m["usedPercent"], 50);
        assert_eq!(m["active"], 307_200);
        assert_eq!(m["writeBack"], 1024);
        assert_eq!(m["writeBackTmp"], 2048);
        assert_eq!(m["committedAS"], 78_848);
        assert_eq!(m["hugePagesTotal"], 5);
        assert_eq!(m["hugePageSize"], 2_097_152);
        assert_eq!(m["swapTotal"], 0);
        let keys: Vec<_> = m.as_object().unwrap().keys().take(6).collect();
        assert_eq!(
            keys,
            [
                "total",
                "available",
                "used",
                "usedPercent",
                "free",
                "active"
            ]
        );
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        let m = facts("");
        assert_eq!(m["total"], 0);
        assert_eq!(m["usedPercent"], 0);
        assert_eq!(m.as_object().unwrap().len(), 38);
    }
}
