//! One packet in, at most one packet out.

use crate::answer::{self, Ask, Facts, Resolved};
use crate::cache::{self, Cache};
use crate::encode::{EdnsReply, Head, Scratch, TC, header_only};
use crate::name::{self, Target, Wanted, domain_at};
use crate::record::{Data, Dn, LONGEST_NAME, Record, Reply, split};
use crate::recursor;
use crate::rows::{Filter, NodeRow, Rows};
use crate::settings::{Settings, SettingsError};
use crate::source::{Found, Lookup, Source, SourceError, What};
use crate::trim::{self, Limits};
use crate::zone::{Zone, seconds};
use arc_swap::ArcSwap;
use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RecordType};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use lictor_state::{View, fold};
use lictor_wire::Str;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// Answers that wait for somebody else, at most. Each may hold a socket.
const MOST_PENDING: usize = 512;
/// How deep names in our own domains may lead to each other.
const MOST_DEPTH: u8 = 3;
/// How long all look-ups of one answer may take together.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Seconds between two complaints about recursors.
const COMPLAIN_EVERY: u64 = 10;
/// Answers older than this count as stale in the statistics.
const STALE: Duration = Duration::from_secs(5);

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Questions about names in our domains.
    pub domain_queries: u64,
    /// Questions about names of addresses.
    pub ptr_queries: u64,
    /// Questions that were passed on to recursors.
    pub recursed: u64,
    /// Answers from a view more than five seconds old.
    pub stale: u64,
    /// Packets that no question could be read from.
    pub malformed: u64,
    /// Questions refused because too many answers were pending.
    pub overloaded: u64,
}

#[derive(Debug, Default)]
struct Counters {
    domain: AtomicU64,
    ptr: AtomicU64,
    recursed: AtomicU64,
    stale: AtomicU64,
    malformed: AtomicU64,
    overloaded: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Settings in force, with what was derived under them.
struct Live {
    zone: Zone,
    cache: Cache,
}

/// Answers questions. One for all sockets of an agent.
pub struct Responder {
    live: ArcSwap<Live>,
    source: Arc<dyn Source>,
    pending: Arc<Semaphore>,
    seed: AtomicU64,
    counters: Counters,
    /// When it was last said that recursors fail, in seconds since 1970.
    complained: AtomicU64,
}

/// What becomes of a packet.
pub(crate) enum Next {
    /// No answer at all.
    Silent,
    /// The answer is written.
    Done,
    /// The answer waits for somebody else.
    Later(Box<Job>),
}

/// A question whose answer waits for somebody else.
pub(crate) struct Job {
    question: Question,
    live: Arc<Live>,
    plan: Plan,
    _permit: OwnedSemaphorePermit,
}

enum Plan {
    /// Ask the recursors.
    Forward,
    /// Find out, then answer.
    Own(Wanted),
    /// Who has this address.
    Reverse(Option<IpAddr>),
    /// Look these names up, then answer.
    Resolve(Facts, Vec<Dn>),
}

/// A question with all that its answer needs of its packet.
struct Question {
    request: Request,
    kind: RecordType,
    /// Where the domain begins among the labels of the name, if it is in one.
    domain_at: Option<usize>,
    edns: Option<EdnsReply>,
    transport: Transport,
    limits: Limits,
    recursion_available: bool,
    seed: u64,
    now: u32,
}

impl Question {
    fn read(request: Request, transport: Transport, settings: &Settings, seed: u64) -> Option<Question> {
        let [query] = request.queries.queries() else { return None };
        // The name is repeated as it came: a pointer in it would point at something else.
        let bytes = request.queries.as_bytes();
        let name = bytes.get(..bytes.len().checked_sub(5)?)?;
        if split(name).map(|label| label.len() + 1).sum::<usize>() != name.len() || name.len() >= LONGEST_NAME {
            return None;
        }
        let edns = request.edns.as_ref().map(|edns| EdnsReply {
            size: edns.max_payload().clamp(trim::PLAIN_UDP as u16, trim::LARGEST_UDP as u16),
            dnssec_ok: edns.flags().dnssec_ok,
            subnet: match edns.option(EdnsCode::Subnet) {
                Some(EdnsOption::Subnet(subnet)) => Some((subnet.addr(), subnet.source_prefix())),
                _ => None,
            },
        });
        let kind = query.query_type();
        Some(Question {
            kind,
            domain_at: None,
            edns,
            transport,
            limits: Limits::of(transport, kind, edns.map(|e| e.size), settings.udp_answer_limit),
            recursion_available: !settings.recursors.is_empty(),
            seed,
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs() as u32),
            request,
        })
    }

