//! `keyring`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use clap::ArgAction;
use lictor_client::{Client, Error, KeyAction, KeyringAnswer};
use std::collections::BTreeMap;

/// Answers are carried by so many other members at most.
const RELAYS_MAX: i64 = 5;

#[derive(clap::Args)]
pub(crate) struct Keyring {
    /// Install this key on all members, to open messages with.
    #[arg(long, default_value = "", hide_default_value = true)]
    install: String,
    /// Make this installed key the primary one, that seals messages.
    #[arg(long = "use", default_value = "", hide_default_value = true)]
    use_key: String,
    /// Remove this key from all members; not the primary one.
    #[arg(long, default_value = "", hide_default_value = true)]
    remove: String,
    /// List the keys and how many members have each.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    list: bool,
    /// List the primary keys and how many members use each.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    list_primary: bool,
    /// Let each answer also travel through so many other members (0 to 5).
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    relay_factor: i64,
    /// List the keys of this agent's LAN pool without asking other members.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    local_only: bool,
    #[command(flatten)]
    http: HttpFlags,
}

/// What was asked for.
enum Task<'a> {
    List { primary: bool },
    Change(KeyAction, &'a str),
}

impl Keyring {
    fn tasks(&self) -> Vec<Task<'_>> {
        let mut tasks = Vec::new();
        if self.list {
            tasks.push(Task::List { primary: false });
        }
        if self.list_primary {
            tasks.push(Task::List { primary: true });
        }
        for (action, key) in [
            (KeyAction::Install, &self.install),
            (KeyAction::Use, &self.use_key),
            (KeyAction::Remove, &self.remove),
        ] {
            if !key.is_empty() {
                tasks.push(Task::Change(action, key));
            }
        }
        tasks
    }
}

impl Task<'_> {
    fn beginning(&self) -> &'static str {
        match self {
            Task::List { primary: false } => "==> Gathering installed encryption keys...",
            Task::List { primary: true } => "==> Gathering installed primary encryption keys...",
            Task::Change(KeyAction::Install, _) => "==> Installing new gossip encryption key...",
            Task::Change(KeyAction::Use, _) => "==> Changing primary gossip encryption key...",
            Task::Change(KeyAction::Remove, _) => "==> Removing gossip encryption key...",
        }
    }

    async fn run(&self, client: &Client, relays: u8, local: bool) -> Result<Vec<String>, Error> {
        match self {
            Task::List { primary } => {
                let answers = client.keyring(relays, local).await?;
                let shown = answers.iter().map(|answer| {
                    let keys = if *primary {
                        &answer.primary_keys
                    } else {
                        &answer.keys
                    };
                    pool(answer, keys)
                });
                Ok(shown.collect())
            }
            Task::Change(action, key) => {
                client.change_keyring(*action, key, relays).await?;
                Ok(Vec::new())
            }
        }
    }
}

/// The keys of one pool.
fn pool(answer: &KeyringAnswer, keys: &BTreeMap<String, usize>) -> String {
    let mut text = if answer.wan {
        "\nWAN:".to_owned()
    } else {
        format!("\n{} (LAN):", answer.datacenter)
    };
    for (node, message) in answer.messages.iter().flatten() {
        text.push_str(&format!("\n  ===> {node}: {message}"));
    }
    for (key, count) in keys {
        text.push_str(&format!("\n  {key} [{count}/{}]", answer.num_nodes));
    }
    text
}

