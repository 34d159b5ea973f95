//! A storm: all faults at once, from one seed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Sim;
use crate::{Config, Tags};

const SECOND: Duration = Duration::from_secs(1);

/// Faults of all kinds for `seconds`, then peace. Safety is asserted all the while, and in the end
/// that all agree on the truth, and that an event reaches everybody.
///
/// # Panics
/// A rule is broken; the text names the seed.
#[must_use]
pub fn storm(seed: u64, count: usize, seconds: u32) -> Sim {
    let mut config = Config::lan();
    // Reconnects are what brings members together who took each other for dead.
    config.serf.reconnect_interval = SECOND * 10;
    let mut sim = Sim::pool(seed, count, &config);
    sim.assert_converges(SECOND * 60);
    sim.network.loss = sim.rng.unit() * 0.15;
    sim.network.duplication = 0.05;
    sim.network.delay_max = Duration::from_millis(5) + sim.rng.part_of(Duration::from_millis(200));
    let mut dead: Vec<usize> = Vec::new();
    let mut paused: Vec<usize> = Vec::new();
    for second in 0..seconds {
        let Some(member) = sim.any_running() else {
            // All are stopped or gone: somebody has to go on.
            if let Some(member) = paused.pop() {
                sim.resume(member);
            } else if let Some(member) = dead.pop() {
                sim.start(member);
            } else {
                break;
            }
            continue;
        };
        match sim.rng.below(10) {
            0 | 1 => {
                // A member that hears nothing, or is heard by nobody, from half of the pool.
                let deaf = sim.rng.below(2) == 0;
                for other in (0..sim.len()).filter(|other| other % 2 == member % 2) {
                    sim.network.cut.insert(if deaf {
                        (other, member)
                    } else {
                        (member, other)
                    });
                }
            }
            2 => sim.network.cut.clear(),
            3 => {
                sim.pause(member);
                paused.push(member);
            }
            4 => {
                if let Some(member) = paused.pop() {
                    sim.resume(member);
                }
            }
            5 => {
                sim.kill(member);
                paused.retain(|other| *other != member);
                dead.push(member);
            }
            6 => {
                if let Some(member) = dead.pop() {
                    sim.start(member);
                }
            }
            7 => sim.set_tags(member, Tags::from([("at".to_owned(), second.to_string())])),
            8 => drop(sim.fire(member)),
            _ => {
                if sim.running().len() > count * 3 / 4 {
                    sim.leave(member);
                }
            }
        }
        sim.run(SECOND);
        if second % 10 == 0 {
            sim.assert_safety();
        }
    }
    sim.heal();
    for member in dead {
        sim.start(member);
    }
    // A snapshot remembers who was alive. If all who remember the other side of a cut are restarted,
    // the pool is two; so restarted members join by a known address too, as they do in deployments.
    let known = sim.running().first().copied().unwrap_or(0);
    for member in sim.running() {
        if sim.lives(member) > 1 {
            sim.join(member, known);
        }
    }
    sim.assert_converges(SECOND * 900);
    // A restarted member takes no event from before its last life, so the clocks must have met.
    let clocks = |sim: &Sim| {
        let times = sim
            .running()
            .into_iter()
            .filter_map(|member| sim.core(member))
            .map(|core| core.stats().event_time);
        times.collect::<BTreeSet<_>>().len()
    };
    let met = sim.run_until(SECOND * 900, SECOND * 5, |sim| clocks(sim) == 1);
    assert!(met.is_some(), "seed {seed}: the event clocks differ");
    let last = sim.any_running().expect("somebody runs");
    let event = sim.fire(last);
    sim.run(SECOND * 60);
    assert_eq!(
        sim.deliveries(&event),
        sim.running().len(),
        "seed {seed}: in peace an event reaches all"
    );
    sim.assert_safety();
    sim
}
