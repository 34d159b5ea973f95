//! What stays the same about a machine.

use sha2::{Digest, Sha512};

/// Kept by the firmware; only the superuser may read it.
const PRODUCT: &str = "/sys/class/dmi/id/product_uuid";
/// Made when the system was installed, machine-id(5).
const MACHINE: &str = "/etc/machine-id";
/// Made at each start of the kernel.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A UUID for this machine that is the same after each start, for node IDs with
/// `disable_host_node_id = false`. `None` if the machine has no identity.
///
/// It is the one Consul gives: the first 16 bytes of the SHA-512 of the
/// machine's UUID (of the firmware, else of `/etc/machine-id`) in lower case.
pub fn stable_id() -> Option<String> {
    hardware_id().map(|id| derive(&id))
}

/// The identity as `Host.hostId` shows it; without a lasting one that of the
/// time since the kernel was started.
pub(crate) fn host_id() -> String {
    hardware_id()
        .or_else(|| crate::line(BOOT).as_deref().and_then(uuid))
        .unwrap_or_default()
}

fn hardware_id() -> Option<String> {
    [PRODUCT, MACHINE]
        .into_iter()
        .find_map(|path| uuid(&crate::line(path)?))
}

/// A UUID in lower case with its dashes, from one with or without; `None` for
/// other texts, and for those that only stand for one.
fn uuid(text: &str) -> Option<String> {
    let text = text.trim();
    let dashed = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| (b == b'-') == matches!(at, 8 | 13 | 18 | 23));
    if !dashed && text.len() != 32 {
        return None;
    }
    let digits: String = text
        .chars()
        .filter(|&c| c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let real = digits.len() == 32
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && digits.bytes().any(|b| b != b'0')
        && digits.bytes().any(|b| b != b'f');
    real.then(|| group(&digits))
}

/// Sets the dashes of a UUID into its 32 digits.
fn group(digits: &str) -> String {
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|range| &digits[range])
        .join("-")
}

fn derive(id: &str) -> String {
    let digits: String = Sha512::digest(id.as_bytes())
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    group(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_told_from_other_texts() {
        let id = "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4";
        assert_eq!(
            uuid("3d1219c7c4c5404aaa1f6d2a48adfda4\n").as_deref(),
            Some(id)
        );
        assert_eq!(
            uuid("3D1219C7-C4C5-404A-AA1F-6D2A48ADFDA4").as_deref(),
            Some(id)
        );
        for bad in [
            "",
            "uninitialized",
            "Not Settable",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
            "3d1219c7c4c5404aaa1f6d2a48adfda",
            "3d1219c7-c4c5-404a-aa1f-6d2a48adfdag",
            "3d1219c7-c4c5-404aaa1f-6d2a48-adfda4",
            "ääääääääääääääää",
        ] {
            assert_eq!(uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_derived_id_is_a_digest() {
        // The head of the SHA-512 of "abc", an example of FIPS 180-2.
        assert_eq!(derive("abc"), "ddaf35a1-9361-7aba-cc41-7349ae204131");
    }

    #[test]
    fn the_id_is_the_same_each_time() {
        assert_eq!(stable_id(), stable_id());
        assert!(stable_id().is_none_or(|id| uuid(&id).as_deref() == Some(id.as_str())));
    }
}
