//! `watch`.

use super::exec::{self, Received, Running, Signals};
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use clap::ArgAction;
use lictor_client::{Client, Error, Method, QueryOptions, Request};
use lictor_wire::{GoDuration, KvEntry, gojson};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[derive(clap::Args)]
pub(crate) struct Watch {
    /// What to watch: key, keyprefix, services, nodes, service, checks or event.
    #[arg(long = "type", default_value = "", value_name = "type")]
    kind: String,
    /// The key to watch; for "key".
    #[arg(long, default_value = "")]
    key: String,
    /// The prefix to watch; for "keyprefix".
    #[arg(long, default_value = "")]
    prefix: String,
    /// The service to watch; for "service", and if wanted for "checks".
    #[arg(long, default_value = "")]
    service: String,
    /// Only instances with this tag; may be given several times; for "service".
    #[arg(long)]
    tag: Vec<String>,
    /// Only instances whose checks all pass, true or false; for "service".
    #[arg(long, default_value = "", value_name = "bool")]
    passingonly: String,
    /// Only checks in this state; for "checks".
    #[arg(long, default_value = "")]
    state: String,
    /// Only events of this name; for "event".
    #[arg(long, default_value = "")]
    name: String,
    /// A filter expression; for "services", "nodes", "service" and "checks".
    #[arg(long, default_value = "")]
    filter: String,
    /// Run the child by a shell ($SHELL, else /bin/sh).
    #[arg(long, action = ArgAction::Set, default_value_t = true)]
    shell: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum View {
    Key(String),
    Prefix(String),
    Services,
    Nodes,
    Service {
        name: String,
        tags: Vec<String>,
        passing: bool,
    },
    ServiceChecks(String),
    StateChecks(String),
    Events(String),
}

impl Watch {
    /// What the flags say is to be watched.
    fn view(&self) -> Result<View, String> {
        let passing = match self.passingonly.as_str() {
            "" => false,
            text => lictor_client::parse_bool(text).ok_or_else(|| {
                format!("Failed to parse passingonly flag: strconv.ParseBool: parsing {text:?}: invalid syntax")
            })?,
        };
        let mut unused = vec![
            ("key", !self.key.is_empty()),
            ("prefix", !self.prefix.is_empty()),
            ("service", !self.service.is_empty()),
            ("tag", !self.tag.is_empty()),
            ("passingonly", !self.passingonly.is_empty()),
            ("state", !self.state.is_empty()),
            ("name", !self.name.is_empty()),
            ("filter", !self.filter.is_empty()),
        ];
        let mut take =
            |names: &[&str]| unused.retain(|(name, given)| *given && !names.contains(name));
        let need = |value: &String, what: &str| {
            if value.is_empty() {
                Err(format!("Must specify a single {what} to watch"))
            } else {
                Ok(value.clone())
            }
        };
        let view = match self.kind.as_str() {
            "key" => {
                take(&["key"]);
                View::Key(need(&self.key, "key")?)
            }
            "keyprefix" => {
                take(&["prefix"]);
                View::Prefix(need(&self.prefix, "prefix")?)
            }
            "services" => {
                take(&["filter"]);
                View::Services
            }
            "nodes" => {
                take(&["filter"]);
                View::Nodes
            }
            "service" => {
                take(&["service", "tag", "passingonly", "filter"]);
                View::Service {
                    name: need(&self.service, "service")?,
                    tags: self.tag.clone(),
                    passing,
                }
            }
            "checks" => {
                take(&["service", "state", "filter"]);
                match (self.service.as_str(), self.state.as_str()) {
                    ("", "") => View::StateChecks("any".to_owned()),
                    ("", state) => View::StateChecks(state.to_owned()),
                    (service, "") => View::ServiceChecks(service.to_owned()),
                    _ => return Err("Cannot specify service and state".to_owned()),
                }
            }
            "event" => {
                take(&["name"]);
                View::Events(self.name.clone())
            }
            other => return Err(format!("Unsupported watch type: {other}")),
        };
        if unused.is_empty() {
            return Ok(view);
        }
        let names: Vec<&str> = unused.iter().map(|(name, _)| *name).collect();
        Err(format!(
            "Invalid parameters for a watch of type {}: {}",
            self.kind,
            names.join(", ")
        ))
    }
}

/// A key as Consul's watches print it.
fn key_value(entry: &KvEntry) -> Value {
    let mut row = serde_json::to_value(entry).unwrap_or_default();
    json!({
        "Key": entry.key.as_str(),
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
        "LockIndex": entry.lock_index,
        "Flags": entry.flags,
        "Value": row["Value"].take(),
        "Session": entry.session.as_str(),
    })
}

/// The index that the agent gives an event's id: its two halves, combined.
fn event_index(id: &str) -> Option<u64> {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    let (low, high) = (digits.get(..16)?, digits.get(16..32)?);
    Some(u64::from_str_radix(low, 16).ok()? ^ u64::from_str_radix(high, 16).ok()?)
}

/// The events behind the one that `index` belongs to.
fn newer_events(events: Value, index: u64) -> Value {
    let Value::Array(mut rows) = events else {
        return events;
    };
    let seen = rows
        .iter()
        .position(|e| e["ID"].as_str().and_then(event_index) == Some(index));
    if let Some(at) = seen {
        rows.drain(..=at);
    }
    Value::Array(rows)
}

impl View {
    /// Asks for what is watched; waits for a change after `index` unless it is zero.
    async fn fetch(&self, client: &Client, options: &QueryOptions) -> Result<(u64, Value), Error> {
        let rows = |path: String, params: Vec<(&'static str, String)>| {
            let mut request = Request::new(Method::GET, &path).options(options);
            for (k, v) in params {
                request = request.param(k, v);
            }
            async move {
                client
                    .read::<Value>(request)
                    .await
                    .map(|(v, meta)| (meta.index, v))
            }
        };
        match self {
            View::Key(key) => {
                let (entry, meta) = client.kv_get(key, options).await?;
                Ok((meta.index, entry.as_ref().map_or(Value::Null, key_value)))
            }
            View::Prefix(prefix) => {
                let (entries, meta) = client.kv_list(prefix, options).await?;
                let list: Vec<Value> = entries.iter().map(key_value).collect();
                Ok((
                    meta.index,
                    if list.is_empty() {
                        Value::Null
                    } else {
                        Value::Array(list)
                    },
                ))
            }
            View::Services => rows("/v1/catalog/services".into(), vec![]).await,
            View::Nodes => rows("/v1/catalog/nodes".into(), vec![]).await,
            View::Service {
                name,
                tags,
                passing,
            } => {
                let mut params: Vec<(&str, String)> =
                    tags.iter().map(|t| ("tag", t.clone())).collect();
                if *passing {
                    params.push(("passing", "1".to_owned()));
                }
                rows(format!("/v1/health/service/{name}"), params).await
            }
            View::ServiceChecks(service) => {
                rows(format!("/v1/health/checks/{service}"), vec![]).await
            }
            View::StateChecks(state) => rows(format!("/v1/health/state/{state}"), vec![]).await,
            View::Events(name) => {
                let params = if name.is_empty() {
                    vec![]
                } else {
                    vec![("name", name.clone())]
                };
                let (index, events) = rows("/v1/event/list".into(), params).await?;
                Ok((index, newer_events(events, options.index)))
            }
        }
    }
}

/// What has been seen, and how often asking failed in a row.
#[derive(Debug, Default, PartialEq)]
struct Progress {
    index: u64,
    result: Option<Value>,
    failures: u32,
}

impl Progress {
    /// Takes an answer; says whether it is news.
    fn take(&mut self, index: u64, result: Value) -> bool {
        self.failures = 0;
        // An index of zero would not wait; one that goes back means that the state was restored.
        let index = index.max(1);
        if self.result.is_some() && self.index == index {
            return false;
        }
        let first = self.result.is_none();
        self.index = if index < self.index { 0 } else { index };
        if !first && self.result.as_ref() == Some(&result) {
            return false;
        }
        self.result = Some(result);
        true
    }

