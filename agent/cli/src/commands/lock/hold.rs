//! Taking, keeping and giving up a lock or a slot of a semaphore, as Consul's clients do it, so
//! that they and ours respect each other.

use super::semaphore;
use lictor_client::{Client, Error, KvWrite, QueryOptions};
use lictor_wire::GoDuration;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The flags of a lock's key.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// The coordinating key below the prefix, for locks and semaphores alike, so that they notice
/// each other.
const KEY: &str = ".lock";
/// The time to live of the session.
const TTL: Duration = Duration::from_secs(15);
/// How long one look for the lock waits.
const WAIT: Duration = Duration::from_secs(15);
/// How long to wait while a lock cannot be taken though nobody holds it (the lock delay).
const DELAY: Duration = Duration::from_secs(5);
/// The time between tries while the agent has errors.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be held and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) prefix: String,
    pub(super) session_name: String,
    /// How many may hold it; one is a lock, more a semaphore.
    pub(super) limit: u64,
    /// How long to try; `None` for ever.
    pub(super) wait: Option<Duration>,
    /// How many errors in a row are ridden out while it is held.
    pub(super) monitor_retries: u32,
}

impl Plan {
    fn below(&self, name: &str) -> String {
        let prefix = self.prefix.trim_end_matches('/');
        if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        }
    }

    pub(super) fn describe(&self) -> String {
        if self.limit == 1 {
            format!("Setting up lock at path: {}", self.below(KEY))
        } else {
            format!(
                "Setting up semaphore (limit {}) at prefix: {}",
                self.limit, self.prefix
            )
        }
    }
}

/// Whether the keys could be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    Done,
    InUse,
}

/// A session, and what is held or wanted with it.
pub(super) struct Hold {
    client: Client,
    plan: Plan,
    session: String,
    renewal: JoinHandle<()>,
}

impl Hold {
    /// Makes the session and keeps it alive.
    pub(super) async fn open(client: Client, plan: Plan) -> Result<Hold, String> {
        let ttl = GoDuration::from(TTL).to_string();
        let session = client
            .create_session(&plan.session_name, &ttl, plan.limit > 1)
            .await
            .map_err(|err| format!("failed to create session: {err}"))?;
        let renewal = tokio::spawn(renew(client.clone(), session.clone()));
        Ok(Hold {
            client,
            plan,
            session,
            renewal,
        })
    }

    /// Waits until it is held. False if the time for that is over.
    pub(super) async fn acquire(&self) -> Result<bool, String> {
        if self.plan.limit > 1 {
            let contender = KvWrite {
                key: self.plan.below(&self.session),
                flags: semaphore::FLAGS,
                acquire: Some(self.session.clone()),
                ..KvWrite::default()
            };
            match self.client.kv_put(&contender).await {
                Ok(true) => {}
                Ok(false) => return Err("failed to make contender entry".to_owned()),
                Err(err) => return Err(format!("failed to make contender entry: {err}")),
            }
        }
        let start = Instant::now();
        let mut index = 0;
        let mut first = true;
        loop {
            let left = self
                .plan
                .wait
                .map(|limit| limit.saturating_sub(start.elapsed()));
            if !first && left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            first = false;
            // Zero would mean the agent's own default.
            let wait = left.unwrap_or(WAIT).max(Duration::from_millis(1));
            let options = QueryOptions {
                index,
                wait: Some(wait),
                ..QueryOptions::default()
            };
            let step = if self.plan.limit == 1 {
                self.try_lock(&options).await
            } else {
                self.try_slot(&options).await
            };
            match step? {
                Step::Held => return Ok(true),
                Step::Taken(at) => index = at,
                Step::Again => index = 0,
                Step::Delayed => {
                    index = 0;
                    let left = self
                        .plan
                        .wait
                        .map(|limit| limit.saturating_sub(start.elapsed()));
                    sleep(left.map_or(DELAY, |left| left.min(DELAY))).await;
                }
            }
        }
    }

