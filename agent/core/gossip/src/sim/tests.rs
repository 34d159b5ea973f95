//! Storms: pools under all faults at once, then peace. Each has a few fixed seeds; for others run
//! `GOSSIP_SEED=123 cargo test -p lictor-gossip storm`, and for many the example `figures`.

use super::storm::storm;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The seeds to run: fixed ones, or the one that is asked for.
#[allow(clippy::disallowed_methods)] // A person names the seed of a failure.
fn seeds(fixed: &[u64]) -> Vec<u64> {
    let asked = std::env::var("GOSSIP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    asked.map_or_else(|| fixed.to_vec(), |seed| vec![seed])
}

#[test]
fn a_storm_over_a_small_pool() {
    for seed in seeds(&[1, 2, 3, 4, 5, 6, 7, 8]) {
        let _ = storm(seed, 12, 120);
    }
}

#[test]
fn a_storm_over_hundreds() {
    for seed in seeds(&[11]) {
        let _ = storm(seed, 150, 40);
    }
}

#[test]
fn the_same_seed_is_the_same_storm() {
    let (a, b) = (storm(21, 16, 40), storm(21, 16, 40));
    assert_eq!(
        (a.trace(), a.packets, a.sights),
        (b.trace(), b.packets, b.sights)
    );
    assert_ne!(a.trace, storm(22, 16, 40).trace);
}

#[test]
fn two_halves_apart_become_one_again() {
    let mut config = Config::lan();
    config.serf.reconnect_interval = SECOND * 10;
    for seed in seeds(&[31, 32]) {
        let mut sim = Sim::pool(seed, 30, &config);
        for a in 0..15 {
            for b in 15..30 {
                sim.network.cut.extend([(a, b), (b, a)]);
            }
        }
        sim.run(SECOND * 120);
        let failed = sim.core(0).map(|core| core.stats().failed);
        assert_eq!(
            failed,
            Some(15),
            "seed {seed}: each half has given up the other"
        );
        sim.assert_safety();
        sim.heal();
        sim.assert_converges(SECOND * 300);
    }
}

#[test]
fn a_death_is_noticed_within_the_window() {
    let mut sim = Sim::pool(41, 100, &Config::lan());
    sim.kill(7);
    let start = sim.now();
    sim.run(SECOND * 120);
    let suspected = sim
        .first(7, Seen::Suspect, start)
        .expect("somebody suspects")
        .since(start);
    let failed = sim
        .first(7, Seen::Failed, start)
        .expect("somebody judges")
        .since(start);
    // A probe round to fail, after the time until one comes by; and the window of 4 x log10(100) s.
    assert!(
        suspected >= SECOND / 2 && suspected < SECOND * 10,
        "{suspected:?}"
    );
    let judged = failed
        .checked_sub(suspected)
        .expect("judged after the suspicion");
    assert!(judged >= SECOND * 7 && judged < SECOND * 12, "{judged:?}");
    let seen = sim
        .sights
        .iter()
        .filter(|sight| sight.of == 7 && sight.what == Seen::Failed)
        .count();
    assert_eq!(seen, 99);
    assert_eq!(sim.false_failures(), 0);
}

#[test]
fn loss_alone_kills_nobody() {
    let config = Config {
        tcp_pings: false,
        ..Config::lan()
    };
    let mut sim = Sim::pool(51, 40, &config);
    sim.network.loss = 0.20;
    sim.run(SECOND * 200);
    let suspicions = sim
        .sights
        .iter()
        .filter(|sight| sight.what == Seen::Suspect)
        .count();
    assert!(
        suspicions > 1000,
        "or the network was too kind: {suspicions}"
    );
    // A refutation may miss a member; it is corrected as soon as that member says so.
    let mut wrong: BTreeMap<usize, usize> = BTreeMap::new();
    for sight in sim.sights.iter().filter(|sight| sight.what == Seen::Failed) {
        *wrong.entry(sight.of).or_default() += 1;
        let back = sim.sights.iter().find(|other| {
            (other.by, other.of, other.what) == (sight.by, sight.of, Seen::Join)
                && other.at > sight.at
        });
        let wrong_for = back.expect("it is seen again").at.since(sight.at);
        assert!(wrong_for < SECOND * 3, "{wrong_for:?}");
    }
    assert!(wrong.values().all(|observers| *observers <= 2), "{wrong:?}");
    assert_eq!(sim.difference(), None);
}

/// Deaths in one pool, each with the time until the first suspicion and the first verdict.
fn deaths(sim: &mut Sim, count: usize) -> Vec<(Duration, Duration)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let wait = sim.rng().part_of(SECOND * 3);
        sim.run(SECOND * 5 + wait);
        let dead = sim.any_running().expect("somebody runs");
        let start = sim.now();
        sim.kill(dead);
        sim.run(SECOND * 60);
        let after = |what| {
            sim.first(dead, what, start)
                .expect("it is seen")
                .since(start)
        };
        all.push((after(Seen::Suspect), after(Seen::Failed)));
    }
    all
}

