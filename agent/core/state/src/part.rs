//! Views that are made of rows: restored ones, and parts of a state that others hold.

use crate::command::CoordinateUpdate;
use crate::view::{NameRow, View, fold};
use lictor_wire::{HealthCheck, KvEntry, Node, NodeService, Session, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rows of an answer, as somebody gave them. They keep the indexes that they bring.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Instances, each with the name of its node.
    pub services: Vec<(Str, Arc<NodeService>)>,
    /// Checks, which name their nodes.
    pub checks: Vec<Arc<HealthCheck>>,
    /// Keys.
    pub keys: Vec<Arc<KvEntry>>,
    /// Sessions.
    pub sessions: Vec<Arc<Session>>,
    /// Coordinates.
    pub coordinates: Vec<CoordinateUpdate>,
    /// Names of services with their tags, where the instances are not told.
    pub names: Option<BTreeMap<Str, Vec<Str>>>,
    /// The names of nodes in the order of the answer, where that order means something. Repeats do
    /// no harm.
    pub order: Vec<Str>,
}

/// What a part knows beyond its rows.
#[derive(Debug)]
pub(crate) struct PartFacts {
    names: Option<BTreeMap<Str, Vec<Str>>>,
    order: BTreeMap<Str, usize>,
}

impl View {
    /// A view of these rows alone. `epoch` tells it from every other view that readers have seen.
    ///
    /// What is read from it is right as far as the rows go. Its tables have no indexes: that of
    /// the answer is `index`, whatever it is about.
    pub fn part(part: Part, index: u64, epoch: u64) -> View {
        let mut v = View {
            index,
            epoch,
            ..View::default()
        };
        for row in part.nodes {
            v.put_node(row);
        }
        for (node, row) in part.services {
            v.put_service(fold(&node), row);
        }
        for row in part.checks {
            v.put_check(row);
        }
        for row in part.keys {
            v.put_key(row);
        }
        for row in part.sessions {
            v.put_session(row);
        }
        for row in part.coordinates {
            let key = fold(&row.node);
            if !v.nodes.contains_key(&key) {
                // Coordinates are shown under the names of their nodes.
                v.put_node(Arc::new(Node {
                    node: row.node,
                    ..Node::default()
                }));
            }
            v.coordinates.insert(key, Arc::new(row.coord));
        }
        let mut order = BTreeMap::new();
        for (at, node) in part.order.iter().enumerate() {
            order.entry(fold(node)).or_insert(at);
        }
        v.part = Some(Arc::new(PartFacts {
            names: part.names,
            order,
        }));
        v
    }

    /// Whether this is not the whole state but what answers one question: there, conditions of the
    /// question that its rows cannot show are met by all of them.
    pub fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// The names of services with their tags, where the view is a part that has these and not the
    /// instances.
    pub fn listed_names(&self) -> Option<&BTreeMap<Str, Vec<Str>>> {
        self.part.as_ref()?.names.as_ref()
    }

    /// The place of a node in the order that a part came in. Nodes without one come last.
    pub fn place(&self, node: &str) -> usize {
        self.part
            .as_ref()
            .and_then(|part| part.order.get(&fold(node)).copied())
            .unwrap_or(usize::MAX)
    }

    // ---- one row with all that leads to it ----

    pub(crate) fn put_node(&mut self, row: Arc<Node>) {
        let key = fold(&row.node);
        if !row.id.is_empty() {
            self.node_ids.insert(fold(&row.id), key.clone());
        }
        self.nodes.insert(key, row);
    }

    /// The node's name is folded already.
    pub(crate) fn put_service(&mut self, node: Str, row: Arc<NodeService>) {
        let (id, name) = (fold(&row.id), fold(&row.service));
        let destination = if row.kind == "connect-proxy" {
            row.proxy_destination().map(fold)
        } else {
            row.connect_native().then(|| name.clone())
        };
        if let Some(destination) = destination {
            self.connect.insert((destination, node.clone(), id.clone()));
        }
        if self
            .instances
            .insert((name.clone(), node.clone(), id.clone()))
            .is_none()
        {
            let instances = self.names.get(&name).map_or(0, |r| r.instances) + 1;
            self.names.insert(
                name,
                NameRow {
                    name: row.service.clone(),
                    index: row.modify_index,
                    instances,
                },
            );
        }
        self.services.insert((node, id), row);
    }

    pub(crate) fn put_check(&mut self, row: Arc<HealthCheck>) {
        let (node, id) = (fold(&row.node), fold(&row.check_id));
        self.check_owners
            .insert((node.clone(), fold(&row.service_id), id.clone()));
        self.checks.insert((node, id), row);
    }

    pub(crate) fn put_key(&mut self, row: Arc<KvEntry>) {
        if !row.session.is_empty() {
            self.session_keys
                .insert((row.session.clone(), row.key.clone()));
        }
        self.kv.insert(row.key.clone(), row);
    }

