//! The agent among others: the LAN pool of its datacenter, and for servers the WAN pool of all.
//!
//! | module | what |
//! | --- | --- |
//! | `driver` | sockets and time of one pool around the core of `lictor-gossip` |
//! | `rules` | who may be a member |
//! | `settings` | configuration and tags as the core wants them |
//! | `join` | joining by address, again and again where asked for |
//! | `flood` | servers of a datacenter in the WAN pool |
//! | `distance` | datacenters by their distance |
//! | `events` | user events on their way in and out |
//! | `keys`, `keyring` | encryption: rotation, and the files |
//! | `files`, `notes` | snapshots, the log |

pub mod distance;
pub mod driver;
mod events;
mod files;
mod flood;
pub mod join;
mod keyring;
pub mod keys;
mod notes;
pub mod rules;
mod settings;

use crate::agent::Shared;
use crate::servers::{ServerMember, Standing};
use driver::{Heard, Members, Pool, Published, Setup, Sockets};
pub use events::{fire, fire_encoded, new_leader};
use lictor_config::{Config, SerfPool};
use lictor_gossip::random::Seed;
use lictor_gossip::serf::Snapshot;
use lictor_gossip::{Core, Own, Tags, Time};
use lictor_wire::{Coordinate, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Leaving the WAN pool gets this long before the LAN pool is left, too.
const WAN_FIRST: Duration = Duration::from_secs(2);
/// So long the members of the last run may take to answer.
const REJOIN_MAX: Duration = Duration::from_secs(60);
/// After this a leave is as good as done: the others will take us for failed if they have not heard.
const LEAVE_MAX: Duration = Duration::from_secs(8);

/// The sockets of all pools of an agent.
pub struct Open {
    lan: Sockets,
    wan: Option<Sockets>,
}

/// Opens the sockets before anything else is started.
///
/// # Errors
/// What could not be opened and which settings decide about it.
pub async fn open(config: &Config) -> Result<Open, String> {
    let lan = Sockets::open(
        "LAN",
        config.serf_lan.bind,
        "ports.serf_lan and serf_lan, else bind_addr",
    )
    .await?;
    let wan = match wan_of(config) {
        Some(pool) => Some(
            Sockets::open(
                "WAN",
                pool.bind,
                "ports.serf_wan and serf_wan, else bind_addr",
            )
            .await?,
        ),
        None => None,
    };
    Ok(Open { lan, wan })
}

/// The WAN pool, where this agent is in it.
fn wan_of(config: &Config) -> Option<&SerfPool> {
    config.serf_wan.as_ref().filter(|_| config.server)
}

/// What is only known when the pools are started, for [`run`].
pub struct Inbox {
    heard: mpsc::Receiver<Heard>,
    rejoin: Vec<(Pool, Snapshot)>,
    keyrings: Vec<(Pool, PathBuf)>,
}

/// The pools that this agent is in.
pub struct Gossip {
    lan: Pool,
    wan: Option<Pool>,
    /// The own name in the WAN pool.
    pub wan_name: Str,
    server_up: watch::Sender<u64>,
    settled: watch::Sender<bool>,
}

impl Gossip {
    /// Begins to gossip. The own member is known at once; nobody else is spoken to before [`run`].
    ///
    /// # Errors
    /// A file that cannot be read, or parameters that cannot work.
    pub fn start(
        config: &Config,
        node_id: &str,
        data_dir: Option<&Path>,
        open: Open,
    ) -> Result<(Gossip, Inbox), String> {
        let folder = data_dir.map(files::folder).transpose()?;
        let folder = folder.as_deref();
        let mut inbox = Inbox {
            heard: mpsc::channel(1).1,
            rejoin: Vec::new(),
            keyrings: Vec::new(),
        };
        let tags = settings::tags(config, node_id);
        let name = config.node_name.clone();
        let (lan, heard) = start(
            config,
            folder,
            &mut inbox,
            Which::Lan,
            &config.serf_lan,
            open.lan,
            Own {
                name,
                advertise: config.serf_lan.advertise,
                tags: tags.clone(),
            },
            node_id,
        )?;
        inbox.heard = heard;
        let wan_name = format!("{}.{}", config.node_name, config.datacenter);
        let wan = match (wan_of(config), open.wan) {
            (Some(pool), Some(sockets)) => {
                let own = Own {
                    name: wan_name.clone(),
                    advertise: pool.advertise,
                    tags: settings::wan_tags(tags),
                };
                Some(
                    start(
                        config,
                        folder,
                        &mut inbox,
                        Which::Wan,
                        pool,
                        sockets,
                        own,
                        node_id,
                    )?
                    .0,
                )
            }
            _ => None,
        };
        let gossip = Gossip {
            lan,
            wan,
            wan_name: wan_name.into(),
            server_up: watch::Sender::new(0),
            settled: watch::Sender::new(false),
        };
        Ok((gossip, inbox))
    }

    /// The pool of this datacenter.
    pub fn lan(&self) -> &Pool {
        &self.lan
    }

    /// The pool of the servers of all datacenters.
    pub fn wan(&self) -> Option<&Pool> {
        self.wan.as_ref()
    }

    /// The members of the LAN pool.
    pub fn lan_members(&self) -> Arc<Members> {
        self.lan.published().members()
    }

    /// The members of the WAN pool; none where this agent is not in it.
    pub fn wan_members(&self) -> Arc<Members> {
        self.wan
            .as_ref()
            .map(|pool| pool.published().members())
            .unwrap_or_default()
    }

    /// Tells that the members of the LAN pool changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.lan.published().changed()
    }

    /// Tells that the servers of the LAN pool changed.
    pub fn servers_changed(&self) -> watch::Receiver<u64> {
        self.lan.published().servers_changed()
    }

    /// Tells that a server appeared, or another one leads: what waits for servers should try again.
    pub fn server_up(&self) -> watch::Receiver<u64> {
        self.server_up.subscribe()
    }

    /// Returns when the members known from the last run have been asked, if there were any: from
    /// then on who is not among the members is gone.
    pub async fn settled(&self) {
        let mut settled = self.settled.subscribe();
        // An error means that there is no agent any more.
        let _ = settled.wait_for(|s| *s).await;
    }

    /// The own network coordinate.
    pub fn coordinate(&self) -> Coordinate {
        coordinate(&self.lan.published().coordinate())
    }

    /// Changes the own tags in both pools, and keeps what `change` does not touch.
    ///
    /// # Errors
    /// They are too large. Nothing changed.
    pub async fn change_tags(
        &self,
        change: impl Fn(&mut Tags) + Send + Sync + Clone + 'static,
    ) -> Result<(), String> {
        for pool in [Some(&self.lan), self.wan.as_ref()].into_iter().flatten() {
            let change = change.clone();
            let changed = pool
                .with(move |core, now| {
                    let mut tags = core
                        .own()
                        .map(|own| (*own.tags).clone())
                        .unwrap_or_default();
                    change(&mut tags);
                    core.set_tags(now, &tags)
                })
                .await;
            if let Some(Err(error)) = changed {
                return Err(error.to_string());
            }
        }
        Ok(())
    }

    /// Leaves the pools: the WAN first, then the LAN. Bounded in time; driving goes on until
    /// [`Gossip::stop`].
    pub async fn leave(&self) {
        let both = async {
            let wan = async {
                if let Some(wan) = &self.wan {
                    wan.leave().await;
                }
            };
            tokio::pin!(wan);
            // Its last words spread slowly; the LAN need not wait for all of that.
            let gone = tokio::time::timeout(WAN_FIRST, &mut wan).await.is_ok();
            self.lan.leave().await;
            if !gone {
                wan.await;
            }
        };
        if tokio::time::timeout(LEAVE_MAX, both).await.is_err() {
            tracing::warn!(target: "agent", "timeout while leaving gossip");
        }
    }

    /// Ends gossip. Without a leave before, others will see this agent fail.
    pub async fn stop(&self) {
        if let Some(wan) = &self.wan {
            wan.stop().await;
        }
        self.lan.stop().await;
    }
}