    /// The labels of the name as it came.
    fn name(&self) -> &[u8] {
        let bytes = self.request.queries.as_bytes();
        bytes.get(..bytes.len().saturating_sub(5)).unwrap_or_default()
    }

    /// The labels of the domain that answers are below: that of the name, in the case it was
    /// asked in, else the first one.
    fn domain<'a>(&'a self, zone: &'a Zone) -> &'a [u8] {
        self.domain_at.and_then(|at| self.name().get(at..)).unwrap_or(&zone.domain)
    }

    /// The name in lower case.
    fn lower(&self) -> &Name {
        self.request.queries.queries()[0].name()
    }

    /// Where the client is: its subnet if it says so, else its address.
    fn client(&self) -> IpAddr {
        let subnet = self.edns.and_then(|e| e.subnet).filter(|(_, prefix)| *prefix > 0);
        subnet.map_or_else(|| self.request.src().ip(), |(ip, _)| ip)
    }

    fn ask<'a>(&'a self, zone: &'a Zone) -> Ask<'a> {
        Ask {
            name: self.name(),
            kind: self.kind,
            domain: self.domain(zone),
            zone,
            now: self.now,
            seed: self.seed,
            most: self.limits.worth_making(),
            edns: self.edns.is_some(),
        }
    }

    fn write(&self, mut reply: Reply, zone: &Zone, scratch: &mut Scratch, out: &mut Vec<u8>) {
        let settings = &zone.settings;
        let meta = &self.request.metadata;
        let head = Head {
            id: meta.id,
            recursion_desired: meta.recursion_desired,
            recursion_available: self.recursion_available,
            checking_disabled: meta.checking_disabled,
            name: self.name(),
            domain: self.domain(zone),
            kind: self.kind.into(),
            class: self.request.queries.queries()[0].query_class().into(),
            edns: self.edns,
        };
        let at = out.len();
        let cut = trim::write(&head, &mut reply, self.limits, !settings.disable_compression, scratch, out);
        if cut && settings.enable_truncate {
            out[at + 2] |= TC;
        }
    }
}

/// Why facts are not there at once.
enum Missing {
    /// They have to be asked for.
    Ask,
    /// They cannot be had.
    Failed(SourceError),
}

impl Responder {
    /// A responder that answers from `source`.
    pub fn new(settings: Settings, source: Arc<dyn Source>) -> Result<Arc<Responder>, SettingsError> {
        let live = Live { zone: Zone::new(settings)?, cache: Cache::default() };
        // Without randomness the order of answers is predictable, which harms nobody.
        let seed = getrandom::u64().unwrap_or(0);
        Ok(Arc::new(Responder {
            live: ArcSwap::from_pointee(live),
            source,
            pending: Arc::new(Semaphore::new(MOST_PENDING)),
            seed: AtomicU64::new(seed),
            counters: Counters::default(),
            complained: AtomicU64::new(0),
        }))
    }

    /// Takes new settings; questions that came before keep the old ones.
    pub fn reload(&self, settings: Settings) -> Result<(), SettingsError> {
        let live = Live { zone: Zone::new(settings)?, cache: Cache::default() };
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Stats {
            domain_queries: read(&counters.domain),
            ptr_queries: read(&counters.ptr),
            recursed: read(&counters.recursed),
            stale: read(&counters.stale),
            malformed: read(&counters.malformed),
            overloaded: read(&counters.overloaded),
        }
    }

    /// The answer to a packet, or nothing if it deserves none. Never fails and never panics,
    /// whatever the bytes are.
    pub async fn respond(&self, packet: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut scratch = Scratch::default();
        match self.begin(packet, from, transport, &mut scratch, &mut out) {
            Next::Silent => None,
            Next::Done => Some(out),
            Next::Later(job) => Some(self.finish(*job).await),
        }
    }