    pub(crate) fn put_session(&mut self, row: Arc<Session>) {
        let node = fold(&row.node);
        let services = row.service_checks.iter().flatten().map(|c| &c.id);
        for check in row.node_checks.iter().chain(services) {
            self.session_checks
                .insert((node.clone(), fold(check), row.id.clone()));
        }
        self.sessions.insert(row.id.clone(), row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_wire::{Coordinate, Status};

    fn node(name: &str, id: &str) -> Arc<Node> {
        Arc::new(Node {
            node: name.into(),
            id: id.into(),
            create_index: 3,
            modify_index: 4,
            ..Node::default()
        })
    }

    fn service(id: &str, name: &str) -> Arc<NodeService> {
        Arc::new(NodeService {
            id: id.into(),
            service: name.into(),
            modify_index: 7,
            ..NodeService::default()
        })
    }

    fn check(node: &str, id: &str, service: &str) -> Arc<HealthCheck> {
        Arc::new(HealthCheck {
            node: node.into(),
            check_id: id.into(),
            service_id: service.into(),
            status: Status::Passing,
            ..HealthCheck::default()
        })
    }

    #[test]
    fn a_health_answer_reads_as_it_came() {
        let part = Part {
            nodes: vec![node("N2", "22222222-aaaa"), node("n1", "")],
            services: vec![
                ("N2".into(), service("Web-1", "Web")),
                ("n1".into(), service("web", "web")),
            ],
            checks: vec![
                check("N2", "serfHealth", ""),
                check("N2", "c", "Web-1"),
                check("N2", "other", "db"),
                check("n1", "serfHealth", ""),
            ],
            ..Part::default()
        };
        let view = View::part(part, 12, 99);
        assert_eq!((view.index(), view.epoch(), view.is_part()), (12, 99, true));
        let rows = view.health("WEB");
        let told: Vec<(&str, u64, Vec<&str>)> = rows
            .iter()
            .map(|r| {
                let checks = r.checks.iter().map(|c| c.check_id.as_str()).collect();
                (r.node.node.as_str(), r.service.modify_index, checks)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("n1", 7, vec!["serfHealth"]),
                ("N2", 7, vec!["serfHealth", "c"])
            ]
        );
        assert_eq!(view.node("n2").unwrap().create_index, 3);
        assert_eq!(view.node_by_name_or_id("2222").unwrap().node, "N2");
        assert_eq!(view.checks_of_service("web").len(), 1);
        assert_eq!(view.checks_of_node("n2").count(), 3);
    }

    #[test]
    fn what_stands_for_a_service_in_the_mesh_is_found() {
        let mut native = (*service("api", "api")).clone();
        native.connect = Some(Box::new(lictor_wire::ConnectMarks {
            native: true,
            ..Default::default()
        }));
        let mut proxy = (*service("web-proxy", "web-proxy")).clone();
        proxy.kind = "connect-proxy".into();
        proxy.proxy = Some(Box::new(
            serde_json::json!({ "DestinationServiceName": "Web" }),
        ));
        let part = Part {
            nodes: vec![node("n", "")],
            services: vec![
                ("n".into(), Arc::new(native)),
                ("n".into(), Arc::new(proxy)),
            ],
            ..Part::default()
        };
        let view = View::part(part, 1, 1);
        assert_eq!(view.connect_health("web").len(), 1);
        assert_eq!(view.connect_health("api").len(), 1);
        assert!(view.connect_health("web-proxy").is_empty());
    }

    #[test]
    fn the_order_of_an_answer_is_kept() {
        let order = vec!["B".into(), "a".into(), "B".into()];
        let view = View::part(
            Part {
                order,
                ..Part::default()
            },
            1,
            1,
        );
        assert_eq!((view.place("b"), view.place("A")), (0, 1));
        assert_eq!(view.place("elsewhere"), usize::MAX);
        assert!(!View::default().is_part());
    }

    #[test]
    fn names_stand_for_themselves() {
        let names = BTreeMap::from([(Str::from("web"), vec![Str::from("a")])]);
        let view = View::part(
            Part {
                names: Some(names.clone()),
                ..Part::default()
            },
            1,
            1,
        );
        assert_eq!(view.listed_names(), Some(&names));
        assert_eq!(View::default().listed_names(), None);
    }

    #[test]
    fn keys_sessions_and_coordinates() {
        let key = |key: &str, session: &str| {
            Arc::new(KvEntry {
                key: key.into(),
                session: session.into(),
                modify_index: 5,
                ..KvEntry::default()
            })
        };
        let session = Session {
            id: "s".into(),
            node: "N".into(),
            ..Session::default()
        };
        let part = Part {
            keys: vec![key("b/2", ""), key("a", "s"), key("b/1", "")],
            sessions: vec![Arc::new(session)],
            coordinates: vec![CoordinateUpdate {
                node: "N".into(),
                coord: Coordinate::default(),
            }],
            ..Part::default()
        };
        let view = View::part(part, 1, 1);
        let below: Vec<&str> = view.kv_range("b/").map(|e| e.key.as_str()).collect();
        assert_eq!(below, ["b/1", "b/2"]);
        assert_eq!(view.kv("a").unwrap().modify_index, 5);
        assert_eq!(view.keys_of_session("s").count(), 1);
        assert_eq!(view.sessions_of_node("n").count(), 1);
        assert_eq!(view.coordinate_of("n").unwrap().node, "N");
    }
}
