//! A member of a pool on real sockets, driven by lines on its input.
//!
//! ```text
//! pool --name a --bind 127.0.0.1:7946 [--tag k=v] [--key BASE64] [--label L] [--snapshot FILE]
//!      [--profile lan|wan|local] [--consul] [--join ADDR]...
//! ```
//! Commands: `join ADDR`, `leave`, `force-leave NAME`, `event NAME PAYLOAD`, `query NAME PAYLOAD`,
//! `tag K=V`, `members`, `stats`, `keys`. The query `echo` is answered with its payload.
// A driver is the edge: the fence of the core does not hold here.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros
)]

mod driver;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::{Pool, Setup};
use lictor_gossip::random::Seed;
use lictor_gossip::serf::{KeyOperation, QueryParams};
use lictor_gossip::{AdmitAll, Config, Event, Own, Tags};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

struct Options {
    config: Config,
    own: Own,
    bind: SocketAddr,
    snapshot: Option<std::path::PathBuf>,
    join: Vec<SocketAddr>,
}

fn options() -> Result<Options, Box<dyn std::error::Error>> {
    let mut config = Config::lan();
    let mut name = String::from("node");
    let mut bind = SocketAddr::from(([127, 0, 0, 1], 7946));
    let mut tags = Tags::new();
    let mut snapshot = None;
    let mut join = Vec::new();
    let mut keys = Vec::new();
    let mut label = Vec::new();
    let mut consul = false;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        if flag == "--consul" {
            consul = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--name" => name = value,
            "--bind" => bind = value.parse()?,
            "--tag" => {
                let (key, value) = value.split_once('=').ok_or("--tag wants k=v")?;
                tags.insert(key.to_owned(), value.to_owned());
            }
            "--key" => keys.push(STANDARD.decode(value)?),
            "--label" => label = value.into_bytes(),
            "--snapshot" => snapshot = Some(value.into()),
            "--join" => join.push(value.parse()?),
            "--profile" => {
                config = match value.as_str() {
                    "lan" => Config::lan(),
                    "wan" => Config::wan(),
                    "local" => Config::local(),
                    other => return Err(format!("unknown profile {other}").into()),
                }
            }
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    config.keys = keys;
    config.label = label;
    if consul {
        config = config.for_consul();
    }
    Ok(Options {
        config,
        own: Own {
            name,
            advertise: bind,
            tags,
        },
        bind,
        snapshot,
        join,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options {
        config,
        own,
        bind,
        snapshot,
        join,
    } = options()?;
    let mut tags = own.tags.clone();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let (sender, mut events) = mpsc::channel(4096);
    let setup = Setup {
        bind,
        snapshot,
        admission: Box::new(AdmitAll),
        seed: Seed(seed),
    };
    let pool = Pool::start(config, own, setup, sender).await?;
    if !join.is_empty() {
        pool.with(move |core, now| core.join(now, &join, true))
            .await;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None => return Ok(()),
                Some(Event::Left) => {
                    println!("left");
                    return Ok(());
                }
                Some(Event::Query(query)) => {
                    println!("query {} {:?} from {}", query.name, query.payload, query.source);
                    if query.name == "echo" {
                        pool.with(move |core, now| core.respond(now, &query, &query.payload).err()).await;
                    }
                }
                Some(event) => println!("{event:?}"),
            },
            line = lines.next_line() => match line? {
                None => {
                    // Without a terminal, live until killed.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Some(line) => command(&pool, &mut tags, &line).await,
            },
        }
    }
}

async fn command(pool: &Pool, tags: &mut Tags, line: &str) {
    let mut words = line.splitn(3, ' ');
    let (verb, first, rest) = (
        words.next().unwrap_or(""),
        words.next().unwrap_or("").to_owned(),
        words.next().unwrap_or("").to_owned(),
    );
    match verb {
        "join" => {
            if let Ok(target) = first.parse() {
                pool.with(move |core, now| core.join(now, &[target], true))
                    .await;
            }
        }
        "leave" => drop(pool.with(|core, now| core.leave(now)).await),
        "force-leave" => drop(
            pool.with(move |core, now| core.force_leave(now, &first, false))
                .await,
        ),
        "event" => {
            let fired = pool
                .with(move |core, now| core.fire_event(now, &first, rest.as_bytes(), false))
                .await;
            println!("fired {fired:?}");
        }
        "query" => {
            let params = QueryParams {
                ack: true,
                ..QueryParams::default()
            };
            let asked = pool
                .with(move |core, now| core.query(now, &first, rest.as_bytes(), &params))
                .await;
            println!("asked {asked:?}");
        }
        "tag" => {
            if let Some((key, value)) = first.split_once('=') {
                tags.insert(key.to_owned(), value.to_owned());
                let tags = tags.clone();
                pool.with(move |core, now| core.set_tags(now, &tags)).await;
            }
        }
        "members" => {
            let members = pool
                .with(|core, _| core.members().cloned().collect::<Vec<_>>())
                .await;
            for member in members.into_iter().flatten() {
                println!(
                    "{} {} {} {:?}",
                    member.name,
                    member.addr,
                    member.status.as_str(),
                    member.tags
                );
            }
        }
        "stats" => println!(
            "{:?}",
            pool.with(|core, _| (core.stats(), core.counters())).await
        ),
        "keys" => drop(
            pool.with(|core, now| core.key_operation(now, KeyOperation::List, &[], 0))
                .await,
        ),
        other => println!("unknown command {other}"),
    }
}
