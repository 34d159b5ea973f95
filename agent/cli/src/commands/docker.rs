//! `docker ps`

use crate::command::Command;
use crate::commands::none_wanted;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use crate::table::columns;
use clap::ArgAction;
use lictor_client::{Method, Request};
use serde_json::Value;

const PATH: &str = "/v1/lictor/docker/containers";

#[derive(clap::Args)]
pub(crate) struct Ps {
    #[command(flatten)]
    http: HttpFlags,
    /// Show containers that are left out on purpose, and those that ended, as well.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    all: bool,
    /// Show ids, addresses in the other family, and the rule that chose an address.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    detailed: bool,
}

impl Command for Ps {
    const NAME: &'static str = "docker ps";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lists containers and what is registered for them";
    const LONG: &'static str = "Lists the containers that the agent follows: their state, the services that are \
registered for them, where those are reached, and what is wrong with the labels of one or keeps it out of answers.

The status is 2 where a container has a problem.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if let Err(code) = none_wanted(cx, &args) {
            return code;
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let answer = match client.send(Request::new(Method::GET, PATH)).await {
            Ok(answer) => answer,
            Err(err) => return cx.fail("Error querying agent", &err),
        };
        let shown: Value = match answer.ok().and_then(|answer| answer.json()) {
            Ok(shown) => shown,
            Err(err) => return cx.fail("Error querying agent", &err),
        };
        self.show(&shown, cx)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// `running (healthy)`, `exited (137, out of memory)`
fn state(c: &Value) -> String {
    let mut notes: Vec<String> = Vec::new();
    if let Some(code) = c["ExitCode"].as_i64() {
        notes.push(code.to_string());
    }
    if c["OOMKilled"] == true {
        notes.push("out of memory".to_owned());
    }
    let health = text(c, "Health");
    if !health.is_empty() && health != "none" {
        notes.push(health.to_owned());
    }
    let state = text(c, "State");
    if notes.is_empty() {
        state.to_owned()
    } else {
        format!("{state} ({})", notes.join(", "))
    }
}

impl Ps {
    fn show(&self, shown: &Value, cx: &mut Cx<'_>) -> i32 {
        let daemon = &shown["Daemon"];
        if daemon["Connected"] != true {
            cx.complain(format_args!(
                "The daemon is not followed right now: {}",
                text(daemon, "Error")
            ));
        }
        let mut head = vec!["Container", "State", "Service", "Port", "Address", "Note"];
        if self.detailed {
            head.extend(["Service ID", "Other Address", "Rule"]);
        }
        let mut rows: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
        let mut problems: Vec<String> = Vec::new();
        for c in list(shown, "Containers") {
            let name = text(c, "Name");
            problems.extend(
                list(c, "Problems")
                    .filter_map(Value::as_str)
                    .map(|p| format!("{name}: {p}")),
            );
            let mut any = false;
            for s in list(c, "Services") {
                any = true;
                let cells = [
                    text(s, "Name"),
                    text(s, "ContainerPort"),
                    text(s, "Address"),
                    text(s, "Out"),
                ];
                let mut row = vec![name.to_owned(), state(c)];
                row.extend(cells.map(str::to_owned));
                if self.detailed {
                    row.extend(
                        [text(s, "ID"), text(s, "OtherAddress"), text(s, "Rule")]
                            .map(str::to_owned),
                    );
                }
                rows.push(row);
            }
            let has_problem = list(c, "Problems").next().is_some();
            if !any && (self.all || has_problem) {
                let note = if has_problem {
                    "see below"
                } else {
                    text(c, "LeftOut")
                };
                let mut row = vec![name.to_owned(), state(c)];
                row.extend(["", "", "", note].map(str::to_owned));
                rows.push(row);
            }
        }
        cx.say(columns(&rows));
        if problems.is_empty() {
            return 0;
        }
        cx.say("\nProblems:");
        for problem in problems {
            cx.say(format_args!("  {problem}"));
        }
        2
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    const SHOWN: &str = r#"{"Daemon":{"Connected":true},"Containers":[
        {"Name":"web","State":"running","Health":"healthy","ExitCode":null,"Services":[{"ID":"h:web:80","Name":"web","ContainerPort":"80/tcp","Address":"192.0.2.1:32768","Rule":"published on the host","Out":""}],"Problems":[]},
        {"Name":"old","State":"exited","Health":"","ExitCode":137,"OOMKilled":true,"Services":[],"Problems":[],"LeftOut":""},
        {"Name":"bad","State":"running","Services":[],"Problems":["80/tcp: not registered: no"]}]}"#;

    #[test]
    fn containers_services_and_problems_are_listed() {
        let ran = Ran::with(&["docker", "ps"], &[ok(SHOWN)]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (
                2,
                "Container  State              Service  Port    Address          Note\n\
                 web        running (healthy)  web      80/tcp  192.0.2.1:32768\n\
                 bad        running                                              see below\n\
                 \nProblems:\n  bad: 80/tcp: not registered: no\n"
            )
        );
        assert_eq!(ran.lines(), ["GET /v1/lictor/docker/containers"]);
        let ran = Ran::with(&["docker", "ps", "-all", "-detailed"], &[ok(SHOWN)]);
        assert!(
            ran.out.contains("exited (137, out of memory)") && ran.out.contains("h:web:80"),
            "{}",
            ran.out
        );
    }

    #[test]
    fn an_agent_without_containers_says_so() {
        let ran = Ran::with(
            &["docker", "ps"],
            &[Answer(
                404,
                "",
                "Containers are not registered by this agent",
            )],
        );
        assert_eq!(ran.code, 1);
        assert!(
            ran.err.contains("not registered by this agent"),
            "{}",
            ran.err
        );
    }
}
