//! Follows the containers of a daemon.
//!
//! One task holds the [`World`]. Events only say which container to look at again; of each
//! container one look is under way at a time, and an event that comes meanwhile asks for another.
//! So nothing is done in the wrong order, and whatever was missed is made good by the next look at
//! all of them: at the start, after each reconnection, and at intervals.

use crate::daemon::{Daemon, DaemonError};
use crate::{metadata, own};
use bollard::models::{EventMessage, EventMessageTypeEnum};
use futures_util::StreamExt;
use lictor_container::{
    Action, Container, ContainerReport, Held, HostAddress, Rivals, Settings, Surroundings, Wanted,
    World, nanos,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where services are registered.
pub trait Registry: Send + Sync + 'static {
    /// The services that are registered, for containers or by others.
    fn held(&self) -> BoxFuture<'_, Result<Vec<Held>, String>>;

    /// Makes a change. The error is shown as a problem of the container, and the change is tried
    /// again later.
    fn apply<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Result<(), String>>;

    /// Which of these services another node has registered for the same container, by id, and
    /// which node. What cannot be found out is left out.
    fn rivals(&self, ours: Vec<Arc<Wanted>>) -> BoxFuture<'_, Rivals> {
        drop(ours);
        Box::pin(async { Rivals::new() })
    }
}

/// How to follow.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the daemon is: `unix://`, `tcp://`, `https://`.
    pub host: String,
    /// What the operator wants of registrations. Without a hostname it is the one of the daemon's
    /// host.
    pub settings: Settings,
    /// The host's address as set by the operator.
    pub forced_address: Option<HostAddress>,
    /// The host's address as this process knows it, if it is in the host's network namespace. Used
    /// only if it turns out to be.
    pub own_address: Option<HostAddress>,
    /// The time between two looks at everything.
    pub resync: Duration,
    /// Where the ECS agent of the host answers, [`metadata::ECS_AGENT`] by default.
    pub ecs_agent: String,
}

/// How the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it is followed right now.
    pub connected: bool,
    /// Its version.
    pub version: String,
    /// The first part of service ids.
    pub hostname: String,
    /// Why it is not followed.
    pub error: String,
    /// Where the host's address comes from.
    pub host_address: String,
}

/// What an operator may see of a watcher.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    world: Mutex<World>,
    status: Mutex<Status>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits between tries to reach the daemon. It is on this host, as a rule: asking costs little, and
/// whoever waits for it to come back waits for us.
const RETRY: [u64; 4] = [100, 200, 300, 500];
/// The same for a daemon elsewhere, in the end.
const RETRY_ELSEWHERE: u64 = 3_000;
/// How often a silent daemon is asked whether it is there: its stream of events has no sign of
/// life.
const PING: Duration = Duration::from_secs(10);
/// Events that wait to be looked at. What does not fit is made good by a look at everything.
const EVENTS_MAX: usize = 4096;
/// Looks at containers at a time.
const LOOKS_MAX: usize = 8;
/// How long after a registration others are looked at, who may be about to register the same.
const SETTLE: Duration = Duration::from_secs(3);
/// How long ECS is not asked again.
const ECS_PAUSE: Duration = Duration::from_millis(500);

impl Watcher {
    /// A watcher that has not begun.
    pub fn new(options: Options) -> Watcher {
        Watcher {
            shared: Arc::new(Shared {
                world: Mutex::new(World::new(options.settings.clone())),
                status: Mutex::default(),
                options,
            }),
        }
    }

    /// Where the daemon is.
    pub fn host(&self) -> &str {
        &self.shared.options.host
    }

    /// The host's address, as far as it is known.
    pub fn host_address(&self) -> Vec<IpAddr> {
        let world = lock(&self.shared.world);
        let host = world.surroundings().host.as_ref();
        let v4 = host.and_then(|h| h.v4).map(IpAddr::V4);
        let v6 = host.and_then(|h| h.v6).map(IpAddr::V6);
        v4.into_iter().chain(v6).collect()
    }

    /// How the daemon is.
    pub fn status(&self) -> Status {
        lock(&self.shared.status).clone()
    }

