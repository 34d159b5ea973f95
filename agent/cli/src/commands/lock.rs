//! `lock`.

mod hold;
mod semaphore;

use super::exec::{self, Received, Running, Signals};
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use clap::ArgAction;
use hold::{Cleanup, Hold, Plan};
use lictor_wire::GoDuration;
use std::process::Stdio;

#[derive(clap::Args)]
pub(crate) struct Lock {
    /// Fail with status 2 if the child fails.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    child_exit_code: bool,
    /// How many may hold it at once; more than one makes it a semaphore.
    #[arg(long, default_value_t = 1)]
    n: i64,
    /// How many errors of the agent in a row, a second apart, do not yet count as the lock lost.
    #[arg(long, default_value_t = 3, value_name = "count")]
    monitor_retry: i64,
    /// A name for the session; made from the child and the prefix unless given.
    #[arg(long, default_value = "")]
    name: String,
    /// Let the child read our input.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    pass_stdin: bool,
    /// Run the child by a shell ($SHELL, else /bin/sh).
    #[arg(long, action = ArgAction::Set, default_value_t = true)]
    shell: bool,
    /// How long to wait for the lock, like 1s or 3h; 0s waits for ever.
    #[arg(long, default_value = "0s", value_parser = GoDuration::parse, value_name = "duration", overrides_with = "try_time")]
    timeout: GoDuration,
    /// An older name of -timeout.
    #[arg(long = "try", value_parser = GoDuration::parse, value_name = "duration", hide = true)]
    try_time: Option<GoDuration>,
    /// Say what is done.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    verbose: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Lock {
    fn chat(&self, cx: &mut Cx<'_>, line: &str) {
        if self.verbose {
            cx.say(line);
            cx.flush();
        }
    }

    /// Runs the child while the lock is held. Gives false if it failed.
    async fn run_child(
        &self,
        cx: &mut Cx<'_>,
        words: &[String],
        hold: &Hold,
        signals: &mut Signals,
    ) -> bool {
        self.chat(cx, "Starting handler");
        let mut command = exec::command(cx, words, self.shell);
        command.env("CONSUL_LOCK_HELD", "true");
        if self.pass_stdin {
            self.chat(cx, "Stdin passed to handler process");
        }
        cx.flush();
        let mut running = match Running::start(command, self.pass_stdin, Stdio::null()) {
            Ok(running) => running,
            Err(err) => {
                cx.complain(format_args!("Error starting handler: {err}"));
                return false;
            }
        };
        let lost = hold.lost();
        tokio::pin!(lost);
        let why = loop {
            tokio::select! {
                status = running.child.wait() => {
                    self.chat(cx, "Child terminated, releasing lock");
                    return match status {
                        Ok(status) if status.success() => true,
                        Ok(status) => {
                            cx.complain(format_args!("Error running handler: {}", exec::exit_text(status)));
                            false
                        }
                        Err(err) => {
                            cx.complain(format_args!("Error running handler: {err}"));
                            false
                        }
                    };
                }
                () = &mut lost => break "Lock lost, killing child",
                received = signals.next() => match received {
                    Received::Forward(number) => running.signal(number),
                    Received::End(_) => break "Shutdown triggered, killing child",
                },
            }
        };
        self.chat(cx, why);
        let by_itself = running.end().await;
        self.chat(
            cx,
            if by_itself {
                "Child terminated"
            } else {
                "Child did not exit after grace period, killed"
            },
        );
        true
    }
}

impl Command for Lock {
    const NAME: &'static str = "lock";
    const USAGE: &'static str = "[options] prefix child...";
    const ABOUT: &'static str = "Runs a command while holding a lock";
    const LONG: &'static str = "Waits for the lock below a prefix of the key-value store and runs the child while it is \
held. If the lock is lost, the child gets SIGTERM, and five seconds later SIGKILL. With -n above 1 that many can hold \
it at once. In the child's environment CONSUL_LOCK_HELD is true.

    $ {p} lock app/leader ./work.sh";

