//! What the user wants: flags over environment over defaults.
//!
//! Each group of settings is one type whose fields are flags and, behind `LICTOR_DEMO_`,
//! variables; `resolve` turns what was given into what is used.

use crate::choose::Ways;
use crate::protocol::Protocol;
use crate::random::{Random, fresh_seed};
use crate::resolver::Resolver;
use crate::schedule::{Turn, longest_absence};
use crate::transcript::Color;
use clap::ArgAction;
use lictor_client::{Client, ClientConfig, Endpoint};
use lictor_wire::GoDuration;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

type Env = [(String, String)];

/// Fills what flags left open from the environment. Listing a field wrongly does not compile.
macro_rules! over {
    ($type:ident, $flags:expr, $env:expr; $($field:ident),* $(,)?) => {{
        let (flags, env) = ($flags, $env);
        $type { $($field: flags.$field.or(env.$field)),* }
    }};
}

fn from_env<T: serde::de::DeserializeOwned>(env: &Env) -> Result<T, String> {
    // An empty variable is no setting: compose files pass on what is not set that way.
    let given = env.iter().filter(|(_, v)| !v.is_empty()).cloned();
    envy::prefixed("LICTOR_DEMO_")
        .from_iter(given)
        .map_err(|err| format!("LICTOR_DEMO_ environment: {err}"))
}

/// Settings of every command.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct CommonArgs {
    /// The name of the service. Without it: lictor-demo.
    #[arg(long)]
    name: Option<String>,
    /// The agent's HTTP address. Without it: CONSUL_HTTP_ADDR, else 127.0.0.1:8500.
    #[arg(long, value_name = "address")]
    http_addr: Option<String>,
    /// The ACL token. Without it: CONSUL_HTTP_TOKEN.
    #[arg(long)]
    token: Option<String>,
    /// Speak only this protocol, v1 or v2.
    #[arg(long, value_name = "protocol")]
    version: Option<Protocol>,
    /// A number that all choices follow from, to repeat a run. Without it: another each time.
    #[arg(long, value_name = "number")]
    seed: Option<u64>,
    /// Whether lines are coloured: auto, always or never.
    #[arg(long, value_name = "when")]
    color: Option<Color>,
}

/// Settings of the server.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct ServerOnlyArgs {
    /// How long it stays on a port. Without it: 5s.
    #[arg(long, value_parser = GoDuration::parse, value_name = "duration")]
    interval: Option<GoDuration>,
    /// How long it serves on after it has deregistered. Without it: 1s.
    #[arg(long, value_parser = GoDuration::parse, value_name = "duration")]
    grace: Option<GoDuration>,
    /// The address it registers; "auto" is the one it has towards its agent. Without it: none, which
    /// means that of the agent's node.
    #[arg(long)]
    address: Option<String>,
    /// The address it listens on. Without it: 0.0.0.0.
    #[arg(long, value_name = "address")]
    bind: Option<IpAddr>,
    /// Its place among servers that move in turn, like 1/2: with two there is always one to call.
    #[arg(long, value_name = "place")]
    turn: Option<Turn>,
}

/// Settings of the client.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct ClientOnlyArgs {
    /// Requests per second. Without it: 2.
    #[arg(long, value_name = "number")]
    rate: Option<f64>,
    /// End after this many requests. Without it: never.
    #[arg(long, value_name = "number")]
    count: Option<u64>,
    /// How to look up: both (in turn), dns or http.
    #[arg(long, value_name = "way")]
    via: Option<Ways>,
    /// The DNS server, host:port, or "system" for that of the system. Without it: port 8600 of the
    /// agent's host.
    #[arg(long, value_name = "address")]
    dns_addr: Option<String>,
    /// The domain of the agent's names. Without it: consul.
    #[arg(long)]
    domain: Option<String>,
    /// The limit of each step of a request. Without it: 2s.
    #[arg(long, value_parser = GoDuration::parse, value_name = "duration")]
    timeout: Option<GoDuration>,
    /// Fail in the end if any request failed.
    #[arg(long, action = ArgAction::Set)]
    strict: Option<bool>,
}

