//! The query string: parameters, and the options that every read understands.

use super::{Call, HttpError};
use crate::agent::Shared;
use crate::query::{Freshness, Narrow, ReadOptions};
use lictor_wire::{GoDuration, Str};
use std::borrow::Cow;
use std::time::Duration;

/// The parameters of a query string, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string. `None` where Go refuses it: a broken escape, or a semicolon.
    pub fn parse(query: &str) -> Option<Params> {
        let mut out = Vec::new();
        for part in query.split('&').filter(|p| !p.is_empty()) {
            if part.contains(';') {
                return None;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            out.push((
                unescape(name, true)?.into_owned(),
                unescape(value, true)?.into_owned(),
            ));
        }
        Some(Params(out))
    }

    /// The first value of a parameter; the empty text where it is absent, as in Go.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, v)| v)
    }

    /// Whether the parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The parameters as Go's `Values.Encode` writes them: sorted by name.
    pub fn encode(&self) -> String {
        let mut sorted: Vec<&(String, String)> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let parts: Vec<String> = sorted
            .iter()
            .map(|(n, v)| format!("{}={}", escape(n), escape(v)))
            .collect();
        parts.join("&")
    }
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Percent-decodes; `plus` reads `+` as a blank, as in query strings. Bytes that are not UTF-8
/// become replacement characters.
pub fn unescape(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

/// What the configuration says of reads.
#[derive(Clone, Copy, Debug)]
pub struct WaitLimits {
    /// Where the client names no time.
    pub default: Duration,
    /// However long the client would wait.
    pub max: Duration,
    /// Discovery reads without a word on consistency may be this stale; zero: not at all.
    pub discovery_max_stale: Duration,
    /// Whether `?cached` means something.
    pub use_cache: bool,
}

/// The time to wait: default and cap.
pub fn capped(wait: Duration, limits: &WaitLimits) -> Duration {
    if wait.is_zero() {
        limits.default
    } else {
        wait.min(limits.max)
    }
}

/// The time to wait with a random part of up to a sixteenth, so that those who began together do
/// not return together.
pub fn jittered(wait: Duration, limits: &WaitLimits) -> Duration {
    let base = capped(wait, limits);
    let spread = u64::try_from(base.as_millis() / 16).unwrap_or(0);
    base + Duration::from_millis(if spread == 0 {
        0
    } else {
        crate::random::below(spread + 1)
    })
}

/// Reads the options of a read. `discovery` is set for the catalog and health endpoints.
pub fn read_options(
    call: &Call,
    limits: &WaitLimits,
    discovery: bool,
) -> Result<ReadOptions, HttpError> {
    let p = &call.params;
    let asked = wait_time(p)?;
    let index = match p.get("index") {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| HttpError::bad_request("Invalid index"))?,
    };
    let (freshness, max_stale) = freshness(p, limits, discovery)?;
    let cached = p.has("cached") && limits.use_cache;
    if cached && freshness == Freshness::Consistent {
        return Err(HttpError::bad_request(
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ));
    }
    let control = if cached {
        cache_control(call)?
    } else {
        CacheControl::default()
    };
    Ok(ReadOptions {
        index,
        wait: jittered(asked, limits),
        asked: capped(asked, limits),
        freshness,
        cached,
        max_stale,
        max_age: control.max_age,
        stale_if_error: control.stale_if_error,
    })
}

/// `?wait=`; zero where it is absent.
pub fn wait_time(p: &Params) -> Result<Duration, HttpError> {
    match p.get("wait") {
        "" => Ok(Duration::ZERO),
        text => GoDuration::parse(text)
            .map(GoDuration::to_std)
            .map_err(|_| HttpError::bad_request("Invalid wait time")),
    }
}

