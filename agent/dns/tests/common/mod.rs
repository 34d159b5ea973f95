//! A catalog to ask, and a way to read the answers.
#![allow(dead_code, reason = "each test file uses its own part")]

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use lictor_dns::{Found, Lookup, Responder, Settings, Source, SourceError, Transport};
use lictor_state::{Changes, Command, Entry, Outcome, State, View};
use lictor_wire::{
    DeregisterRequest, HealthCheck, NodeService, RegisterRequest, Status, Str, StrMap,
};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where the questions of these tests come from.
pub fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 5353))
}

/// A catalog that a test can change, and what else a source may do.
pub struct Catalog {
    pub state: Mutex<State>,
    /// Whether the agent holds a view (else it is a client agent).
    pub holds_view: bool,
    /// Milliseconds since the leader was heard.
    pub stale_ms: AtomicU64,
    /// How often a consistent view was asked for.
    pub consistent: AtomicU64,
    /// What cannot be answered from the view.
    pub find: Box<dyn Fn(Lookup) -> Result<Found, SourceError> + Send + Sync>,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            state: Mutex::new(State::default()),
            holds_view: true,
            stale_ms: AtomicU64::new(0),
            consistent: AtomicU64::new(0),
            find: Box::new(|lookup| match lookup.datacenter {
                Some(_) => Err(SourceError::UnknownDatacenter),
                None => Ok(Found::Query(None)),
            }),
        }
    }
}

#[async_trait::async_trait]
impl Source for Catalog {
    fn view(&self) -> Option<Arc<View>> {
        self.holds_view.then(|| Arc::new(self.view()))
    }

    fn staleness(&self) -> Duration {
        Duration::from_millis(self.stale_ms.load(Ordering::Relaxed))
    }

    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError> {
        self.consistent.fetch_add(1, Ordering::Relaxed);
        Ok(self.holds_view.then(|| Arc::new(self.view())))
    }

    async fn find(&self, lookup: Lookup) -> Result<Found, SourceError> {
        (self.find)(lookup)
    }
}

impl Catalog {
    pub fn view(&self) -> View {
        self.state.lock().unwrap().view()
    }

    fn apply(&self, command: Command) {
        let mut state = self.state.lock().unwrap();
        let index = state.index() + 1;
        let outcome = state.apply(index, &Entry { at: 0, command }, &mut Changes::default());
        assert_eq!(outcome, Outcome::Done);
    }

    pub fn register(&self, request: RegisterRequest) {
        self.apply(Command::Register(Box::new(request)));
    }

    pub fn deregister(&self, node: &str, service_id: &str) {
        let request = DeregisterRequest {
            node: node.into(),
            service_id: service_id.into(),
            ..Default::default()
        };
        self.apply(Command::Deregister(request));
    }

    pub fn node(&self, name: &str, address: &str, meta: &[(&str, &str)]) {
        let node_meta = (!meta.is_empty()).then(|| meta.iter().copied().collect::<StrMap>());
        self.register(RegisterRequest {
            node_meta,
            ..node(name, address)
        });
    }

    pub fn service(&self, name: &str, address: &str, service: NodeService) {
        self.register(RegisterRequest {
            service: Some(Box::new(service)),
            ..node(name, address)
        });
    }

    pub fn check(&self, name: &str, address: &str, service_id: &str, id: &str, status: Status) {
        let check = HealthCheck {
            check_id: id.into(),
            service_id: service_id.into(),
            status,
            ..Default::default()
        };
        self.register(RegisterRequest {
            check: Some(Box::new(check)),
            ..node(name, address)
        });
    }

    /// The agent that the recorded answers come from.
    pub fn parity_node(&self) {
        let meta = [("consul-version", "1.21.0"), ("consul-network-segment", "")];
        let request = RegisterRequest {
            node_meta: Some(meta.into_iter().collect()),
            service: Some(Box::new(service("consul", "consul", 8300))),
            ..node("parity-node", "127.0.0.1")
        };
        self.register(request);
    }

    /// Instances on nodes `dn-0`, `dn-1` and so on.
    pub fn web(&self, count: usize, name: &str) {
        for i in 0..count {
            let mut row = service(&format!("{name}-{i}"), name, 8000 + i as i64);
            row.tags = vec![Str::from("all"), Str::from(format!("t{i}"))].into();
            self.service(&format!("dn-{i}"), &format!("10.20.0.{}", i + 1), row);
        }
    }
}

fn node(name: &str, address: &str) -> RegisterRequest {
    RegisterRequest {
        node: name.into(),
        address: address.into(),
        datacenter: "dc1".into(),
        ..Default::default()
    }
}

pub fn service(id: &str, name: &str, port: i64) -> NodeService {
    NodeService {
        id: id.into(),
        service: name.into(),
        port,
        ..Default::default()
    }
}

/// A question, with what the tests vary.
#[derive(Clone)]
pub struct Ask {
    pub name: String,
    pub kind: RecordType,
    pub class: u16,
    pub edns: Option<u16>,
    pub subnet: Option<(&'static str, u8)>,
    pub recursion_desired: bool,
    pub transport: Transport,
}

pub fn ask(name: &str, kind: &str) -> Ask {
    Ask {
        name: name.into(),
        kind: RecordType::from_str(kind).unwrap(),
        class: 1,
        edns: None,
        subnet: None,
        recursion_desired: true,
        transport: Transport::Udp,
    }
}

impl Ask {
    pub fn tcp(mut self) -> Ask {
        self.transport = Transport::Tcp;
        self
    }

