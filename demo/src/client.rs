//! The client: looks the server up, calls it, counts.

use crate::choose::{Chooser, Instance};
use crate::protocol::{MAX_LINE, Protocol};
use crate::settings::Caller;
use crate::tally::{Failure, Tally, Via};
use crate::transcript::{Tone, Transcript};
use lictor_client::{Client, HealthEntry, QueryOptions};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Calls until the count is reached or it is told to stop.
pub async fn run(
    settings: Caller,
    agent: Client,
    log: Arc<Transcript>,
    mut stop: watch::Receiver<bool>,
) -> Tally {
    let mut chooser = Chooser::new(settings.ways, settings.locked, settings.random.clone());
    let mut tally = Tally::default();
    let mut ticks = interval(settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while settings.count.is_none_or(|count| tally.sent() < count) {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let via = chooser.next_way();
        let start = Instant::now();
        let outcome = tokio::select! {
            outcome = request(&settings, &agent, &mut chooser, via) => outcome,
            // A request cut off by the end counts for nothing.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        tally.count(via, outcome.as_ref().map(|_| ()));
        let took = start.elapsed().as_secs_f64() * 1000.0;
        match outcome {
            Ok(instance) => {
                let p = instance.protocol;
                let text = format!(
                    "{via:<4} {}  {} -> {}  {took:.1} ms  ({})",
                    instance.authority(),
                    p.request(),
                    p.answer(),
                    tally.running()
                );
                log.say("client", Tone::Good, &text);
            }
            Err(failure) => log.say(
                "client",
                Tone::Bad,
                &format!("{via:<4} {failure}  ({})", tally.running()),
            ),
        }
    }
    tally
}

/// One request: a lookup and a call. Neither is tried twice.
async fn request(
    settings: &Caller,
    agent: &Client,
    chooser: &mut Chooser,
    via: Via,
) -> Result<Instance, Failure> {
    let instance = match via {
        Via::Dns => by_dns(settings, chooser).await?,
        Via::Http => by_http(settings, agent, chooser).await?,
    };
    call(&instance, settings.timeout).await?;
    chooser.worked(instance.protocol);
    Ok(instance)
}

/// Asks for `<tag>.<name>.service.<domain>`, for each protocol in the order of their chances.
async fn by_dns(settings: &Caller, chooser: &mut Chooser) -> Result<Instance, Failure> {
    for protocol in chooser.order() {
        let name = format!(
            "{}.{}.service.{}",
            protocol.tag(),
            settings.name,
            settings.domain
        );
        let found = settings
            .resolver
            .srv(chooser.query_id(), &name, settings.timeout)
            .await
            .map_err(Failure::Lookup)?;
        let instances: Vec<Instance> = found
            .iter()
            .map(|srv| Instance {
                host: srv
                    .addresses
                    .first()
                    .map_or_else(|| srv.target.clone(), ToString::to_string),
                port: srv.port,
                protocol,
                weight: srv.weight,
            })
            .collect();
        let Some(picked) = chooser.pick(&instances) else {
            continue;
        };
        let mut picked = picked.clone();
        if found.iter().any(|srv| srv.target == picked.host) {
            // The answer did not bring the target's address.
            let addresses = settings
                .resolver
                .addresses(chooser.query_id(), &picked.host, settings.timeout)
                .await
                .map_err(Failure::Lookup)?;
            picked.host = addresses.first().ok_or(Failure::NoSuchHost)?.to_string();
        }
        return Ok(picked);
    }
    Err(Failure::NoSuchHost)
}

/// The instances that speak something we do.
fn instances(rows: &[HealthEntry], locked: Option<Protocol>) -> Vec<Instance> {
    rows.iter()
        .filter_map(|row| {
            let protocol = row
                .service
                .tags
                .iter()
                .filter_map(|tag| Protocol::of_tag(tag))
                .find(|p| locked.is_none_or(|only| only == *p))?;
            Some(Instance {
                host: row.reachable_address().to_owned(),
                port: u16::try_from(row.service.port).ok().filter(|p| *p > 0)?,
                protocol,
                weight: 1,
            })
        })
        .collect()
}

async fn by_http(
    settings: &Caller,
    agent: &Client,
    chooser: &mut Chooser,
) -> Result<Instance, Failure> {
    let tags: Vec<&str> = chooser.locked().iter().map(|p| p.tag()).collect();
    let options = QueryOptions::default();
    let asked = agent.health_service(&settings.name, &tags, true, &options);
    let (rows, _) = timeout(settings.timeout, asked)
        .await
        .map_err(|_| {
            Failure::Lookup(format!(
                "no answer from the agent within {:?}",
                settings.timeout
            ))
        })?
        .map_err(|err| Failure::Lookup(err.to_string()))?;
    chooser
        .pick(&instances(&rows, settings.locked))
        .cloned()
        .ok_or(Failure::NoSuchHost)
}

/// Sends the protocol's word and waits for its answer.
async fn call(instance: &Instance, limit: Duration) -> Result<(), Failure> {
    let address = instance.authority();
    let connected = timeout(limit, TcpStream::connect(&address))
        .await
        .map_err(|_| Failure::Timeout)?;
    let io = connected.map_err(|err| match err.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Broken(err.to_string()),
    })?;
    match timeout(limit, exchange(io, instance.protocol)).await {
        Err(_) => Err(Failure::Timeout),
        Ok(Err(err)) => Err(Failure::Broken(err.to_string())),
        Ok(Ok(line)) => judge(instance.protocol, &line),
    }
}

async fn exchange(mut io: TcpStream, protocol: Protocol) -> std::io::Result<String> {
    io.write_all(format!("{}\n", protocol.request()).as_bytes())
        .await?;
    let mut line = String::new();
    BufReader::new(io)
        .take(MAX_LINE)
        .read_line(&mut line)
        .await?;
    Ok(line)
}

/// What an answer means.
fn judge(protocol: Protocol, line: &str) -> Result<(), Failure> {
    match line.trim_end() {
        text if text == protocol.answer() => Ok(()),
        text if text.starts_with("error:") => Err(Failure::WrongProtocol),
        "" => Err(Failure::Broken("closed without an answer".to_owned())),
        text => Err(Failure::Broken(format!("unexpected answer {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_client::{NodeEntry, ServiceEntry};

    #[test]
    fn answers_are_judged() {
        assert_eq!(judge(Protocol::V1, "pong\n"), Ok(()));
        assert_eq!(
            judge(Protocol::V2, "pong\n"),
            Err(Failure::Broken("unexpected answer \"pong\"".into()))
        );
        let (refusal, _) = Protocol::V1.reply("syn");
        assert_eq!(judge(Protocol::V2, &refusal), Err(Failure::WrongProtocol));
        assert!(matches!(judge(Protocol::V1, ""), Err(Failure::Broken(_))));
    }

    #[test]
    fn rows_become_instances_by_their_tags() {
        let row = |tags: &[&str], port, address: &str| HealthEntry {
            node: NodeEntry {
                address: "10.0.0.9".into(),
                ..NodeEntry::default()
            },
            service: ServiceEntry {
                tags: tags.iter().map(|t| (*t).to_owned()).collect(),
                port,
                address: address.into(),
                ..ServiceEntry::default()
            },
            checks: vec![],
        };
        let rows = [
            row(&["x", "v2"], 80, ""),
            row(&["v1"], 81, "10.0.0.1"),
            row(&["none"], 82, ""),
            row(&["v1"], 0, ""),
        ];
        let all: Vec<_> = instances(&rows, None)
            .into_iter()
            .map(|i| (i.authority(), i.protocol))
            .collect();
        assert_eq!(
            all,
            [
                ("10.0.0.9:80".to_owned(), Protocol::V2),
                ("10.0.0.1:81".to_owned(), Protocol::V1)
            ]
        );
        assert_eq!(instances(&rows, Some(Protocol::V2)).len(), 1);
    }

    #[tokio::test]
    async fn a_port_that_was_closed_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let instance = Instance {
            host: "127.0.0.1".into(),
            port,
            protocol: Protocol::V1,
            weight: 1,
        };
        drop(listener);
        assert_eq!(
            call(&instance, Duration::from_secs(5)).await,
            Err(Failure::Refused)
        );
    }
}
