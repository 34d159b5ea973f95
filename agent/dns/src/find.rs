//! Finding out what a name asks for: in the view, at the source, or behind other names.

use crate::answer::{self, Ask, Facts, Resolved};
use crate::cache;
use crate::name::{self, Target, Wanted, domain_at};
use crate::record::{Data, Dn, LONGEST_NAME, Record};
use crate::recursor;
use crate::respond::{Live, Responder, count};
use crate::rows::{Filter, NodeRow, Rows};
use crate::source::{Found, Lookup, SourceError, What};
use crate::trim;
use crate::zone::{Zone, seconds};
use hickory_proto::rr::RecordType;
use lictor_state::{View, fold};
use lictor_wire::Str;
use lictor_wire::rows::CheckServiceNode;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How deep names in our own domains may lead to each other.
const MOST_DEPTH: u8 = 3;
/// How long all look-ups of one answer may take together.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Answers older than this count as stale in the statistics.
const STALE: Duration = Duration::from_secs(5);

/// Why facts are not there at once.
pub(crate) enum Missing {
    /// They have to be asked for.
    Ask,
    /// They cannot be had.
    Failed(SourceError),
}

impl Responder {
    /// The view that may answer now, if there is one.
    pub(crate) fn view(&self, zone: &Zone) -> Option<Arc<View>> {
        if !zone.settings.allow_stale {
            return None;
        }
        let view = self.source.view()?;
        let age = self.source.staleness();
        if age > zone.settings.max_stale {
            return None;
        }
        if age > STALE {
            count(&self.counters.stale);
        }
        Some(view)
    }

    pub(crate) fn facts(&self, live: &Live, what: &Wanted) -> Result<Facts, Missing> {
        let view = match what {
            Wanted::Nothing => return Ok(Facts::Nothing),
            Wanted::Address(ip) => return Ok(Facts::Address(*ip)),
            Wanted::Query { .. } => return Err(Missing::Ask),
            Wanted::Node { datacenter, .. }
            | Wanted::Service { datacenter, .. }
            | Wanted::Virtual { datacenter, .. }
                if !live.zone.is_own(datacenter.as_ref()) =>
            {
                return Err(Missing::Ask);
            }
            _ => self.view(&live.zone).ok_or(Missing::Ask)?,
        };
        read(live, &view, what).map_err(Missing::Failed)
    }

    pub(crate) async fn fresh_view(&self, zone: &Zone) -> Result<Option<Arc<View>>, SourceError> {
        match self.view(zone) {
            Some(view) => Ok(Some(view)),
            None => self.source.consistent_view().await,
        }
    }

    pub(crate) async fn find(
        &self,
        live: &Live,
        what: &Wanted,
        client: IpAddr,
    ) -> Result<Facts, SourceError> {
        let zone = &live.zone;
        let datacenter = match what {
            Wanted::Node { datacenter, .. }
            | Wanted::Service { datacenter, .. }
            | Wanted::Virtual { datacenter, .. }
            | Wanted::Query { datacenter, .. } => {
                datacenter.clone().filter(|dc| *dc != zone.datacenter)
            }
            _ => None,
        };
        if datacenter.is_none()
            && !matches!(what, Wanted::Query { .. })
            && let Some(view) = self.fresh_view(zone).await?
        {
            return read(live, &view, what);
        }
        let asked = match what {
            Wanted::Nothing => return Ok(Facts::Nothing),
            Wanted::Address(ip) => return Ok(Facts::Address(*ip)),
            Wanted::Zone => What::Service {
                name: "consul".into(),
                mesh: false,
            },
            Wanted::Node { name, .. } => What::Node { name: name.clone() },
            Wanted::Service { name, mesh, .. } => What::Service {
                name: name.clone(),
                mesh: *mesh,
            },
            Wanted::Virtual { name, .. } => What::Service {
                name: name.clone(),
                mesh: true,
            },
            Wanted::Query { name, .. } => What::Query {
                name: name.clone(),
                client,
            },
        };
        let lookup = Lookup {
            datacenter: datacenter.clone(),
            allow_stale: zone.settings.allow_stale,
            what: asked,
        };
        let found = self.source.find(lookup).await?;
        Ok(convert(zone, what, datacenter, found))
    }