impl Command for Keyring {
    const NAME: &'static str = "keyring";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Manages the keys of gossip encryption";
    const LONG: &'static str = "Lists and changes the keys that encrypt gossip, on all members of the pools. A rotation \
is: install the new key, use it, remove the old one, and look at the list after each step. It takes an agent that was \
started with a key.";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let tasks = self.tasks();
        let task = match tasks.as_slice() {
            [] => {
                return cx.misused::<Keyring>(
                    "One of -list, -list-primary, -install, -use and -remove must be given",
                );
            }
            [task] => task,
            _ => {
                cx.complain("Only a single action is allowed");
                return 1;
            }
        };
        if !(0..=RELAYS_MAX).contains(&self.relay_factor) {
            cx.complain(format_args!(
                "Error parsing relay factor: Relay factor must be in range: [0, {RELAYS_MAX}]"
            ));
            return 1;
        }
        if self.local_only && matches!(task, Task::Change(..)) {
            cx.complain(
                "Error validating local-only: local-only can only be set for list requests",
            );
            return 1;
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        cx.say(task.beginning());
        let relays = u8::try_from(self.relay_factor).unwrap_or(0);
        match task.run(&client, relays, self.local_only).await {
            Ok(pools) => {
                for pool in pools {
                    cx.say(pool);
                }
                0
            }
            Err(err) => cx.fail("error", &err),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    const BOTH: &str = r#"[
        {"WAN": true, "Datacenter": "dc1", "Segment": "", "Keys": {"k1": 1}, "PrimaryKeys": {"k1": 1}, "NumNodes": 1},
        {"WAN": false, "Datacenter": "dc1", "Segment": "", "Messages": {"n": "hm"}, "Keys": {"k1": 2, "k2": 1}, "PrimaryKeys": {"k1": 2}, "NumNodes": 2}
    ]"#;

    #[test]
    fn keys_are_listed_by_pool() {
        let ran = Ran::with(&["keyring", "-list", "-relay-factor=2"], &[ok(BOTH)]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert_eq!(ran.lines(), ["GET /v1/operator/keyring?relay-factor=2"]);
        assert_eq!(
            ran.out,
            "==> Gathering installed encryption keys...\n\nWAN:\n  k1 [1/1]\n\ndc1 (LAN):\n  ===> n: hm\n  k1 [2/2]\n  k2 [1/2]\n"
        );
        let ran = Ran::with(&["keyring", "-list-primary", "-local-only"], &[ok(BOTH)]);
        assert_eq!(ran.lines(), ["GET /v1/operator/keyring?local-only=true"]);
        assert!(ran.out.ends_with("\n  k1 [2/2]\n"), "{}", ran.out);
    }

    #[test]
    fn changes_say_what_they_do_and_nothing_more() {
        for (flag, method, said) in [
            (
                "-install=k",
                "POST",
                "==> Installing new gossip encryption key...\n",
            ),
            (
                "-use=k",
                "PUT",
                "==> Changing primary gossip encryption key...\n",
            ),
            (
                "-remove=k",
                "DELETE",
                "==> Removing gossip encryption key...\n",
            ),
        ] {
            let ran = Ran::with(&["keyring", flag], &[ok("")]);
            assert_eq!((ran.code, ran.out.as_str()), (0, said));
            assert_eq!(ran.lines(), [format!("{method} /v1/operator/keyring")]);
            assert_eq!(ran.seen[0].body, r#"{"Key":"k"}"#);
        }
        let ran = Ran::with(&["keyring", "-use=k"], &[Answer(500, "", "no")]);
        assert_eq!(ran.code, 1);
        assert_eq!(ran.err, "error: Unexpected response code: 500 (no)\n");
    }

    #[test]
    fn wrong_words_are_named() {
        for (args, err) in [
            (
                &["keyring", "-list", "-use=k"][..],
                "Only a single action is allowed\n",
            ),
            (
                &["keyring", "-list", "-relay-factor=6"],
                "Error parsing relay factor: Relay factor must be in range: [0, 5]\n",
            ),
            (
                &["keyring", "-use=k", "-local-only"],
                "Error validating local-only: local-only can only be set for list requests\n",
            ),
        ] {
            let ran = Ran::without_agent(args);
            assert_eq!((ran.code, ran.err.as_str()), (1, err));
        }
        assert_eq!(Ran::without_agent(&["keyring"]).code, 1);
    }
}
