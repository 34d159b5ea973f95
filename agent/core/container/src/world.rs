//! All containers of a daemon over time, and what should be registered for them.
//!
//! Level-triggered: whoever drives this tells what containers are like now, in any order and as
//! often as they like. [`World::step`] compares what should be registered with what is and gives
//! the few changes that make them equal.

use crate::facts::{Deregister, Settings, Surroundings};
use crate::inspect::Container;
use crate::name::is_generated_id;
use crate::plan::{Plan, Problem, Registration, plan};
use crate::signal::{KILL, TERM, signal_number};
use crate::stamp::nanos;
use lictor_wire::{ServiceRequest, Status, Str};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// How many containers that are gone are remembered.
const TRACES_MAX: usize = 64;

/// Bytes kept of a HEALTHCHECK's output: as many as the daemon keeps.
const HEALTH_OUTPUT_MAX: usize = 4096;

/// What keeps a registered container out of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It got its stop signal.
    Draining(u32),
    /// It is frozen.
    Paused,
    /// It ended with a failure and stays for the operator to see.
    Ended {
        /// How.
        exit_code: i64,
        /// The kernel ended it for want of memory.
        oom: bool,
    },
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Draining(signal) => {
                write!(f, "draining: the container got its stop signal ({signal})")
            }
            Mark::Paused => f.write_str("the container is paused"),
            Mark::Ended { exit_code, oom } => {
                write!(f, "the container ended with exit code {exit_code}")?;
                f.write_str(if *oom { " (out of memory)" } else { "" })
            }
        }
    }
}

/// A service as it should be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The container's id.
    pub container: String,
    /// Its name.
    pub container_name: String,
    /// When this run of it began.
    pub started_at: String,
    /// The service.
    pub registration: Registration,
    /// What its HEALTHCHECK says, if it has one.
    pub health: Option<(Status, String)>,
    /// What keeps it out of answers.
    pub mark: Option<Mark>,
}

impl Wanted {
    /// The service.
    pub fn request(&self) -> &ServiceRequest {
        &self.registration.request
    }

    /// Its id.
    pub fn id(&self) -> &Str {
        &self.registration.request.id
    }
}

/// A service that the agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: Str,
    /// Whether it was registered for a container. Others are not touched.
    pub owned: bool,
}

/// Nodes by the ids of services that they have registered, too.
pub type Rivals = BTreeMap<Str, String>;

/// What a look at a container showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It is another than before.
    pub changed: bool,
    /// So are its problems.
    pub problems: bool,
}

/// A change to what is registered.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Register, or replace what is there.
    Register(Arc<Wanted>),
    /// The HEALTHCHECK says something else now.
    Health(Arc<Wanted>),
    /// Something else keeps it out of answers now, or nothing any more.
    Mark(Arc<Wanted>),
    /// Remove.
    Deregister(Str),
}

/// The id of the check that shows a container's HEALTHCHECK.
pub fn health_check_id(service: &str) -> Str {
    Str::from(format!("docker-health:{service}"))
}

/// The id of the check that keeps a container out of answers.
pub fn state_check_id(service: &str) -> Str {
    Str::from(format!("docker-state:{service}"))
}

/// What is remembered of a container that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// How it ended.
    pub exit_code: i64,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
    /// When it ended; RFC 3339.
    pub finished_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Drain {
    started_at: String,
    signal: u32,
    until_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    plan: Arc<Plan>,
    drain: Option<Drain>,
}

/// All containers of a daemon.
#[derive(Debug, Default)]
pub struct World {
    settings: Settings,
    around: Surroundings,
    containers: BTreeMap<String, Container>,
    entries: BTreeMap<String, Entry>,
    applied: BTreeMap<Str, Arc<Wanted>>,
    /// Ids that another container has, or that someone else registered, by container.
    conflicts: BTreeMap<String, Vec<Problem>>,
    refused: BTreeMap<Str, String>,
    /// Services that another node has registered for the same container, and that node.
    rivals: Rivals,
    traces: VecDeque<Trace>,
    /// Whether all containers are known: before that nothing is removed.
    complete: bool,
}

