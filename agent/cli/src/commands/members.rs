//! `members`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use crate::table::columns;
use clap::ArgAction;
use lictor_client::MemberQuery;
use lictor_wire::Member;

#[derive(clap::Args)]
pub(crate) struct Members {
    /// Show all tags of each member.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    detailed: bool,
    /// Show the servers of all datacenters, as a server knows them.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    wan: bool,
    /// A regular expression that the status must match.
    #[arg(long, default_value = ".*")]
    status: String,
    /// The segment to show. Segments are not supported here; the flag is for scripts that give it.
    #[arg(long, default_value = "_all")]
    segment: String,
    /// A filter expression, as /v1/agent/members takes it.
    #[arg(long, default_value = "")]
    filter: String,
    #[command(flatten)]
    http: HttpFlags,
}

/// The word for a member's status.
fn status_word(status: i64) -> &'static str {
    match status {
        0 => "none",
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "unknown",
    }
}

/// Fills in what tags leave out: the partition and the segment.
fn complete(member: &mut Member, all_segments: bool) {
    if member.tags.get("ap").is_none_or(|v| v.is_empty()) {
        member.tags.insert("ap", "default");
    }
    if member.tags.get("ap").is_some_and(|v| v != "default") {
        member.tags.insert("segment", "");
    } else if all_segments && tag(member, "role") == "consul" {
        member.tags.insert("segment", "<all>");
    } else if tag(member, "segment").is_empty() {
        member.tags.insert("segment", "<default>");
    }
}

fn tag<'m>(member: &'m Member, key: &str) -> &'m str {
    member.tags.get(key).map_or("", |v| v.as_str())
}

fn address(member: &Member) -> String {
    if member.addr.contains(':') {
        format!("[{}]:{}", member.addr, member.port)
    } else {
        format!("{}:{}", member.addr, member.port)
    }
}

/// Servers first, then by partition and segment, then by name.
fn sort(members: &mut [Member]) {
    members.sort_by(|a, b| {
        let key = |m: &Member| {
            let partition = tag(m, "ap").to_owned();
            (
                tag(m, "role") != "consul",
                partition != "default",
                tag(m, "segment").to_owned(),
                partition,
                m.name.to_string(),
            )
        };
        key(a).cmp(&key(b))
    });
}

fn standard(members: &[Member]) -> Vec<Vec<String>> {
    let header = [
        "Node",
        "Address",
        "Status",
        "Type",
        "Build",
        "Protocol",
        "DC",
        "Partition",
        "Segment",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for m in members {
        let mut row = vec![
            m.name.to_string(),
            address(m),
            status_word(m.status).to_owned(),
        ];
        let kind = match tag(m, "role") {
            "node" => Some("client"),
            "consul" => Some("server"),
            _ => None,
        };
        match kind {
            Some(kind) => {
                let build = tag(m, "build");
                let build = if build.is_empty() {
                    "< 0.3"
                } else {
                    build.split(':').next().unwrap_or(build)
                };
                row.extend([kind, build].map(str::to_owned));
                row.extend(["vsn", "dc", "ap", "segment"].map(|key| tag(m, key).to_owned()));
            }
            None => row.push("unknown".to_owned()),
        }
        rows.push(row);
    }
    rows
}

fn detailed(members: &[Member]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["Node", "Address", "Status", "Tags"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for m in members {
        let tags: Vec<String> = m.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        rows.push(vec![
            m.name.to_string(),
            address(m),
            status_word(m.status).to_owned(),
            tags.join(","),
        ]);
    }
    rows
}

impl Command for Members {
    const NAME: &'static str = "members";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists the members of the cluster";
    const LONG: &'static str = "Lists the agents that this agent knows by gossip, servers first. Ends with 2 if none \
has the wanted status.";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let status = match regex::Regex::new(&self.status) {
            Ok(status) => status,
            Err(err) => {
                cx.complain(format_args!("Failed to compile status regexp: {err}"));
                return 1;
            }
        };
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let all_segments = self.segment == "_all";
        let query = MemberQuery {
            wan: self.wan,
            segment: self.segment,
            filter: self.filter,
        };
        let mut members = match client.members(&query).await {
            Ok(members) => members,
            Err(err) => return cx.fail("Error retrieving members", &err),
        };
        members.retain(|m| status.is_match(status_word(m.status)));
        if members.is_empty() {
            return 2;
        }
        for member in &mut members {
            complete(member, all_segments);
        }
        sort(&mut members);
        cx.say(columns(&if self.detailed {
            detailed(&members)
        } else {
            standard(&members)
        }));
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    const TWO: &str = r#"[
        {"Name": "c1", "Addr": "10.0.0.2", "Port": 8301, "Status": 4,
         "Tags": {"role": "node", "build": "1.21.0:abc", "vsn": "2", "dc": "dc1", "segment": ""}},
        {"Name": "s1", "Addr": "::1", "Port": 8301, "Status": 1,
         "Tags": {"role": "consul", "build": "1.21.0", "vsn": "2", "dc": "dc1"}},
        {"Name": "x1", "Addr": "10.0.0.3", "Port": 1, "Status": 1, "Tags": {}}]"#;

    #[test]
    fn servers_come_first_and_gaps_are_filled() {
        let ran = Ran::with(&["members"], &[ok(TWO)]);
        assert_eq!(ran.lines(), ["GET /v1/agent/members?segment=_all"]);
        let want = "\
Node  Address        Status  Type     Build   Protocol  DC   Partition  Segment
s1    [::1]:8301     alive   server   1.21.0  2         dc1  default    <all>
c1    10.0.0.2:8301  failed  client   1.21.0  2         dc1  default    <default>
x1    10.0.0.3:1     alive   unknown
";
        assert_eq!((ran.code, ran.out.as_str()), (0, want));
    }

    #[test]
    fn details_are_the_tags() {
        let ran = Ran::with(
            &["members", "-wan", "-detailed", "-status=failed"],
            &[ok(TWO)],
        );
        assert_eq!(ran.lines(), ["GET /v1/agent/members?segment=_all&wan=1"]);
        assert_eq!(
            ran.out,
            "Node  Address        Status  Tags\n\
             c1    10.0.0.2:8301  failed  ap=default,build=1.21.0:abc,dc=dc1,role=node,segment=<default>,vsn=2\n"
        );
    }

    #[test]
    fn nobody_is_exit_status_2() {
        let ran = Ran::with(&["members", "-status=left"], &[ok(TWO)]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (2, "", ""));
        assert_eq!(Ran::without_agent(&["members", "-status=("]).code, 1);
    }
}