    /// The part of [`Responder::respond`] that waits for nobody. Answers are appended to `out`.
    pub(crate) fn begin(
        &self,
        packet: &[u8],
        from: SocketAddr,
        transport: Transport,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Next {
        // Responses are no questions; to answer them could go on for ever.
        if packet.len() < 12 || packet[2] & 0x80 != 0 {
            count(&self.counters.malformed);
            return Next::Silent;
        }
        if let Some(code) = refuse(packet) {
            count(&self.counters.malformed);
            out.extend(header_only(packet, code).unwrap_or_default());
            return Next::Done;
        }
        let protocol = match transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
        };
        let live = self.live.load();
        let zone = &live.zone;
        let settings = &zone.settings;
        let seed = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let request = Request::from_bytes(packet.to_vec(), from, protocol).ok();
        let question = request.and_then(|request| Question::read(request, transport, settings, seed));
        let Some(mut question) = question else {
            count(&self.counters.malformed);
            out.extend(header_only(packet, ResponseCode::FormErr.low()).unwrap_or_default());
            return Next::Done;
        };
        let early = if question.request.version() > 0 {
            Some(ResponseCode::BADVERS)
        } else if matches!(question.kind, RecordType::AXFR | RecordType::IXFR) {
            Some(ResponseCode::NotImp)
        } else {
            None
        };
        if let Some(code) = early {
            question.write(Reply::foreign(code), zone, scratch, out);
            return Next::Done;
        }

        let plan = match name::read(question.lower(), question.kind, zone) {
            Target::Foreign => {
                if settings.recursors.is_empty() {
                    question.write(Reply::foreign(ResponseCode::Refused), zone, scratch, out);
                    return Next::Done;
                }
                Plan::Forward
            }
            Target::Reverse(ip) => {
                count(&self.counters.ptr);
                match self.named(&live, ip) {
                    Ok(Some(name)) => {
                        let reply = answer::reply(&question.ask(zone), &Facts::Pointer(name), &[]);
                        question.write(reply, zone, scratch, out);
                        return Next::Done;
                    }
                    Ok(None) if settings.recursors.is_empty() => {
                        let reply = answer::no_such_name(&question.ask(zone));
                        question.write(reply, zone, scratch, out);
                        return Next::Done;
                    }
                    Ok(None) => Plan::Forward,
                    Err(_) => Plan::Reverse(ip),
                }
            }
            Target::Own { domain, what } => {
                count(&self.counters.domain);
                question.domain_at = Some(domain_at(question.name(), domain));
                match self.facts(&live, &what) {
                    Ok(facts) => {
                        let ask = question.ask(zone);
                        let names = self.lookups(&ask, &facts);
                        if names.is_empty() {
                            let reply = answer::reply(&ask, &facts, &[]);
                            question.write(reply, zone, scratch, out);
                            return Next::Done;
                        }
                        Plan::Resolve(facts, names)
                    }
                    Err(Missing::Ask) => Plan::Own(what),
                    Err(Missing::Failed(error)) => {
                        question.write(failed(&question, &live.zone, &error), zone, scratch, out);
                        return Next::Done;
                    }
                }
            }
        };
        match self.pending.clone().try_acquire_owned() {
            Ok(permit) => {
                let live = Arc::clone(&live);
                Next::Later(Box::new(Job { question, live, plan, _permit: permit }))
            }
            Err(_) => {
                count(&self.counters.overloaded);
                question.write(Reply::foreign(ResponseCode::ServFail), zone, scratch, out);
                Next::Done
            }
        }
    }

    /// The answer that waits for somebody else.
    pub(crate) async fn finish(&self, job: Job) -> Vec<u8> {
        let Job { question, live, plan, .. } = job;
        let zone = &live.zone;
        let reply = match plan {
            Plan::Forward => return self.forward(&question, &live).await,
            Plan::Own(what) => match self.find(&live, &what, question.client()).await {
                Ok(facts) => self.answer(&question, &live, facts).await,
                Err(error) => failed(&question, zone, &error),
            },
            Plan::Reverse(ip) => match self.find_name(&live, ip).await {
                Ok(Some(name)) => answer::reply(&question.ask(zone), &Facts::Pointer(name), &[]),
                Ok(None) if zone.settings.recursors.is_empty() => answer::no_such_name(&question.ask(zone)),
                Ok(None) => return self.forward(&question, &live).await,
                Err(error) => failed(&question, zone, &error),
            },
            Plan::Resolve(facts, names) => {
                let resolved = self.resolve_all(&live, names, question.kind, 1).await;
                answer::reply(&question.ask(zone), &facts, &resolved)
            }
        };
        let mut out = Vec::new();
        question.write(reply, zone, &mut Scratch::default(), &mut out);
        out
    }

    async fn answer(&self, question: &Question, live: &Live, facts: Facts) -> Reply {
        let ask = question.ask(&live.zone);
        let names = self.lookups(&ask, &facts);
        let resolved = self.resolve_all(live, names, question.kind, 1).await;
        answer::reply(&ask, &facts, &resolved)
    }