    pub(crate) fn named(&self, live: &Live, ip: Option<IpAddr>) -> Result<Option<Dn>, Missing> {
        let Some(ip) = ip else { return Ok(None) };
        let view = self.view(&live.zone).ok_or(Missing::Ask)?;
        let (node, service) = live.cache.named(&view, ip.to_canonical());
        Ok(pointer(&live.zone, node, service))
    }

    pub(crate) async fn find_name(
        &self,
        live: &Live,
        ip: Option<IpAddr>,
    ) -> Result<Option<Dn>, SourceError> {
        let Some(ip) = ip else { return Ok(None) };
        let ip = ip.to_canonical();
        if let Some(view) = self.fresh_view(&live.zone).await? {
            let (node, service) = live.cache.named(&view, ip);
            return Ok(pointer(&live.zone, node, service));
        }
        let allow_stale = live.zone.settings.allow_stale;
        let lookup = Lookup {
            datacenter: None,
            allow_stale,
            what: What::Address { ip },
        };
        match self.source.find(lookup).await? {
            Found::Address { node, service } => Ok(pointer(&live.zone, node, service)),
            _ => Ok(None),
        }
    }

    /// Looks names up, in our own domains or at the recursors.
    pub(crate) async fn resolve_all(
        &self,
        live: &Live,
        names: Vec<Dn>,
        kind: RecordType,
        depth: u8,
    ) -> Box<Resolved> {
        let end = Instant::now() + LOOKUP_LIMIT;
        // Consul asks for IPv4 addresses whatever the question; a client that wants IPv6 gets it.
        let kind = if kind == RecordType::AAAA {
            kind
        } else {
            RecordType::A
        };
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let records = timeout_at(end, self.resolve(live, &name, kind, depth)).await;
            out.push((name, records.ok().flatten().unwrap_or_default()));
        }
        out.into()
    }

    pub(crate) async fn resolve(
        &self,
        live: &Live,
        name: &Dn,
        kind: RecordType,
        depth: u8,
    ) -> Option<Vec<Record>> {
        let zone = &live.zone;
        let full = name.to_name();
        let Target::Own { domain, what } = name::read(&full.to_lowercase(), kind, zone) else {
            if zone.settings.recursors.is_empty() {
                return None;
            }
            count(&self.counters.recursed);
            let message = match recursor::resolve(&full, kind, &zone.settings).await {
                Ok(message) => message,
                Err(errors) => {
                    self.complain(&errors);
                    return None;
                }
            };
            let records = message.answers.iter().filter_map(|record| {
                let data = Data::of_foreign(&record.data)?;
                Some(Record {
                    name: Some(Dn::from(&record.name)),
                    ttl: record.ttl,
                    data,
                })
            });
            return Some(records.collect());
        };
        if depth > MOST_DEPTH {
            return None;
        }
        let [labels, _] = name.parts(&[]);
        let domain = &labels[domain_at(labels, domain)..];
        let ask = Ask {
            name: labels,
            kind,
            domain,
            zone,
            now: 0,
            seed: self.seed.fetch_add(1, Ordering::Relaxed),
            most: trim::MOST_PLAIN_UDP,
            edns: true,
        };
        let facts = self
            .find(live, &what, IpAddr::from([0, 0, 0, 0]))
            .await
            .ok()?;
        let names = self.lookups(&ask, &facts);
        let resolved = Box::pin(self.resolve_all(live, names, kind, depth + 1)).await;
        let reply = answer::reply(&ask, &facts, &resolved);
        // What was below the domain of this name is not below that of the question.
        let whole = |record: Record| Record {
            name: Some(
                record
                    .name
                    .map_or_else(|| name.clone(), |owner| owner.in_domain(domain)),
            ),
            ttl: record.ttl,
            data: match record.data {
                Data::Cname(name) => Data::Cname(name.in_domain(domain)),
                data => data,
            },
        };
        Some(reply.answers.into_iter().map(whole).collect())
    }
}