    /// The containers and what is registered for them.
    pub fn report(&self) -> Vec<ContainerReport> {
        lock(&self.shared.world).report()
    }

    /// Looks at all containers once and gives what would be changed; nothing is.
    ///
    /// # Errors
    /// The daemon or the registry is not reached.
    pub async fn dry_run(&self, registry: &dyn Registry) -> Result<Vec<Action>, String> {
        let daemon = Daemon::at(&self.shared.options.host).map_err(|e| e.to_string())?;
        let mut session = Session::begin(&self.shared, registry, daemon)
            .await
            .map_err(|e| e.to_string())?;
        let ids = session.daemon.list().await.map_err(|e| e.to_string())?;
        for id in &ids {
            if let Some(found) = session
                .daemon
                .inspect(id)
                .await
                .map_err(|e| e.to_string())?
            {
                session.observed(found).await;
            }
        }
        let held = registry.held().await?;
        let mut world = lock(&self.shared.world);
        world.listed(&ids.into_iter().collect());
        Ok(world.step(&held))
    }

    /// Follows the daemon, for ever. Between two connections the registry stays as it is.
    pub async fn run(self, registry: Arc<dyn Registry>) {
        let mut tries = 0usize;
        loop {
            let error = match Daemon::at(&self.shared.options.host) {
                Ok(daemon) => match Session::begin(&self.shared, &*registry, daemon).await {
                    Ok(session) => {
                        if !lock(&self.shared.status).error.is_empty() {
                            tracing::info!(target: "agent.docker", host = %self.shared.options.host, "the Docker daemon is back");
                        }
                        tries = 0;
                        session.follow().await
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let text = error.to_string();
            {
                let mut status = lock(&self.shared.status);
                if status.error != text {
                    tracing::warn!(target: "agent.docker", error = %text, "the containers are not followed; what is registered stays");
                }
                status.connected = false;
                status.error = text;
            }
            let local = self.shared.options.host.starts_with("unix:");
            let wait = match RETRY.get(tries) {
                Some(wait) => *wait,
                None if local => RETRY[RETRY.len() - 1],
                None => RETRY_ELSEWHERE,
            };
            tries = tries.saturating_add(1);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
}

/// A look at all containers that is under way.
struct FullLook {
    /// Containers that have not been looked at yet.
    waiting: BTreeSet<String>,
    /// Containers that are there.
    present: BTreeSet<String>,
}

type Looked = (String, Result<Option<Container>, DaemonError>);

/// One connection to the daemon.
struct Session<'a> {
    shared: &'a Shared,
    registry: &'a dyn Registry,
    daemon: Daemon,
    /// What happened before this moment of the daemon's clock is in the list of containers.
    since: String,
    looks: JoinSet<Looked>,
    /// Containers being looked at, and whether to look again.
    looking: BTreeMap<String, bool>,
    /// Containers to look at.
    queue: BTreeSet<String>,
    sync: Option<FullLook>,
    ecs_asked: Option<Instant>,
    /// When to look for agents that follow the same containers.
    rivals_due: Option<Instant>,
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

impl<'a> Session<'a> {
    async fn begin(
        shared: &'a Shared,
        registry: &'a dyn Registry,
        daemon: Daemon,
    ) -> Result<Session<'a>, DaemonError> {
        let about = daemon.about().await?;
        // Events are asked for from here on: they come from the daemon's memory until the stream
        // stands, so that nothing falls between the list and the stream.
        let since = nanos(&about.time).unwrap_or_else(|| unix_ms().saturating_mul(1_000_000));
        let since = since.saturating_sub(1_000_000_000);
        let session = Session {
            shared,
            registry,
            daemon,
            since: format!("{}.{:09}", since / 1_000_000_000, since % 1_000_000_000),
            looks: JoinSet::new(),
            looking: BTreeMap::new(),
            queue: BTreeSet::new(),
            sync: None,
            ecs_asked: None,
            rivals_due: None,
        };
        let given = &shared.options.settings.hostname;
        let hostname = if given.is_empty() { &about.name } else { given };
        let around = session.surroundings().await?;
        {
            let mut status = lock(&shared.status);
            status.version.clone_from(&about.version);
            status.hostname.clone_from(hostname);
            status.host_address = match &around.host {
                Some(host) if host.forced => "docker.host_address".to_owned(),
                Some(_) => "the host's network namespace".to_owned(),
                None => "unknown".to_owned(),
            };
        }
        let mut world = lock(&shared.world);
        world.name_host(hostname);
        world.surround(around);
        drop(world);
        Ok(session)
    }

    /// What is known beside the containers.
    async fn surroundings(&self) -> Result<Surroundings, DaemonError> {
        let options = &self.shared.options;
        let mut around = Surroundings {
            drivers: self.daemon.drivers().await?,
            tasks: lock(&self.shared.world).surroundings().tasks.clone(),
            ..Surroundings::default()
        };
        let mut on_host = options.host.starts_with("unix:");
        if let Some(id) = own::container_id()
            && let Some(own) = self.daemon.inspect(&id).await?
        {
            on_host = on_host && own.host_config.network_mode == "host";
            let networks = own.network_settings.networks.values();
            around.shared_networks = networks.map(|n| n.network_id.clone()).collect();
            around.own_container = Some(own.id);
        }
        around.host = match &options.forced_address {
            Some(forced) => Some(forced.clone()),
            None => options.own_address.clone().filter(|_| on_host),
        };
        Ok(around)
    }

    /// Follows the daemon until it is lost.
    async fn follow(mut self) -> DaemonError {
        let (send, mut events) = mpsc::channel(EVENTS_MAX);
        let reader = tokio::spawn(read_events(self.daemon.clone(), self.since.clone(), send));
        let error = self.work(&mut events).await;
        reader.abort();
        error
    }

    async fn work(&mut self, events: &mut mpsc::Receiver<Heard>) -> DaemonError {
        if let Err(error) = self.look_at_all().await {
            return error;
        }
        let resync = self.shared.options.resync.max(Duration::from_secs(1));
        let mut next_sync = Instant::now() + resync;
        let mut next_ping = Instant::now() + PING;
        let mut rivals: Option<BoxFuture<'a, Rivals>> = None;
        loop {
            self.start_looks();
            let due = lock(&self.shared.world).next_due_ms();
            let drained = async {
                match due {
                    Some(due) => {
                        tokio::time::sleep(Duration::from_millis(due.saturating_sub(unix_ms())))
                            .await;
                    }
                    None => std::future::pending().await,
                }
            };
            let rivals_due = self.rivals_due;
            let rivals_found = async {
                match (&mut rivals, rivals_due) {
                    (Some(asked), _) => Some(asked.await),
                    (None, Some(due)) => {
                        tokio::time::sleep_until(due).await;
                        None
                    }
                    (None, None) => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                heard = events.recv() => match heard {
                    Some(Heard::Event(event)) => {
                        next_ping = Instant::now() + PING;
                        self.heard(&event).await
                    }
                    Some(Heard::TooMany) => self.look_at_all().await,
                    Some(Heard::Over(error)) => Err(error),
                    None => Err(DaemonError::Away("the stream of events ended".to_owned())),
                },
                Some(looked) = self.looks.join_next() => match looked {
                    Ok((id, looked)) => self.looked(id, looked).await,
                    Err(error) => Err(DaemonError::Away(format!("a look at a container ended: {error}"))),
                },
                () = drained => {
                    if lock(&self.shared.world).tick(unix_ms()) {
                        self.step().await;
                    }
                    Ok(())
                }
                found = rivals_found => {
                    rivals = self.rivals(found);
                    Ok(())
                }
                () = tokio::time::sleep_until(next_sync) => {
                    next_sync = Instant::now() + resync;
                    self.look_at_all().await
                }
                () = tokio::time::sleep_until(next_ping) => {
                    next_ping = Instant::now() + PING;
                    self.daemon.ping().await
                }
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// Begins a look at everything.
    async fn look_at_all(&mut self) -> Result<(), DaemonError> {
        let around = self.surroundings().await?;
        lock(&self.shared.world).surround(around);
        let ids: BTreeSet<String> = self.daemon.list().await?.into_iter().collect();
        self.queue.extend(ids.iter().cloned());
        self.sync = Some(FullLook {
            waiting: ids.clone(),
            present: ids,
        });
        self.finish_sync().await;
        Ok(())
    }

    /// Asks who else has registered what is registered here, or tells the answer.
    fn rivals(&mut self, found: Option<Rivals>) -> Option<BoxFuture<'a, Rivals>> {
        let mut world = lock(&self.shared.world);
        let Some(found) = found else {
            let ours = world.applied().cloned().collect();
            self.rivals_due = None;
            return Some(self.registry.rivals(ours));
        };
        for (container, service, node) in world.rivals(found) {
            tracing::warn!(target: "agent.docker", container = %container, service = %service, node = %node, "another agent has registered this container, too: give each agent of this daemon a docker.filter_label of its own");
        }
        None
    }

    /// Looks at what is queued, of each container once at a time.
    fn start_looks(&mut self) {
        while self.looks.len() < LOOKS_MAX {
            let Some(id) = self.queue.pop_first() else {
                return;
            };
            if let Some(again) = self.looking.get_mut(&id) {
                *again = true;
                continue;
            }
            self.looking.insert(id.clone(), false);
            let daemon = self.daemon.clone();
            self.looks.spawn(async move {
                let found = daemon.inspect(&id).await;
                (id, found)
            });
        }
    }

    async fn looked(
        &mut self,
        id: String,
        looked: Result<Option<Container>, DaemonError>,
    ) -> Result<(), DaemonError> {
        if self.looking.remove(&id) == Some(true) {
            self.queue.insert(id.clone());
        }
        let changed = match looked {
            Ok(Some(container)) => {
                if let Some(sync) = &mut self.sync {
                    sync.present.insert(id.clone());
                }
                self.observed(container).await
            }
            Ok(None) => {
                if let Some(sync) = &mut self.sync {
                    sync.present.remove(&id);
                }
                lock(&self.shared.world).forget(&id);
                true
            }
            Err(error @ DaemonError::Away(_)) => return Err(error),
            Err(error) => {
                // This container cannot be described now. What is known of it stays.
                tracing::warn!(target: "agent.docker", container = %id, error = %error, "a container could not be inspected");
                false
            }
        };
        if let Some(sync) = &mut self.sync {
            sync.waiting.remove(&id);
            if sync.waiting.is_empty() {
                self.finish_sync().await;
                return Ok(());
            }
        }
        if changed {
            self.step().await;
        }
        Ok(())
    }

    async fn finish_sync(&mut self) {
        if self
            .sync
            .as_ref()
            .is_some_and(|sync| sync.waiting.is_empty())
        {
            if let Some(sync) = self.sync.take() {
                lock(&self.shared.world).listed(&sync.present);
            }
            {
                let mut status = lock(&self.shared.status);
                status.connected = true;
                status.error.clear();
            }
            self.step().await;
            self.rivals_due
                .get_or_insert_with(|| Instant::now() + SETTLE);
        }
    }

    /// Takes in what a container is like now, and tells of new problems. Whether it is another than
    /// before.
    async fn observed(&mut self, container: Container) -> bool {
        let id = container.id.clone();
        let name = container.short_name().to_owned();
        let of_task = container
            .config
            .labels
            .contains_key("com.amazonaws.ecs.task-arn")
            && container.host_config.network_mode.starts_with("container:")
            && container.is_up();
        let (seen, unknown) = {
            let mut world = lock(&self.shared.world);
            let seen = world.observe(container);
            (
                seen,
                of_task && !world.surroundings().tasks.contains_key(&id),
            )
        };
        if unknown {
            self.ask_ecs().await;
        }
        if seen.problems {
            for problem in lock(&self.shared.world).problems_of(&id) {
                let port = problem.port.map(|p| p.to_string()).unwrap_or_default();
                tracing::warn!(target: "agent.docker", container = %name, port = %port, "{}", problem.text);
            }
        }
        seen.changed || unknown
    }

    /// Asks the ECS agent of the host for the addresses of tasks that have their own.
    async fn ask_ecs(&mut self) {
        if self.ecs_asked.is_some_and(|at| at.elapsed() < ECS_PAUSE) {
            return;
        }
        self.ecs_asked = Some(Instant::now());
        let Ok(at) = self.shared.options.ecs_agent.parse() else {
            return;
        };
        let limit = Duration::from_secs(2);
        match metadata::ask(at, "GET", "/v1/tasks", &[], limit).await {
            Ok(answer) if answer.status == 200 => {
                let tasks = metadata::task_addresses(&answer.body);
                let mut world = lock(&self.shared.world);
                let around = Surroundings {
                    tasks,
                    ..world.surroundings().clone()
                };
                world.surround(around);
            }
            Ok(answer) => {
                tracing::warn!(target: "agent.docker", status = answer.status, "the ECS agent does not tell of its tasks");
            }
            Err(error) => {
                tracing::warn!(target: "agent.docker", error = %error, "the ECS agent is not reached");
            }
        }
    }

    /// An event: a stop signal is acted on at once, everything else is a reason to look.
    async fn heard(&mut self, event: &EventMessage) -> Result<(), DaemonError> {
        let action = event.action.as_deref().unwrap_or_default();
        let actor = event.actor.clone().unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        let id = if event.typ == Some(EventMessageTypeEnum::NETWORK) {
            attributes.get("container").cloned()
        } else {
            actor.id
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Ok(());
        };
        if action == "kill" {
            let signal = attributes
                .get("signal")
                .and_then(|text| lictor_container::signal_number(text));
            let time = event
                .time_nano
                .and_then(|t| u64::try_from(t).ok())
                .unwrap_or(0);
            let draining = signal.is_some_and(|signal| {
                lock(&self.shared.world).killed(&id, signal, time, unix_ms())
            });
            if draining {
                self.step().await;
            }
            return Ok(());
        }
        self.queue.insert(id);
        Ok(())
    }

    /// Makes the registry what it should be. Not before all containers have been looked at: what is
    /// known from an earlier connection may be long over.
    async fn step(&mut self) {
        if !lock(&self.shared.status).connected {
            return;
        }
        let held = match self.registry.held().await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(target: "agent.docker", error = %error, "the agent is not reached");
                return;
            }
        };
        let actions = lock(&self.shared.world).step(&held);
        if self.rivals_due.is_none() {
            let new = |a: &Action| matches!(a, Action::Register(_));
            self.rivals_due = actions.iter().any(new).then(|| Instant::now() + SETTLE);
        }
        for action in actions {
            if let Err(error) = self.registry.apply(&action).await {
                let id = match &action {
                    Action::Register(w) | Action::Health(w) | Action::Mark(w) => w.id(),
                    Action::Deregister(id) => id,
                };
                tracing::warn!(target: "agent.docker", service = %id, error = %error, "the change was refused");
                lock(&self.shared.world).refused(id, error);
            }
        }
    }
}

enum Heard {
    Event(Box<EventMessage>),
    /// Some were dropped: look at everything.
    TooMany,
    Over(DaemonError),
}

/// Reads events into the queue and does nothing else: a slow reader loses some.
async fn read_events(daemon: Daemon, since: String, send: mpsc::Sender<Heard>) {
    let events = daemon.events(&since);
    tokio::pin!(events);
    let mut dropped = false;
    loop {
        let event = tokio::select! {
            room = send.reserve(), if dropped => {
                let Ok(room) = room else { return };
                room.send(Heard::TooMany);
                dropped = false;
                continue;
            }
            event = events.next() => event,
        };
        let error = match event {
            Some(Ok(event)) => {
                dropped |= send.try_send(Heard::Event(Box::new(event))).is_err();
                continue;
            }
            Some(Err(error)) => daemon.explain("GET /events", &error),
            None => DaemonError::Away(format!(
                "the Docker daemon at {} ended the stream of events",
                daemon.host()
            )),
        };
        let _ = send.send(Heard::Over(error)).await;
        return;
    }
}