    /// The names to look up, as far as there is somebody who might know them.
    fn lookups(&self, ask: &Ask<'_>, facts: &Facts) -> Vec<Dn> {
        let mut names = answer::lookups(ask, facts);
        if ask.zone.settings.recursors.is_empty() {
            names.retain(|name| {
                let name = name.to_name();
                ask.zone.domains.iter().any(|domain| domain.zone_of(&name))
            });
        }
        names
    }

    /// Says that recursors fail, now and then: each question could.
    fn complain(&self, errors: &recursor::Failures) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let last = self.complained.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= COMPLAIN_EVERY
            && self.complained.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(%errors, "no recursor answered");
        }
    }

    async fn forward(&self, question: &Question, live: &Live) -> Vec<u8> {
        count(&self.counters.recursed);
        let raw = &question.request;
        let end = 12 + raw.queries.as_bytes().len();
        let mut out = Vec::new();
        let answer = match recursor::forward(raw.as_slice(), end, &live.zone.settings).await {
            Ok(answer) => Some(answer),
            Err(errors) => {
                self.complain(&errors);
                None
            }
        };
        match answer {
            Some(answer) if answer.len() <= question.limits.size || question.transport == Transport::Tcp => answer,
            Some(answer) => {
                // Too large for a datagram: the client has to come back over TCP.
                let mut reply = Reply::foreign(ResponseCode::NoError);
                reply.authoritative = answer[2] & 0x04 != 0;
                question.write(reply, &live.zone, &mut Scratch::default(), &mut out);
                out[2] |= TC;
                out
            }
            None => {
                let reply = Reply::foreign(ResponseCode::ServFail);
                question.write(reply, &live.zone, &mut Scratch::default(), &mut out);
                out
            }
        }
    }

    /// The view that may answer now, if there is one.
    fn view(&self, zone: &Zone) -> Option<Arc<View>> {
        if !zone.settings.allow_stale {
            return None;
        }
        let view = self.source.view()?;
        let age = self.source.staleness();
        if age > zone.settings.max_stale {
            return None;
        }
        if age > STALE {
            count(&self.counters.stale);
        }
        Some(view)
    }

    fn facts(&self, live: &Live, what: &Wanted) -> Result<Facts, Missing> {
        let view = match what {
            Wanted::Nothing => return Ok(Facts::Nothing),
            Wanted::Address(ip) => return Ok(Facts::Address(*ip)),
            Wanted::Query { .. } => return Err(Missing::Ask),
            Wanted::Node { datacenter, .. }
            | Wanted::Service { datacenter, .. }
            | Wanted::Virtual { datacenter, .. }
                if !live.zone.is_own(datacenter.as_ref()) =>
            {
                return Err(Missing::Ask);
            }
            _ => self.view(&live.zone).ok_or(Missing::Ask)?,
        };
        read(live, &view, what).map_err(Missing::Failed)
    }

    async fn fresh_view(&self, zone: &Zone) -> Result<Option<Arc<View>>, SourceError> {
        match self.view(zone) {
            Some(view) => Ok(Some(view)),
            None => self.source.consistent_view().await,
        }
    }

    async fn find(&self, live: &Live, what: &Wanted, client: IpAddr) -> Result<Facts, SourceError> {
        let zone = &live.zone;
        let datacenter = match what {
            Wanted::Node { datacenter, .. }
            | Wanted::Service { datacenter, .. }
            | Wanted::Virtual { datacenter, .. }
            | Wanted::Query { datacenter, .. } => datacenter.clone().filter(|dc| *dc != zone.datacenter),
            _ => None,
        };
        if datacenter.is_none() && !matches!(what, Wanted::Query { .. })
            && let Some(view) = self.fresh_view(zone).await? {
                return read(live, &view, what);
            }
        let asked = match what {
            Wanted::Nothing => return Ok(Facts::Nothing),
            Wanted::Address(ip) => return Ok(Facts::Address(*ip)),
            Wanted::Zone => What::Service { name: "consul".into(), mesh: false },
            Wanted::Node { name, .. } => What::Node { name: name.clone() },
            Wanted::Service { name, mesh, .. } => What::Service { name: name.clone(), mesh: *mesh },
            Wanted::Virtual { name, .. } => What::Service { name: name.clone(), mesh: true },
            Wanted::Query { name, .. } => What::Query { name: name.clone(), client },
        };
        let lookup =
            Lookup { datacenter: datacenter.clone(), allow_stale: zone.settings.allow_stale, what: asked };
        let found = self.source.find(lookup).await?;
        Ok(convert(zone, what, datacenter, found))
    }

    fn named(&self, live: &Live, ip: Option<IpAddr>) -> Result<Option<Dn>, Missing> {
        let Some(ip) = ip else { return Ok(None) };
        let view = self.view(&live.zone).ok_or(Missing::Ask)?;
        let (node, service) = live.cache.named(&view, ip.to_canonical());
        Ok(pointer(&live.zone, node, service))
    }

    async fn find_name(&self, live: &Live, ip: Option<IpAddr>) -> Result<Option<Dn>, SourceError> {
        let Some(ip) = ip else { return Ok(None) };
        let ip = ip.to_canonical();
        if let Some(view) = self.fresh_view(&live.zone).await? {
            let (node, service) = live.cache.named(&view, ip);
            return Ok(pointer(&live.zone, node, service));
        }
        let allow_stale = live.zone.settings.allow_stale;
        let lookup = Lookup { datacenter: None, allow_stale, what: What::Address { ip } };
        match self.source.find(lookup).await? {
            Found::Address { node, service } => Ok(pointer(&live.zone, node, service)),
            _ => Ok(None),
        }
    }

    /// Looks names up, in our own domains or at the recursors.
    async fn resolve_all(&self, live: &Live, names: Vec<Dn>, kind: RecordType, depth: u8) -> Box<Resolved> {
        let end = Instant::now() + LOOKUP_LIMIT;
        // Consul asks for IPv4 addresses whatever the question; a client that wants IPv6 gets it.
        let kind = if kind == RecordType::AAAA { kind } else { RecordType::A };
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let records = timeout_at(end, self.resolve(live, &name, kind, depth)).await;
            out.push((name, records.ok().flatten().unwrap_or_default()));
        }
        out.into()
    }

    async fn resolve(&self, live: &Live, name: &Dn, kind: RecordType, depth: u8) -> Option<Vec<Record>> {
        let zone = &live.zone;
        let full = name.to_name();
        let Target::Own { domain, what } = name::read(&full.to_lowercase(), kind, zone) else {
            if zone.settings.recursors.is_empty() {
                return None;
            }
            count(&self.counters.recursed);
            let message = match recursor::resolve(&full, kind, &zone.settings).await {
                Ok(message) => message,
                Err(errors) => {
                    self.complain(&errors);
                    return None;
                }
            };
            let records = message.answers.iter().filter_map(|record| {
                let data = Data::of_foreign(&record.data)?;
                Some(Record { name: Some(Dn::from(&record.name)), ttl: record.ttl, data })
            });
            return Some(records.collect());
        };
        if depth > MOST_DEPTH {
            return None;
        }
        let [labels, _] = name.parts(&[]);
        let domain = &labels[domain_at(labels, domain)..];
        let ask = Ask {
            name: labels,
            kind,
            domain,
            zone,
            now: 0,
            seed: self.seed.fetch_add(1, Ordering::Relaxed),
            most: trim::MOST_PLAIN_UDP,
            edns: true,
        };
        let facts = self.find(live, &what, IpAddr::from([0, 0, 0, 0])).await.ok()?;
        let names = self.lookups(&ask, &facts);
        let resolved = Box::pin(self.resolve_all(live, names, kind, depth + 1)).await;
        let reply = answer::reply(&ask, &facts, &resolved);
        // What was below the domain of this name is not below that of the question.
        let whole = |record: Record| Record {
            name: Some(record.name.map_or_else(|| name.clone(), |owner| owner.in_domain(domain))),
            ttl: record.ttl,
            data: match record.data {
                Data::Cname(name) => Data::Cname(name.in_domain(domain)),
                data => data,
            },
        };
        Some(reply.answers.into_iter().map(whole).collect())
    }
}

