//! Measures the failure detector on simulated pools, and runs storms of many seeds.
//!
//! ```text
//! cargo run --profile quick -p lictor-gossip --features sim --example figures            # the tables
//! cargo run --profile quick -p lictor-gossip --features sim --example figures storm 1 100 # seeds 1 to 100
//! ```

// A program for people, outside the fence of the core.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::cast_precision_loss
)]

use std::collections::BTreeSet;
use std::time::Duration;

use lictor_gossip::Config;
use lictor_gossip::memberlist::suspicion::suspicion_min;
use lictor_gossip::sim::storm::storm;
use lictor_gossip::sim::{Seen, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| {
        args.get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    match args.first().map(String::as_str) {
        Some("storm") => {
            for seed in number(1, 1)..=number(2, 100) {
                let sim = storm(seed, usize::try_from(6 + seed % 40).unwrap_or(6), 120);
                println!(
                    "seed {seed}: {} members, {} packets, {}",
                    sim.len(),
                    sim.packets,
                    sim.now()
                );
            }
        }
        Some("false") => false_alarms(number(1, 4)),
        Some("detection") => detection(number(1, 16)),
        Some("load") => load(),
        _ => {
            detection(16);
            false_alarms(4);
            load();
        }
    }
}

/// From the death of a member until others know.
fn detection(runs: u64) {
    println!("Detection of a death, LAN profile, mean over {runs} deaths (seconds).");
    println!(
        "SWIM's expectation is for the first probe to meet the dead: 1 / (1 - e^-1) = 1.58 periods;"
    );
    println!(
        "the round that notices takes one period more. The window is that of the suspicion.\n"
    );
    println!("members  loss  first suspect  (SWIM)  first verdict  all know  window min..max");
    for count in [8, 32, 128, 512] {
        for loss in [0.0, 0.05, 0.10, 0.20] {
            let (mut suspect, mut verdict, mut all) = (0.0, 0.0, 0.0);
            for run in 0..runs {
                let mut sim = Sim::pool(1000 + run, count, &Config::lan());
                sim.assert_converges(SECOND * 120);
                sim.network.loss = loss;
                // Some time passes first, so that the death falls on no special moment.
                let pause = sim.rng().part_of(SECOND * 3);
                sim.run(SECOND * 2 + pause);
                let dead = sim.rng().below(count);
                let start = sim.now();
                sim.kill(dead);
                let observers = count - 1;
                let knows = |sim: &Sim| {
                    let seen = sim
                        .sights
                        .iter()
                        .filter(|s| s.of == dead && s.what == Seen::Failed && s.at >= start);
                    seen.map(|sight| sight.by).collect::<BTreeSet<_>>().len()
                };
                let took = sim.run_until(SECOND * 300, SECOND / 10, |sim| knows(sim) == observers);
                let first = |what| {
                    sim.first(dead, what, start)
                        .map_or(f64::NAN, |at| at.since(start).as_secs_f64())
                };
                suspect += first(Seen::Suspect);
                verdict += first(Seen::Failed);
                all += took.map_or(f64::NAN, |took| took.as_secs_f64());
            }
            let mean = |sum: f64| sum / runs as f64;
            let min = suspicion_min(4, count, SECOND).as_secs_f64();
            println!(
                "{count:7}  {:3.0}%  {:13.2}  {:6.2}  {:13.2}  {:8.2}  {min:.1}..{:.1}",
                loss * 100.0,
                mean(suspect),
                1.58 + 1.0,
                mean(verdict),
                mean(all),
                min * 6.0
            );
        }
    }
    println!();
}

/// What befalls a pool in which nobody dies.
fn false_alarms(runs: u64) {
    println!("False alarms in 128 members, LAN profile, {runs} x 10 minutes; per member and hour.");
    println!(
        "`slow` members stop for up to 5 s, again and again, running half of the time; `seen` counts each"
    );
    println!("observer, `members` the members that anybody took for failed within a minute.\n");
    println!("loss  slow  awareness  suspicions  failed seen  failed members  of those slow");
    for (loss, slow) in [
        (0.0, 0),
        (0.10, 0),
        (0.20, 0),
        (0.30, 0),
        (0.0, 4),
        (0.0, 16),
        (0.10, 16),
    ] {
        for awareness in [true, false] {
            let config = Config {
                awareness_max: if awareness { 8 } else { 1 },
                tcp_pings: false,
                ..Config::lan()
            };
            let (mut suspicions, mut seen, mut episodes, mut of_slow) = (0, 0, BTreeSet::new(), 0);
            for run in 0..runs {
                let mut sim = Sim::pool(2000 + run, 128, &config);
                sim.network.loss = loss;
                let mut paused = vec![false; slow];
                for _ in 0..240 {
                    for member in 0..slow {
                        // Every 2.5 s a coin decides; so pauses last 2.5 s, 5 s and sometimes longer.
                        let stop = sim.rng().below(2) == 0 && !paused[member];
                        if stop {
                            sim.pause(member);
                        } else if paused[member] {
                            sim.resume(member);
                        }
                        paused[member] = stop;
                    }
                    sim.run(SECOND * 5 / 2);
                }
                let pool = sim.now();
                suspicions += sim
                    .sights
                    .iter()
                    .filter(|s| s.what == Seen::Suspect)
                    .map(|s| (s.of, s.at.offset().as_secs() / 10))
                    .collect::<BTreeSet<_>>()
                    .len();
                for sight in sim.sights.iter().filter(|s| s.what == Seen::Failed) {
                    seen += 1;
                    of_slow += usize::from(sight.of < slow);
                    episodes.insert((run, sight.of, sight.at.offset().as_secs() / 60));
                }
                assert!(pool.offset() > SECOND * 600);
            }
            let hours = 128.0 * runs as f64 / 6.0;
            println!(
                "{:3.0}%  {slow:4}  {:>9}  {:10.3}  {:11.3}  {:14.3}  {:12.0}%",
                loss * 100.0,
                if awareness { "on" } else { "off" },
                suspicions as f64 / hours,
                seen as f64 / hours,
                episodes.len() as f64 / hours,
                if seen == 0 {
                    0.0
                } else {
                    100.0 * of_slow as f64 / f64::from(seen)
                },
            );
        }
    }
    println!();
}

/// What membership costs when nothing happens.
fn load() {
    println!("Load in peace, LAN profile: per member and second.\n");
    println!("members  packets  bytes");
    for count in [8, 32, 128, 512] {
        let mut sim = Sim::pool(3000, count, &Config::lan());
        sim.run(SECOND * 60);
        let (packets, bytes) = (sim.packets, sim.bytes);
        sim.run(SECOND * 60);
        let per = |sum: u64| sum as f64 / 60.0 / count as f64;
        println!(
            "{count:7}  {:7.2}  {:5.0}",
            per(sim.packets - packets),
            per(sim.bytes - bytes)
        );
    }
    println!();
}