    pub fn edns(mut self, size: u16) -> Ask {
        self.edns = Some(size);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut name = Name::root();
        for label in self.name.split('.').filter(|l| !l.is_empty()) {
            name = name.append_label(label.as_bytes()).unwrap();
        }
        let mut query = Query::query(name, self.kind);
        query.set_query_class(DNSClass::from(self.class));
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.metadata.recursion_desired = self.recursion_desired;
        message.add_query(query);
        if let Some(size) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            if let Some((address, prefix)) = self.subnet {
                let subnet = ClientSubnet::new(address.parse().unwrap(), prefix, 0);
                edns.options_mut().insert(EdnsOption::Subnet(subnet));
            }
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    pub async fn send(&self, responder: &Responder) -> Message {
        let answer = responder
            .respond(&self.bytes(), client(), self.transport)
            .await
            .expect("an answer");
        if self.transport == Transport::Udp {
            assert!(
                answer.len() <= usize::from(self.edns.unwrap_or(512)),
                "{} bytes",
                answer.len()
            );
        }
        let message = Message::from_vec(&answer).unwrap();
        assert_eq!(message.metadata.id, 4711);
        assert_eq!(message.queries.len(), 1);
        let asked = Message::from_vec(&self.bytes()).unwrap();
        assert!(
            message.queries[0].name().eq_case(asked.queries[0].name()),
            "the question keeps its case"
        );
        assert_eq!(message.queries[0].query_type(), self.kind);
        assert_eq!(u16::from(message.queries[0].query_class()), self.class);
        assert_eq!(message.edns.is_some(), self.edns.is_some());
        message
    }

    /// The answer as lines: code and flags, then the records, sorted within their section.
    pub async fn lines(&self, responder: &Responder) -> Vec<String> {
        lines(&self.send(responder).await)
    }
}

pub fn lines(message: &Message) -> Vec<String> {
    let meta = &message.metadata;
    let mut head = format!("{:?}", meta.response_code);
    for (set, name) in [
        (meta.authoritative, " aa"),
        (meta.truncation, " tc"),
        (meta.recursion_desired, " rd"),
        (meta.recursion_available, " ra"),
    ] {
        if set {
            head.push_str(name);
        }
    }
    let mut out = vec![head];
    let sections = [
        ("ans", &message.answers),
        ("aut", &message.authorities),
        ("add", &message.additionals),
    ];
    for (section, records) in sections {
        let mut rows: Vec<String> = records
            .iter()
            .map(|r| format!("{section} {}", line(r)))
            .collect();
        rows.sort();
        out.extend(rows);
    }
    out
}

fn line(record: &Record) -> String {
    assert_eq!(record.dns_class, DNSClass::IN);
    let data = match &record.data {
        RData::A(a) => a.to_string(),
        RData::AAAA(a) => a.to_string(),
        RData::CNAME(name) => name.0.to_string(),
        RData::NS(name) => name.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        RData::SRV(srv) => format!(
            "{} {} {} {}",
            srv.priority, srv.weight, srv.port, srv.target
        ),
        RData::SOA(soa) => {
            assert!(soa.serial > 1_600_000_000, "the serial is the time");
            format!(
                "{} {} {} {} {} {}",
                soa.mname, soa.rname, soa.refresh, soa.retry, soa.expire, soa.minimum
            )
        }
        RData::TXT(txt) => {
            let texts: Vec<_> = txt
                .txt_data
                .iter()
                .map(|t| String::from_utf8_lossy(t).into_owned())
                .collect();
            format!("{texts:?}")
        }
        other => panic!("{other:?}"),
    };
    format!(
        "{} {} {} {data}",
        record.name,
        record.ttl,
        record.record_type()
    )
}

pub fn responder(catalog: Catalog, settings: Settings) -> (Arc<Catalog>, Arc<Responder>) {
    let catalog = Arc::new(catalog);
    let responder = Responder::new(settings, catalog.clone()).unwrap();
    (catalog, responder)
}

/// The SOA record of the usual domain.
pub const SOA: &str = "aut consul. 0 SOA ns.consul. hostmaster.consul. 3600 600 86400 0";

/// Asks each question and compares the answer with the lines expected.
pub async fn table(responder: &Responder, rows: &[(&str, &str, &[&str])]) {
    for (name, kind, expected) in rows {
        assert_eq!(
            ask(name, kind).lines(responder).await,
            *expected,
            "{kind} {name}"
        );
    }
}

/// A responder with the usual settings and the usual first node.
pub fn plain() -> (Arc<Catalog>, Arc<Responder>) {
    let (catalog, responder) = responder(Catalog::default(), Settings::default());
    catalog.parity_node();
    (catalog, responder)
}

/// The first line of an answer.
pub const OK: &str = "NoError aa rd";
/// There is no such name.
pub const NX: &[&str] = &["NXDomain aa rd", SOA];
