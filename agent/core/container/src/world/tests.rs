//! What happens over time.

use super::*;
use crate::facts::HostAddress;
use crate::inspect::{Binding, Health, HealthRun};

const T0: &str = "2026-01-01T00:00:00Z";
const T1: &str = "2026-01-01T00:01:00Z";

fn world_with(settings: Settings) -> World {
    let mut world = World::new(Settings {
        hostname: "h".into(),
        drain_ms: 30_000,
        ..settings
    });
    world.surround(Surroundings {
        host: Some(HostAddress::of("192.0.2.10".parse().unwrap(), false)),
        ..Surroundings::default()
    });
    world.listed(&BTreeSet::new());
    world
}

fn world() -> World {
    world_with(Settings::default())
}

fn container(id: &str, port: &str, started: &str) -> Container {
    let mut c = Container {
        id: id.into(),
        name: format!("/{id}-name"),
        ..Container::default()
    };
    c.config.image = "web".into();
    c.state.status = "running".into();
    c.state.running = true;
    c.state.started_at = started.into();
    let binding = Binding {
        host_ip: "0.0.0.0".into(),
        host_port: port.into(),
    };
    c.network_settings
        .ports
        .insert("80/tcp".into(), Some(vec![binding]));
    c
}

fn ended(mut c: Container, code: i64) -> Container {
    c.state.running = false;
    c.state.status = "exited".into();
    c.state.exit_code = code;
    c.network_settings.ports.clear();
    c
}

/// A registry that does what it is told.
#[derive(Default)]
struct Registry(Vec<Held>);

impl Registry {
    /// One step; what was done, in words.
    fn step(&mut self, world: &mut World) -> Vec<String> {
        let mut said = Vec::new();
        for action in world.step(&self.0) {
            match &action {
                Action::Register(w) => {
                    self.0.retain(|h| h.id != *w.id());
                    self.0.push(Held {
                        id: w.id().clone(),
                        owned: true,
                    });
                    said.push(format!(
                        "register {} at {}",
                        w.id(),
                        w.registration.endpoint.at
                    ));
                }
                Action::Deregister(id) => {
                    self.0.retain(|h| h.id != *id);
                    said.push(format!("deregister {id}"));
                }
                Action::Mark(w) => said.push(match &w.mark {
                    Some(mark) => format!("{} {mark}", w.id()),
                    None => format!("{} is back", w.id()),
                }),
                Action::Health(w) => said.push(format!("{} {:?}", w.id(), w.health)),
            }
        }
        // What was done is done: the next step has nothing to do.
        assert_eq!(world.step(&self.0), []);
        said
    }
}

fn started(seconds: u64) -> u64 {
    nanos(T0).unwrap() + seconds * 1_000_000_000
}

#[test]
fn a_container_comes_drains_and_goes() {
    let (mut w, mut r) = (world(), Registry::default());
    w.observe(container("a", "1000", T0));
    assert_eq!(r.step(&mut w), ["register h:a-name:80 at 192.0.2.10:1000"]);
    assert!(!w.killed("a", 1, started(1), 0), "HUP is no stop");
    assert!(w.killed("a", 15, started(1), 0));
    assert_eq!(
        r.step(&mut w),
        ["h:a-name:80 draining: the container got its stop signal (15)"]
    );
    w.observe(ended(container("a", "1000", T0), 0));
    assert_eq!(r.step(&mut w), ["deregister h:a-name:80"]);
    w.forget("a");
    assert_eq!((r.step(&mut w).len(), w.traces().count()), (0, 1));
}

#[test]
fn the_stop_signal_is_the_images() {
    let mut w = world();
    let mut c = container("a", "1000", T0);
    c.config.stop_signal = "SIGQUIT".into();
    w.observe(c);
    assert!(!w.killed("a", 15, started(1), 0));
    assert!(w.killed("a", 3, started(1), 0));
    assert!(w.killed("a", 9, started(1), 0));
    assert!(!w.killed("none", 9, started(1), 0));
}

#[test]
fn a_restart_replaces_the_port_and_ends_draining() {
    let (mut w, mut r) = (world(), Registry::default());
    w.observe(container("a", "1000", T0));
    r.step(&mut w);
    w.killed("a", 15, started(1), 0);
    r.step(&mut w);
    // The end was missed: the next look shows another run on another port.
    w.observe(container("a", "1001", T1));
    assert_eq!(r.step(&mut w), ["register h:a-name:80 at 192.0.2.10:1001"]);
    assert_eq!(w.next_due_ms(), None);
    assert!(
        !w.killed("a", 15, started(1), 0),
        "the signal was for an earlier run"
    );
}