/// Settings of `up` alone.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct UpOnlyArgs {
    /// The program to start the agent with. Without it: lictor beside this program, else in PATH.
    #[arg(long, value_name = "path")]
    lictor: Option<PathBuf>,
    /// How many servers. Without it: 2.
    #[arg(long, value_name = "number")]
    servers: Option<u64>,
}

/// Flags of `server`.
#[derive(clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    server: ServerOnlyArgs,
}

/// Flags of `client`.
#[derive(clap::Args)]
pub struct ClientArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    client: ClientOnlyArgs,
}

/// Flags of `up`.
#[derive(clap::Args)]
pub struct UpArgs {
    #[command(flatten)]
    up: UpOnlyArgs,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    server: ServerOnlyArgs,
    #[command(flatten)]
    client: ClientOnlyArgs,
}

/// What every command uses.
#[derive(Clone, Debug)]
pub struct Common {
    pub name: String,
    /// An agent that was named for the demo, and not only by the usual variables.
    pub http_addr: Option<String>,
    token: Option<String>,
    version: Option<Protocol>,
    seed: u64,
    pub color: Color,
}

impl Common {
    /// Where the agent is.
    fn client_config(&self, env: &Env) -> Result<ClientConfig, String> {
        let lookup = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let mut config = ClientConfig::from_env(lookup).map_err(|err| err.to_string())?;
        if let Some(address) = &self.http_addr {
            config.address.clone_from(address);
        }
        if let Some(token) = &self.token {
            config.token = Some(token.clone());
            config.token_file = None;
        }
        Ok(config)
    }

    /// A client of that agent.
    pub fn client(&self, env: &Env) -> Result<Client, String> {
        Client::new(self.client_config(env)?).map_err(|err| err.to_string())
    }
}

/// What a server uses.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub interval: Duration,
    pub grace: Duration,
    pub address: String,
    pub bind: IpAddr,
    pub turn: Option<Turn>,
    pub locked: Option<Protocol>,
    pub random: Random,
}

/// What a client uses.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: String,
    /// The time between two requests.
    pub period: Duration,
    /// How many requests; `None` for no end.
    pub count: Option<u64>,
    pub ways: Ways,
    pub resolver: Resolver,
    pub domain: String,
    pub timeout: Duration,
    pub strict: bool,
    pub locked: Option<Protocol>,
    pub random: Random,
}

/// What `server` uses.
pub struct ServerSettings {
    pub common: Common,
    pub server: Server,
}

/// What `client` uses.
pub struct ClientSettings {
    pub common: Common,
    pub client: Caller,
}

/// What `up` uses.
pub struct UpSettings {
    pub common: Common,
    pub server: Server,
    pub client: Caller,
    pub lictor: Option<PathBuf>,
    pub servers: u64,
}

fn common(flags: CommonArgs, env: &Env) -> Result<Common, String> {
    let given = over!(CommonArgs, flags, from_env::<CommonArgs>(env)?; name, http_addr, token, version, seed, color);
    Ok(Common {
        name: given.name.unwrap_or_else(|| "lictor-demo".to_owned()),
        http_addr: given.http_addr,
        token: given.token,
        version: given.version,
        seed: given.seed.unwrap_or_else(fresh_seed),
        color: given.color.unwrap_or_default(),
    })
}

fn positive(what: &str, given: Option<GoDuration>, default: Duration) -> Result<Duration, String> {
    match given {
        None => Ok(default),
        Some(d) if d.0 > 0 => Ok(d.to_std()),
        Some(d) => Err(format!("-{what} must be above zero, not {d}")),
    }
}

fn server(
    flags: ServerOnlyArgs,
    common: &Common,
    random: Random,
    env: &Env,
) -> Result<Server, String> {
    let given = over!(ServerOnlyArgs, flags, from_env::<ServerOnlyArgs>(env)?; interval, grace, address, bind, turn);
    let grace = match given.grace {
        None => Duration::from_secs(1),
        Some(d) if d.0 >= 0 => d.to_std(),
        Some(d) => return Err(format!("-grace must not be below zero, but is {d}")),
    };
    Ok(Server {
        name: common.name.clone(),
        interval: positive("interval", given.interval, Duration::from_secs(5))?,
        grace,
        address: given.address.unwrap_or_default(),
        bind: given.bind.unwrap_or_else(|| IpAddr::from([0, 0, 0, 0])),
        turn: given.turn,
        locked: common.version,
        random,
    })
}

