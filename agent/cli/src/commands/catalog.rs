//! `catalog datacenters`, `catalog nodes`, `catalog services`.

use super::{key_value, none_wanted};
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use crate::table::{aligned, columns};
use clap::ArgAction;
use lictor_client::{NodeEntry, QueryOptions};
use lictor_wire::StrMap;
use std::collections::BTreeMap;

#[derive(clap::Args)]
pub(crate) struct Datacenters {
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Datacenters {
    const NAME: &'static str = "catalog datacenters";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists the known datacenters";
    const LONG: &'static str = "Lists the known datacenters, the nearest first.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        match client.datacenters().await {
            Ok(names) => {
                names.iter().for_each(|name| cx.say(name));
                0
            }
            Err(err) => cx.fail("Error listing datacenters", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Nodes {
    /// Show whole ids, all addresses and metadata.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    detailed: bool,
    /// A filter expression; @file and - read it from a file or from the input.
    #[arg(long, default_value = "")]
    filter: String,
    /// Sort by distance from this node; _agent is the agent's own.
    #[arg(long, default_value = "")]
    near: String,
    /// Only nodes with this metadata; may be given several times.
    #[arg(long, value_name = "key=value", value_parser = key_value)]
    node_meta: Vec<(String, String)>,
    /// Only nodes with an instance of this service.
    #[arg(long, default_value = "", value_name = "name")]
    service: String,
    #[command(flatten)]
    api: ApiFlags,
}

fn pairs(map: &StrMap) -> String {
    map.iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn node_rows(nodes: &[NodeEntry], detailed: bool) -> Vec<Vec<String>> {
    let mut header = vec!["Node", "ID", "Address", "DC"];
    if detailed {
        header.extend(["TaggedAddresses", "Meta"]);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    for n in nodes {
        let id = if detailed {
            n.id.as_str()
        } else {
            n.id.split('-').next().unwrap_or_default()
        };
        let mut row = vec![
            n.node.clone(),
            id.to_owned(),
            n.address.clone(),
            n.datacenter.clone(),
        ];
        if detailed {
            row.extend([pairs(&n.tagged_addresses), pairs(&n.meta)]);
        }
        rows.push(row);
    }
    rows
}

impl Command for Nodes {
    const NAME: &'static str = "catalog nodes";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists the nodes of a datacenter";
    const LONG: &'static str =
        "Lists the nodes of the agent's datacenter or another one. Nodes that offer a service:

    $ {p} catalog nodes -service=web

Nodes of one rack, the nearest first:

    $ {p} catalog nodes -node-meta=rack=r1 -near=_agent";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let filter = match cx.data(&self.filter) {
            Ok(filter) => String::from_utf8_lossy(&filter).into_owned(),
            Err(why) => {
                cx.complain(format_args!("Could not process filter argument: {why}"));
                return 1;
            }
        };
        let options = QueryOptions {
            near: self.near,
            node_meta: self.node_meta,
            filter,
            ..self.api.options()
        };
        let nodes = if self.service.is_empty() {
            match client.nodes(&options).await {
                Ok((nodes, _)) => nodes,
                Err(err) => return cx.fail("Error listing nodes", &err),
            }
        } else {
            match client.catalog_service(&self.service, &options).await {
                Ok((rows, _)) => rows
                    .into_iter()
                    .map(|s| NodeEntry {
                        id: s.id,
                        node: s.node,
                        address: s.address,
                        datacenter: s.datacenter,
                        tagged_addresses: s.tagged_addresses,
                        meta: s.node_meta,
                    })
                    .collect(),
                Err(err) => return cx.fail("Error listing nodes for service", &err),
            }
        };
        if nodes.is_empty() {
            cx.complain("No nodes match the given query - try expanding your search.");
            return 0;
        }
        cx.say(columns(&node_rows(&nodes, self.detailed)));
        0
    }
}

#[derive(clap::Args)]
pub(crate) struct Services {
    /// Only the services on this node.
    #[arg(long, default_value = "", value_name = "name")]
    node: String,
    /// Only services on nodes with this metadata; may be given several times.
    #[arg(long, value_name = "key=value", value_parser = key_value)]
    node_meta: Vec<(String, String)>,
    /// Show the tags of each service.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    tags: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Services {
    const NAME: &'static str = "catalog services";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists the services of a datacenter";
    const LONG: &'static str =
        "Lists the services of the agent's datacenter or another one, with their tags:

    $ {p} catalog services -tags

Only those on one node:

    $ {p} catalog services -node=n1";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let options = QueryOptions {
            node_meta: self.node_meta,
            ..self.api.options()
        };
        let services: BTreeMap<String, Vec<String>> = if self.node.is_empty() {
            match client.services(&options).await {
                Ok((services, _)) => services,
                Err(err) => return cx.fail("Error listing services", &err),
            }
        } else {
            match client.node(&self.node, &options).await {
                Ok((node, _)) => {
                    let mut by_name = BTreeMap::<String, Vec<String>>::new();
                    for service in node.unwrap_or_default().services.into_values() {
                        by_name
                            .entry(service.service)
                            .or_default()
                            .extend(service.tags);
                    }
                    by_name
                }
                Err(err) => return cx.fail("Error listing services for node", &err),
            }
        };
        if services.is_empty() {
            cx.complain("No services match the given query - try expanding your search.");
            return 0;
        }
        if self.tags {
            let rows: Vec<Vec<String>> = services
                .into_iter()
                .map(|(name, mut tags)| {
                    tags.sort();
                    vec![name, tags.join(",")]
                })
                .collect();
            cx.say(aligned(&rows, 6));
        } else {
            services.keys().for_each(|name| cx.say(name));
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    const NODES: &str = r#"[
        {"ID": "", "Node": "ext", "Address": "10.40.0.1", "Datacenter": "dc1", "TaggedAddresses": null, "Meta": {"r": "1"}},
        {"ID": "11111111-2222-3333-4444-555555555555", "Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1",
         "TaggedAddresses": {"wan": "127.0.0.1", "lan": "127.0.0.1"}, "Meta": {}}]"#;

    #[test]
    fn nodes_show_the_first_part_of_their_ids() {
        let ran = Ran::with(
            &[
                "catalog",
                "nodes",
                "-node-meta=r=1",
                "-near=_agent",
                "-datacenter=dc2",
            ],
            &[ok(NODES)],
        );
        assert_eq!(
            ran.lines(),
            ["GET /v1/catalog/nodes?dc=dc2&near=_agent&node-meta=r%3A1"]
        );
        let want = "\
Node  ID        Address    DC
ext             10.40.0.1  dc1
n1    11111111  127.0.0.1  dc1
";
        assert_eq!((ran.code, ran.out.as_str()), (0, want));
    }

    #[test]
    fn details_have_addresses_and_metadata() {
        let ran = Ran::with(&["catalog", "nodes", "-detailed"], &[ok(NODES)]);
        let last = ran.out.lines().last().unwrap();
        assert!(
            last.starts_with("n1    11111111-2222-3333-4444-555555555555  127.0.0.1"),
            "{last}"
        );
        assert!(last.contains("lan=127.0.0.1, wan=127.0.0.1"), "{last}");
        assert!(ran.out.contains("r=1"));
    }

    #[test]
    fn nodes_of_a_service() {
        let row = r#"[{"ID": "", "Node": "ext", "Address": "10.40.0.1", "Datacenter": "dc1", "NodeMeta": {}, "ServicePort": 1}]"#;
        let ran = Ran::with(&["catalog", "nodes", "-service=web"], &[ok(row)]);
        assert_eq!(
            ran.out,
            "Node  ID  Address    DC\next       10.40.0.1  dc1\n"
        );
        assert_eq!(ran.lines(), ["GET /v1/catalog/service/web"]);
        let ran = Ran::with(&["catalog", "nodes", "-service=none"], &[ok("[]")]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""));
        assert_eq!(
            ran.err,
            "No nodes match the given query - try expanding your search.\n"
        );
    }

    #[test]
    fn services_with_and_without_tags() {
        let answer = r#"{"consul": [], "cli-svc": ["t2", "t1"]}"#;
        let ran = Ran::with(&["catalog", "services"], &[ok(answer)]);
        assert_eq!(ran.out, "cli-svc\nconsul\n");
        let ran = Ran::with(&["catalog", "services", "-tags"], &[ok(answer)]);
        assert_eq!(ran.out, "cli-svc      t1,t2\nconsul\n");
        let node = r#"{"Node": {}, "Services": {"a1": {"Service": "a", "Tags": ["x"]}, "a2": {"Service": "a", "Tags": ["y"]}}}"#;
        let ran = Ran::with(&["catalog", "services", "-node=n1", "-tags"], &[ok(node)]);
        assert_eq!(ran.out, "a      x,y\n");
        let ran = Ran::with(&["catalog", "services", "-node=n1"], &[ok("null")]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    }

    #[test]
    fn words_that_are_not_wanted_are_counted() {
        let ran = Ran::without_agent(&["catalog", "datacenters", "x"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Too many arguments (expected 0, got 1)\n")
        );
        let ran = Ran::with(&["catalog", "datacenters"], &[ok(r#"["dc1","dc2"]"#)]);
        assert_eq!(ran.out, "dc1\ndc2\n");
        let ran = Ran::with(
            &["catalog", "datacenters"],
            &[Answer(500, "", "No cluster leader")],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (
                1,
                "Error listing datacenters: Unexpected response code: 500 (No cluster leader)\n"
            )
        );
    }
}
