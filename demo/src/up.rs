//! All of it in one terminal.

use crate::agent::{Agent, find_program};
use crate::resolver::Resolver;
use crate::schedule::Turn;
use crate::settings::{Caller, Server, UpSettings};
use crate::transcript::Transcript;
use crate::{client, server};
use lictor_client::{Client, QueryOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Runs until Ctrl-C, or until the client has sent what it should.
pub async fn run(
    mut settings: UpSettings,
    env: &[(String, String)],
    signals: watch::Receiver<bool>,
) -> Result<ExitCode, String> {
    let log = Arc::new(Transcript::to_stdout(settings.common.color));
    let mut agent = None;
    if settings.common.http_addr.is_none() {
        let own = std::env::current_exe().ok();
        let program = find_program(settings.lictor.as_deref(), own.as_deref());
        let mut interrupted = signals.clone();
        let started = tokio::select! {
            started = Agent::start(&program, &log) => started?,
            _ = interrupted.wait_for(|stop| *stop) => return Ok(ExitCode::SUCCESS),
        };
        log.note(
            "agent",
            &format!("ready: HTTP {}, DNS {}", started.http, started.dns),
        );
        settings.common.http_addr = Some(started.http.clone());
        settings.client.resolver = Resolver::At(started.dns.clone());
        agent = Some(started);
    }
    let api = settings.common.client(env)?;

    let strict = settings.client.strict;
    let (stop_servers, stopped) = watch::channel(false);
    let mut servers = Vec::new();
    for number in 1..=settings.servers {
        let one = Server {
            turn: settings
                .server
                .turn
                .or_else(|| Turn::new(number, settings.servers)),
            random: settings.server.random.split(),
            ..settings.server.clone()
        };
        let me = format!("server-{number}");
        let (api, log, stopped) = (api.clone(), log.clone(), stopped.clone());
        servers.push(tokio::spawn(async move {
            let summary = server::run(&me, one, api, log, stopped).await;
            (me, summary)
        }));
    }
    first_registration(&settings.client, &api, signals.clone()).await;
    let tally = client::run(settings.client, api, log.clone(), signals).await;

    let _ = stop_servers.send(true);
    let mut summaries = Vec::new();
    for task in servers {
        if let Ok(summary) = task.await {
            summaries.push(summary);
        }
    }
    if let Some(agent) = &mut agent {
        agent.stop().await;
        log.note("agent", "ended");
    }
    for (me, summary) in summaries {
        log.note(&me, &summary.to_string());
    }
    log.note("client", &tally.summary());
    Ok(if strict && tally.failed() > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Waits until there is someone to call, a few seconds at most: the client is to show what happens
/// when servers move, not that they have not begun.
async fn first_registration(settings: &Caller, api: &Client, mut signals: watch::Receiver<bool>) {
    let options = QueryOptions::default();
    let poll = async {
        while !matches!(api.health_service(&settings.name, &[], true, &options).await, Ok((rows, _)) if !rows.is_empty())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(Duration::from_secs(5), poll) => {}
        _ = signals.wait_for(|stop| *stop) => {}
    }
}