fn client(
    flags: ClientOnlyArgs,
    common: &Common,
    random: Random,
    env: &Env,
) -> Result<Caller, String> {
    let given = over!(ClientOnlyArgs, flags, from_env::<ClientOnlyArgs>(env)?;
        rate, count, via, dns_addr, domain, timeout, strict);
    let rate = given.rate.unwrap_or(2.0);
    if !(rate > 0.0 && rate <= 10_000.0) {
        return Err(format!(
            "-rate must be above zero and at most 10000, not {rate}"
        ));
    }
    let resolver = match given.dns_addr.as_deref() {
        Some("system") => Resolver::System,
        Some(address) if address.contains(':') => Resolver::At(address.to_owned()),
        Some(address) => Resolver::At(format!("{address}:53")),
        None => Resolver::At(dns_beside(&common.client_config(env)?)?),
    };
    Ok(Caller {
        name: common.name.clone(),
        period: Duration::from_secs_f64(1.0 / rate),
        count: given.count.filter(|n| *n > 0),
        ways: given.via.unwrap_or_default(),
        resolver,
        domain: given.domain.unwrap_or_else(|| "consul".to_owned()),
        timeout: positive("timeout", given.timeout, Duration::from_secs(2))?,
        strict: given.strict.unwrap_or(false),
        locked: common.version,
        random,
    })
}

/// The usual DNS port on the agent's host.
fn dns_beside(config: &ClientConfig) -> Result<String, String> {
    Ok(match config.endpoint().map_err(|err| err.to_string())? {
        Endpoint::Tcp { host, .. } if host.contains(':') => format!("[{host}]:8600"),
        Endpoint::Tcp { host, .. } => format!("{host}:8600"),
        Endpoint::Unix(_) => "127.0.0.1:8600".to_owned(),
    })
}

/// Refuses what would leave nobody to call while servers move in turn.
fn always_one(server: &Server, servers: u64) -> Result<(), String> {
    match longest_absence(server.interval, servers) {
        Some(limit) if server.grace >= limit => Err(format!(
            "-grace={:?} is too long for {servers} servers with -interval={:?}: a server that moves is in no lookup \
             for so long, and from {limit:?} on all of them are at the same time, so that requests fail. \
             Take a shorter -grace, a longer -interval or more servers.",
            server.grace, server.interval
        )),
        _ => Ok(()),
    }
}

impl ServerArgs {
    pub fn resolve(self, env: &Env) -> Result<ServerSettings, String> {
        let common = common(self.common, env)?;
        let server = server(self.server, &common, Random::new(common.seed), env)?;
        always_one(&server, server.turn.map_or(1, Turn::count))?;
        Ok(ServerSettings { common, server })
    }
}

impl ClientArgs {
    pub fn resolve(self, env: &Env) -> Result<ClientSettings, String> {
        let common = common(self.common, env)?;
        let client = client(self.client, &common, Random::new(common.seed), env)?;
        Ok(ClientSettings { common, client })
    }
}

