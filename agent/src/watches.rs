//! Watches of the configuration: a handler is called whenever what it watches has changed.

use crate::agent::Shared;
use crate::http;
use lictor_client::{Client, ClientConfig, Method, Request};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

/// A failure waits this long, the next one longer, up to the most.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(180);
/// What a handler prints is logged up to this.
const OUTPUT_MAX: usize = 4096;

/// The watches that run; a reload replaces them.
#[derive(Debug, Default)]
pub struct Watching(Mutex<JoinSet<()>>);

impl Watching {
    /// Ends what runs and starts these.
    pub fn set(&self, shared: &Arc<Shared>, watches: &[Value]) {
        let mut tasks = JoinSet::new();
        for watch in watches {
            match Plan::of(watch) {
                Ok(plan) => _ = tasks.spawn(run(shared.clone(), plan)),
                Err(error) => {
                    tracing::error!(target: "agent", watch = %watch, error = %error, "a watch cannot run")
                }
            }
        }
        // The old ones end as they are dropped, and their handlers with them.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Ends what runs.
    pub fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

/// A watch: what is read, and what is called.
struct Plan {
    path: String,
    query: String,
    kind: String,
    handler: Handler,
}

enum Handler {
    Script(Vec<String>),
    Http {
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        timeout: Duration,
    },
}

fn text<'a>(watch: &'a Value, key: &str) -> &'a str {
    watch.get(key).and_then(Value::as_str).unwrap_or("")
}

fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~/".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

impl Plan {
    fn of(watch: &Value) -> Result<Plan, String> {
        let kind = text(watch, "type").to_owned();
        let need = |key: &str| match text(watch, key) {
            "" => Err(format!("Must specify {key} to watch")),
            value => Ok(encoded(value)),
        };
        let mut query: Vec<String> = Vec::new();
        let path = match kind.as_str() {
            "key" => format!("/v1/kv/{}", need("key")?),
            "keyprefix" => {
                query.push("recurse".to_owned());
                format!("/v1/kv/{}", need("prefix")?)
            }
            "services" => "/v1/catalog/services".to_owned(),
            "nodes" => "/v1/catalog/nodes".to_owned(),
            "service" => {
                let tags = match watch.get("tag") {
                    Some(Value::Array(all)) => {
                        all.iter().filter_map(Value::as_str).map(encoded).collect()
                    }
                    _ => vec![encoded(text(watch, "tag"))],
                };
                query.extend(
                    tags.into_iter()
                        .filter(|t: &String| !t.is_empty())
                        .map(|t| format!("tag={t}")),
                );
                if watch
                    .get("passingonly")
                    .and_then(Value::as_bool)
                    .unwrap_or(false)
                {
                    query.push("passing".to_owned());
                }
                format!("/v1/health/service/{}", need("service")?)
            }
            "checks" => match (text(watch, "service"), text(watch, "state")) {
                ("", "") => "/v1/health/state/any".to_owned(),
                ("", state) => format!("/v1/health/state/{}", encoded(state)),
                (service, _) => format!("/v1/health/checks/{}", encoded(service)),
            },
            "event" => {
                if !text(watch, "name").is_empty() {
                    query.push(format!("name={}", encoded(text(watch, "name"))));
                }
                "/v1/event/list".to_owned()
            }
            other => return Err(format!("Unsupported watch type: {other}")),
        };
        if !text(watch, "filter").is_empty() {
            query.push(format!("filter={}", encoded(text(watch, "filter"))));
        }
        Ok(Plan {
            path,
            query: query.join("&"),
            kind,
            handler: Handler::of(watch)?,
        })
    }

    /// What the handler gets of an answer: Consul's forms.
    fn shape(&self, status: u16, body: Value) -> Value {
        match self.kind.as_str() {
            "key" if status == 404 => Value::Null,
            "key" => body.get(0).cloned().unwrap_or(Value::Null),
            "keyprefix" if status == 404 => json!([]),
            _ => body,
        }
    }
}

