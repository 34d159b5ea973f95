//! Measures the failure detector on simulated pools, and runs storms of many seeds.
//!
//! ```text
//! cargo run --profile quick -p lictor-gossip --features sim --example figures          # the tables
//! cargo run … --example figures detection 16     # one of them: so many deaths for each row
//! cargo run … --example figures large 5000       # the large pool alone, with so many members
//! cargo run … --example figures storm 1 100      # storms with the seeds 1 to 100
//! ```
//!
//! All but the times of the machine follows from fixed seeds: it is the same each time.

// A program for people, outside the fence of the core.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::cast_precision_loss
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

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
        Some("large") => large(usize::try_from(number(1, 5000)).unwrap_or(5000)),
        _ => {
            detection(16);
            false_alarms(4);
            load();
            large(5000);
        }
    }
}

/// Probes of a period that the first one to meet the dead takes, when all probe at random: SWIM.
const SWIM_PERIODS: f64 = 1.581_976_706_869_326_5; // 1 / (1 - 1/e)

/// A death, as the others saw it: seconds.
#[derive(Default)]
struct Death {
    suspected: f64,
    judged: f64,
    known: f64,
}

/// Kills a member, and watches until all others know.
fn death(sim: &mut Sim) -> Death {
    // Some time passes first, so that the death falls on no special moment.
    let pause = sim.rng().part_of(SECOND * 3);
    sim.run(pause);
    let alive = sim.running();
    let dead = alive[sim.rng().below(alive.len())];
    let start = sim.now();
    let seen = sim.sights.len();
    sim.kill(dead);
    let knows = |sim: &Sim| {
        let new = sim.sights[seen..].iter();
        let judged = new.filter(|s| s.of == dead && s.what == Seen::Failed);
        judged.map(|sight| sight.by).collect::<BTreeSet<_>>().len()
    };
    let others = alive.len() - 1;
    let took = sim.run_until(SECOND * 300, SECOND / 10, |sim| knows(sim) == others);
    let first = |what| {
        sim.first(dead, what, start)
            .map_or(f64::NAN, |at| at.since(start).as_secs_f64())
    };
    Death {
        suspected: first(Seen::Suspect),
        judged: first(Seen::Failed),
        known: took.map_or(f64::NAN, |took| took.as_secs_f64()),
    }
}

/// The mean of some deaths.
fn mean(deaths: &[Death]) -> Death {
    let of = |part: fn(&Death) -> f64| deaths.iter().map(part).sum::<f64>() / deaths.len() as f64;
    Death {
        suspected: of(|d| d.suspected),
        judged: of(|d| d.judged),
        known: of(|d| d.known),
    }
}

/// From the death of a member until others know.
fn detection(runs: u64) {
    println!(
        "Detection of a death, LAN profile, mean of {runs} deaths, in seconds. SWIM expects the first"
    );
    println!(
        "probe after 1 / (1 - 1/e) = 1.58 periods; here the round that notices takes one more."
    );
    println!("The window is that of the suspicion, from its shortest to its longest.\n");
    println!("| members | loss | suspected | SWIM | judged | all know | window |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for count in [8, 32, 128, 512] {
        for loss in [0.0, 0.05, 0.10, 0.20, 0.30] {
            let deaths: Vec<Death> = (0..runs)
                .map(|run| {
                    let mut sim = Sim::settled(1000 + run, count, &Config::lan());
                    sim.network.loss = loss;
                    sim.run(SECOND * 2);
                    death(&mut sim)
                })
                .collect();
            let min = suspicion_min(4, count, SECOND).as_secs_f64();
            let Death {
                suspected,
                judged,
                known,
            } = mean(&deaths);
            println!(
                "| {count} | {:.0}% | {suspected:.2} | {:.2} | {judged:.2} | {known:.2} | {min:.1} to {:.1} |",
                loss * 100.0,
                SWIM_PERIODS + 1.0,
                min * 6.0
            );
        }
    }
    println!();
}

/// What is wrong with some members.
#[derive(Clone, Copy)]
enum Trouble {
    None,
    /// They stop for 2.5 s and more, again and again, and run half of the time.
    Pauses,
    /// They lose most packets, coming and going.
    BadLinks,
}

