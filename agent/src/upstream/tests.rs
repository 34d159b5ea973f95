//! Against servers that are a function: what is asked, how often, and what becomes of it.

use super::*;
use crate::query::What;
use crate::store::CacheNote;
use lictor_rpc_wire::message::{
    IndexedDirEntries, IndexedServices, KeyRequest, QueryMeta, ServiceSpecificRequest,
};
use lictor_state::{KvOp, KvVerb, WatchKey};
use lictor_wire::{DeregisterRequest, RegisterRequest};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::watch;

/// The first answers at once, without news, as a server does that ends; the next one waits.
#[derive(Default)]
struct Ending(Mutex<Vec<Duration>>);

#[async_trait::async_trait]
impl Servers for Ending {
    async fn call(
        &self,
        _: &'static str,
        args: Vec<u8>,
        _: Kind,
        _: Duration,
    ) -> Result<Bytes, WriteError> {
        let request: KeyRequest = from_slice(&args).unwrap();
        let wait = Duration::from_nanos(request.options.max_query_time as u64);
        let first = {
            let mut asked = self.0.lock().unwrap();
            asked.push(wait);
            asked.len() == 1
        };
        if first {
            tokio::time::sleep(Duration::from_secs(20)).await;
        } else {
            tokio::time::sleep(wait).await;
        }
        let meta = QueryMeta {
            index: request.options.min_query_index,
            known_leader: true,
            ..QueryMeta::default()
        };
        let entries = Vec::new();
        Ok(to_vec(&IndexedDirEntries { entries, meta }).unwrap().into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_server_ends_early_goes_on_for_the_time_that_is_left() {
    let servers = Arc::new(Ending::default());
    let upstream = Upstream::new(servers.clone(), "dc1".into());
    let wait = Duration::from_secs(60);
    let options = ReadOptions {
        index: 5,
        wait,
        asked: wait,
        ..ReadOptions::now(Freshness::Default)
    };
    let query = Query::from(What::Key { key: "k".into() });
    let begun = Instant::now();
    let answered = upstream.read(&query, &options).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(answered.index, 5);
    assert!(took >= wait - EARLY && took <= wait + EARLY, "{took:?}");
    let asked = servers.0.lock().unwrap();
    let waits: Vec<u64> = asked.iter().map(Duration::as_secs).collect();
    assert!(waits[0] == 60 && (39..=40).contains(&waits[1]), "{asked:?}");
}

/// Servers with one key, whose value is its index.
struct OneKey {
    index: watch::Sender<u64>,
    calls: Mutex<Vec<(&'static str, Duration)>>,
    fault: Mutex<Option<WriteError>>,
    /// How long an answer is on its way.
    delay: Mutex<Option<Duration>>,
}

impl OneKey {
    fn new() -> Arc<OneKey> {
        Arc::new(OneKey {
            index: watch::Sender::new(5),
            calls: Mutex::default(),
            fault: Mutex::default(),
            delay: Mutex::default(),
        })
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn fail(&self, error: Option<WriteError>) {
        *self.fault.lock().unwrap() = error;
    }

    fn delay(&self, delay: Option<Duration>) {
        *self.delay.lock().unwrap() = delay;
    }

    async fn until(&self, calls: usize) {
        while self.count() < calls {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait::async_trait]
impl Servers for OneKey {
    async fn call(
        &self,
        method: &'static str,
        args: Vec<u8>,
        _: Kind,
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        self.calls.lock().unwrap().push((method, wait));
        if let Some(error) = self.fault.lock().unwrap().clone() {
            return Err(error);
        }
        let request: KeyRequest = from_slice(&args).unwrap();
        let mut index = self.index.subscribe();
        let above = request.options.min_query_index;
        if above != 0 {
            let wait = Duration::from_nanos(request.options.max_query_time as u64);
            let _ = tokio::time::timeout(wait, index.wait_for(|i| *i > above)).await;
        }
        let index = *index.borrow();
        let meta = QueryMeta {
            index,
            known_leader: !request.options.allow_stale,
            last_contact: if request.options.allow_stale {
                4_000_000_000
            } else {
                0
            },
            ..QueryMeta::default()
        };
        let reply = match method {
            "Catalog.ListServices" => to_vec(&IndexedServices {
                services: BTreeMap::from([(
                    index.to_string().into(),
                    vec!["b".into(), "a".into()],
                )]),
                meta,
            }),
            _ => to_vec(&IndexedDirEntries {
                entries: vec![message::DirEntry {
                    key: request.key,
                    modify_index: index,
                    ..message::DirEntry::default()
                }],
                meta,
            }),
        };
        let delay = *self.delay.lock().unwrap();
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        Ok(reply.unwrap().into())
    }
}

fn upstream(servers: &Arc<OneKey>) -> Upstream {
    Upstream::new(servers.clone(), "dc1".into())
}

fn key() -> Query {
    What::Key { key: "k".into() }.into()
}

fn above(index: u64, wait: Duration) -> ReadOptions {
    ReadOptions {
        index,
        wait,
        asked: wait,
        ..ReadOptions::now(Freshness::Default)
    }
}

#[tokio::test]
async fn a_read_is_a_call_and_its_rows_a_view() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let a = up
        .read(&key(), &ReadOptions::now(Freshness::Default))
        .await
        .unwrap();
    assert_eq!(a.view.kv("k").unwrap().modify_index, 5);
    assert_eq!((a.index, a.contact.known), (5, true));
    let b = up
        .read(&key(), &ReadOptions::now(Freshness::Stale))
        .await
        .unwrap();
    assert_eq!(
        b.contact,
        Contact {
            known: false,
            last_contact_ms: 4000
        }
    );
    assert_ne!(
        a.view.epoch(),
        b.view.epoch(),
        "answers made of one do not stand for the other"
    );
    assert_eq!(servers.count(), 2);
}

/// The calls made, and how many different answers fifty readers had, who all wait for a change.
async fn fifty_wait(freshness: Freshness) -> (Vec<(&'static str, Duration)>, usize) {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let options = ReadOptions {
        freshness,
        ..above(5, Duration::from_secs(60))
    };
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let (up, options) = (up.clone(), options.clone());
            tokio::spawn(async move { up.read(&key(), &options).await.unwrap() })
        })
        .collect();
    servers.until(1).await;
    // Everyone has joined before the change comes.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    servers.index.send_replace(6);
    let mut epochs = std::collections::BTreeSet::new();
    for reader in readers {
        let answered = reader.await.unwrap();
        assert_eq!(answered.index, 6);
        epochs.insert(answered.view.epoch());
    }
    assert_eq!(up.inner.flights.len(), 0);
    let calls = servers.calls.lock().unwrap().clone();
    (calls, epochs.len())
}

#[tokio::test]
async fn equal_blocking_queries_share_a_call() {
    let waiting = ("KVS.Get", Duration::from_secs(60));
    assert_eq!(fifty_wait(Freshness::Stale).await, (vec![waiting], 1));
    // Those who joined look once more, together: the first answer may have been under way before
    // they asked.
    let look = ("KVS.Get", Duration::ZERO);
    assert_eq!(
        fifty_wait(Freshness::Default).await,
        (vec![waiting, look], 2)
    );
}

/// An answer that was under way when a read began does not serve it.
#[tokio::test(start_paused = true)]
async fn whoever_joins_late_sees_what_was_written_before() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    servers.delay(Some(Duration::from_secs(2)));
    let first = {
        let up = up.clone();
        tokio::spawn(async move { up.read(&key(), &above(4, Duration::from_secs(60))).await })
    };
    // The first one's answer has been made, with index 5, and is on its way.
    servers.until(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    servers.index.send_replace(6);
    let late = up.read(&key(), &above(4, Duration::from_secs(60))).await;
    assert_eq!(late.unwrap().index, 6);
    assert_eq!(first.await.unwrap().unwrap().index, 5);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_ends() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let reader = {
        let up = up.clone();
        tokio::spawn(async move { up.read(&key(), &above(5, Duration::from_secs(60))).await })
    };
    servers.until(1).await;
    assert_eq!(servers.index.receiver_count(), 1);
    reader.abort();
    while servers.index.receiver_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(up.inner.flights.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_keeps_their_own_time() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let long = {
        let up = up.clone();
        tokio::spawn(async move { up.read(&key(), &above(5, Duration::from_secs(600))).await })
    };
    servers.until(1).await;
    let begun = Instant::now();
    let short = up
        .read(&key(), &above(5, Duration::from_secs(2)))
        .await
        .unwrap();
    assert_eq!((short.index, begun.elapsed()), (5, Duration::from_secs(2)));
    // What there is at the end of the time is read then, not taken from before.
    assert_eq!(servers.count(), 2);
    // One that joins and stays longer than the call goes on by itself.
    let longer = {
        let up = up.clone();
        tokio::spawn(async move { up.read(&key(), &above(5, Duration::from_secs(900))).await })
    };
    assert_eq!(long.await.unwrap().unwrap().index, 5);
    let longer = longer.await.unwrap().unwrap();
    assert_eq!((longer.index, servers.count()), (5, 3));
    assert!(begun.elapsed() >= Duration::from_secs(900));
}

#[tokio::test]
async fn consistent_reads_are_not_shared() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let options = ReadOptions {
        freshness: Freshness::Consistent,
        ..above(5, Duration::from_secs(60))
    };
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (up, options) = (up.clone(), options.clone());
            tokio::spawn(async move { up.read(&key(), &options).await.unwrap() })
        })
        .collect();
    servers.until(3).await;
    servers.index.send_replace(9);
    for reader in readers {
        assert_eq!(reader.await.unwrap().index, 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_is_there_at_once_and_follows() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let query = Query::from(What::Services);
    let cached = ReadOptions {
        cached: true,
        ..ReadOptions::now(Freshness::Default)
    };
    let names = |a: &Answered| a.view.listed_names().unwrap().clone();
    let first = up.read(&query, &cached).await.unwrap();
    assert_eq!(first.cache.map(|c| c.hit), Some(false));
    assert_eq!(
        names(&first),
        BTreeMap::from([("5".into(), vec!["a".into(), "b".into()])])
    );
    let second = up.read(&query, &cached).await.unwrap();
    assert_eq!(
        second.cache,
        Some(CacheNote {
            hit: true,
            age: Duration::ZERO
        })
    );
    // The background has its blocking query out; nobody else has asked anything.
    servers.until(2).await;
    servers.index.send_replace(6);
    let waiting = ReadOptions {
        index: 5,
        wait: Duration::from_secs(60),
        ..cached.clone()
    };
    let third = up.read(&query, &waiting).await.unwrap();
    assert_eq!(third.index, 6);
    servers.until(3).await;
    // Without servers it stays, and says since when it may be out of date.
    servers.fail(Some(WriteError::NoServers));
    // The call that is out still lands.
    servers.index.send_replace(7);
    let mut lost = up.read(&query, &cached).await.unwrap();
    while servers.count() < 5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lost = up.read(&query, &cached).await.unwrap();
    }
    servers.index.send_replace(8);
    assert_eq!((lost.index, lost.cache.map(|c| c.hit)), (7, Some(true)));
    // Where that is too old it is an error, unless the client takes it nevertheless.
    let strict = ReadOptions {
        max_age: Some(Duration::ZERO),
        ..cached.clone()
    };
    assert_eq!(
        up.read(&query, &strict).await.unwrap_err(),
        WriteError::NoServers
    );
    let lenient = ReadOptions {
        stale_if_error: Duration::from_secs(3600),
        ..strict
    };
    assert_eq!(up.read(&query, &lenient).await.unwrap().index, 7);
    // And with servers it is fresh again.
    servers.fail(None);
    let mut back = up.read(&query, &cached).await.unwrap();
    while back.index != 8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        back = up.read(&query, &cached).await.unwrap();
    }
}

#[tokio::test]
async fn other_answers_are_not_kept() {
    let servers = OneKey::new();
    let up = upstream(&servers);
    let cached = ReadOptions {
        cached: true,
        ..ReadOptions::now(Freshness::Default)
    };
    for _ in 0..3 {
        assert_eq!(up.read(&key(), &cached).await.unwrap().cache, None);
    }
    assert_eq!(servers.count(), 3);
}

/// Servers that note what is written and refuse one service.
#[derive(Default)]
struct Written(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Servers for Written {
    async fn call(
        &self,
        method: &'static str,
        args: Vec<u8>,
        kind: Kind,
        _: Duration,
    ) -> Result<Bytes, WriteError> {
        assert_eq!(kind, Kind::Write);
        let mut note = method.to_owned();
        let reply = match method {
            "Catalog.Register" => {
                let r: message::RegisterRequest = from_slice(&args).unwrap();
                let service = r.service.map(|s| s.id).unwrap_or_default();
                if service == "refused" {
                    return Err(WriteError::Remote("Must provide node".into()));
                }
                if service == "later" {
                    return Err(WriteError::Remote(
                        "rpc error making call: No cluster leader".into(),
                    ));
                }
                note = format!("{note} {} {} {service}", r.datacenter, r.node);
                to_vec(&message::Empty::default())
            }
            "Catalog.Deregister" => {
                let r: message::DeregisterRequest = from_slice(&args).unwrap();
                note = format!("{note} {} {} {}", r.datacenter, r.node, r.service_id);
                to_vec(&message::Empty::default())
            }
            "KVS.Apply" => {
                let r: message::KvsRequest = from_slice(&args).unwrap();
                note = format!("{note} {} {}", r.op, r.dir_ent.key);
                to_vec(&false)
            }
            "Session.Apply" => {
                let r: message::SessionRequest = from_slice(&args).unwrap();
                note = format!("{note} {} {}", r.op, r.session.node);
                to_vec("chosen-by-the-server")
            }
            other => panic!("{other}"),
        };
        self.0.lock().unwrap().push(note);
        Ok(reply.unwrap().into())
    }
}

#[tokio::test]
async fn writes_are_calls_of_their_own() {
    let servers = Arc::new(Written::default());
    let up = Upstream::new(servers.clone(), "dc1".into());
    let register = |id: &str| {
        Command::Register(Box::new(RegisterRequest {
            node: "n".into(),
            service: Some(Box::new(lictor_wire::NodeService {
                id: id.into(),
                service: id.into(),
                ..Default::default()
            })),
            ..Default::default()
        }))
    };
    let gone = Command::Deregister(DeregisterRequest {
        node: "n".into(),
        service_id: "old".into(),
        ..Default::default()
    });
    let batch = vec![register("a"), register("refused"), gone.clone()];
    assert_eq!(
        up.write(Command::Batch(batch)).await,
        Ok(Outcome::Batch(vec![
            Outcome::Done,
            Outcome::Refused("Must provide node".into()),
            Outcome::Done
        ]))
    );
    // What may succeed later fails the whole.
    let batch = vec![register("later"), gone];
    assert_eq!(
        up.write(Command::Batch(batch))
            .await
            .unwrap_err()
            .to_string(),
        "rpc error making call: rpc error making call: No cluster leader"
    );
    let kv = |verb| {
        Command::Kv(KvOp {
            verb,
            key: "k".into(),
            value: Arc::from([]),
            flags: 0,
            session: Str::new(),
            index: 0,
        })
    };
    // The servers' false means nothing for a plain write.
    assert_eq!(up.write(kv(KvVerb::Set)).await, Ok(Outcome::Done));
    assert_eq!(up.write(kv(KvVerb::Cas)).await, Ok(Outcome::Flag(false)));
    let session = Session {
        node: "n".into(),
        ..Session::default()
    };
    assert_eq!(
        up.create_session(&session).await.unwrap(),
        "chosen-by-the-server"
    );
    assert_eq!(
        servers.0.lock().unwrap().as_slice(),
        [
            "Catalog.Register dc1 n a",
            "Catalog.Deregister dc1 n old",
            "KVS.Apply set k",
            "KVS.Apply cas k",
            "Session.Apply create n",
        ]
    );
}

#[test]
fn conditions_travel_with_the_query() {
    let mut query = What::Health {
        name: "web".into(),
        mesh: true,
    }
    .narrowed(crate::query::Narrow {
        tags: vec!["a".into()],
        meta: vec![("rack".into(), "1".into())],
        filter: "Service.Port == 80".into(),
        near: "n2".into(),
    });
    let ask = Ask {
        index: 7,
        wait: Duration::from_secs(30),
        freshness: Freshness::Stale,
    };
    let (method, args) = ask::request(&query, "dc2", "dc1", &ask).unwrap();
    let r: ServiceSpecificRequest = from_slice(&args).unwrap();
    assert_eq!(method, "Health.ServiceNodes");
    assert_eq!(
        (r.datacenter.as_str(), r.service_name.as_str()),
        ("dc2", "web")
    );
    assert_eq!(
        (r.connect, r.tag_filter, r.service_tags),
        (true, true, vec!["a".into()])
    );
    assert_eq!(r.node_meta_filters.unwrap().get("rack").unwrap(), "1");
    assert_eq!(
        (r.source.node.as_str(), r.source.datacenter.as_str()),
        // It is from here that distances count.
        ("n2", "dc1")
    );
    assert_eq!(r.options.filter, "Service.Port == 80");
    assert_eq!(
        (r.options.min_query_index, r.options.max_query_time),
        (7, 30_000_000_000)
    );
    assert!(r.options.allow_stale && !r.options.require_consistent);
    // Without tags none is to be looked at.
    query.narrow.tags.clear();
    let (_, args) = ask::request(&query, "dc2", "dc1", &ask).unwrap();
    let r: ServiceSpecificRequest = from_slice(&args).unwrap();
    assert!(!r.tag_filter);
    // It waits for what it shows.
    assert_eq!(
        query.keys(&View::default()),
        [WatchKey::Connect("web".into())]
    );
}
