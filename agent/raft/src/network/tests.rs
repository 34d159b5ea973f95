use super::*;
use crate::types::{log_id, membership, server_id, vote};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn messages_survive_the_way() {
    let request = Request::Vote(VoteRequest::new(vote(3, 9, false), Some(log_id(2, 7))));
    let bytes = encode(&request);
    match decode::<Request>(&bytes).unwrap() {
        Request::Vote(back) => assert_eq!(
            (back.vote, back.last_log_id),
            (vote(3, 9, false), Some(log_id(2, 7)))
        ),
        _ => panic!("another request"),
    }
    assert!(matches!(
        decode::<Request>(&[]),
        Err(ServeError::Malformed(_))
    ));
    assert!(matches!(
        decode::<Request>(&[WIRE + 1, 0]),
        Err(ServeError::Format { found: 2, known: 1 })
    ));
    for end in 0..bytes.len() {
        assert!(decode::<Request>(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn the_head_of_a_snapshot_survives_the_way() {
    let server = ServerInfo {
        node_id: "a".to_owned(),
        name: "n".to_owned(),
        address: "10.0.0.1:8300".to_owned(),
    };
    let id = server_id("a");
    let head = SnapshotHead {
        last: Some(log_id(2, 7)),
        membership_at: Some(log_id(1, 0)),
        membership: membership(vec![BTreeSet::from([id])], BTreeMap::from([(id, server)])).unwrap(),
    };
    let bytes = encode_snapshot_head(&vote(3, id, true), &head);
    let (back, meta) = decode_snapshot_head(&bytes).unwrap();
    assert_eq!((back, head_of(&meta)), (vote(3, id, true), head));
    for end in 0..bytes.len() {
        assert!(decode_snapshot_head(&bytes[..end]).is_err(), "cut at {end}");
    }
}
