//! What another hand's client said to another hand's server (tests/peers-go/rpc, `record`): said to
//! ours, it gets the same answers. And bytes that mean nothing.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::Methods;
use lictor_rpc::{Memory, ServeOptions, SessionError, serve_multiplexed, serve_plain};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

const CLIENT: &[u8] = include_bytes!("recorded/client.bin");
const SERVER: &[u8] = include_bytes!("recorded/server.bin");

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// What was sent on each stream, without frames; resets are an error.
fn streams(mut bytes: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let mut streams = BTreeMap::<u32, Vec<u8>>::new();
    while bytes.len() >= 12 {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        let (stream, length) = (number(4), number(8) as usize);
        assert_eq!(bytes[3] & 8, 0, "reset");
        if bytes[1] != 0 {
            bytes = &bytes[12..];
        } else if bytes.len() >= 12 + length {
            let data = &bytes[12..12 + length];
            streams.entry(stream).or_default().extend_from_slice(data);
            bytes = &bytes[12 + length..];
        } else {
            break;
        }
    }
    streams
}

#[tokio::test]
async fn a_recorded_client_gets_the_recorded_answers() {
    let want = streams(SERVER);
    assert_eq!(want.len(), 7, "seven streams were used");
    for cut in [1, 7, 100, CLIENT.len()] {
        let (near, mut far) = duplex(4096);
        let server = serve_multiplexed(near, Methods::default(), ServeOptions::default(), peer());
        let client = async {
            // The first byte is read by who accepts connections.
            for piece in CLIENT[1..].chunks(cut) {
                far.write_all(piece).await.expect("taken");
            }
            let mut answers = Vec::new();
            while streams(&answers) != want {
                let read = timeout(Duration::from_secs(10), far.read_buf(&mut answers));
                if read.await.is_err() {
                    assert_eq!(streams(&answers), want);
                }
            }
            assert_eq!(answers[..12], SERVER[..12], "the ping is answered first");
            drop(far);
        };
        let (ended, ()) = tokio::join!(server, client);
        assert!(matches!(
            ended,
            Err(SessionError::Eof | SessionError::Io(_))
        ));
    }
}

/// Serves bytes until the connection ends by itself or by the client's end.
fn survive(bytes: &[u8], plain: bool) -> usize {
    let memory = Memory::new(100_000);
    let options = ServeOptions {
        max_request: 10_000,
        max_streams: 20,
        memory: memory.clone(),
        half_close_grace: Duration::ZERO,
        ..ServeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = duplex(1 << 16);
        let (server, most) = (Methods::default(), &mut 0);
        let client = async {
            for piece in bytes.chunks(50) {
                if far.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
                *most = memory.taken().max(*most);
            }
            let _ = far.shutdown().await;
            let mut answers = Vec::new();
            far.read_to_end(&mut answers).await.expect("it ends");
        };
        let serve = async {
            if plain {
                drop(serve_plain(near, server, options, peer()).await);
            } else {
                drop(serve_multiplexed(near, server, options, peer()).await);
            }
        };
        timeout(Duration::from_secs(20), async {
            tokio::join!(serve, client)
        })
        .await
        .expect("it ends");
        assert_eq!(memory.taken(), 0, "all is given back");
        *most
    })
}

/// A message that may be right.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        Just("Test.Echo"),
        Just("Test.Fail"),
        Just("Test.Large"),
        Just("NoDot"),
        Just("")
    ];
    let body = prop_oneof![
        Just(vec![0x80]),
        Just(vec![0xdb, 0xff, 0xff, 0xff, 0xff]),
        Just(vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        Just(vec![0xc1]),
        vec(any::<u8>(), 0..40),
        (0..40_usize).prop_map(|depth| vec![0x91; depth]),
    ];
    (method, any::<u8>(), body).prop_map(|(method, seq, body)| {
        let mut bytes = vec![0x92];
        bytes.extend_from_slice(&common::raw(method.as_bytes()));
        bytes.push(seq & 0x7f);
        bytes.extend_from_slice(&body);
        bytes
    })
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let header = |kind: u8, flags: u16, stream: u32, length: u32| {
        let mut bytes = vec![0, kind];
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    };
    prop_oneof![
        4 => (0..6_u32).prop_map(move |s| header(1, 1, 2 * s + 1, 0)),
        6 => (0..6_u32, message()).prop_map(move |(s, body)| {
            let mut bytes = header(0, 0, 2 * s + 1, body.len() as u32);
            bytes.extend_from_slice(&body);
            bytes
        }),
        1 => (0..4_u8, 0..16_u16, 0..13_u32, 0..300_000_u32)
            .prop_map(move |(k, f, s, l)| header(k, f, s, l)),
        1 => (0..6_u32).prop_map(move |s| header(1, 4, 2 * s + 1, 0)),
        1 => (0..6_u32).prop_map(move |s| header(1, 8, 2 * s + 1, 0)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..2000), plain in any::<bool>()) {
        prop_assert!(survive(&bytes, plain) <= 100_000);
    }

    #[test]
    fn any_messages_are_survived(messages in vec(message(), 0..20)) {
        prop_assert!(survive(&messages.concat(), true) <= 100_000);
    }

    #[test]
    fn any_frames_are_survived(frames in vec(frame(), 0..60)) {
        prop_assert!(survive(&frames.concat(), false) <= 100_000);
    }
}