/// The code for a packet that is no single, plain question, judged by its header alone: counts
/// beyond what questions have are not worth decoding.
fn refuse(packet: &[u8]) -> Option<u8> {
    let opcode = packet[2] >> 3 & 0x0f;
    if OpCode::from_u8(opcode) != OpCode::Query {
        return Some(ResponseCode::NotImp.low());
    }
    let counts: [u16; 4] = std::array::from_fn(|i| u16::from_be_bytes([packet[4 + 2 * i], packet[5 + 2 * i]]));
    let plain = counts[0] == 1 && counts[1] <= 1 && counts[2] <= 1 && counts[3] <= 2;
    (!plain).then(|| ResponseCode::FormErr.low())
}

fn failed(question: &Question, zone: &Zone, error: &SourceError) -> Reply {
    match error {
        SourceError::UnknownDatacenter => answer::no_such_name(&question.ask(zone)),
        error => {
            tracing::warn!(name = %question.lower(), %error, "DNS question failed");
            Reply::own(ResponseCode::ServFail)
        }
    }
}

/// What a view says of this datacenter.
fn read(live: &Live, view: &View, what: &Wanted) -> Result<Facts, SourceError> {
    let zone = &live.zone;
    Ok(match what {
        Wanted::Zone => Facts::Servers(live.cache.service(view, zone, "consul", None)),
        Wanted::Node { name, .. } => {
            cache::node(view, name).map_or(Facts::Nothing, |row| Facts::Node(Arc::new(row)))
        }
        Wanted::Service { name, tag, mesh: false, .. } => {
            let rows = live.cache.service(view, zone, name, tag.as_deref());
            Facts::Service { rows, ttl: zone.service_ttl(name), by_subnet: false }
        }
        Wanted::Service { name, tag, mesh: true, .. } => {
            let rows = Rows::new(&view.connect_health(name), cache::filter(zone, tag.as_deref()));
            Facts::Service { rows: Arc::new(rows), ttl: zone.service_ttl(name), by_subnet: false }
        }
        Wanted::Virtual { name, .. } => cache::virtual_ip(view, name).map_or(Facts::Nothing, Facts::Address),
        Wanted::Address(ip) => Facts::Address(*ip),
        Wanted::Query { .. } | Wanted::Nothing => Facts::Nothing,
    })
}

