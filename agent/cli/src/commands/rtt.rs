//! `rtt`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use clap::ArgAction;
use lictor_client::{Client, Error, QueryOptions};
use lictor_wire::Coordinate;
use lictor_wire::rows::CoordinateRow;
use serde::Deserialize;

#[derive(clap::Args)]
pub(crate) struct Rtt {
    /// The nodes are servers of the WAN pool, named with their datacenters (n1.dc1).
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    wan: bool,
    #[command(flatten)]
    http: HttpFlags,
}

/// The coordinates of one datacenter's servers in the WAN pool.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Datacenter {
    datacenter: String,
    #[serde(rename = "AreaID", default)]
    area: String,
    #[serde(default)]
    coordinates: Option<Vec<CoordinateRow>>,
}

/// A node's coordinates, each with the pool it counts in.
type Found = Vec<(String, Coordinate)>;

/// The first pair that counts in the same pool.
fn pair<'c>(a: &'c Found, b: &'c Found) -> Option<(&'c Coordinate, &'c Coordinate)> {
    a.iter().find_map(|(pool, x)| {
        b.iter()
            .find(|(other, _)| other == pool)
            .map(|(_, y)| (x, y))
    })
}

async fn lan(client: &Client, nodes: &[String; 2]) -> Result<[Found; 2], Error> {
    let (rows, _) = client.coordinates(&QueryOptions::default()).await?;
    Ok(nodes.each_ref().map(|node| {
        rows.iter()
            .filter(|r| r.node.eq_ignore_ascii_case(node))
            .map(|r| (r.segment.to_string(), r.coord.clone()))
            .collect()
    }))
}

async fn wan(client: &Client, nodes: &[(String, String); 2]) -> Result<[Found; 2], Error> {
    let (datacenters, _): (Vec<Datacenter>, _) = client
        .get("/v1/coordinate/datacenters", &QueryOptions::default())
        .await?;
    Ok(nodes.each_ref().map(|(node, datacenter)| {
        datacenters
            .iter()
            .filter(|d| d.datacenter == *datacenter)
            .flat_map(|d| d.coordinates.iter().flatten().map(|r| (d.area.clone(), r)))
            .filter(|(_, r)| r.node.eq_ignore_ascii_case(node))
            .map(|(area, r)| (area, r.coord.clone()))
            .collect()
    }))
}

/// `node.datacenter` in its two parts.
fn wan_name(name: &str) -> Option<(String, String)> {
    let (node, datacenter) = name.split_once('.')?;
    (!datacenter.contains('.')).then(|| (node.to_owned(), datacenter.to_owned()))
}

impl Command for Rtt {
    const NAME: &'static str = "rtt";
    const USAGE: &'static str = "[options] node1 [node2]";
    const ABOUT: &'static str = "Estimates the round trip between nodes";
    const LONG: &'static str = "Estimates the time of a round trip between two nodes from their network coordinates. \
Without a second name it is that of the agent. Names are those that \"{p} members\" shows, not addresses.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if args.is_empty() || args.len() > 2 {
            return cx.misused::<Rtt>("One or two node names must be specified");
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut names = args.into_iter();
        let first = names.next().unwrap_or_default();
        let second = match names.next() {
            Some(name) => name,
            None => match client.agent_self().await {
                Ok(about) => {
                    let text =
                        |key: &str| about["Config"][key].as_str().unwrap_or_default().to_owned();
                    if self.wan {
                        format!("{}.{}", text("NodeName"), text("Datacenter"))
                    } else {
                        text("NodeName")
                    }
                }
                Err(err) => return cx.fail("Unable to look up agent info", &err),
            },
        };
        let nodes = [first, second];
        let (found, pool) = if self.wan {
            let (Some(a), Some(b)) = (wan_name(&nodes[0]), wan_name(&nodes[1])) else {
                cx.complain("Node names must be specified as <node name>.<datacenter> with -wan");
                return 1;
            };
            (wan(&client, &[a, b]).await, "WAN")
        } else {
            (lan(&client, &nodes).await, "LAN")
        };
        let found = match found {
            Ok(found) => found,
            Err(err) => return cx.fail("Error getting coordinates", &err),
        };
        let Some((a, b)) = pair(&found[0], &found[1]) else {
            let missing = if found[0].is_empty() {
                &nodes[0]
            } else {
                &nodes[1]
            };
            cx.complain(format_args!(
                "Could not find a coordinate for node {missing:?}"
            ));
            return 1;
        };
        let ms = a.distance_to(b) * 1000.0;
        cx.say(format_args!(
            "Estimated {} <-> {} rtt: {ms:.3} ms (using {pool} coordinates)",
            nodes[0], nodes[1]
        ));
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    const ROWS: &str = r#"[{"Node": "a", "Segment": "", "Coord": {"Vec": [0.003,0,0,0,0,0,0,0], "Error": 1, "Adjustment": 0, "Height": 0.001}},
        {"Node": "B", "Segment": "", "Coord": {"Vec": [0,0.004,0,0,0,0,0,0], "Error": 1, "Adjustment": 0, "Height": 0.001}}]"#;

    #[test]
    fn the_distance_of_two_nodes() {
        let ran = Ran::with(&["rtt", "a", "b"], &[ok(ROWS)]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (
                0,
                "Estimated a <-> b rtt: 7.000 ms (using LAN coordinates)\n"
            )
        );
        let ran = Ran::with(
            &["rtt", "b"],
            &[
                ok(r#"{"Config": {"NodeName": "a", "Datacenter": "dc1"}}"#),
                ok(ROWS),
            ],
        );
        assert_eq!(
            ran.out,
            "Estimated b <-> a rtt: 7.000 ms (using LAN coordinates)\n"
        );
    }

    #[test]
    fn the_wan_pool_goes_by_datacenter() {
        let answer =
            format!(r#"[{{"Datacenter": "dc1", "AreaID": "wan", "Coordinates": {ROWS}}}]"#);
        let ran = Ran::with(&["rtt", "-wan", "a.dc1", "b.dc1"], &[ok(&answer)]);
        assert_eq!(
            ran.out,
            "Estimated a.dc1 <-> b.dc1 rtt: 7.000 ms (using WAN coordinates)\n"
        );
        let ran = Ran::with(&["rtt", "-wan", "a.dc2", "b.dc1"], &[ok(&answer)]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Could not find a coordinate for node \"a.dc2\"\n")
        );
        assert_eq!(Ran::with(&["rtt", "-wan", "a", "b.dc1"], &[]).code, 1);
    }

    #[test]
    fn an_unknown_node_is_named() {
        let ran = Ran::with(&["rtt", "a", "z"], &[ok(ROWS)]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Could not find a coordinate for node \"z\"\n")
        );
        assert_eq!(Ran::without_agent(&["rtt"]).code, 1);
    }
}