impl Handler {
    fn of(watch: &Value) -> Result<Handler, String> {
        let args = |value: &Value| -> Vec<String> {
            match value {
                Value::Array(all) => all
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                Value::String(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
                _ => Vec::new(),
            }
        };
        if text(watch, "handler_type") == "http" {
            let config = watch
                .get("http_handler_config")
                .map(|c| c.get(0).unwrap_or(c))
                .unwrap_or(&Value::Null);
            let url = text(config, "path");
            if url.is_empty() {
                return Err("Requires 'path' to be set".to_owned());
            }
            let headers = config
                .get("header")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .flat_map(|(name, values)| {
                    values
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .map(|v| (name.clone(), v.to_owned()))
                        .collect::<Vec<_>>()
                });
            let timeout = lictor_wire::GoDuration::parse(text(config, "timeout"))
                .map_or(Duration::from_secs(10), |d| d.to_std());
            let method = match text(config, "method") {
                "" => "POST",
                method => method,
            };
            return Ok(Handler::Http {
                url: url.to_owned(),
                method: method.to_owned(),
                headers: headers.collect(),
                timeout,
            });
        }
        let command = watch
            .get("args")
            .or_else(|| watch.get("handler"))
            .map(args)
            .unwrap_or_default();
        if command.is_empty() {
            return Err(
                "Must define a watch handler: args, handler or http_handler_config".to_owned(),
            );
        }
        Ok(Handler::Script(command))
    }

    async fn call(&self, index: &str, body: Vec<u8>) -> Result<(), String> {
        match self {
            Handler::Script(command) => {
                let mut child = tokio::process::Command::new(&command[0])
                    .args(&command[1..])
                    .env("CONSUL_INDEX", index)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|e| e.to_string())?;
                let input = child.stdin.take();
                let tell = async move {
                    if let Some(mut input) = input {
                        // A handler need not read all of it.
                        let _ = input.write_all(&body).await;
                    }
                };
                // Both at once: a handler may print more than a pipe holds before it reads.
                let ((), output) = tokio::join!(tell, child.wait_with_output());
                let output = output.map_err(|e| e.to_string())?;
                let tail = &output.stdout[output.stdout.len().saturating_sub(OUTPUT_MAX)..];
                tracing::debug!(target: "agent", output = %String::from_utf8_lossy(tail), "watch handler output");
                if output.status.success() {
                    Ok(())
                } else {
                    Err(output.status.to_string())
                }
            }
            Handler::Http {
                url,
                method,
                headers,
                timeout,
            } => {
                let mut headers = headers.clone();
                headers.push(("X-Consul-Index".to_owned(), index.to_owned()));
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
                send(method, url, &headers, body, *timeout).await
            }
        }
    }
}

async fn run(shared: Arc<Shared>, plan: Plan) {
    let mut index = String::from("0");
    let mut last: Option<Value> = None;
    let mut failures = 0u32;
    loop {
        let mut query = plan.query.clone();
        if index != "0" {
            query.push_str(if query.is_empty() {
                "index="
            } else {
                "&index="
            });
            query.push_str(&index);
        }
        let (status, next, body) = http::internal_get(&shared, &plan.path, &query).await;
        if status != 200 && status != 404 {
            failures += 1;
            let wait = (RETRY * failures.saturating_mul(failures)).min(RETRY_MAX);
            tracing::error!(target: "agent", path = %plan.path, status, "Watch errored");
            tokio::time::sleep(wait).await;
            continue;
        }
        failures = 0;
        // An index that goes back means that the state was replaced: begin anew.
        let back =
            plan.kind != "event" && next.parse::<u64>().unwrap_or(0) < index.parse().unwrap_or(0);
        index = if back { "0".to_owned() } else { next };
        let value = plan.shape(status, serde_json::from_slice(&body).unwrap_or(Value::Null));
        if last.as_ref() == Some(&value) {
            continue;
        }
        let body = lictor_wire::gojson::to_vec(&value);
        last = Some(value);
        if let Err(error) = plan.handler.call(&index, body).await {
            tracing::error!(target: "agent", path = %plan.path, error = %error, "Failed to run watch handler");
        }
    }
}

/// Sends a change to an HTTP handler.
async fn send(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
    limit: Duration,
) -> Result<(), String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("{url} is no URL"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let client = Client::new(ClientConfig::at(format!("{scheme}://{authority}")))
        .map_err(|e| e.to_string())?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
    let path = if path.is_empty() { "/" } else { path };
    let mut request = Request::encoded(method, path)
        .raw_query(query)
        .body(body)
        .timeout(limit);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    client
        .send(request)
        .await
        .and_then(lictor_client::Response::ok)
        .map(|_| ())
        .map_err(|e| e.to_string())
}