/// What somebody else said.
fn convert(zone: &Zone, what: &Wanted, datacenter: Option<Str>, found: Found) -> Facts {
    let wan = datacenter.is_some() && zone.settings.translate_wan_addrs;
    let own = fold(&zone.settings.datacenter);
    let named = datacenter.unwrap_or(own);
    let only_passing = zone.settings.only_passing;
    match (what, found) {
        (Wanted::Zone, Found::Service(rows)) => {
            let filter = Filter { tag: None, only_passing, datacenter: &named, wan };
            Facts::Servers(Arc::new(Rows::new(&rows, filter)))
        }
        (Wanted::Service { name, tag, .. }, Found::Service(rows)) => {
            let filter = Filter { tag: tag.as_deref(), only_passing, datacenter: &named, wan };
            let rows = Arc::new(Rows::new(&rows, filter));
            Facts::Service { rows, ttl: zone.service_ttl(name), by_subnet: false }
        }
        (Wanted::Virtual { .. }, Found::Service(rows)) => {
            let tagged = |row: &lictor_wire::rows::CheckServiceNode| {
                row.service.tagged_addresses.as_deref()?.get("consul-virtual")?.address.parse().ok()
            };
            rows.iter().find_map(tagged).map_or(Facts::Nothing, Facts::Address)
        }
        (Wanted::Node { .. }, Found::Node(Some(node))) => Facts::Node(Arc::new(NodeRow::new(&node, wan))),
        (Wanted::Query { .. }, Found::Query(Some(result))) => {
            let remote = fold(&result.datacenter) != zone.datacenter;
            let filter = Filter {
                tag: None,
                // The query itself said who counts; only the critical never do.
                only_passing: false,
                datacenter: &result.datacenter,
                wan: remote && zone.settings.translate_wan_addrs,
            };
            let rows = Arc::new(Rows::new(&result.nodes, filter));
            let ttl = result.ttl.map_or_else(|| zone.service_ttl(&fold(&result.service)), seconds);
            Facts::Service { rows, ttl, by_subnet: true }
        }
        _ => Facts::Nothing,
    }
}

/// The name of who has an address: `<node>.node.<dc>.<domain>`, else `<service>.service.…`.
fn pointer(zone: &Zone, node: Option<Str>, service: Option<Str>) -> Option<Dn> {
    let dc = &zone.settings.datacenter;
    let text = match (node, service) {
        (Some(node), _) => format!("{node}.node.{dc}"),
        (None, Some(service)) => format!("{service}.service.{dc}"),
        (None, None) => return None,
    };
    let name = Dn::below(&text)?.in_domain(&zone.domain);
    (name.len_in(&[]) <= LONGEST_NAME).then_some(name)
}