    /// How long to wait after a failure: five seconds times the square of their number, three
    /// minutes at most.
    fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.index = 0;
        let seconds = u64::from(self.failures).saturating_pow(2).saturating_mul(5);
        Duration::from_secs(seconds.min(180))
    }
}

/// Runs the child on a result. An error has been said.
async fn handle(
    cx: &mut Cx<'_>,
    words: &[String],
    shell: bool,
    index: u64,
    result: &Value,
    signals: &mut Signals,
) -> Result<(), i32> {
    let mut command = exec::command(cx, words, shell);
    command.env("CONSUL_INDEX", index.to_string());
    cx.flush();
    let mut running = match Running::start(command, false, Stdio::piped()) {
        Ok(running) => running,
        Err(err) => {
            cx.complain(format_args!("Error starting handler: {err}"));
            return Err(1);
        }
    };
    if let Some(mut input) = running.child.stdin.take() {
        let mut text = gojson::to_vec(result);
        text.push(b'\n');
        // A task of its own: a child need not read its input before it ends. That it does not is
        // its own affair.
        tokio::spawn(async move {
            let _ = input.write_all(&text).await;
        });
    }
    loop {
        tokio::select! {
            status = running.child.wait() => {
                return match status {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => {
                        cx.complain(format_args!("Error executing handler: {}", exec::exit_text(status)));
                        Err(1)
                    }
                    Err(err) => {
                        cx.complain(format_args!("Error executing handler: {err}"));
                        Err(1)
                    }
                };
            }
            received = signals.next() => match received {
                Received::Forward(number) => running.signal(number),
                Received::End(number) => {
                    running.signal(number);
                    let _ = tokio::time::timeout(exec::GRACE, running.child.wait()).await;
                    return Err(0);
                }
            },
        }
    }
}

