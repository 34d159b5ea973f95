//! Finds the address to tell others, where nobody set one: facts of this machine and of metadata
//! services, decided by `lictor_container`.

use crate::cloud::{Signs, path_of, signs, socket};
use lictor_config::{Config, Flags, Format, Source, given::Given, given::Item, parse_agent_flags};
use lictor_container::{AddressFacts, Decision, Nic, Place, choose_address};
use lictor_docker::{metadata, own};
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The decision of this process. A reload does not change it.
static DECIDED: OnceLock<Decision> = OnceLock::new();

/// What set the address, where there was nothing to decide.
static SET_BY: OnceLock<String> = OnceLock::new();

/// Where this process runs, as far as that is known without asking a metadata service.
static PLACE: OnceLock<Place> = OnceLock::new();

/// The keys that settle the address.
const SETTLING: [&str; 3] = ["advertise_addr", "advertise_addr_ipv4", "bind_addr"];

/// Consul's rule for a host.
const ONLY_PRIVATE: &str = "the only private address";

/// The name of the source that a found address comes from.
const NAME: &str = "address detection";

/// The values of a key in all sources, the last one first.
fn given<'a>(all: &'a [Given], path: &str) -> Option<(&'a str, String)> {
    all.iter().rev().find_map(|given| {
        let Some(Item::Text(text)) = given.item(path) else {
            return None;
        };
        let from = given.origin(path).map(ToString::to_string);
        Some((
            text.as_str(),
            format!("{path} of {}", from.unwrap_or_default()),
        ))
    })
}

fn everything(flags: &Flags, sources: &[Source]) -> Vec<Given> {
    let mut all = vec![flags.lists.clone()];
    let mut unsaid = Vec::new();
    all.extend(
        sources
            .iter()
            .filter_map(|s| lictor_config::read(s, &mut unsaid).ok()),
    );
    all.extend(lictor_config::env::read(std::env::vars()).ok());
    all.push(flags.scalars.clone());
    all.extend(flags.hcl.iter().filter_map(|text| {
        lictor_config::read(
            &Source::new("-hcl", Format::Hcl, text.as_bytes()),
            &mut unsaid,
        )
        .ok()
    }));
    all
}

/// Whether an address was set, so that there is nothing to find.
fn settled(all: &[Given]) -> bool {
    SETTLING
        .iter()
        .any(|key| given(all, key).is_some_and(|(text, _)| !text.is_empty() && text != "0.0.0.0"))
}

/// Which setting it was.
fn set_by(all: &[Given]) -> String {
    let set = SETTLING.iter().find_map(|key| given(all, key));
    set.map_or_else(|| "development mode".to_owned(), |(_, from)| from)
}

/// Addresses as a source of configuration, to be laid below all others: the one to tell others,
/// where it has to be found and Consul's rule (the only private IPv4 address of the host) does not
/// settle it; and those to listen on for clients, in a container with a network namespace of its own.
///
/// # Errors
/// What is missing, where the agent could not be reached by those it is to join.
pub fn found(flags: &Flags, sources: &[Source]) -> Result<Option<Source>, String> {
    let all = everything(flags, sources);
    let (place, mut text) = if flags.dev || settled(&all) {
        SET_BY.get_or_init(|| set_by(&all));
        let place = *PLACE.get_or_init(|| facts(false).place());
        (place, String::new())
    } else {
        let decision = DECIDED.get_or_init(|| choose_address(&facts(true)));
        (decision.place, advertised(decision, &all)?)
    };
    // Nobody else is in a container's own namespace: an agent that listens on its loopback only is
    // of no use.
    if place != Place::Host && given(&all, "client_addr").is_none() {
        text.push_str("client_addr = \"0.0.0.0\"\n");
    }
    Ok((!text.is_empty()).then(|| Source::new(NAME, Format::Hcl, text.as_bytes())))
}

