//! Clients that want one lock and record when they were sure to hold it.

use crate::exclusion::{self, Clash, Hold};
use crate::load::Clock;
use lictor_client::{Client, Error, KvWrite, Method, QueryOptions, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The TTL of the sessions: the shortest that is allowed.
const TTL: Duration = Duration::from_secs(10);
/// How old a session gets before it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// After which time a request is given up.
const LIMIT: Duration = Duration::from_secs(9);

/// Clients that contend for a lock.
pub struct Locking {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    contenders: Vec<JoinHandle<Vec<Hold>>>,
}

impl Locking {
    /// Starts one contender for each client.
    pub fn start(lock: &str, clients: Vec<Client>) -> Locking {
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicU64::new(0));
        let clock = Clock::start();
        let spawn = |(n, client): (usize, Client)| {
            tokio::spawn(
                Contender {
                    client,
                    lock: lock.to_owned(),
                    clock,
                    stop: stop.clone(),
                    taken: taken.clone(),
                    patience: 7 * (n as u64 % 5),
                    holds: Vec::new(),
                }
                .run(),
            )
        };
        Locking {
            contenders: clients.into_iter().enumerate().map(spawn).collect(),
            taken: taken.clone(),
            stop: stop.clone(),
        }
    }

    /// Waits until the lock was taken so many more times.
    pub async fn progress(&self, more: u64) {
        let wanted = self.taken.load(Ordering::Relaxed) + more;
        let what = format!("{more} more holders of the lock");
        // A holder that was lost keeps it for up to twice its TTL.
        crate::until_for(Duration::from_secs(90), &what, async || {
            (self.taken.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// Ends all contenders and gives how often the lock changed hands.
    ///
    /// # Errors
    /// Two that held it at one time.
    pub async fn stop(mut self) -> Result<usize, Box<Clash>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut holds = Vec::new();
        for contender in std::mem::take(&mut self.contenders) {
            holds.extend(contender.await.expect("a contender's record"));
        }
        exclusion::check(&holds)
    }
}

impl Drop for Locking {
    fn drop(&mut self) {
        // Where a test has failed.
        self.contenders.iter().for_each(JoinHandle::abort);
    }
}

struct Contender {
    client: Client,
    lock: String,
    clock: Clock,
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    /// Milliseconds that it holds the lock longer than others.
    patience: u64,
    holds: Vec<Hold>,
}

/// A session and the start of the last renewal that was answered.
struct Session {
    id: String,
    renewed: u64,
}

impl Contender {
    async fn run(mut self) -> Vec<Hold> {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(mut session) = self.session().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            while !self.stop.load(Ordering::Relaxed) {
                if self.turn(&mut session).await.is_err() {
                    break;
                }
            }
            // What it may still hold comes free at once, if the agent can be reached.
            for _ in 0..3 {
                if self
                    .asked(self.client.destroy_session(&session.id))
                    .await
                    .is_ok()
                {
                    break;
                }
            }
        }
        self.holds
    }

    /// A session that ends by its TTL alone: no check of a node shortens it.
    async fn session(&self) -> Result<Session, Error> {
        let body =
            json!({"TTL": format!("{}s", TTL.as_secs()), "LockDelay": "0s", "NodeChecks": []});
        let request = Request::new(Method::PUT, "/v1/session/create").json(&body);
        let renewed = self.clock.now();
        let (answer, _): (Value, _) = self.asked(self.client.read(request)).await?;
        Ok(Session {
            id: answer["ID"].as_str().unwrap_or_default().to_owned(),
            renewed,
        })
    }

    /// Tries once, and if it has the lock, holds it a moment. An error leaves open what happened.
    async fn turn(&mut self, session: &mut Session) -> Result<(), Error> {
        let old = self.clock.now().saturating_sub(session.renewed);
        if old > RENEW.as_nanos() as u64 {
            let start = self.clock.now();
            let renewed = self.asked(self.client.renew_session(&session.id)).await?;
            if renewed.is_none() {
                return Err(Error::Config("the session is gone".to_owned()));
            }
            session.renewed = start;
        }
        let write = KvWrite {
            key: self.lock.clone(),
            value: session.id.clone().into(),
            acquire: Some(session.id.clone()),
            ..KvWrite::default()
        };
        if !self.asked(self.client.kv_put(&write)).await? {
            tokio::time::sleep(Duration::from_millis(15 + self.patience)).await;
            return Ok(());
        }
        let mut hold = Hold {
            lock: self.lock.clone(),
            session: session.id.clone(),
            from: self.clock.now(),
            until: session.renewed + TTL.as_nanos() as u64,
            lock_index: 0,
        };
        let options = QueryOptions::default();
        let row = self.asked(self.client.kv_get(&self.lock, &options)).await;
        if let Ok((Some(row), _)) = &row
            && row.session == session.id.as_str()
        {
            hold.lock_index = row.lock_index;
        }
        tokio::time::sleep(Duration::from_millis(20 + self.patience)).await;
        hold.until = hold.until.min(self.clock.now());
        self.holds.push(hold);
        self.taken.fetch_add(1, Ordering::Relaxed);
        let write = KvWrite {
            acquire: None,
            release: Some(session.id.clone()),
            ..write
        };
        self.asked(self.client.kv_put(&write)).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    }

    async fn asked<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::time::timeout(LIMIT, work).await;
        done.unwrap_or_else(|_| {
            Err(Error::Timeout {
                method: String::new(),
                url: self.client.base_url().to_owned(),
                limit: LIMIT,
            })
        })
    }
}