#[test]
fn who_outlives_the_stop_signal_comes_back() {
    let (mut w, mut r) = (world(), Registry::default());
    w.observe(container("a", "1000", T0));
    r.step(&mut w);
    w.killed("a", 15, started(1), 1_000);
    r.step(&mut w);
    assert_eq!(w.next_due_ms(), Some(31_000));
    assert!(!w.tick(30_999) && w.tick(31_000));
    assert_eq!(r.step(&mut w), ["h:a-name:80 is back"]);
    let mut patient = container("a", "1000", T0);
    patient.config.stop_timeout = Some(120);
    w.observe(patient);
    w.killed("a", 15, started(1), 0);
    assert_eq!(
        w.next_due_ms(),
        Some(125_000),
        "a longer grace is waited for"
    );
}

#[test]
fn a_paused_container_is_out_until_it_goes_on() {
    let (mut w, mut r) = (world(), Registry::default());
    w.observe(container("a", "1000", T0));
    r.step(&mut w);
    let mut c = container("a", "1000", T0);
    c.state.paused = true;
    w.observe(c);
    assert_eq!(r.step(&mut w), ["h:a-name:80 the container is paused"]);
    w.observe(container("a", "1000", T0));
    assert_eq!(r.step(&mut w), ["h:a-name:80 is back"]);
}

#[test]
fn the_healthcheck_is_followed() {
    let (mut w, mut r) = (world(), Registry::default());
    let with = |status: &str, output: Option<&str>| {
        let mut c = container("a", "1000", T0);
        c.state.health = Some(Health {
            status: status.into(),
            log: output
                .map(|output| HealthRun {
                    exit_code: 0,
                    output: output.into(),
                })
                .into_iter()
                .collect(),
            ..Health::default()
        });
        c
    };
    w.observe(with("starting", None));
    let Some(Action::Register(first)) = w.step(&r.0).into_iter().next() else {
        panic!("a registration")
    };
    assert_eq!(first.health.as_ref().unwrap().0, Status::Critical);
    r.0.push(Held {
        id: first.id().clone(),
        owned: true,
    });
    w.observe(with("healthy", Some("well\n")));
    assert_eq!(r.step(&mut w), ["h:a-name:80 Some((Passing, \"well\"))"]);
    w.observe(with("none", None));
    assert_eq!(r.step(&mut w), ["register h:a-name:80 at 192.0.2.10:1000"]);
    w.observe(with(
        "unhealthy",
        Some(&format!("{}\u{20ac}{}", "x".repeat(100), "y".repeat(4095))),
    ));
    let Some(Action::Register(last)) = w.step(&r.0).into_iter().next() else {
        panic!("a registration")
    };
    assert_eq!(
        last.health.as_ref().unwrap().1,
        "y".repeat(4095),
        "the end is kept, in whole characters"
    );
}

#[test]
fn nothing_is_removed_before_all_is_known() {
    let mut w = World::new(Settings {
        hostname: "h".into(),
        ..Settings::default()
    });
    let held = [
        Held {
            id: "h:gone:80".into(),
            owned: true,
        },
        Held {
            id: "other".into(),
            owned: false,
        },
    ];
    assert_eq!(w.step(&held), []);
    w.listed(&BTreeSet::new());
    assert_eq!(w.step(&held), [Action::Deregister("h:gone:80".into())]);
}

#[test]
fn what_others_registered_is_not_touched_and_told() {
    let (mut w, mut r) = (world(), Registry::default());
    let mut c = container("a", "1000", T0);
    c.config.labels.insert("SERVICE_ID".into(), "db".into());
    w.observe(c);
    r.0.push(Held {
        id: "db".into(),
        owned: false,
    });
    assert_eq!(r.step(&mut w), Vec::<String>::new());
    assert!(w.problems_of("a")[0].text.contains("by someone else"));
    // What a registrator of this host wrote is taken over.
    w.observe(container("b", "1000", T0));
    r.0.push(Held {
        id: "h:b-name:80".into(),
        owned: false,
    });
    assert_eq!(r.step(&mut w), ["register h:b-name:80 at 192.0.2.10:1000"]);
}