#[test]
fn a_settled_pool_is_one() {
    let mut sim = Sim::settled(71, 60, &Config::lan());
    assert_eq!(sim.difference(), None);
    assert_eq!(sim.sights, []);
    let event = sim.fire(3);
    let tags = Tags::from([("n".to_owned(), "other".to_owned())]);
    sim.set_tags(5, tags);
    sim.leave(7);
    sim.run(SECOND * 20);
    assert_eq!(sim.deliveries(&event), 60, "one left when it had heard it");
    assert_eq!(sim.difference(), None);
    sim.assert_safety();
}

/// SWIM expects the first probe of the dead after 1.58 periods; the round that notices takes one
/// more. The verdict follows as soon as enough others have confirmed the suspicion.
#[test]
fn deaths_are_noticed_as_soon_as_expected() {
    for loss in [0.0, 0.10] {
        let mut sim = Sim::settled(72, 64, &Config::lan());
        sim.network.loss = loss;
        let seen = deaths(&mut sim, 16);
        let mean = |of: fn(&(Duration, Duration)) -> Duration| {
            seen.iter().map(of).sum::<Duration>().as_secs_f64() / 16.0
        };
        let (suspected, judged) = (mean(|d| d.0), mean(|d| d.1));
        assert!((1.0..2.58).contains(&suspected), "{loss}: {suspected}");
        // 4 x log10(64) periods when confirmed, less when there are fewer members.
        let window = judged - suspected;
        assert!((6.6..9.0).contains(&window), "{loss}: {window}");
        assert_eq!(sim.false_failures(), 0, "{loss}");
    }
}

/// Lifeguard: who cannot hear doubts itself first.
#[test]
fn awareness_prevents_wrong_suspicions() {
    let wrong = |awareness_max| {
        let config = Config {
            awareness_max,
            tcp_pings: false,
            ..Config::lan()
        };
        let mut sim = Sim::settled(73, 48, &config);
        // Members that miss most answers, and take all others for dead in turn.
        for member in 0..6 {
            sim.network.lossy.insert(member, 0.7);
        }
        sim.run(SECOND * 120);
        sim.assert_safety();
        let suspicions = sim.sights.iter();
        suspicions
            .filter(|s| s.what == Seen::Suspect && s.of >= 6 && s.by < 6)
            .count()
    };
    let (with, without) = (wrong(8), wrong(1));
    assert!(
        with * 2 < without,
        "with awareness {with}, without {without}"
    );
}

/// The rules are checked for real: a harness that cannot fail proves nothing.
#[test]
fn broken_rules_are_caught() {
    let caught = |break_it: fn(&mut Sim)| {
        let mut sim = Sim::pool(61, 4, &Config::lan());
        break_it(&mut sim);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.assert_safety())).is_err()
    };
    assert!(!caught(|_| {}));
    // An event twice, one that nobody fired, a leave that nobody said.
    assert!(caught(|sim| {
        let event = sim.fire(0);
        sim.slots[1].heard.insert(event, 2);
    }));
    assert!(caught(|sim| {
        sim.with(2, |core, now| {
            core.fire_event(now, "x", b"unknown", false).unwrap()
        });
    }));
    assert!(caught(|sim| {
        sim.leave(3);
        sim.run(SECOND * 8);
        sim.slots[3].may_be_left = false;
    }));
    let mut sim = Sim::pool(62, 4, &Config::lan());
    sim.network.cut.extend([(0, 1), (1, 0)]);
    sim.slots[2].tags.clear();
    assert!(sim.difference().is_some());
}
