//! `operator raft` and `operator autopilot`.

use super::none_wanted;
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use crate::table::columns;
use clap::ArgAction;
use lictor_client::{Client, Error, Method, Request};
use lictor_wire::GoDuration;
use serde_json::{Value, json};
use std::fmt::Write;

const CONFIGURATION: &str = "/v1/operator/autopilot/configuration";

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

async fn read(client: &Client, path: &str, api: &ApiFlags) -> Result<Value, Error> {
    client
        .get(path, &api.options())
        .await
        .map(|(value, _)| value)
}

#[derive(clap::Args)]
pub(crate) struct ListPeers {
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for ListPeers {
    const NAME: &'static str = "operator raft list-peers";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists the servers of the cluster";
    const LONG: &'static str = "Lists the servers that consensus counts on: who leads, who votes, and how far each \
one's log has come. With -stale any server answers, which works without a leader.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        match read(&client, "/v1/operator/raft/configuration", &self.api).await {
            Ok(found) => {
                cx.say(columns(&peers(&found)));
                0
            }
            Err(err) => cx.fail(
                "Error getting peers: Failed to retrieve raft configuration",
                &err,
            ),
        }
    }
}

fn peers(found: &Value) -> Vec<Vec<String>> {
    let header = [
        "Node",
        "ID",
        "Address",
        "State",
        "Voter",
        "RaftProtocol",
        "Commit Index",
        "Trails Leader By",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let none = Vec::new();
    let servers = found["Servers"].as_array().unwrap_or(&none);
    let last = |s: &Value| s["LastIndex"].as_u64().unwrap_or(0);
    let leads = |s: &&Value| s["Leader"] == true;
    let front = servers.iter().find(leads).map_or(0, last);
    for s in servers {
        let behind = front.saturating_sub(last(s));
        let trails = match (leads(&s), behind) {
            (true, _) => "-".to_owned(),
            (false, 1) => "1 commit".to_owned(),
            (false, n) => format!("{n} commits"),
        };
        let protocol = match text(s, "ProtocolVersion") {
            "" => "<=1",
            known => known,
        };
        rows.push(vec![
            text(s, "Node").to_owned(),
            text(s, "ID").to_owned(),
            text(s, "Address").to_owned(),
            if leads(&s) { "leader" } else { "follower" }.to_owned(),
            (s["Voter"] == true).to_string(),
            protocol.to_owned(),
            last(s).to_string(),
            trails,
        ]);
    }
    rows
}

#[derive(clap::Args)]
pub(crate) struct RemovePeer {
    /// The address of the server to remove, with its port.
    #[arg(long, default_value = "")]
    address: String,
    /// The id of the server to remove.
    #[arg(long, default_value = "")]
    id: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for RemovePeer {
    const NAME: &'static str = "operator raft remove-peer";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Removes a server from consensus";
    const LONG: &'static str = "Removes a server by its id or its address. It is for servers that are gone and were \
not removed by themselves; one that runs should leave, or be made to leave with force-leave. A server that still runs \
and is still a member is taken in again.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let (key, value) = match (self.address.as_str(), self.id.as_str()) {
            ("", "") => {
                cx.complain(
                    "Error removing peer: an address or id is required for the peer to remove",
                );
                return 1;
            }
            (address, "") => ("address", address),
            ("", id) => ("id", id),
            _ => {
                cx.complain("Error removing peer: cannot specify both an address and id");
                return 1;
            }
        };
        let request = Request::new(Method::DELETE, "/v1/operator/raft/peer").param(key, value);
        match client.tell(request).await {
            Ok(()) => {
                cx.say(format_args!("Removed peer with {key} {value:?}"));
                0
            }
            Err(err) => cx.fail("Error removing peer", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct TransferLeader {
    /// The id of the server that is to lead; without it the one that is furthest.
    #[arg(long, default_value = "")]
    id: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for TransferLeader {
    const NAME: &'static str = "operator raft transfer-leader";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lets another server lead";
    const LONG: &'static str = "Hands the lead to another server and waits until that one leads: before the leader is \
restarted, for example. Nothing is lost, and writes wait for some milliseconds.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut request = Request::new(Method::POST, "/v1/operator/raft/transfer-leader");
        if !self.id.is_empty() {
            request = request.param("id", &self.id);
        }
        match client.read::<Value>(request).await {
            Ok((done, _)) if done["Success"] == true => {
                cx.say("Success");
                0
            }
            Ok(_) => {
                cx.complain("Error transferring leadership: it did not succeed");
                1
            }
            Err(err) => cx.fail("Error transferring leadership", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct GetConfig {
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for GetConfig {
    const NAME: &'static str = "operator autopilot get-config";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Shows the configuration of autopilot";
    const LONG: &'static str = "Shows how autopilot looks after the servers.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let config = match read(&client, CONFIGURATION, &self.api).await {
            Ok(config) => config,
            Err(err) => return cx.fail("Error querying Autopilot configuration", &err),
        };
        for key in [
            "CleanupDeadServers",
            "LastContactThreshold",
            "MaxTrailingLogs",
            "MinQuorum",
            "ServerStabilizationTime",
        ] {
            match &config[key] {
                Value::String(text) => cx.say(format_args!("{key} = {text}")),
                other => cx.say(format_args!("{key} = {other}")),
            }
        }
        for key in [
            "RedundancyZoneTag",
            "DisableUpgradeMigration",
            "UpgradeVersionTag",
        ] {
            cx.say(format_args!("{key} = {}", config[key]));
        }
        0
    }
}

#[derive(clap::Args)]
pub(crate) struct SetConfig {
    /// Remove servers that have failed.
    #[arg(long, action = ArgAction::Set)]
    cleanup_dead_servers: Option<bool>,
    /// A server whose log is further behind is not healthy.
    #[arg(long, value_name = "entries")]
    max_trailing_logs: Option<u64>,
    /// No server is removed below this number of voters.
    #[arg(long, value_name = "servers")]
    min_quorum: Option<u64>,
    /// A server that has not heard the leader for longer is not healthy.
    #[arg(long, value_parser = GoDuration::parse, value_name = "duration")]
    last_contact_threshold: Option<GoDuration>,
    /// A new server gets a vote when it has been healthy for so long.
    #[arg(long, value_parser = GoDuration::parse, value_name = "duration")]
    server_stabilization_time: Option<GoDuration>,
    /// Stored without effect.
    #[arg(long, value_name = "tag")]
    redundancy_zone_tag: Option<String>,
    /// Stored without effect.
    #[arg(long, action = ArgAction::Set)]
    disable_upgrade_migration: Option<bool>,
    /// Stored without effect.
    #[arg(long, value_name = "tag")]
    upgrade_version_tag: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for SetConfig {
    const NAME: &'static str = "operator autopilot set-config";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Changes the configuration of autopilot";
    const LONG: &'static str =
        "Changes how autopilot looks after the servers. What is not given stays as it is.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut config = match read(&client, CONFIGURATION, &self.api).await {
            Ok(config) => config,
            Err(err) => return cx.fail("Error querying Autopilot configuration", &err),
        };
        let duration = |d: GoDuration| json!(d.to_string());
        for (key, given) in [
            (
                "CleanupDeadServers",
                self.cleanup_dead_servers.map(Value::from),
            ),
            ("MaxTrailingLogs", self.max_trailing_logs.map(Value::from)),
            ("MinQuorum", self.min_quorum.map(Value::from)),
            (
                "LastContactThreshold",
                self.last_contact_threshold.map(duration),
            ),
            (
                "ServerStabilizationTime",
                self.server_stabilization_time.map(duration),
            ),
            (
                "RedundancyZoneTag",
                self.redundancy_zone_tag.map(Value::from),
            ),
            (
                "DisableUpgradeMigration",
                self.disable_upgrade_migration.map(Value::from),
            ),
            (
                "UpgradeVersionTag",
                self.upgrade_version_tag.map(Value::from),
            ),
        ] {
            if let Some(given) = given {
                config[key] = given;
            }
        }
        // Not over what another operator has changed meanwhile.
        let index = config["ModifyIndex"].as_u64().unwrap_or(0);
        let request = Request::new(Method::PUT, CONFIGURATION)
            .param("cas", index.to_string())
            .json(&config);
        match client.read::<bool>(request).await {
            Ok((true, _)) => {
                cx.say("Configuration updated!");
                0
            }
            Ok((false, _)) => {
                cx.complain("Configuration could not be atomically updated, please try again");
                1
            }
            Err(err) => cx.fail("Error setting Autopilot configuration", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct AutopilotState {
    /// How to show it: pretty or json.
    #[arg(long, default_value = "pretty")]
    format: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for AutopilotState {
    const NAME: &'static str = "operator autopilot state";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Shows how the servers are";
    const LONG: &'static str = "Shows the health of the servers as autopilot sees it: how many may fail, who leads, \
who votes, and each server by itself.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match none_wanted(cx, &args).and_then(|()| self.api.client(cx)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        if !["pretty", "json"].contains(&self.format.as_str()) {
            cx.complain(format_args!(
                "Invalid format {:?}, want pretty or json",
                self.format
            ));
            return 1;
        }
        let state = match read(&client, "/v1/operator/autopilot/state", &self.api).await {
            Ok(state) => state,
            Err(err) => return cx.fail("Error querying Autopilot state", &err),
        };
        if self.format == "json" {
            cx.say(serde_json::to_string_pretty(&state).unwrap_or_default());
        } else {
            cx.say(pretty(&state).trim_end());
        }
        0
    }
}

fn pretty(state: &Value) -> String {
    let mut out = String::new();
    // Writing to a text does not fail.
    let mut line = |text: std::fmt::Arguments<'_>| _ = writeln!(out, "{text}");
    line(format_args!(
        "Healthy:                      {}",
        state["Healthy"]
    ));
    line(format_args!(
        "Failure Tolerance:            {}",
        state["FailureTolerance"]
    ));
    line(format_args!(
        "Optimistic Failure Tolerance: {}",
        state["OptimisticFailureTolerance"]
    ));
    line(format_args!(
        "Leader:                       {}",
        text(state, "Leader")
    ));
    line(format_args!("Voters:"));
    for id in state["Voters"].as_array().into_iter().flatten() {
        line(format_args!("   {}", id.as_str().unwrap_or_default()));
    }
    line(format_args!("Servers:"));
    for (id, s) in state["Servers"].as_object().into_iter().flatten() {
        line(format_args!("   {id}"));
        line(format_args!("      Name:              {}", text(s, "Name")));
        line(format_args!(
            "      Address:           {}",
            text(s, "Address")
        ));
        line(format_args!(
            "      Version:           {}",
            text(s, "Version")
        ));
        line(format_args!(
            "      Status:            {}",
            text(s, "Status")
        ));
        line(format_args!(
            "      Node Type:         {}",
            text(s, "NodeType")
        ));
        line(format_args!(
            "      Node Status:       {}",
            text(s, "NodeStatus")
        ));
        line(format_args!("      Healthy:           {}", s["Healthy"]));
        line(format_args!(
            "      Last Contact:      {}",
            text(s, "LastContact")
        ));
        line(format_args!("      Last Term:         {}", s["LastTerm"]));
        line(format_args!("      Last Index:        {}", s["LastIndex"]));
        if let Some(meta) = s["Meta"].as_object().filter(|m| !m.is_empty()) {
            line(format_args!("      Meta"));
            for (key, value) in meta {
                line(format_args!("         {key:?}: {value}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    const PEERS: &str = r#"{"Index": 0, "Servers": [
        {"ID": "a", "Node": "s1", "Address": "10.0.0.1:8300", "Leader": true, "ProtocolVersion": "3", "Voter": true, "LastIndex": 20},
        {"ID": "b", "Node": "s2", "Address": "10.0.0.2:8300", "Leader": false, "ProtocolVersion": "3", "Voter": false, "LastIndex": 19},
        {"ID": "c", "Node": "(unknown)", "Address": "10.0.0.3:8300", "Leader": false, "ProtocolVersion": "3", "Voter": true, "LastIndex": 0}]}"#;

    #[test]
    fn peers_in_columns() {
        let ran = Ran::with(&["operator", "raft", "list-peers", "-stale"], &[ok(PEERS)]);
        assert_eq!(ran.lines(), ["GET /v1/operator/raft/configuration?stale="]);
        let want = "\
Node       ID  Address        State     Voter  RaftProtocol  Commit Index  Trails Leader By
s1         a   10.0.0.1:8300  leader    true   3             20            -
s2         b   10.0.0.2:8300  follower  false  3             19            1 commit
(unknown)  c   10.0.0.3:8300  follower  true   3             0             20 commits
";
        assert_eq!((ran.code, ran.out.as_str()), (0, want));
    }

    #[test]
    fn a_peer_is_removed_by_one_name() {
        let by = |args: &[&str]| {
            let words = [&["operator", "raft", "remove-peer"], args].concat();
            Ran::with(&words, &[ok("")])
        };
        let ran = by(&["-id=a"]);
        assert_eq!(ran.lines(), ["DELETE /v1/operator/raft/peer?id=a"]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Removed peer with id \"a\"\n")
        );
        let ran = by(&["-address=10.0.0.3:8300"]);
        assert_eq!(ran.out, "Removed peer with address \"10.0.0.3:8300\"\n");
        assert_eq!((by(&[]).code, by(&["-id=a", "-address=b"]).code), (1, 1));
    }

    #[test]
    fn the_configuration_is_changed_where_it_was_read() {
        let config = r#"{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"MinQuorum":0,
            "ServerStabilizationTime":"10s","RedundancyZoneTag":"","DisableUpgradeMigration":false,"UpgradeVersionTag":"",
            "CreateIndex":4,"ModifyIndex":9}"#;
        let ran = Ran::with(&["operator", "autopilot", "get-config"], &[ok(config)]);
        let want = "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\nMinQuorum = 0\n\
            ServerStabilizationTime = 10s\nRedundancyZoneTag = \"\"\nDisableUpgradeMigration = false\nUpgradeVersionTag = \"\"\n";
        assert_eq!((ran.code, ran.out.as_str()), (0, want));

        let words = [
            "operator",
            "autopilot",
            "set-config",
            "-cleanup-dead-servers=false",
            "-min-quorum=3",
            "-server-stabilization-time=2s",
        ];
        let ran = Ran::with(&words, &[ok(config), ok("true")]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Configuration updated!\n")
        );
        assert_eq!(
            ran.lines()[1],
            "PUT /v1/operator/autopilot/configuration?cas=9"
        );
        let sent: serde_json::Value = serde_json::from_str(&ran.seen[1].body).unwrap();
        assert_eq!(sent["CleanupDeadServers"], false);
        assert_eq!(sent["MinQuorum"], 3);
        assert_eq!(sent["ServerStabilizationTime"], "2s");
        assert_eq!(sent["LastContactThreshold"], "200ms");
        assert_eq!(Ran::with(&words, &[ok(config), ok("false")]).code, 1);
    }

    #[test]
    fn the_lead_changes_hands() {
        let words = ["operator", "raft", "transfer-leader", "-id=b"];
        let ran = Ran::with(&words, &[ok(r#"{"Success":true}"#)]);
        assert_eq!(ran.lines(), ["POST /v1/operator/raft/transfer-leader?id=b"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "Success\n"));
        assert_eq!(Ran::with(&words, &[]).code, 1);
    }

    #[test]
    fn the_state_is_shown_server_by_server() {
        let state = r#"{"Healthy":true,"FailureTolerance":1,"OptimisticFailureTolerance":1,"Leader":"a","Voters":["a","b"],
            "Servers":{"a":{"ID":"a","Name":"s1","Address":"10.0.0.1:8300","NodeStatus":"alive","Version":"1.21.0",
            "LastContact":"0s","LastTerm":2,"LastIndex":91,"Healthy":true,"Status":"leader","NodeType":"voter","Meta":{"k":""}}}}"#;
        let ran = Ran::with(&["operator", "autopilot", "state"], &[ok(state)]);
        assert_eq!(ran.code, 0);
        for line in [
            "Failure Tolerance:            1\n",
            "Voters:\n   a\n   b\n",
            "   a\n      Name:              s1\n",
            "      Last Index:        91\n      Meta\n         \"k\": \"\"\n",
        ] {
            assert!(ran.out.contains(line), "{line:?} in {}", ran.out);
        }
        let ran = Ran::with(
            &["operator", "autopilot", "state", "-format=json"],
            &[ok(state)],
        );
        assert!(ran.out.starts_with("{\n"));
        assert_eq!(
            Ran::without_agent(&["operator", "autopilot", "state", "-format=x"]).code,
            1
        );
    }
}
