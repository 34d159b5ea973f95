//! One packet in, at most one packet out.

use crate::answer::{self, Ask, Facts};
use crate::cache::Cache;
use crate::encode::{Scratch, TC, header_only};
use crate::find::Missing;
use crate::name::{self, Target, Wanted, domain_at};
use crate::question::Question;
use crate::record::{Dn, Reply};
use crate::recursor;
use crate::settings::{Settings, SettingsError};
use crate::source::{Source, SourceError};
use crate::zone::Zone;
use arc_swap::ArcSwap;
use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
/// Seconds between two complaints about recursors.
const COMPLAIN_EVERY: u64 = 10;

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
pub(crate) struct Counters {
    pub(crate) domain: AtomicU64,
    pub(crate) ptr: AtomicU64,
    pub(crate) recursed: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) overloaded: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Settings in force, with what was derived under them.
pub(crate) struct Live {
    pub(crate) zone: Zone,
    pub(crate) cache: Cache,
}

/// Answers questions. One for all sockets of an agent.
pub struct Responder {
    live: ArcSwap<Live>,
    pub(crate) source: Arc<dyn Source>,
    pending: Arc<Semaphore>,
    pub(crate) seed: AtomicU64,
    pub(crate) counters: Counters,
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

impl Responder {
    /// A responder that answers from `source`.
    pub fn new(
        settings: Settings,
        source: Arc<dyn Source>,
    ) -> Result<Arc<Responder>, SettingsError> {
        let live = Live {
            zone: Zone::new(settings)?,
            cache: Cache::default(),
        };
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
        let live = Live {
            zone: Zone::new(settings)?,
            cache: Cache::default(),
        };
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
    pub async fn respond(
        &self,
        packet: &[u8],
        from: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
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
        let seed = self
            .seed
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let request = Request::from_bytes(packet.to_vec(), from, protocol).ok();
        let question =
            request.and_then(|request| Question::read(request, transport, settings, seed));
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
                Next::Later(Box::new(Job {
                    question,
                    live,
                    plan,
                    _permit: permit,
                }))
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
        let Job {
            question,
            live,
            plan,
            ..
        } = job;
        let zone = &live.zone;
        let reply = match plan {
            Plan::Forward => return self.forward(&question, &live).await,
            Plan::Own(what) => match self.find(&live, &what, question.client()).await {
                Ok(facts) => self.answer(&question, &live, facts).await,
                Err(error) => failed(&question, zone, &error),
            },
            Plan::Reverse(ip) => match self.find_name(&live, ip).await {
                Ok(Some(name)) => answer::reply(&question.ask(zone), &Facts::Pointer(name), &[]),
                Ok(None) if zone.settings.recursors.is_empty() => {
                    answer::no_such_name(&question.ask(zone))
                }
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
    pub(crate) fn lookups(&self, ask: &Ask<'_>, facts: &Facts) -> Vec<Dn> {
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
    pub(crate) fn complain(&self, errors: &recursor::Failures) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| t.as_secs());
        let last = self.complained.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= COMPLAIN_EVERY
            && self
                .complained
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
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
            Some(answer)
                if answer.len() <= question.limits.size || question.transport == Transport::Tcp =>
            {
                answer
            }
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
}

/// The code for a packet that is no single, plain question, judged by its header alone: counts
/// beyond what questions have are not worth decoding.
fn refuse(packet: &[u8]) -> Option<u8> {
    let opcode = packet[2] >> 3 & 0x0f;
    if OpCode::from_u8(opcode) != OpCode::Query {
        return Some(ResponseCode::NotImp.low());
    }
    let counts: [u16; 4] =
        std::array::from_fn(|i| u16::from_be_bytes([packet[4 + 2 * i], packet[5 + 2 * i]]));
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
