//! All sources, in order, into one configuration.

use std::sync::Arc;

use lictor_sockaddr::Interface;

use crate::config::Config;
use crate::decode::decode;
use crate::definitions::{CheckDefinition, ServiceDefinition};
use crate::error::Errors;
use crate::flags::Flags;
use crate::given::{Given, Item};
use crate::keys::{Schema, Support};
use crate::source::{Format, Source};
use crate::{env, hcl, json, resolve};

/// A configuration and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, one line each.
    pub warnings: Vec<String>,
}

/// Merges everything that was given and resolves it.
///
/// Later ones win: flags that collect, sources in their order, environment, other flags, `-hcl`
/// fragments. `environment` may be the whole environment; only `LICTOR_CONFIG_*` is read.
/// `interfaces` serve address templates and the search for an address to advertise; `hostname`
/// names the node where no key does.
///
/// # Errors
/// Everything wrong with the first bad source, or with the merged whole. Nothing is half done: the
/// function has no effects.
pub fn load(
    flags: &Flags,
    sources: Vec<Source>,
    environment: impl Iterator<Item = (String, String)>,
    interfaces: &[Interface],
    hostname: &str,
) -> Result<Loaded, Errors> {
    let mut warnings = Vec::new();
    let mut merged = settled(flags.lists.clone(), &mut warnings);
    for source in &sources {
        merged.merge(read(source, &mut warnings)?);
    }
    let environment = env::read(environment).map_err(Errors::Environment)?;
    merged.merge(settled(environment, &mut warnings));
    merged.merge(settled(flags.scalars.clone(), &mut warnings));
    for (i, text) in flags.hcl.iter().enumerate() {
        let source = Source::new(format!("flags-{i}.hcl"), Format::Hcl, text.as_bytes());
        merged.merge(read(&source, &mut warnings)?);
    }
    let (config, warnings) = resolve::resolve(&merged, flags.dev, interfaces, hostname, warnings)?;
    Ok(Loaded { config, warnings })
}

/// Reads one source. Warnings about old names are added to `warnings`.
///
/// # Errors
/// Everything of one kind that is wrong with it: syntax, then types, then unknown keys.
pub fn read(source: &Source, warnings: &mut Vec<String>) -> Result<Given, Errors> {
    if source.text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Given::default());
    }
    let name = || source.name.clone();
    let tree = match source.format {
        Format::Hcl => hcl::parse(&source.text),
        Format::Json => json::parse(&source.text),
    }
    .map_err(|text| Errors::Syntax {
        source: name(),
        text,
    })?;
    let origin: Arc<str> = source.name.as_str().into();
    let given = decode(&tree, &origin, Schema::agent()).map_err(|faults| {
        if faults.types.is_empty() {
            Errors::UnknownKeys {
                source: name(),
                texts: faults.unknown,
            }
        } else {
            Errors::Types {
                source: name(),
                texts: faults.types,
            }
        }
    })?;
    Ok(settled(given, warnings))
}

/// The services and checks that a source defines, for commands that register from a file in the
/// form of the agent's configuration. Other keys are read, checked and left alone.
///
/// # Errors
/// As [`load`].
pub fn definitions(
    source: &Source,
) -> Result<(Vec<ServiceDefinition>, Vec<CheckDefinition>), Errors> {
    let given = read(source, &mut Vec::new())?;
    resolve::definitions(&given)
}

/// Puts old names under their new ones, and single definitions into the lists, source by source.
fn settled(mut given: Given, warnings: &mut Vec<String>) -> Given {
    let schema = Schema::agent();
    for (old, new) in [("service", "services"), ("check", "checks")] {
        let Some(set) = given.keys.remove(old) else {
            continue;
        };
        if let Some(key) = schema.key(new) {
            let mut last = Given::default();
            last.set(key, set.item, set.origin);
            given.merge(last);
        }
    }
    let renamed: Vec<(&'static str, &'static str)> = given
        .keys
        .keys()
        .filter_map(|path| match schema.key(path)?.support {
            Support::Renamed(to) => Some((*path, to)),
            _ => None,
        })
        .collect();
    for (old, new) in renamed {
        let (Some(set), Some(key)) = (given.keys.remove(old), schema.key(new)) else {
            continue;
        };
        let warning = format!("The '{old}' field is deprecated. Use the '{new}' field instead.");
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
        match (&set.item, given.keys.get_mut(new)) {
            (Item::List(more), Some(now)) => {
                if let Item::List(list) = &mut now.item {
                    list.extend(more.iter().cloned());
                }
            }
            // The new name wins where both are given.
            (_, Some(_)) => {}
            (_, None) => given.set(key, set.item, set.origin),
        }
    }
    given
}

#[cfg(test)]
mod tests;
