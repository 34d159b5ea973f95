//! Arguments and replies of the server RPC. The first byte says as what the rest is read.
//!
//! What was read is written and read the same, and takes no more memory than a bounded multiple of
//! the input; requests become commands that the state takes.
#![no_main]

use lictor_rpc_wire::message::*;
use lictor_rpc_wire::{from_slice, to_vec};
use lictor_state::{Changes, Command, Entry, State};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = from_slice(bytes).ok()?;
    let written = to_vec(&value).expect("what was read can be written");
    let again: T = from_slice(&written).expect("what was written can be read");
    // Compared as bytes: a number that is none differs from itself.
    assert_eq!(to_vec(&again).expect("twice"), written);
    Some(value)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let command = match kind % 12 {
        0 => read::<RegisterRequest>(bytes).map(|r| Command::Register(Box::new(r.into()))),
        1 => read::<DeregisterRequest>(bytes).map(|r| Command::Deregister(r.into())),
        2 => read::<KvsRequest>(bytes).and_then(|r| Some(Command::Kv(r.into_op().ok()?))),
        3 => read::<SessionRequest>(bytes).and_then(|r| {
            let session = lictor_wire::Session::try_from(r.session).ok()?;
            Some(Command::SessionCreate(Box::new(session)))
        }),
        4 => read::<TxnRequest>(bytes).map(|r| {
            let ops = r.ops.into_iter();
            Command::Txn(ops.filter_map(|op| op.into_op().ok()?).collect())
        }),
        5 => read::<CoordinateUpdateRequest>(bytes)
            .map(|r| Command::Coordinates(vec![r.into_update()])),
        6 => read::<ServiceSpecificRequest>(bytes).and(None),
        7 => read::<IndexedCheckServiceNodes>(bytes).and_then(|reply| {
            for row in reply.nodes {
                let row = lictor_wire::rows::CheckServiceNode::from(row);
                let written = to_vec(&CheckServiceNode::from(&row)).expect("a row");
                let again: CheckServiceNode = from_slice(&written).expect("a row as written");
                let again = lictor_wire::rows::CheckServiceNode::from(again);
                assert_eq!(
                    serde_json::to_string(&again).ok(),
                    serde_json::to_string(&row).ok()
                );
            }
            None
        }),
        8 => read::<TxnReadResponse>(bytes).and_then(|reply| {
            reply.response.into_outcome();
            None
        }),
        9 => read::<OperatorHealthReply>(bytes).and(None),
        10 => read::<KeyringResponses>(bytes).and(None),
        _ => read::<serde_json::Value>(bytes).and(None),
    };
    if let Some(command) = command {
        let entry = Entry { at: 1, command };
        let decoded = Entry::decode(&entry.encode()).expect("a record of the log");
        State::default().apply(1, &decoded, &mut Changes::default());
    }
});