    async fn try_lock(&self, options: &QueryOptions) -> Result<Step, String> {
        let key = self.plan.below(KEY);
        let (entry, meta) = self
            .client
            .kv_get(&key, options)
            .await
            .map_err(|err| format!("failed to read lock: {err}"))?;
        if let Some(entry) = &entry {
            if entry.flags != LOCK_FLAGS {
                return Err("Existing key does not match lock use".to_owned());
            }
            if entry.session == self.session.as_str() {
                return Ok(Step::Held);
            }
            if !entry.session.is_empty() {
                return Ok(Step::Taken(meta.index));
            }
        }
        let write = self.lock_write();
        let taken = self
            .client
            .kv_put(&KvWrite {
                acquire: Some(self.session.clone()),
                ..write
            })
            .await
            .map_err(|err| format!("failed to acquire lock: {err}"))?;
        if taken {
            return Ok(Step::Held);
        }
        // Someone was faster, or the lock delay after a lost holder is not over.
        let (entry, meta) = self
            .client
            .kv_get(&key, &QueryOptions::default())
            .await
            .map_err(|err| format!("failed to read lock: {err}"))?;
        Ok(match entry {
            Some(entry) if !entry.session.is_empty() => Step::Taken(meta.index),
            _ => Step::Delayed,
        })
    }

    fn lock_write(&self) -> KvWrite {
        KvWrite {
            key: self.plan.below(KEY),
            flags: LOCK_FLAGS,
            ..KvWrite::default()
        }
    }

    async fn try_slot(&self, options: &QueryOptions) -> Result<Step, String> {
        let (state, index) = self
            .semaphore(options)
            .await
            .map_err(|err| err.to_string())?;
        let Some(value) = semaphore::join(&state, self.plan.limit, &self.session)? else {
            return Ok(Step::Taken(index));
        };
        let written = self
            .write_holders(&value, state.modify_index)
            .await
            .map_err(|err| format!("failed to update lock: {err}"))?;
        Ok(if written { Step::Held } else { Step::Again })
    }

    async fn semaphore(
        &self,
        options: &QueryOptions,
    ) -> Result<(semaphore::State, u64), ReadError> {
        let (rows, meta) = self
            .client
            .kv_list(&self.plan.below(""), options)
            .await
            .map_err(ReadError::Agent)?;
        let state = semaphore::read(&rows, &self.plan.below(KEY), self.plan.limit)
            .map_err(ReadError::Content)?;
        Ok((state, meta.index))
    }

    async fn write_holders(
        &self,
        value: &semaphore::Holders,
        modify_index: u64,
    ) -> Result<bool, Error> {
        let write = KvWrite {
            key: self.plan.below(KEY),
            value: lictor_wire::gojson::to_vec(value).into(),
            flags: semaphore::FLAGS,
            cas: Some(modify_index),
            ..KvWrite::default()
        };
        self.client.kv_put(&write).await
    }

    /// Waits until it is no longer held, or until that can no longer be known.
    pub(super) async fn lost(&self) {
        let mut index = 0;
        let mut retries = self.plan.monitor_retries;
        loop {
            let options = QueryOptions {
                index,
                consistent: true,
                ..QueryOptions::default()
            };
            match self.is_held(&options).await {
                Ok((true, at)) => {
                    retries = self.plan.monitor_retries;
                    // Zero would ask again at once.
                    index = at.max(1);
                }
                Ok((false, _)) => return,
                Err(ReadError::Agent(err)) if retries > 0 && is_passing(&err) => {
                    retries -= 1;
                    index = 0;
                    sleep(RETRY).await;
                }
                Err(_) => return,
            }
        }
    }

    async fn is_held(&self, options: &QueryOptions) -> Result<(bool, u64), ReadError> {
        if self.plan.limit > 1 {
            let (state, index) = self.semaphore(options).await?;
            return Ok((state.value.holders.contains_key(&self.session), index));
        }
        let (entry, meta) = self
            .client
            .kv_get(&self.plan.below(KEY), options)
            .await
            .map_err(ReadError::Agent)?;
        Ok((
            entry.is_some_and(|e| e.session == self.session.as_str()),
            meta.index,
        ))
    }