impl UpArgs {
    pub fn resolve(self, env: &Env) -> Result<UpSettings, String> {
        let common = common(self.common, env)?;
        let mut random = Random::new(common.seed);
        let given = over!(UpOnlyArgs, self.up, from_env::<UpOnlyArgs>(env)?; lictor, servers);
        let servers = given.servers.unwrap_or(2);
        if !(1..=50).contains(&servers) {
            return Err(format!("-servers must be from 1 to 50, not {servers}"));
        }
        let server = server(self.server, &common, random.split(), env)?;
        match server.turn {
            Some(_) if servers > 1 => {
                return Err(format!(
                    "-turn is the place of one server, but -servers is {servers}, and each takes its own: leave -turn out."
                ));
            }
            Some(turn) => always_one(&server, turn.count())?,
            None => always_one(&server, servers)?,
        }
        Ok(UpSettings {
            server,
            client: client(self.client, &common, random.split(), env)?,
            lictor: given.lictor,
            servers,
            common,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Via;
    use lictor_cli::goflags;

    fn env(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        vars.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn flags<A: clap::Args>(words: &[&str]) -> A {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        match goflags::parse::<A>(&words) {
            Ok((args, _)) => args,
            Err(stop) => panic!("{stop:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_defaults() {
        let vars = env(&[
            ("LICTOR_DEMO_NAME", "web"),
            ("LICTOR_DEMO_RATE", "10"),
            ("LICTOR_DEMO_COUNT", "7"),
            ("LICTOR_DEMO_VIA", "dns"),
            ("LICTOR_DEMO_TIMEOUT", "300ms"),
            ("LICTOR_DEMO_VERSION", "v2"),
            ("LICTOR_DEMO_DOMAIN", ""),
            ("CONSUL_HTTP_ADDR", "http://agent.example:8500"),
        ]);
        let s = flags::<ClientArgs>(&["-rate=4", "--strict"])
            .resolve(&vars)
            .unwrap();
        let c = &s.client;
        assert_eq!(
            (s.common.name.as_str(), c.period, c.count),
            ("web", Duration::from_millis(250), Some(7))
        );
        assert_eq!(
            (c.ways, c.timeout, c.locked),
            (
                Ways::Only(Via::Dns),
                Duration::from_millis(300),
                Some(Protocol::V2)
            )
        );
        assert_eq!((c.domain.as_str(), c.strict), ("consul", true));
        assert_eq!(c.resolver, Resolver::At("agent.example:8600".into()));
    }

    #[test]
    fn a_server_has_its_defaults() {
        let s = flags::<ServerArgs>(&[]).resolve(&[]).unwrap().server;
        assert_eq!(
            (s.name.as_str(), s.interval, s.grace),
            (
                "lictor-demo",
                Duration::from_secs(5),
                Duration::from_secs(1)
            )
        );
        assert_eq!(
            (s.address.as_str(), s.bind.to_string().as_str(), s.turn),
            ("", "0.0.0.0", None)
        );
        let s = flags::<ServerArgs>(&["-turn=2/2", "-grace", "0s"])
            .resolve(&[])
            .unwrap()
            .server;
        assert_eq!((s.turn, s.grace), (Turn::new(2, 2), Duration::ZERO));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let fails = |words: &[&str]| flags::<UpArgs>(words).resolve(&[]).err().unwrap();
        assert!(fails(&["-rate=0"]).contains("-rate"));
        assert!(fails(&["-servers=0"]).contains("-servers"));
        assert!(fails(&["-interval=0s"]).contains("-interval"));
        assert!(fails(&["-turn=1/2"]).contains("-turn"));
        let text = fails(&["-grace=2500ms"]);
        assert!(
            text.starts_with("-grace=2.5s is too long for 2 servers with -interval=5s"),
            "{text}"
        );
        let fits = |words: &[&str]| flags::<UpArgs>(words).resolve(&[]).is_ok();
        assert!(fits(&["-grace=2499ms"]) && fits(&["-grace=3s", "-servers=3"]));
        assert!(fits(&["-grace=9s", "-servers=1"]) && !fits(&["-grace=4s", "-servers=3"]));
        let fits = |words: &[&str]| flags::<ServerArgs>(words).resolve(&[]).is_ok();
        assert!(fits(&["-grace=9s"]) && !fits(&["-grace=9s", "-turn=1/2"]));
        let bad = flags::<ServerArgs>(&[])
            .resolve(&env(&[("LICTOR_DEMO_TURN", "3/2")]))
            .err()
            .unwrap();
        assert!(bad.contains("3/2"), "{bad}");
    }

    #[test]
    fn one_seed_gives_each_part_its_own() {
        let up = || flags::<UpArgs>(&["-seed=1"]).resolve(&[]).unwrap();
        let (mut a, mut b) = (up(), up());
        assert_eq!(a.server.random.next(), b.server.random.next());
        assert_ne!(a.server.random.next(), b.client.random.next());
    }
}