impl World {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> World {
        World {
            settings,
            ..World::default()
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known beside the containers.
    pub fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// Sets what is known beside the containers.
    pub fn surround(&mut self, around: Surroundings) {
        if around != self.around {
            self.around = around;
            let ids: Vec<String> = self.containers.keys().cloned().collect();
            ids.iter().for_each(|id| self.replan(id));
        }
    }

    /// Sets the first part of service ids.
    pub fn name_host(&mut self, hostname: &str) {
        if self.settings.hostname != hostname {
            hostname.clone_into(&mut self.settings.hostname);
            let ids: Vec<String> = self.containers.keys().cloned().collect();
            ids.iter().for_each(|id| self.replan(id));
        }
    }

    /// The containers by id.
    pub fn containers(&self) -> &BTreeMap<String, Container> {
        &self.containers
    }

    /// The containers that are gone, the last one first.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter()
    }

    /// What a container means for the catalog.
    pub fn plan_of(&self, id: &str) -> Option<&Plan> {
        self.entries.get(id).map(|entry| &*entry.plan)
    }

    /// What a container's problems are, those with others included.
    pub fn problems_of(&self, id: &str) -> Vec<Problem> {
        let mut all: Vec<Problem> = self
            .plan_of(id)
            .map(|p| p.problems.clone())
            .unwrap_or_default();
        all.extend(self.conflicts.get(id).into_iter().flatten().cloned());
        for service in self.plan_of(id).into_iter().flat_map(|p| &p.services) {
            let id = &service.request.id;
            let rival = self.rivals.get(id).map(|node| {
                format!("node {node} has registered it, too: two agents follow this container, give each a docker.filter_label of its own")
            });
            for text in self.refused.get(id).cloned().into_iter().chain(rival) {
                all.push(Problem {
                    port: Some(service.port.clone()),
                    text,
                });
            }
        }
        all
    }

