//! A snapshot: as it is, and with its checksums made right, because no mutation finds one.
#![no_main]

use lictor_state::{State, read_snapshot, write_snapshot};

/// The same bytes with a right checksum behind each section; stops where they make no sense.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.get(..10)?.to_vec();
    let mut at = 10;
    while let Some(head) = bytes.get(at..at + 9) {
        let section = at;
        let count = u64::from_le_bytes(head[1..].try_into().ok()?);
        at += 9;
        for _ in 0..count {
            let length = bytes.get(at..at + 4)?;
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            bytes.get(at + 4..at + 4 + length)?;
            at += 4 + length;
        }
        let section = &bytes[section..at];
        out.extend_from_slice(section);
        out.extend_from_slice(&crc32fast::hash(section).to_le_bytes());
        at += 4;
    }
    Some(out)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read_snapshot(&mut &bytes[..], 1);
    let Some(mended) = mended(bytes) else {
        return;
    };
    let Ok(view) = read_snapshot(&mut mended.as_slice(), 1) else {
        return;
    };
    // What could be read can be asked and written, and reads the same again.
    for name in view.service_names() {
        let _ = view.health(name);
    }
    let mut once = Vec::new();
    write_snapshot(&view, &mut once).expect("a snapshot in memory");
    let again = read_snapshot(&mut once.as_slice(), 2).expect("our own snapshot");
    let mut twice = Vec::new();
    write_snapshot(&State::from_view(again).view(), &mut twice).expect("a snapshot in memory");
    assert_eq!(once, twice);
});
