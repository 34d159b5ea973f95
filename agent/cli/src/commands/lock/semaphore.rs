//! What the keys below a semaphore's prefix say (pure).

use lictor_wire::KvEntry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The flags of a semaphore's keys, so that other uses of the prefix are noticed.
pub(super) const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

/// The value of the coordinating key, in the form that Consul's clients share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Holders {
    /// How many may hold it; all contenders must agree.
    pub(super) limit: u64,
    /// The sessions that hold it.
    pub(super) holders: BTreeMap<String, bool>,
}

/// The state of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Who holds it, without the dead.
    pub(super) value: Holders,
    /// The coordinating key's modify index; zero if there is none.
    pub(super) modify_index: u64,
}

/// Reads the state from all keys below the prefix. A holder whose own key is gone is dead.
pub(super) fn read(rows: &[KvEntry], key: &str, limit: u64) -> Result<State, String> {
    let none = Holders {
        limit,
        holders: BTreeMap::new(),
    };
    let (mut value, modify_index) = match rows.iter().find(|r| r.key == key) {
        None => (none, 0),
        Some(row) if row.flags != FLAGS => {
            return Err("Existing key does not match semaphore use".to_owned());
        }
        Some(row) if row.value.is_empty() => (none, row.modify_index),
        Some(row) => (
            serde_json::from_slice(&row.value)
                .map_err(|err| format!("lock decoding failed: {err}"))?,
            row.modify_index,
        ),
    };
    value
        .holders
        .retain(|holder, _| rows.iter().any(|r| r.session == holder.as_str()));
    Ok(State {
        value,
        modify_index,
    })
}

/// The value with `session` among the holders; nothing while there is no room.
pub(super) fn join(state: &State, limit: u64, session: &str) -> Result<Option<Holders>, String> {
    if state.value.limit != limit {
        return Err(format!(
            "semaphore limit conflict (lock: {}, local: {limit})",
            state.value.limit
        ));
    }
    if state.value.holders.len() as u64 >= limit {
        return Ok(None);
    }
    let mut value = state.value.clone();
    value.holders.insert(session.to_owned(), true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, session: &str, flags: u64, value: &str) -> KvEntry {
        KvEntry {
            key: key.into(),
            session: session.into(),
            flags,
            value: value.as_bytes().into(),
            modify_index: 9,
            ..KvEntry::default()
        }
    }

    #[test]
    fn there_is_room_until_the_limit() {
        let contender = row("p/b", "b", FLAGS, "");
        let state = read(std::slice::from_ref(&contender), "p/.lock", 1).unwrap();
        assert_eq!(state.modify_index, 0);
        let value = join(&state, 1, "b").unwrap().unwrap();
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(text, r#"{"Limit":1,"Holders":{"b":true}}"#);
        let rows = [row("p/.lock", "", FLAGS, &text), contender];
        let state = read(&rows, "p/.lock", 1).unwrap();
        assert_eq!((join(&state, 1, "c"), state.modify_index), (Ok(None), 9));
        assert!(
            join(&state, 2, "c")
                .unwrap_err()
                .contains("limit conflict (lock: 1, local: 2)")
        );
    }

    #[test]
    fn the_dead_make_room() {
        let rows = [row(
            "p/.lock",
            "",
            FLAGS,
            r#"{"Limit":1,"Holders":{"gone":true}}"#,
        )];
        let state = read(&rows, "p/.lock", 1).unwrap();
        assert!(state.value.holders.is_empty());
        assert!(join(&state, 1, "c").unwrap().is_some());
    }

    #[test]
    fn other_uses_of_the_key_are_noticed() {
        assert!(read(&[row("p/.lock", "", 1, "x")], "p/.lock", 1).is_err());
        assert!(read(&[row("p/.lock", "", FLAGS, "x")], "p/.lock", 1).is_err());
    }
}