/// The address to tell others as a line of configuration; empty where Consul's rule settles it.
fn advertised(decision: &Decision, all: &[Given]) -> Result<String, String> {
    let by_consuls_rule = decision.place == Place::Host && private_addresses() == 1;
    match &decision.chosen {
        Ok((address, rule)) if !by_consuls_rule || rule.contains("EC2") => {
            Ok(format!("advertise_addr = \"{address}\"\n"))
        }
        Err(why) if decision.place == Place::Bridge && has_others(all) => Err(why.clone()),
        _ => Ok(String::new()),
    }
}

/// Whether the agent is to work with others.
fn has_others(all: &[Given]) -> bool {
    all.iter().any(|given| {
        let joins = [
            "retry_join",
            "start_join",
            "retry_join_wan",
            "start_join_wan",
        ];
        let list = |path: &&str| matches!(given.item(path), Some(Item::List(l)) if !l.is_empty());
        joins.iter().any(list)
            || matches!(given.item("bootstrap_expect"), Some(Item::Int(n)) if *n > 1)
    })
}

fn private_addresses() -> usize {
    let all = lictor_host::interfaces().unwrap_or_default();
    let addresses = all.iter().flat_map(|i| &i.addresses);
    addresses
        .filter(|(a, _)| matches!(a, IpAddr::V4(v4) if v4.is_private()))
        .count()
}

/// Which address this agent tells others, by which rule, and what was rejected.
pub struct Told {
    /// The rule.
    pub rule: String,
    /// Where the agent runs.
    pub place: String,
    /// The addresses that were not taken, with their interfaces and why.
    pub rejected: String,
}

/// How the address of this process was found.
pub fn told(config: &Config) -> Told {
    let Some(decision) = DECIDED.get() else {
        return Told {
            rule: SET_BY.get().cloned().unwrap_or_default(),
            place: PLACE.get().map(ToString::to_string).unwrap_or_default(),
            rejected: String::new(),
        };
    };
    let rule = match &decision.chosen {
        Ok((address, rule)) if *address == config.advertise.lan => rule.as_str(),
        _ => ONLY_PRIVATE,
    };
    let rejected: Vec<String> = decision
        .rejected
        .iter()
        .filter(|r| r.address != config.advertise.lan)
        .map(|r| format!("{} ({}: {})", r.address, r.of, r.why))
        .collect();
    Told {
        rule: rule.to_owned(),
        place: decision.place.to_string(),
        rejected: rejected.join(", "),
    }
}

/// Tells the log how the address was found.
pub fn log(config: &Config) {
    let Told {
        rule,
        place,
        rejected,
    } = told(config);
    tracing::info!(target: "agent", address = %config.advertise.lan, rule, place, rejected, "advertise address found");
}

/// What is known of this machine; with `cloud`, what metadata services say of it, too.
fn facts(cloud: bool) -> AddressFacts {
    let line = |nic: &str, file: &str| {
        let text = std::fs::read_to_string(format!("/sys/class/net/{nic}/{file}"));
        text.map(|t| t.trim().to_owned()).unwrap_or_default()
    };
    let nics = lictor_host::interfaces().unwrap_or_default();
    let nics: Vec<Nic> = nics
        .into_iter()
        .map(|i| Nic {
            addresses: i.addresses.iter().map(|(address, _)| *address).collect(),
            paired: line(&i.name, "iflink") != line(&i.name, "ifindex"),
            name: i.name,
        })
        .collect();
    let (ec2, task) = if cloud { ask_cloud() } else { (None, None) };
    AddressFacts {
        given: None,
        nics,
        route: lictor_host::default_route_sources(),
        in_container: own::container_id().is_some()
            || ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|p| Path::new(p).exists()),
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        ec2,
        task,
    }
}

type Ec2Answer = Option<Result<IpAddr, String>>;
type TaskAnswer = Option<(String, Vec<IpAddr>)>;

/// Asks the metadata services that there should be. A machine that is none of AWS asks nobody.
fn ask_cloud() -> (Ec2Answer, TaskAnswer) {
    let Signs { ec2, task } = signs();
    if ec2.is_none() && task.is_none() {
        return (None, None);
    }
    // The configuration is read before there is a runtime, and again within one.
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        Some(runtime.block_on(async {
            let task = match task {
                Some(uri) => own_task(&uri).await,
                None => None,
            };
            let ec2 = match ec2 {
                Some(at) => Some(match metadata::Ec2::session(at).await {
                    Ok(mut session) => session.local_ipv4().await,
                    Err(error) => Err(error),
                }),
                None => None,
            };
            (ec2, task)
        }))
    });
    asking.join().ok().flatten().unwrap_or((None, None))
}