/// A coordinate of the core as the API has it.
pub fn coordinate(from: &lictor_gossip::coordinate::Coordinate) -> Coordinate {
    Coordinate {
        vec: from.vec.to_vec(),
        error: from.error,
        adjustment: from.adjustment,
        height: from.height,
    }
}

/// One of the two pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All agents of a datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

impl Which {
    /// As operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Which::Lan => "LAN",
            Which::Wan => "WAN",
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn start(
    config: &Config,
    folder: Option<&Path>,
    inbox: &mut Inbox,
    which: Which,
    pool: &SerfPool,
    sockets: Sockets,
    own: Own,
    node_id: &str,
) -> Result<(Pool, mpsc::Receiver<Heard>), String> {
    let wan = which == Which::Wan;
    let keys = keyring::load(
        config.encrypt.as_deref(),
        folder.filter(|_| !config.disable_keyring_file),
        which.name(),
    )?;
    let snapshot = match folder {
        None => None,
        Some(folder) => {
            let name = if wan {
                "remote.snapshot"
            } else {
                "local.snapshot"
            };
            Some(files::SnapshotFile::open(
                folder.join(name),
                config.rejoin_after_leave,
            )?)
        }
    };
    let allowed: Vec<_> = pool
        .allowed_cidrs
        .iter()
        .filter_map(|text| crate::live::parse_cidr(text))
        .collect();
    let published = Arc::new(Published::default());
    let rules = rules::Rules {
        wan,
        server: config.server,
        name: own.name.clone(),
        id: node_id.to_owned(),
        datacenter: config.datacenter.clone(),
        allowed: allowed.clone(),
        known: published.clone(),
        kind: None,
        advertise: own.advertise,
        told: BTreeMap::new(),
    };
    let mut seed = [0; 32];
    crate::random::fill(&mut seed);
    let core = Core::new(
        settings::core(config, pool, which, keys.keys),
        own,
        Box::new(rules),
        &Seed(seed),
        snapshot.as_ref().map(|s| &s.content),
        Time::ZERO,
    )
    .map_err(|e| format!("Failed to start {} gossip: {e}", which.name()))?;
    let known = snapshot.as_ref().map(|s| s.content.clone());
    let setup = Setup {
        pool: if wan { "wan" } else { "lan" },
        sockets,
        snapshot,
        allowed,
        published,
    };
    let (pool, heard) = Pool::start(core, setup);
    if let Some(path) = keys.file {
        inbox.keyrings.push((pool.clone(), path));
    }
    if let Some(known) = known.filter(|known| !known.alive.is_empty()) {
        inbox.rejoin.push((pool.clone(), known));
    }
    Ok((pool, heard))
}

/// Everything that gossip does by itself, until the agent ends.
pub async fn run(shared: Arc<Shared>, inbox: Inbox) {
    let mut tasks = JoinSet::new();
    for (pool, path) in inbox.keyrings {
        tasks.spawn(keyring::keep(path, pool.published().keys()));
    }
    tasks.spawn(events::receive(shared.clone(), inbox.heard));
    tasks.spawn(watch_servers(shared.clone()));
    tasks.spawn(count_moves(shared.clone()));
    tasks.spawn(send_coordinate(shared.clone()));
    let config = shared.config();
    for (which, wish) in [
        (Which::Lan, &config.retry_join_lan),
        (Which::Wan, &config.retry_join_wan),
    ] {
        if !wish.addresses.is_empty() && (which == Which::Lan || shared.gossip.wan.is_some()) {
            tasks.spawn(join::until_joined(shared.clone(), which, wish.clone()));
        }
    }
    if shared.gossip.wan.is_some() {
        tasks.spawn(flood::run(shared.clone()));
    }
    let rejoined = shared.clone();
    tasks.spawn(async move {
        let all = inbox
            .rejoin
            .iter()
            .map(|(pool, known)| join::rejoin(&rejoined, pool, known));
        let all = futures_util::future::join_all(all);
        // Where nobody answers for so long, nobody is there.
        let _ = tokio::time::timeout(REJOIN_MAX, all).await;
        rejoined.gossip.settled.send_replace(true);
    });
    // They end with the agent: this task is ended, and they with their set.
    while tasks.join_next().await.is_some() {}
}

/// Tells the rest of the agent when a server appears.
async fn watch_servers(shared: Arc<Shared>) {
    let mut changed = shared.gossip.servers_changed();
    let mut known = BTreeSet::new();
    loop {
        changed.mark_unchanged();
        let alive = |s: &ServerMember| s.standing == Standing::Alive && s.name != shared.node_name;
        let now: BTreeSet<Str> = crate::members::servers(&shared)
            .into_iter()
            .filter(alive)
            .map(|s| s.name)
            .collect();
        if now.iter().any(|name| !known.contains(name)) {
            shared.gossip.server_up.send_modify(|n| *n += 1);
        }
        known = now;
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Counts who comes and goes.
async fn count_moves(shared: Arc<Shared>) {
    let mut changed = shared.gossip.changed();
    let pools = [Some(&shared.gossip.lan), shared.gossip.wan.as_ref()];
    loop {
        changed.mark_unchanged();
        for pool in pools.into_iter().flatten() {
            let moves = pool.published().take_moves();
            for (name, count) in [
                ("serf.member.join", moves.joined),
                ("serf.member.failed", moves.failed),
                ("serf.member.left", moves.left),
            ] {
                for _ in 0..count {
                    shared.metrics.count(name);
                }
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Coordinates of all nodes together are sent this often a second, each at least after `EVERY`.
const COORDINATES_PER_SECOND: f64 = 64.0;
const COORDINATE_EVERY: Duration = Duration::from_secs(15);

/// Sends the own coordinate to the servers now and then, if it moved.
async fn send_coordinate(shared: Arc<Shared>) {
    if shared.config().disable_coordinates {
        return;
    }
    let mut sent = None;
    let mut changed = shared.gossip.changed();
    loop {
        // Alone there is nothing to measure.
        if shared.gossip.lan_members().len() <= 1 && changed.changed().await.is_err() {
            return;
        }
        let members = shared.gossip.lan_members().len();
        let every = COORDINATE_EVERY.max(Duration::from_secs_f64(
            members as f64 / COORDINATES_PER_SECOND,
        ));
        tokio::time::sleep(every + every.mul_f64(crate::random::unit())).await;
        let now = shared.gossip.coordinate();
        if sent.as_ref() == Some(&now) {
            continue;
        }
        match shared.send_coordinate(now.clone()).await {
            Ok(()) => sent = Some(now),
            Err(error) => {
                tracing::error!(target: "agent", error = %error, "Coordinate update error");
            }
        }
    }
}