    async fn run(mut self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let timeout = self.try_time.unwrap_or(self.timeout);
        let wrong = if self.n <= 0 {
            Some("Lock holder limit must be positive")
        } else if args.len() < 2 {
            Some("Key prefix and child command must be specified")
        } else if timeout.0 < 0 {
            Some("Timeout must be positive")
        } else if self.monitor_retry < 0 {
            Some("Number for 'monitor-retry' must be >= 0")
        } else {
            None
        };
        if let Some(text) = wrong {
            cx.complain(text);
            return 1;
        }
        let prefix = args[0].trim_start_matches('/').to_owned();
        let words = &args[1..];
        if self.name.is_empty() {
            self.name = format!("Consul lock for '{}' at '{prefix}'", words.join(" "));
        }
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        if let Err(err) = client.node_name().await {
            return cx.fail("Error querying Consul agent", &err);
        }
        let plan = Plan {
            prefix,
            session_name: self.name.clone(),
            limit: self.n.unsigned_abs(),
            wait: (timeout.0 > 0).then(|| timeout.to_std()),
            monitor_retries: u32::try_from(self.monitor_retry).unwrap_or(u32::MAX),
        };
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(err) => {
                cx.complain(format_args!("Lock setup failed: {err}"));
                return 1;
            }
        };
        self.chat(cx, &plan.describe());
        self.chat(cx, "Attempting lock acquisition");
        let hold = match Hold::open(client, plan).await {
            Ok(hold) => hold,
            Err(why) => {
                cx.complain(format_args!("Lock acquisition failed: {why}"));
                return 1;
            }
        };
        let acquired = tokio::select! {
            acquired = hold.acquire() => acquired,
            _ = signals.end() => Ok(false),
        };
        match acquired {
            Ok(true) => {}
            Ok(false) => {
                hold.close().await;
                cx.complain("Shutdown triggered or timeout during lock acquisition");
                return 1;
            }
            Err(why) => {
                hold.close().await;
                cx.complain(format_args!("Lock acquisition failed: {why}"));
                return 1;
            }
        }
        let succeeded = self.run_child(cx, words, &hold, &mut signals).await;
        let released = hold.release().await;
        let cleaned = if released.is_ok() {
            hold.cleanup().await
        } else {
            Ok(Cleanup::InUse)
        };
        hold.close().await;
        if let Err(why) = released {
            cx.complain(format_args!("Lock release failed: {why}"));
            return 1;
        }
        match cleaned {
            Ok(Cleanup::Done) => self.chat(cx, "Cleanup succeeded"),
            Ok(Cleanup::InUse) => self.chat(cx, "Cleanup aborted, lock in use"),
            Err(why) => {
                cx.complain(format_args!("Lock cleanup failed: {why}"));
                return 1;
            }
        }
        if self.child_exit_code && !succeeded {
            2
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    const SELF: &str = r#"{"Config": {"NodeName": "n1"}}"#;
    const SESSION: &str = r#"{"ID": "s1"}"#;
    /// The lock's flags: 0x2ddccbc058a50c18.
    const HELD: &str =
        r#"[{"Key": "p/.lock", "Flags": 3304740253564472344, "Session": "s1", "ModifyIndex": 7}]"#;

    fn index(body: &str) -> Answer<'_> {
        Answer(200, "X-Consul-Index: 7\r\n", body)
    }

    #[test]
    fn a_lock_is_taken_kept_while_the_child_runs_and_removed() {
        // The monitor asks beside the child; whichever line it stands on, the others keep their
        // order, so answers are the same for all of them.
        let ran = Ran::with(
            &["lock", "-child-exit-code", "-name=me", "/p", "exit 3"],
            &[
                ok(SELF),
                ok(SESSION),
                Answer(404, "X-Consul-Index: 1\r\n", ""),
                ok("true"),
                index(HELD),
            ],
        );
        assert_eq!(
            ran.lines()[..4],
            [
                "GET /v1/agent/self",
                "PUT /v1/session/create",
                "GET /v1/kv/p/.lock?wait=15000ms",
                "PUT /v1/kv/p/.lock?acquire=s1&flags=3304740253564472344",
            ]
        );
        assert_eq!(ran.seen[1].body, r#"{"Name":"me","TTL":"15s"}"#);
        assert!(
            ran.err
                .starts_with("Error running handler: exit status 3\n"),
            "{}",
            ran.err
        );
        let release = "PUT /v1/kv/p/.lock?flags=3304740253564472344&release=s1";
        assert!(ran.lines().contains(&release), "{:?}", ran.lines());
        assert!(
            ran.lines().contains(&"PUT /v1/session/destroy/s1"),
            "{:?}",
            ran.lines()
        );
    }

    #[test]
    fn a_foreign_key_is_a_conflict() {
        let ran = Ran::with(
            &["lock", "p", "true"],
            &[
                ok(SELF),
                ok(SESSION),
                index(r#"[{"Key": "p/.lock", "Flags": 1}]"#),
                ok("true"),
            ],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (
                1,
                "Lock acquisition failed: Existing key does not match lock use\n"
            )
        );
    }

    #[test]
    fn a_limit_in_time_ends_the_wait() {
        let taken = HELD.replace("s1", "other");
        let mut answers = vec![ok(SELF), ok(SESSION)];
        // This agent does not wait as long as it is told; far more answers than fit into the time.
        answers.extend((0..5_000).map(|_| index(&taken)));
        let ran = Ran::with(&["lock", "-timeout=1ms", "p", "true"], &answers);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Shutdown triggered or timeout during lock acquisition\n")
        );
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (args, text) in [
            (
                &["lock", "p"][..],
                "Key prefix and child command must be specified\n",
            ),
            (
                &["lock", "-n=0", "p", "c"],
                "Lock holder limit must be positive\n",
            ),
            (
                &["lock", "-timeout=-1s", "p", "c"],
                "Timeout must be positive\n",
            ),
            (
                &["lock", "-monitor-retry=-1", "p", "c"],
                "Number for 'monitor-retry' must be >= 0\n",
            ),
        ] {
            let ran = Ran::without_agent(args);
            assert_eq!((ran.code, ran.err.as_str()), (1, text));
        }
    }
}
