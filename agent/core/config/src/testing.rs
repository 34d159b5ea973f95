//! Shared by the tests: loading from short texts.

use lictor_sockaddr::{Flags as NetFlags, Interface};

use crate::{Config, Errors, Format, Loaded, Source, load, parse_agent_flags};

/// Loads with `data_dir` and a bind address set, so that each test says only what it is about.
pub(crate) fn load_all(
    flags: &[&str],
    sources: &[(&str, &str)],
    env: &[(&str, &str)],
) -> Result<Loaded, Errors> {
    load_on(&[], flags, sources, env)
}

pub(crate) fn load_on(
    interfaces: &[Interface],
    flags: &[&str],
    sources: &[(&str, &str)],
    env: &[(&str, &str)],
) -> Result<Loaded, Errors> {
    let flags = parse_agent_flags(flags.iter().copied()).expect("flags");
    let sources = sources
        .iter()
        .map(|(name, text)| {
            Source::new(
                *name,
                Format::of_path(name).unwrap_or(Format::Hcl),
                text.as_bytes(),
            )
        })
        .collect();
    let env = env
        .iter()
        .map(|(k, v)| ((*k).to_string(), (*v).to_string()));
    load(&flags, sources, env, interfaces, "host")
}

pub(crate) const BASE: (&str, &str) = (
    "base.json",
    r#"{"data_dir": "/srv/x", "bind_addr": "127.0.0.1"}"#,
);

pub(crate) fn good(text: &str) -> Loaded {
    load_all(&[], &[BASE, ("F.hcl", text)], &[]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub(crate) fn bad(text: &str) -> String {
    load_all(&[], &[BASE, ("F.hcl", text)], &[])
        .expect_err(text)
        .to_string()
}

pub(crate) fn bad_json(text: &str) -> String {
    load_all(&[], &[BASE, ("F.json", text)], &[])
        .expect_err(text)
        .to_string()
}

pub(crate) fn config(text: &str) -> Config {
    good(text).config
}

pub(crate) fn up(name: &str, addresses: &[&str]) -> Interface {
    Interface {
        name: name.into(),
        flags: NetFlags::UP,
        addresses: addresses
            .iter()
            .map(|a| (a.parse().expect("address"), 24))
            .collect(),
        is_default_route: true,
        ..Interface::default()
    }
}