impl Command for Watch {
    const NAME: &'static str = "watch";
    const USAGE: &'static str = "[options] [child...]";
    const ABOUT: &'static str = "Waits for changes and runs a command on each";
    const LONG: &'static str = "Watches a view of the cluster. Without a child, prints what it shows now as JSON and \
ends. With one, runs it now and on every change, with the JSON as its input and the index in CONSUL_INDEX; ends when \
the child fails.

    $ {p} watch -type=key -key=app/limit
    $ {p} watch -type=service -service=web -passingonly=true ./reload.sh";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if self.kind.is_empty() {
            return cx.misused::<Watch>("Watch type must be specified");
        }
        let view = match self.view() {
            Ok(view) => view,
            Err(why) => {
                cx.complain(why);
                return 1;
            }
        };
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        if let Err(err) = client.node_name().await {
            return cx.fail("Error querying Consul agent", &err);
        }
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(err) => {
                cx.complain(format_args!("Error waiting for signals: {err}"));
                return 1;
            }
        };
        let mut progress = Progress::default();
        loop {
            let options = QueryOptions {
                index: progress.index,
                filter: self.filter.clone(),
                ..self.api.options()
            };
            let fetched = tokio::select! {
                fetched = view.fetch(&client, &options) => fetched,
                _ = signals.end() => return 0,
            };
            match fetched {
                Ok((index, result)) => {
                    if !progress.take(index, result) {
                        continue;
                    }
                    let result = progress.result.as_ref().unwrap_or(&Value::Null);
                    if args.is_empty() {
                        let text = gojson::to_pretty(result);
                        cx.say_bytes(text.trim_ascii_end());
                        return 0;
                    }
                    if let Err(code) =
                        handle(cx, &args, self.shell, index, result, &mut signals).await
                    {
                        return code;
                    }
                }
                Err(err) => {
                    let wait = progress.fail();
                    let retry = GoDuration::from(wait);
                    cx.complain(format_args!(
                        "Watch errored: type={} error={:?} retry={retry}",
                        self.kind,
                        err.to_string()
                    ));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = signals.end() => return 0,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cx::testing::{Answer, Ran, ok};
    use crate::goflags;

    const SELF: &str = r#"{"Config": {"NodeName": "n1"}}"#;

    fn view(args: &[&str]) -> Result<View, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        goflags::parse::<Watch>(&args).unwrap().0.view()
    }

    #[test]
    fn a_key_is_printed_once() {
        let row = r#"[{"LockIndex": 0, "Key": "watched", "Flags": 0, "Value": "djE=", "CreateIndex": 228, "ModifyIndex": 228}]"#;
        let ran = Ran::with(
            &["watch", "-type=key", "-key=watched"],
            &[ok(SELF), Answer(200, "X-Consul-Index: 228\r\n", row)],
        );
        let want = "{\n    \"Key\": \"watched\",\n    \"CreateIndex\": 228,\n    \"ModifyIndex\": 228,\n    \"LockIndex\": 0,\n    \
                    \"Flags\": 0,\n    \"Value\": \"djE=\",\n    \"Session\": \"\"\n}\n";
        assert_eq!((ran.code, ran.out.as_str()), (0, want));
        let ran = Ran::with(
            &["watch", "-type=key", "-key=none"],
            &[ok(SELF), Answer(404, "X-Consul-Index: 5\r\n", "")],
        );
        assert_eq!((ran.code, ran.out.as_str()), (0, "null\n"));
    }

    #[test]
    fn other_views_are_printed_as_they_come() {
        let ran = Ran::with(
            &["watch", "-type=services"],
            &[ok(SELF), ok(r#"{"consul":[]}"#)],
        );
        assert_eq!(ran.out, "{\n    \"consul\": []\n}\n");
        let ran = Ran::with(
            &[
                "watch",
                "-type=service",
                "-service=web",
                "-tag=a",
                "-tag=b",
                "-passingonly=true",
            ],
            &[ok(SELF), ok("[]")],
        );
        assert_eq!(
            ran.lines()[1],
            "GET /v1/health/service/web?passing=1&tag=a&tag=b"
        );
        assert_eq!(ran.out, "[]\n");
    }

    #[test]
    fn a_child_runs_on_each_change_until_it_fails() {
        let dir = std::env::temp_dir().join(format!("lictor-watch-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("log");
        let child = format!(
            "cat >> {0}; echo $CONSUL_INDEX >> {0}; test $CONSUL_INDEX = 5",
            log.display()
        );
        let ran = Ran::with(
            &["watch", "-type=services", &child],
            &[
                ok(SELF),
                Answer(200, "X-Consul-Index: 5\r\n", r#"{"a": []}"#),
                Answer(200, "X-Consul-Index: 6\r\n", r#"{"a": []}"#),
                Answer(200, "X-Consul-Index: 7\r\n", r#"{"b": []}"#),
            ],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error executing handler: exit status 1\n")
        );
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "{\"a\":[]}\n5\n{\"b\":[]}\n7\n"
        );
        assert_eq!(
            ran.lines()[1..],
            [
                "GET /v1/catalog/services",
                "GET /v1/catalog/services?index=5",
                "GET /v1/catalog/services?index=6"
            ]
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        for (args, text) in [
            (&["-type=key"][..], "Must specify a single key to watch"),
            (
                &["-type=keyprefix"],
                "Must specify a single prefix to watch",
            ),
            (&["-type=service"], "Must specify a single service to watch"),
            (
                &["-type=checks", "-service=a", "-state=any"],
                "Cannot specify service and state",
            ),
            (
                &["-type=no-such-type"],
                "Unsupported watch type: no-such-type",
            ),
            (
                &["-type=nodes", "-key=a"],
                "Invalid parameters for a watch of type nodes: key",
            ),
        ] {
            assert_eq!(view(args).unwrap_err(), text);
        }
        assert!(view(&["-type=service", "-service=a", "-passingonly=x"]).is_err());
        assert_eq!(view(&["-type=checks"]), Ok(View::StateChecks("any".into())));
        assert!(
            Ran::without_agent(&["watch"])
                .err
                .starts_with("Watch type must be specified\n")
        );
    }

    #[test]
    fn only_changes_are_news() {
        let mut p = Progress::default();
        assert!(p.take(5, json!([1])));
        assert!(!p.take(5, json!([2])), "the same index");
        assert!(!p.take(6, json!([1])), "the same result");
        assert!(p.take(7, json!([2])));
        assert!(!p.take(3, json!([2])));
        assert_eq!(p.index, 0, "an index that went back begins again");
        assert_eq!(
            (p.fail(), p.fail(), p.failures),
            (Duration::from_secs(5), Duration::from_secs(20), 2)
        );
        for _ in 0..20 {
            p.fail();
        }
        assert_eq!(p.fail(), Duration::from_secs(180));
    }

    #[test]
    fn events_already_seen_are_left_out() {
        let (a, b) = (
            "00000000-0000-0001-0000-000000000002",
            "00000000-0000-0005-0000-000000000000",
        );
        assert_eq!(
            (event_index(a), event_index(b), event_index("x")),
            (Some(3), Some(5), None)
        );
        let events = json!([{"ID": a}, {"ID": b}]);
        assert_eq!(newer_events(events.clone(), 3), json!([{"ID": b}]));
        assert_eq!(newer_events(events.clone(), 9), events);
    }
}