    /// A container as it is now.
    pub fn observe(&mut self, container: Container) -> Seen {
        let id = container.id.clone();
        let old = self.containers.insert(id.clone(), container);
        if old.is_some() && old.as_ref() == self.containers.get(&id) {
            return Seen::default();
        }
        let before = self.entries.get(&id).map(|e| e.plan.clone());
        self.replan(&id);
        let joined: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, c)| c.host_config.network_mode.strip_prefix("container:") == Some(&id))
            .map(|(joined, _)| joined.clone())
            .collect();
        joined.iter().for_each(|joined| self.replan(joined));
        let after = self.entries.get(&id).map(|e| &e.plan.problems);
        Seen {
            changed: true,
            problems: before.as_ref().map(|p| &p.problems) != after,
        }
    }

    fn replan(&mut self, id: &str) {
        let Some(c) = self.containers.get(id) else {
            return;
        };
        let entry = self.entries.entry(id.to_owned()).or_default();
        if c.is_up() {
            entry.plan = Arc::new(plan(c, &self.settings, &self.around, &self.containers));
            if entry
                .drain
                .as_ref()
                .is_some_and(|d| d.started_at != c.state.started_at)
            {
                entry.drain = None;
            }
        } else {
            entry.drain = None;
            if !stays(c, &self.settings) {
                entry.plan = Arc::default();
            }
        }
    }

    /// A container was removed.
    pub fn forget(&mut self, id: &str) {
        self.entries.remove(id);
        self.conflicts.remove(id);
        let Some(c) = self.containers.remove(id) else {
            return;
        };
        self.traces.push_front(Trace {
            name: c.short_name().to_owned(),
            image: c.config.image.clone(),
            exit_code: c.state.exit_code,
            oom_killed: c.state.oom_killed,
            finished_at: c.state.finished_at.clone(),
            id: c.id,
        });
        self.traces.truncate(TRACES_MAX);
    }

    /// These are all containers there are, and each has been observed.
    pub fn listed(&mut self, ids: &BTreeSet<String>) {
        let gone: Vec<String> = self
            .containers
            .keys()
            .filter(|id| !ids.contains(*id))
            .cloned()
            .collect();
        gone.iter().for_each(|id| self.forget(id));
        self.complete = true;
    }

    /// A signal was sent to a container at `time` (nanoseconds since 1970). Its stop signal, and
    /// SIGKILL, begin draining; whether this did is the result.
    pub fn killed(&mut self, id: &str, signal: u32, time: u64, now_ms: u64) -> bool {
        let Some(c) = self.containers.get(id).filter(|c| c.is_up()) else {
            return false;
        };
        let stop = signal_number(&c.config.stop_signal).unwrap_or(TERM);
        if signal != stop && signal != KILL {
            return false;
        }
        // The daemon's memory may still tell of an earlier run.
        if time > 0 && nanos(&c.state.started_at).is_some_and(|started| time < started) {
            return false;
        }
        let own = u64::try_from(c.config.stop_timeout.unwrap_or(0)).unwrap_or(0);
        let wait = self
            .settings
            .drain_ms
            .max(own.saturating_mul(1000).saturating_add(5_000));
        let entry = self.entries.entry(id.to_owned()).or_default();
        entry.drain = Some(Drain {
            started_at: c.state.started_at.clone(),
            signal,
            until_ms: now_ms.saturating_add(wait),
        });
        true
    }

    /// When the next container that outlived its stop signal comes back.
    pub fn next_due_ms(&self) -> Option<u64> {
        let drains = self.entries.values().filter_map(|e| e.drain.as_ref());
        drains.map(|d| d.until_ms).min()
    }

    /// Lets those come back that outlived their stop signal. Whether there were any.
    pub fn tick(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        for entry in self.entries.values_mut() {
            if entry.drain.as_ref().is_some_and(|d| d.until_ms <= now_ms) {
                entry.drain = None;
                any = true;
            }
        }
        any
    }

    /// A registration was refused. It is tried again by a later step.
    pub fn refused(&mut self, id: &str, why: String) {
        self.applied.remove(id);
        self.refused
            .insert(id.into(), format!("not registered: {why}"));
    }

    fn mark(&self, c: &Container, entry: &Entry) -> Option<Mark> {
        if !c.is_up() {
            return Some(Mark::Ended {
                exit_code: c.state.exit_code,
                oom: c.state.oom_killed,
            });
        }
        if let Some(drain) = &entry.drain {
            return Some(Mark::Draining(drain.signal));
        }
        c.state.paused.then_some(Mark::Paused)
    }

    /// All services as they should be, by id. Of two that want one id, the one that serves wins,
    /// then the one that began first; the other is told.
    fn wanted(&mut self) -> BTreeMap<Str, Arc<Wanted>> {
        let mut all: Vec<Wanted> = Vec::new();
        for (id, entry) in &self.entries {
            let Some(c) = self.containers.get(id) else {
                continue;
            };
            for registration in &entry.plan.services {
                all.push(Wanted {
                    container: id.clone(),
                    container_name: c.short_name().to_owned(),
                    started_at: c.state.started_at.clone(),
                    registration: registration.clone(),
                    health: health(c),
                    mark: self.mark(c, entry),
                });
            }
        }
        all.sort_by(|a, b| {
            let key = |w: &Wanted| (w.mark.is_some(), nanos(&w.started_at), w.container.clone());
            key(a).cmp(&key(b))
        });
        self.conflicts.clear();
        let mut out: BTreeMap<Str, Arc<Wanted>> = BTreeMap::new();
        for wanted in all {
            if let Some(first) = out.get(wanted.id()) {
                let text = format!(
                    "not registered: its id {:?} is that of container {}",
                    wanted.id(),
                    first.container_name
                );
                self.conflict(&wanted, text);
            } else {
                out.insert(wanted.id().clone(), Arc::new(wanted));
            }
        }
        out
    }

    fn conflict(&mut self, wanted: &Wanted, text: String) {
        let problem = Problem {
            port: Some(wanted.registration.port.clone()),
            text,
        };
        let of_container = self.conflicts.entry(wanted.container.clone()).or_default();
        of_container.push(problem);
    }

    /// Which of what is registered here has another node registered for the same container, and
    /// which node. Gives those that were not known before: container, service, node.
    pub fn rivals(&mut self, all: Rivals) -> Vec<(String, Str, String)> {
        let known = std::mem::take(&mut self.rivals);
        let new = all.iter().filter(|(id, node)| known.get(*id) != Some(node));
        let new = new.filter_map(|(id, node)| {
            let ours = self.applied.get(id)?;
            Some((ours.container_name.clone(), id.clone(), node.clone()))
        });
        let new = new.collect();
        self.rivals = all;
        new
    }

    /// All that is registered for containers.
    pub fn applied(&self) -> impl Iterator<Item = &Arc<Wanted>> {
        self.applied.values()
    }

    /// Whether an id may belong to a container that ended with a failure and stays.
    fn is_of_failed(&self, id: &str) -> bool {
        let mut stopped = self.containers.values().filter(|c| !c.is_up());
        stopped.any(|c| {
            let prefix = format!("{}:{}:", self.settings.hostname, c.short_name());
            stays(c, &self.settings) && id.starts_with(&prefix)
        })
    }

    /// The changes that make what is registered (`held`) what it should be. They count as done;
    /// [`World::refused`] takes one back.
    pub fn step(&mut self, held: &[Held]) -> Vec<Action> {
        if !self.complete {
            return Vec::new();
        }
        let held: BTreeMap<&Str, bool> = held.iter().map(|h| (&h.id, h.owned)).collect();
        let mut actions = Vec::new();
        let mut applied = BTreeMap::new();
        let wanted = self.wanted();
        for (id, wanted) in &wanted {
            let adopt = is_generated_id(id, &self.settings.hostname);
            if held.get(id) == Some(&false) && !adopt {
                let text = format!(
                    "not registered: {id:?} was registered with this agent by someone else"
                );
                self.conflict(wanted, text);
                continue;
            }
            let known = self.applied.get(id).filter(|_| held.get(id) == Some(&true));
            match known {
                Some(known) if same_service(known, wanted) => {
                    if known.health != wanted.health {
                        actions.push(Action::Health(wanted.clone()));
                    }
                    if known.mark != wanted.mark {
                        actions.push(Action::Mark(wanted.clone()));
                    }
                }
                _ => actions.push(Action::Register(wanted.clone())),
            }
            applied.insert(id.clone(), wanted.clone());
        }
        for (id, owned) in held {
            if owned && !wanted.contains_key(id) && !self.is_of_failed(id) {
                actions.push(Action::Deregister(id.clone()));
            }
        }
        self.refused
            .retain(|id, _| wanted.contains_key(id) && !applied.contains_key(id));
        self.applied = applied;
        actions
    }

    /// What is registered for a container now.
    pub fn applied_to(&self, container: &str) -> impl Iterator<Item = &Arc<Wanted>> {
        let of = move |w: &&Arc<Wanted>| w.container == container;
        self.applied.values().filter(of)
    }
}

/// Whether the services are equal; of the check too, but not of what is known of its health.
fn same_service(a: &Wanted, b: &Wanted) -> bool {
    a.registration == b.registration && a.health.is_some() == b.health.is_some()
}

/// Whether a container that ended stays registered. Signals count as success, as they did.
fn stays(c: &Container, settings: &Settings) -> bool {
    let code = c.state.exit_code;
    settings.deregister == Deregister::OnSuccess
        && c.state.status == "exited"
        && code != 0
        && code & 128 == 0
}

/// What a container's HEALTHCHECK says. No verdict without a result: until then it is critical.
fn health(c: &Container) -> Option<(Status, String)> {
    let health = c.state.health.as_ref()?;
    let status = match health.status.as_str() {
        "" | "none" => return None,
        "healthy" => Status::Passing,
        _ => Status::Critical,
    };
    let output = match health.log.last() {
        Some(run) => {
            let text = run.output.trim_end();
            let cut = text.len().saturating_sub(HEALTH_OUTPUT_MAX);
            text[text.ceil_char_boundary(cut)..].to_owned()
        }
        None => "the HEALTHCHECK of the container has not run yet".to_owned(),
    };
    Some((status, output))
}

#[cfg(test)]
mod tests;