#[test]
fn of_two_with_one_id_the_first_that_serves_has_it() {
    let (mut w, mut r) = (world(), Registry::default());
    let named = |id: &str, port: &str, at: &str| {
        let mut c = container(id, port, at);
        c.config.labels.insert("SERVICE_ID".into(), "web".into());
        c
    };
    w.observe(named("a", "1000", T1));
    w.observe(named("b", "1001", T0));
    assert_eq!(r.step(&mut w), ["register web at 192.0.2.10:1001"]);
    assert_eq!((w.problems_of("a").len(), w.problems_of("b").len()), (1, 0));
    // A rolling replacement: the old one drains, the new one takes over.
    w.killed("b", 15, started(90), 0);
    assert_eq!(r.step(&mut w), ["register web at 192.0.2.10:1000"]);
    w.observe(ended(named("b", "1001", T0), 0));
    assert_eq!(r.step(&mut w), Vec::<String>::new());
    assert_eq!(w.problems_of("a").len(), 0);
}

#[test]
fn a_failed_container_stays_where_it_is_asked_to() {
    let settings = Settings {
        deregister: Deregister::OnSuccess,
        ..Settings::default()
    };
    let (mut w, mut r) = (world_with(settings.clone()), Registry::default());
    for (code, want) in [
        (3, "h:a-name:80 the container ended with exit code 3"),
        (0, "deregister h:a-name:80"),
        (137, "deregister h:a-name:80"),
    ] {
        w.observe(container("a", "1000", T0));
        r.step(&mut w);
        w.observe(ended(container("a", "1000", T0), code));
        assert_eq!(r.step(&mut w), [want]);
    }
    // An agent that starts now does not know what was registered, and keeps it.
    let mut fresh = world_with(settings);
    fresh.observe(ended(container("a", "1000", T0), 3));
    let held = [Held {
        id: "h:a-name:80".into(),
        owned: true,
    }];
    assert_eq!(fresh.step(&held), []);
}

#[test]
fn a_refused_registration_is_told_and_tried_again() {
    let mut w = world();
    w.observe(container("a", "1000", T0));
    assert_eq!(w.step(&[]).len(), 1);
    w.refused("h:a-name:80", "no".into());
    assert_eq!(w.problems_of("a")[0].text, "not registered: no");
    assert_eq!(w.step(&[]).len(), 1, "again");
    assert_eq!(w.problems_of("a").len(), 0);
}

#[test]
fn a_container_in_anothers_network_follows_it() {
    let (mut w, mut r) = (world(), Registry::default());
    let mut member = container("m", "1", T0);
    member.network_settings = Default::default();
    member.config.exposed_ports = vec!["80/tcp".into()];
    member.host_config.network_mode = "container:o".into();
    w.observe(member);
    assert_eq!(r.step(&mut w), Vec::<String>::new());
    let mut owner = container("o", "1000", T0);
    owner
        .config
        .labels
        .insert("SERVICE_IGNORE".into(), "1".into());
    w.observe(owner.clone());
    assert_eq!(r.step(&mut w), ["register h:m-name:80 at 192.0.2.10:1000"]);
    owner
        .network_settings
        .ports
        .get_mut("80/tcp")
        .unwrap()
        .as_mut()
        .unwrap()[0]
        .host_port = "1001".into();
    w.observe(owner);
    assert_eq!(r.step(&mut w), ["register h:m-name:80 at 192.0.2.10:1001"]);
}

#[test]
fn the_report_shows_services_problems_and_traces() {
    let (mut w, mut r) = (world(), Registry::default());
    w.observe(container("a", "1000", T0));
    let mut bad = container("b", "1001", T0);
    bad.config
        .labels
        .insert("SERVICE_CHECK_TTL".into(), "never".into());
    w.observe(bad);
    w.observe(ended(container("c", "1", T0), 137));
    w.observe(container("d", "1", T0));
    w.forget("d");
    r.step(&mut w);
    let rows = w.report();
    assert_eq!(
        rows.iter().map(|r| r.state.as_str()).collect::<Vec<_>>(),
        ["running", "running", "exited", "removed"]
    );
    assert_eq!(rows[0].services[0].address, "192.0.2.10:1000");
    assert!(rows[1].problems[0].starts_with("80/tcp: SERVICE_CHECK_TTL"));
    assert_eq!(rows[2].exit_code, Some(137));
}

#[test]
fn another_agent_with_the_same_container_is_told_once() {
    let mut w = world();
    w.observe(container("a", "8080", T0));
    let held: Vec<Held> = Vec::new();
    w.step(&held);
    let id = w.applied().next().unwrap().id().clone();
    let both: Rivals = [(id.clone(), "other".to_owned())].into();
    let told = w.rivals(both.clone());
    assert_eq!(told, [("a-name".to_owned(), id, "other".to_owned())]);
    assert!(w.problems_of("a")[0].text.contains("node other"));
    assert_eq!(w.rivals(both), []);
    assert_eq!(w.rivals(Rivals::new()), []);
    assert_eq!(w.problems_of("a"), []);
}