/// What befalls a pool in which nobody dies.
fn false_alarms(runs: u64) {
    println!(
        "False alarms in 128 members, LAN profile without TCP probes, {runs} x 10 minutes; per member and"
    );
    println!(
        "hour. 8 members are in trouble: they stop for 2.5 s and more and run half of the time, or"
    );
    println!("lose 60% of their packets. Each observer of a wrong verdict is counted.\n");
    println!(
        "| loss | trouble | awareness | suspicions of sound members | verdicts about sound ones | about those in trouble |"
    );
    println!("| ---: | --- | --- | ---: | ---: | ---: |");
    for (loss, trouble) in [
        (0.0, Trouble::None),
        (0.10, Trouble::None),
        (0.20, Trouble::None),
        (0.30, Trouble::None),
        (0.0, Trouble::Pauses),
        (0.10, Trouble::Pauses),
        (0.0, Trouble::BadLinks),
        (0.10, Trouble::BadLinks),
    ] {
        for awareness in [true, false] {
            let config = Config {
                awareness_max: if awareness { 8 } else { 1 },
                tcp_pings: false,
                ..Config::lan()
            };
            let (mut suspicions, mut sound, mut troubled) = (0, 0, 0);
            for run in 0..runs {
                let sim = ten_minutes(2000 + run, loss, trouble, &config);
                let seen = |what| sim.sights.iter().filter(move |s| s.what == what);
                // One by one, whoever sees it.
                suspicions += seen(Seen::Suspect)
                    .filter(|s| s.of >= IN_TROUBLE)
                    .map(|s| (s.of, s.at.offset().as_secs() / 10))
                    .collect::<BTreeSet<_>>()
                    .len();
                sound += seen(Seen::Failed).filter(|s| s.of >= IN_TROUBLE).count();
                troubled += seen(Seen::Failed).filter(|s| s.of < IN_TROUBLE).count();
            }
            let hours = |members: usize| members as f64 * runs as f64 / 6.0;
            println!(
                "| {:.0}% | {} | {} | {:.2} | {:.3} | {:.1} |",
                loss * 100.0,
                match trouble {
                    Trouble::None => "none",
                    Trouble::Pauses => "pauses",
                    Trouble::BadLinks => "bad links",
                },
                if awareness { "on" } else { "off" },
                suspicions as f64 / hours(128 - IN_TROUBLE),
                sound as f64 / hours(128 - IN_TROUBLE),
                troubled as f64 / hours(IN_TROUBLE),
            );
        }
    }
    println!();
}

/// Members in trouble: the first ones.
const IN_TROUBLE: usize = 8;

fn ten_minutes(seed: u64, loss: f64, trouble: Trouble, config: &Config) -> Sim {
    let mut sim = Sim::settled(seed, 128, config);
    sim.network.loss = loss;
    let mut paused = [false; IN_TROUBLE];
    if matches!(trouble, Trouble::BadLinks) {
        sim.network.lossy.extend((0..IN_TROUBLE).map(|m| (m, 0.6)));
    }
    for _ in 0..240 {
        if matches!(trouble, Trouble::Pauses) {
            for (member, paused) in paused.iter_mut().enumerate() {
                // A coin decides: pauses last 2.5 s, 5 s and sometimes longer.
                let stop = sim.rng().below(2) == 0 && !*paused;
                if stop {
                    sim.pause(member);
                } else if *paused {
                    sim.resume(member);
                }
                *paused = stop;
            }
        }
        sim.run(SECOND * 5 / 2);
    }
    sim
}

/// What membership costs when nothing happens.
fn load() {
    println!("Load in peace, LAN profile: per member and second.\n");
    println!("| members | packets | bytes |");
    println!("| ---: | ---: | ---: |");
    for count in [8, 32, 128, 512] {
        let mut sim = Sim::settled(3000, count, &Config::lan());
        sim.run(SECOND * 60);
        let (packets, bytes) = (sim.packets, sim.bytes);
        sim.run(SECOND * 60);
        let per = |sum: u64| sum as f64 / 60.0 / count as f64;
        println!(
            "| {count} | {:.2} | {:.0} |",
            per(sim.packets - packets),
            per(sim.bytes - bytes)
        );
    }
    println!();
}

/// Deaths in the large pool, one after the other.
const LARGE_DEATHS: usize = 5;

/// What the process held at most, in megabytes; zero where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

/// One pool as large as they come.
fn large(count: usize) {
    println!(
        "One pool of {count} members, LAN profile: {LARGE_DEATHS} deaths, a minute of peace before them. The"
    );
    println!("longest queue is that of any member at the end of a death.\n");
    println!(
        "| loss | suspected | SWIM | judged | all know | window | wrong verdicts | longest queue | packets for each member and second |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let began = Instant::now();
    let mut simulated = Duration::ZERO;
    for loss in [0.0, 0.05] {
        let mut sim = Sim::settled(4000, count, &Config::lan());
        sim.network.loss = loss;
        let packets = sim.packets;
        sim.run(SECOND * 60);
        let rate = (sim.packets - packets) as f64 / 60.0 / count as f64;
        let mut longest = 0;
        let deaths: Vec<Death> = (0..LARGE_DEATHS)
            .map(|_| {
                let seen = death(&mut sim);
                let queues = (0..count).filter_map(|m| sim.core(m));
                longest = queues
                    .map(|core| core.stats().member_queue)
                    .fold(longest, usize::max);
                seen
            })
            .collect();
        sim.assert_safety();
        let min = suspicion_min(4, count, SECOND).as_secs_f64();
        let Death {
            suspected,
            judged,
            known,
        } = mean(&deaths);
        println!(
            "| {:.0}% | {suspected:.2} | {:.2} | {judged:.2} | {known:.2} | {min:.1} to {:.1} | {} | {longest} | {rate:.2} |",
            loss * 100.0,
            SWIM_PERIODS + 1.0,
            min * 6.0,
            sim.false_failures()
        );
        simulated += sim.now().offset();
    }
    println!(
        "\n{:.0} s were simulated in {:.0} s, with at most {} MB: {:.0} bytes for each member that a member knows.\n",
        simulated.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        peak_memory(),
        peak_memory() as f64 * 1e6 / (count * count) as f64
    );
}
