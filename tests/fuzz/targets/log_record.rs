//! A record of the log: decoded, encoded again, and applied to an empty state.
//!
//! What was decoded survives its encoding, and applying it twice in two states gives the same.
#![no_main]

use lictor_state::{Changes, Entry, State};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = Entry::decode(bytes) else {
        return;
    };
    let encoded = entry.encode();
    let again = Entry::decode(&encoded).expect("what was encoded can be decoded");
    // Compared as bytes: a number that is none differs from itself.
    assert_eq!(again.encode(), encoded);
    let (mut one, mut two) = (State::default(), State::default());
    for index in 1..=2 {
        let first = one.apply(index, &entry, &mut Changes::default());
        let second = two.apply(index, &again, &mut Changes::default());
        assert_eq!(first, second);
    }
    let written = |state: &State| {
        let mut out = Vec::new();
        lictor_state::write_snapshot(&state.view(), &mut out).expect("a snapshot in memory");
        out
    };
    let snapshot = written(&one);
    assert_eq!(snapshot, written(&two));
    let read = lictor_state::read_snapshot(&mut snapshot.as_slice(), 1).expect("our own snapshot");
    assert_eq!(written(&State::from_view(read)), snapshot);
});