/// What a view says of this datacenter.
fn read(live: &Live, view: &View, what: &Wanted) -> Result<Facts, SourceError> {
    let zone = &live.zone;
    Ok(match what {
        Wanted::Zone => Facts::Servers(live.cache.service(view, zone, "consul", None)),
        Wanted::Node { name, .. } => {
            cache::node(view, name).map_or(Facts::Nothing, |row| Facts::Node(Arc::new(row)))
        }
        Wanted::Service {
            name,
            tag,
            mesh: false,
            ..
        } => {
            let rows = live.cache.service(view, zone, name, tag.as_deref());
            Facts::Service {
                rows,
                ttl: zone.service_ttl(name),
                by_subnet: false,
            }
        }
        Wanted::Service {
            name,
            tag,
            mesh: true,
            ..
        } => {
            let rows = Rows::new(
                &view.connect_health(name),
                cache::filter(zone, tag.as_deref()),
            );
            Facts::Service {
                rows: Arc::new(rows),
                ttl: zone.service_ttl(name),
                by_subnet: false,
            }
        }
        Wanted::Virtual { name, .. } => {
            cache::virtual_ip(view, name).map_or(Facts::Nothing, Facts::Address)
        }
        Wanted::Address(ip) => Facts::Address(*ip),
        Wanted::Query { .. } | Wanted::Nothing => Facts::Nothing,
    })
}

/// What somebody else said.
fn convert(zone: &Zone, what: &Wanted, datacenter: Option<Str>, found: Found) -> Facts {
    let wan = datacenter.is_some() && zone.settings.translate_wan_addrs;
    let own = fold(&zone.settings.datacenter);
    let named = datacenter.unwrap_or(own);
    let only_passing = zone.settings.only_passing;
    match (what, found) {
        (Wanted::Zone, Found::Service(rows)) => {
            let filter = Filter {
                tag: None,
                only_passing,
                datacenter: &named,
                wan,
            };
            Facts::Servers(Arc::new(Rows::new(&rows, filter)))
        }
        (Wanted::Service { name, tag, .. }, Found::Service(rows)) => {
            let filter = Filter {
                tag: tag.as_deref(),
                only_passing,
                datacenter: &named,
                wan,
            };
            let rows = Arc::new(Rows::new(&rows, filter));
            Facts::Service {
                rows,
                ttl: zone.service_ttl(name),
                by_subnet: false,
            }
        }
        (Wanted::Virtual { .. }, Found::Service(rows)) => {
            let tagged = |row: &CheckServiceNode| {
                row.service
                    .tagged_addresses
                    .as_deref()?
                    .get("consul-virtual")?
                    .address
                    .parse()
                    .ok()
            };
            rows.iter()
                .find_map(tagged)
                .map_or(Facts::Nothing, Facts::Address)
        }
        (Wanted::Node { .. }, Found::Node(Some(node))) => {
            Facts::Node(Arc::new(NodeRow::new(&node, wan)))
        }
        (Wanted::Query { .. }, Found::Query(Some(result))) => {
            let remote = fold(&result.datacenter) != zone.datacenter;
            let filter = Filter {
                tag: None,
                // The query itself said who counts; only the critical never do.
                only_passing: false,
                datacenter: &result.datacenter,
                wan: remote && zone.settings.translate_wan_addrs,
            };
            let rows = Arc::new(Rows::new(&result.nodes, filter));
            let ttl = result
                .ttl
                .map_or_else(|| zone.service_ttl(&fold(&result.service)), seconds);
            Facts::Service {
                rows,
                ttl,
                by_subnet: true,
            }
        }
        _ => Facts::Nothing,
    }
}

/// The name of who has an address: `<node>.node.<dc>.<domain>`, else `<service>.service.…`.
fn pointer(zone: &Zone, node: Option<Str>, service: Option<Str>) -> Option<Dn> {
    let dc = &zone.settings.datacenter;
    let text = match (node, service) {
        (Some(node), _) => format!("{node}.node.{dc}"),
        (None, Some(service)) => format!("{service}.service.{dc}"),
        (None, None) => return None,
    };
    let name = Dn::below(&text)?.in_domain(&zone.domain);
    (name.len_in(&[]) <= LONGEST_NAME).then_some(name)
}