fn freshness(
    p: &Params,
    limits: &WaitLimits,
    discovery: bool,
) -> Result<(Freshness, Duration), HttpError> {
    let mut max_stale = Duration::ZERO;
    let mut stale = p.has("stale");
    let consistent = p.has("consistent");
    let mut said = stale || consistent || p.has("leader");
    match p.get("max_stale") {
        "" => {}
        text => {
            let age = GoDuration::parse(text).map_err(|_| {
                HttpError::bad_request(format!(
                    "Invalid max_stale value {}",
                    lictor_wire::duration::go_quote(text)
                ))
            })?;
            if age.0 > 0 {
                max_stale = age.to_std();
                stale = true;
                said = true;
            }
        }
    }
    if discovery && !said && !limits.discovery_max_stale.is_zero() {
        max_stale = limits.discovery_max_stale;
        stale = true;
    }
    if stale && consistent {
        return Err(HttpError::bad_request(
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ));
    }
    let freshness = match (stale, consistent) {
        (true, _) => Freshness::Stale,
        (_, true) => Freshness::Consistent,
        _ => Freshness::Default,
    };
    Ok((freshness, max_stale))
}

/// What `Cache-Control` says to the agent's cache.
#[derive(Default)]
struct CacheControl {
    max_age: Option<Duration>,
    stale_if_error: Duration,
}

fn cache_control(call: &Call) -> Result<CacheControl, HttpError> {
    let mut out = CacheControl::default();
    let Some(header) = call.header("cache-control") else {
        return Ok(out);
    };
    for part in header.split(',').map(str::trim) {
        if part == "must-revalidate" {
            out.max_age = Some(Duration::ZERO);
        }
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        if !matches!(name, "max-age" | "stale-if-error") {
            continue;
        }
        let seconds = value
            .parse::<u32>()
            .map_err(|_| HttpError::bad_request("Invalid Cache-Control header."))?;
        let value = Duration::from_secs(seconds.into());
        match name {
            "max-age" => out.max_age = Some(value),
            _ => out.stale_if_error = value,
        }
    }
    Ok(out)
}

/// Which rows are wanted, and in what order: `?node-meta=key:value` and `?tag=`, each of which may
/// be given several times, `?filter=` and `?near=`.
pub fn narrow(shared: &Shared, p: &Params) -> Narrow {
    Narrow {
        tags: p
            .all("tag")
            .filter(|t| !t.is_empty())
            .map(Str::from)
            .collect(),
        meta: p
            .all("node-meta")
            .map(|pair| {
                let (k, v) = pair.split_once(':').unwrap_or((pair, ""));
                (k.into(), v.into())
            })
            .collect(),
        filter: p.get("filter").into(),
        near: match p.get("near") {
            "_agent" => shared.node_name.clone(),
            "_ip" => Str::new(),
            name => name.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_go_reads_them() {
        let p = Params::parse("a=1&b&a=2&c=%20+x&&d=").unwrap();
        assert_eq!(
            (p.get("a"), p.get("b"), p.get("c"), p.has("d"), p.has("e")),
            ("1", "", "  x", true, false)
        );
        assert_eq!(p.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(p.encode(), "a=1&a=2&b=&c=++x&d=");
        assert_eq!(Params::parse("a=%zz"), None);
        assert_eq!(Params::parse("a=%4"), None);
        assert_eq!(Params::parse("a;b"), None);
    }

    #[test]
    fn the_wait_is_capped_and_spread() {
        let limits = WaitLimits {
            default: Duration::from_secs(300),
            max: Duration::from_secs(600),
            discovery_max_stale: Duration::ZERO,
            use_cache: true,
        };
        for _ in 0..100 {
            let w = jittered(Duration::from_secs(3600), &limits);
            assert!(
                w >= Duration::from_secs(600) && w <= Duration::from_millis(637_500),
                "{w:?}"
            );
            let w = jittered(Duration::ZERO, &limits);
            assert!(
                w >= Duration::from_secs(300) && w <= Duration::from_millis(318_750),
                "{w:?}"
            );
        }
    }
}
