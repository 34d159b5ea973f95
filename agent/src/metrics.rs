//! Metrics: Consul's names, ten-second intervals, and the two forms that dashboards read.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The length of an interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// A metric's name with its labels.
type Key = (&'static str, Vec<(&'static str, String)>);

/// The values of one name in one interval.
#[derive(Clone, Copy, Debug, Default)]
struct Aggregate {
    count: u64,
    sum: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Aggregate {
    fn add(&mut self, value: f64) {
        if self.count == 0 || value < self.min {
            self.min = value;
        }
        if self.count == 0 || value > self.max {
            self.max = value;
        }
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let n = self.count as f64;
        let spread = n * self.squares - self.sum * self.sum;
        if spread <= 0.0 {
            0.0
        } else {
            (spread / (n * (n - 1.0))).sqrt()
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Interval {
    /// Its number since 1970.
    number: u64,
    counters: BTreeMap<Key, Aggregate>,
    samples: BTreeMap<Key, Aggregate>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Interval,
    last: Option<Interval>,
    /// Since the start: what Prometheus wants.
    total: Interval,
}

impl Inner {
    fn count(&mut self, key: Key) {
        self.total.counters.entry(key.clone()).or_default().add(1.0);
        self.now.counters.entry(key).or_default().add(1.0);
    }

    fn sample(&mut self, key: Key, value: f64) {
        self.total
            .samples
            .entry(key.clone())
            .or_default()
            .add(value);
        self.now.samples.entry(key).or_default().add(value);
    }
}

/// The metrics of an agent.
#[derive(Debug, Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
    blocking: AtomicI64,
}

/// The time that a snapshot sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The last complete interval: Consul's JSON.
    Interval,
    /// Everything since the start, never falling: what Prometheus computes rates from.
    SinceStart,
}

/// A value that is read when it is asked for.
pub type Gauge = (String, f64, Vec<(&'static str, String)>);

fn interval_number() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() / INTERVAL.as_secs())
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let number = interval_number();
        if inner.now.number != number {
            let over = std::mem::replace(
                &mut inner.now,
                Interval {
                    number,
                    ..Interval::default()
                },
            );
            // An interval without a successor is old: nothing happened since.
            inner.last = Some(over).filter(|i| i.number + 1 == number || i.number != 0);
        }
        inner
    }

    /// Counts one.
    pub fn count(&self, name: &'static str) {
        self.lock().count((name, Vec::new()));
    }

    /// Notes a request of the HTTP API. `endpoint` is its pattern.
    pub fn http_request(&self, method: &str, endpoint: &'static str, took: Duration) {
        // v1/agent/service/ becomes v1_agent_service_, as in Consul.
        let path = endpoint.trim_start_matches('/').replace('/', "_");
        // A client chooses its words; what it makes up must not become names of ours.
        let method = match method {
            "GET" | "PUT" | "POST" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH" => method,
            _ => "other",
        };
        let labels = vec![("method", method.to_owned()), ("path", path)];
        self.lock()
            .sample(("api.http", labels), took.as_secs_f64() * 1000.0);
    }

    /// Counts a query that waits, until the value is dropped.
    pub fn query_blocks(&self) -> impl Drop {
        struct Waits<'a>(&'a Metrics);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.blocking.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.blocking.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// How many queries wait now.
    pub fn blocking_now(&self) -> i64 {
        self.blocking.load(Ordering::Relaxed)
    }

    /// The last complete interval, or the present one while there is none, in Consul's JSON form.
    /// Names that `wanted` refuses are left out.
    pub fn snapshot(
        &self,
        prefix: &str,
        host: Option<&str>,
        gauges: Vec<Gauge>,
        span: Span,
        wanted: impl Fn(&str) -> bool,
    ) -> Snapshot {
        let interval = {
            let inner = self.lock();
            match span {
                Span::Interval => inner.last.clone().unwrap_or_else(|| inner.now.clone()),
                Span::SinceStart => Interval {
                    number: inner.now.number,
                    ..inner.total.clone()
                },
            }
        };
        let name = |n: &str| format!("{prefix}.{n}");
        let values = |all: &BTreeMap<Key, Aggregate>| {
            all.iter()
                .filter(|((n, _), _)| wanted(&name(n)))
                .map(|((n, labels), a)| Value {
                    name: name(n),
                    count: a.count,
                    rate: a.sum / INTERVAL.as_secs_f64(),
                    sum: a.sum,
                    min: a.min,
                    max: a.max,
                    mean: if a.count == 0 {
                        0.0
                    } else {
                        a.sum / a.count as f64
                    },
                    stddev: a.deviation(),
                    labels: labels.iter().cloned().collect(),
                })
                .collect()
        };
        let mut gauges: Vec<GaugeValue> = gauges
            .into_iter()
            .filter(|(n, _, _)| wanted(&name(n)))
            .map(|(n, value, labels)| GaugeValue {
                name: match host {
                    Some(host) => format!("{prefix}.{host}.{n}"),
                    None => name(&n),
                },
                value,
                labels: labels.into_iter().collect(),
            })
            .collect();
        gauges.sort_by(|a, b| a.name.cmp(&b.name));
        Snapshot {
            timestamp: format!(
                "{} +0000 UTC",
                crate::time::date_time(interval.number * INTERVAL.as_secs())
            ),
            gauges,
            points: Vec::new(),
            counters: values(&interval.counters),
            samples: values(&interval.samples),
        }
    }
}

/// What `/v1/agent/metrics` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    timestamp: String,
    gauges: Vec<GaugeValue>,
    points: Vec<()>,
    counters: Vec<Value>,
    samples: Vec<Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GaugeValue {
    name: String,
    value: f64,
    labels: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    name: String,
    count: u64,
    rate: f64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: BTreeMap<&'static str, String>,
}

impl Snapshot {
    /// The text form that Prometheus reads.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let plain = |name: &str| name.replace(['.', '-', ' ', '/', '='], "_");
        let labels = |all: &BTreeMap<&'static str, String>| {
            if all.is_empty() {
                return String::new();
            }
            let parts: Vec<String> = all
                .iter()
                .map(|(k, v)| {
                    format!(
                        "{k}=\"{}\"",
                        v.replace('\\', "\\\\")
                            .replace('"', "\\\"")
                            .replace('\n', "\\n")
                    )
                })
                .collect();
            format!("{{{}}}", parts.join(","))
        };
        let mut known = "";
        let head = |out: &mut String, name: &str, kind: &str| {
            let _ = writeln!(out, "# HELP {name} {name}\n# TYPE {name} {kind}");
        };
        let mut last = String::new();
        for g in &self.gauges {
            let name = plain(&g.name);
            if name != last {
                head(&mut out, &name, "gauge");
                last.clone_from(&name);
            }
            let _ = writeln!(out, "{name}{} {}", labels(&g.labels), g.value);
        }
        for c in &self.counters {
            let name = plain(&c.name);
            head(&mut out, &name, "counter");
            let _ = writeln!(out, "{name}{} {}", labels(&c.labels), c.sum);
        }
        for s in &self.samples {
            let name = plain(&s.name);
            if s.name != known {
                head(&mut out, &name, "summary");
                known = &s.name;
            }
            let l = labels(&s.labels);
            let _ = writeln!(out, "{name}_sum{l} {}\n{name}_count{l} {}", s.sum, s.count);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_sums_up() {
        let mut a = Aggregate::default();
        [1.0, 2.0, 3.0].into_iter().for_each(|v| a.add(v));
        assert_eq!(
            (a.count, a.sum, a.min, a.max, a.deviation()),
            (3, 6.0, 1.0, 3.0, 1.0)
        );
    }

    #[test]
    fn both_forms_show_what_was_counted() {
        let m = Metrics::default();
        m.count("rpc.request");
        m.http_request("GET", "/v1/kv/", Duration::from_millis(5));
        let s = m.snapshot(
            "consul",
            Some("h"),
            vec![(
                "state.nodes".into(),
                1.0,
                vec![("datacenter", "dc1".into())],
            )],
            Span::Interval,
            |_| true,
        );
        let json = serde_json::to_string(&s).unwrap();
        assert!(
            json.contains("consul.h.state.nodes") && json.contains("consul.api.http"),
            "{json}"
        );
        let text = s.prometheus();
        assert!(
            text.contains("consul_h_state_nodes{datacenter=\"dc1\"} 1"),
            "{text}"
        );
        assert!(text.contains("consul_rpc_request 1"), "{text}");
        m.lock().now = Interval::default();
        let since = m.snapshot("consul", None, Vec::new(), Span::SinceStart, |_| true);
        assert!(
            since.prometheus().contains("consul_rpc_request 1"),
            "a counter never falls"
        );
    }
}