    /// Gives it up.
    pub(super) async fn release(&self) -> Result<(), String> {
        if self.plan.limit == 1 {
            let write = KvWrite {
                release: Some(self.session.clone()),
                ..self.lock_write()
            };
            return match self.client.kv_put(&write).await {
                Ok(_) => Ok(()),
                Err(err) => Err(format!("failed to release lock: {err}")),
            };
        }
        loop {
            let (mut state, _) = self
                .semaphore(&QueryOptions::default())
                .await
                .map_err(|err| err.to_string())?;
            if state.value.holders.remove(&self.session).is_none() {
                break;
            }
            let written = self
                .write_holders(&state.value, state.modify_index)
                .await
                .map_err(|err| format!("failed to update lock: {err}"))?;
            if written {
                break;
            }
        }
        self.client
            .kv_delete(&self.plan.below(&self.session), None)
            .await
            .map(drop)
            .map_err(|err| err.to_string())
    }

    /// Removes the coordinating key if nobody uses it.
    pub(super) async fn cleanup(&self) -> Result<Cleanup, String> {
        let key = self.plan.below(KEY);
        let modify_index = if self.plan.limit == 1 {
            let (entry, _) = self
                .client
                .kv_get(&key, &QueryOptions::default())
                .await
                .map_err(|err| format!("failed to read lock: {err}"))?;
            match entry {
                None => return Ok(Cleanup::Done),
                Some(entry) if entry.flags != LOCK_FLAGS => {
                    return Err("Existing key does not match lock use".to_owned());
                }
                Some(entry) if !entry.session.is_empty() => return Ok(Cleanup::InUse),
                Some(entry) => entry.modify_index,
            }
        } else {
            let (state, _) = self
                .semaphore(&QueryOptions::default())
                .await
                .map_err(|err| err.to_string())?;
            if state.modify_index == 0 {
                return Ok(Cleanup::Done);
            }
            if !state.value.holders.is_empty() {
                return Ok(Cleanup::InUse);
            }
            state.modify_index
        };
        match self.client.kv_delete(&key, Some(modify_index)).await {
            Ok(true) => Ok(Cleanup::Done),
            Ok(false) => Ok(Cleanup::InUse),
            Err(err) => Err(format!("failed to remove lock: {err}")),
        }
    }

    /// Ends the session, and with it whatever is still held.
    pub(super) async fn close(self) {
        self.renewal.abort();
        // Without an answer the session ends by its time to live.
        let _ = self.client.destroy_session(&self.session).await;
    }
}

/// How one try went.
enum Step {
    Held,
    /// Others hold it; wait for a change after this index.
    Taken(u64),
    /// Someone wrote in between.
    Again,
    /// The lock delay is not over.
    Delayed,
}

/// Why the state is not known.
enum ReadError {
    Agent(Error),
    Content(String),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Agent(err) => write!(f, "failed to read prefix: {err}"),
            ReadError::Content(why) => f.write_str(why),
        }
    }
}

/// Whether an error may pass by itself: no connection, or an error of the server.
fn is_passing(err: &Error) -> bool {
    match err.status() {
        Some(code) => code >= 500,
        None => !matches!(
            err,
            Error::Config(_) | Error::Decode { .. } | Error::TooLarge { .. }
        ),
    }
}

/// Renews the session in good time until it is gone.
async fn renew(client: Client, session: String) {
    let mut wait = TTL / 2;
    loop {
        sleep(wait).await;
        wait = match client.renew_session(&session).await {
            // Servers may lengthen it.
            Ok(Some(ttl)) => {
                GoDuration::parse(&ttl)
                    .map_or(TTL, GoDuration::to_std)
                    .max(RETRY)
                    / 2
            }
            Ok(None) => return,
            Err(_) => RETRY,
        };
    }
}