async fn own_task(uri: &str) -> TaskAnswer {
    let limit = Duration::from_secs(2);
    let answer = metadata::ask(socket(uri)?, "GET", path_of(uri), &[], limit).await;
    answer
        .ok()
        .and_then(|answer| metadata::own_task(&answer.body))
}

/// `lictor addresses`: shows which address an agent with these flags would tell others, and why.
pub fn run(args: &[String], program: &str) -> i32 {
    let flags = match parse_agent_flags(args) {
        Ok(flags) => flags,
        Err(lictor_config::FlagError::Help) => {
            println!(
                "Usage: {program} addresses [options of agent]\n\n  Shows which address an agent would tell others, and why; starts none.\n\n{}",
                lictor_config::flags::help(program)
            );
            return 0;
        }
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    let loader = crate::load::Loader::new(flags);
    let (flags, sources) = match loader.sources() {
        Ok(read) => read,
        Err(text) => {
            eprintln!("{text}");
            return 1;
        }
    };
    let all = everything(flags, &sources);
    let mut facts = facts(true);
    let loaded = loader.load();
    if settled(&all) || flags.dev {
        let from = set_by(&all);
        facts.given = loaded.as_ref().ok().map(|l| (l.config.advertise.lan, from));
    }
    let decision = choose_address(&facts);
    println!("Place      {}", decision.place);
    let code = match (&decision.chosen, &loaded) {
        (_, Err(text)) => {
            println!("Advertise  none: {text}");
            1
        }
        (Ok((address, rule)), Ok(l)) if *address == l.config.advertise.lan => {
            println!("Advertise  {address}: {rule}");
            0
        }
        (_, Ok(l)) => {
            println!("Advertise  {}: {ONLY_PRIVATE}", l.config.advertise.lan);
            0
        }
    };
    if let Ok(l) = &loaded {
        let clients: Vec<String> = l
            .config
            .client_addrs
            .iter()
            .map(ToString::to_string)
            .collect();
        println!("Bind       {}", l.config.bind_addr);
        println!("Client     {}", clients.join(" "));
    }
    let chosen = loaded.ok().map(|l| l.config.advertise.lan);
    for r in decision
        .rejected
        .iter()
        .filter(|r| Some(r.address) != chosen)
    {
        println!("Rejected   {} ({}): {}", r.address, r.of, r.why);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Flags {
        parse_agent_flags(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_set_is_not_looked_for() {
        let file = |text: &str| [Source::new("a.hcl", Format::Hcl, text.as_bytes())];
        assert!(settled(&everything(&flags(&["-bind=10.0.0.1"]), &[])));
        assert!(settled(&everything(
            &flags(&[]),
            &file("advertise_addr = \"10.0.0.1\"")
        )));
        assert!(settled(&everything(
            &flags(&["-hcl", "bind_addr = \"10.0.0.1\""]),
            &[]
        )));
        assert!(!settled(&everything(
            &flags(&["-bind=0.0.0.0"]),
            &file("server = true")
        )));
        // Wherever the tests run, with the client's address set nothing is left to be found.
        for words in [
            ["-dev", "-client=127.0.0.1"],
            ["-advertise=10.0.0.1", "-client=127.0.0.1"],
        ] {
            assert_eq!(found(&flags(&words), &[]), Ok(None));
        }
    }

    #[test]
    fn others_are_those_to_join_or_to_wait_for() {
        let all = |words: &[&str]| everything(&flags(words), &[]);
        assert!(has_others(&all(&["-retry-join=a"])));
        assert!(has_others(&all(&["-server", "-bootstrap-expect=3"])));
        assert!(!has_others(&all(&["-server", "-bootstrap-expect=1"])));
    }
}
