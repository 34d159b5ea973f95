//! One session for each server, made when it is needed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, ClientLimits};
use crate::dial::Dial;
use crate::error::CallError;

/// Sessions to servers, by their addresses.
#[derive(Debug, Default)]
pub struct Pool {
    dial: Dial,
    limits: ClientLimits,
    slots: Mutex<HashMap<SocketAddr, Arc<AsyncMutex<Slot>>>>,
}

/// The lock is held while a connection is made, so that only one is.
#[derive(Debug, Default)]
struct Slot {
    client: Option<Client>,
    /// When the last attempt failed, and why: who has waited for it takes its outcome.
    failed: Option<(Instant, String)>,
}

impl Pool {
    /// A pool without sessions.
    pub fn new(dial: Dial, limits: ClientLimits) -> Self {
        Self {
            dial,
            limits,
            slots: Mutex::default(),
        }
    }

    /// How connections are made.
    pub fn dial(&self) -> &Dial {
        &self.dial
    }

    /// Asks the server at this address: see [`Client::call`].
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        addr: SocketAddr,
        method: &str,
        args: &[u8],
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let (client, new) = self.client(addr, deadline).await?;
        match client.call(method, args, deadline).await {
            // A session that was closed just now, being idle: nothing was sent.
            Err(CallError::NotSent(_)) if !new && client.is_closed() => {
                let (client, _) = self.client(addr, deadline).await?;
                client.call(method, args, deadline).await
            }
            outcome => outcome,
        }
    }

    /// Makes a session at once; for those who are about to need it.
    ///
    /// # Errors
    /// [`CallError::NotSent`].
    pub async fn warm(&self, addr: SocketAddr, deadline: Instant) -> Result<(), CallError> {
        self.client(addr, deadline).await.map(drop)
    }

    /// Forgets the session to this address: it ends when its calls are answered.
    pub fn forget(&self, addr: SocketAddr) {
        self.slots().remove(&addr);
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> usize {
        let open = |slot: &Arc<AsyncMutex<Slot>>| slot.try_lock().is_ok_and(|slot| slot.is_open());
        self.slots().values().filter(|slot| open(slot)).count()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<AsyncMutex<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session to an address, and whether it was made for this call.
    async fn client(
        &self,
        addr: SocketAddr,
        deadline: Instant,
    ) -> Result<(Client, bool), CallError> {
        let asked = Instant::now();
        let slot = {
            let mut slots = self.slots();
            if !slots.contains_key(&addr) {
                // Addresses come and go; what is over is not kept.
                slots.retain(|_, slot| {
                    Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| slot.is_open())
                });
            }
            slots.entry(addr).or_default().clone()
        };
        let failed = |text: &str| CallError::NotSent(format!("failed to get conn: {text}"));
        let Ok(mut slot) = timeout_at(deadline, slot.lock()).await else {
            return Err(failed(&format!("dial tcp {addr}: i/o timeout")));
        };
        if let Some(client) = slot.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok((client.clone(), false));
        }
        if let Some((at, text)) = &slot.failed
            && *at >= asked
        {
            return Err(failed(text));
        }
        match self.dial.connect(addr, deadline).await {
            Ok(stream) => {
                let client = Client::start(stream, self.limits);
                *slot = Slot {
                    client: Some(client.clone()),
                    failed: None,
                };
                Ok((client, true))
            }
            Err(text) => {
                let error = failed(&text);
                *slot = Slot {
                    client: None,
                    failed: Some((Instant::now(), text)),
                };
                Err(error)
            }
        }
    }
}

impl Slot {
    fn is_open(&self) -> bool {
        self.client.as_ref().is_some_and(|c| !c.is_closed())
    }
}
