//! A packet from anybody, by datagram and by connection, to a server with a small catalog.
//!
//! Beyond not panicking: an answer can be read by somebody else's reader, carries the question's id,
//! is marked as an answer, and a datagram is no larger than the client said it takes.
#![no_main]

use hickory_proto::op::Message;
use lictor_dns::{Responder, Settings, Source, SourceError, Transport};
use lictor_state::{Changes, Command, Entry, State, View};
use lictor_wire::gojson::{self, Mode};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

struct Catalog(Arc<View>);

#[async_trait::async_trait]
impl Source for Catalog {
    fn view(&self) -> Option<Arc<View>> {
        Some(Arc::clone(&self.0))
    }

    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError> {
        Ok(Some(Arc::clone(&self.0)))
    }
}

/// Nodes with addresses of both families and with names, and a service large enough to be cut.
fn catalog() -> Arc<View> {
    let mut state = State::default();
    for i in 0..60u32 {
        let address = match i % 3 {
            0 => format!("10.0.0.{i}"),
            1 => format!("2001:db8::{i}"),
            _ => format!("host-{i}.example.com"),
        };
        let body = format!(
            r#"{{"Node":"node-{i}","Address":"{address}","NodeMeta":{{"rack":"r{i}"}},
                "Service":{{"ID":"web-{i}","Service":"web","Port":{},"Tags":["v1","a_b"]}},
                "Check":{{"CheckID":"alive","Name":"alive","Status":"{}","ServiceID":"web-{i}"}}}}"#,
            8000 + i,
            ["passing", "warning", "critical"][(i / 3 % 3) as usize],
        );
        let request =
            gojson::decode(body.as_bytes(), Mode::Strict, "seed").expect("a registration");
        let entry = Entry {
            at: 1,
            command: Command::Register(Box::new(request)),
        };
        state.apply(u64::from(i) + 1, &entry, &mut Changes::default());
    }
    Arc::new(state.view())
}

static RESPONDERS: LazyLock<[Arc<Responder>; 2]> = LazyLock::new(|| {
    let view = catalog();
    let usual = Settings::default();
    let other = Settings {
        alt_domain: "alt.example.".into(),
        only_passing: true,
        enable_truncate: true,
        disable_compression: true,
        ..Settings::default()
    };
    [usual, other].map(|settings| {
        Responder::new(settings, Arc::new(Catalog(Arc::clone(&view)))).expect("good settings")
    })
});

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
}

libfuzzer_sys::fuzz_target!(|packet: &[u8]| {
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);
    for responder in RESPONDERS.iter() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = RUNTIME.with(|r| r.block_on(responder.respond(packet, from, transport)));
            let Some(answer) = answer else {
                continue;
            };
            assert_eq!(answer[..2], packet[..2], "the id");
            assert_eq!(answer[2] & 0x80, 0x80, "the mark of an answer");
            let read = Message::from_vec(&answer);
            assert!(
                read.is_ok(),
                "{transport:?}: an answer that cannot be read: {read:?} {answer:x?}"
            );
            if transport == Transport::Udp {
                let said = Message::from_vec(packet)
                    .ok()
                    .and_then(|question| question.edns.as_ref().map(|edns| edns.max_payload()));
                let most = usize::from(said.unwrap_or(512).max(512));
                assert!(
                    answer.len() <= most,
                    "{} bytes where {most} are taken",
                    answer.len()
                );
            }
        }
    }
});
