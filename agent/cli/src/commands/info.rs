//! `info`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(clap::Args)]
pub(crate) struct Info {
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for Info {
    const NAME: &'static str = "info";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Shows what the agent counts about itself";
    const LONG: &'static str = "Shows what the agent counts about itself, section by section: its checks and services, \
its build, Raft, the process, and the gossip pools.";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let about = match client.agent_self().await {
            Ok(about) => about,
            Err(err) => return cx.fail("Error querying agent", &err),
        };
        let Some(stats) = about.get("Stats").and_then(Value::as_object) else {
            cx.complain(format_args!(
                "Agent response did not contain 'Stats' key: {about}"
            ));
            return 1;
        };
        for (section, entries) in stats.iter().collect::<BTreeMap<_, _>>() {
            cx.say(format_args!("{section}:"));
            let Some(entries) = entries.as_object() else {
                cx.complain(format_args!("Got invalid subkey in stats: {entries}"));
                return 1;
            };
            for (key, value) in entries.iter().collect::<BTreeMap<_, _>>() {
                match value {
                    Value::String(text) => cx.say(format_args!("\t{key} = {text}")),
                    other => cx.say(format_args!("\t{key} = {other}")),
                }
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    #[test]
    fn sections_and_their_entries_are_sorted() {
        let ran = Ran::with(
            &["info"],
            &[ok(
                r#"{"Stats": {"raft": {"term": "2", "state": "Leader"}, "agent": {"checks": "0"}}}"#,
            )],
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (
                0,
                "agent:\n\tchecks = 0\nraft:\n\tstate = Leader\n\tterm = 2\n"
            )
        );
        assert_eq!(Ran::with(&["info"], &[ok("{}")]).code, 1);
    }
}
