//! `leave` and `reload`.

use crate::command::Command;
use crate::cx::Cx;
use crate::help;
use crate::http_flags::HttpFlags;

#[derive(clap::Args)]
pub(crate) struct Leave {
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for Leave {
    const NAME: &'static str = "leave";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lets the agent leave the cluster and end";
    const LONG: &'static str = "Lets the agent leave the cluster and end. Others see that it left on purpose, so \
they do not take it for failed. Answers when the agent has left, which can take some seconds.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if !args.is_empty() {
            cx.complain(format_args!(
                "Error found unexpected args: [{}]",
                args.join(" ")
            ));
            let text = help::command::<Leave>(cx.program);
            cx.say(text);
            return 1;
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        match client.leave().await {
            Ok(()) => {
                cx.say("Graceful leave complete");
                0
            }
            Err(err) => cx.fail("Error leaving", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for Reload {
    const NAME: &'static str = "reload";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Lets the agent read its configuration again";
    const LONG: &'static str = "Lets the agent read its configuration files again and take over what can change while \
it runs: services, checks, watches, tokens, certificates, the log level and limits. SIGHUP does the same.";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        match client.reload().await {
            Ok(()) => {
                cx.say("Configuration reload triggered");
                0
            }
            Err(err) => cx.fail("Error reloading", &err),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    #[test]
    fn leave_and_reload_say_when_they_are_done() {
        let ran = Ran::with(&["leave"], &[ok("")]);
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.lines()),
            (0, "Graceful leave complete\n", vec!["PUT /v1/agent/leave"])
        );
        let ran = Ran::with(&["reload"], &[ok("")]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Configuration reload triggered\n")
        );
        let ran = Ran::with(&["reload"], &[Answer(500, "", "bad file\n")]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (
                1,
                "Error reloading: Unexpected response code: 500 (bad file)\n"
            )
        );
    }

    #[test]
    fn an_agent_that_does_not_answer_is_named_with_advice() {
        let ran = Ran::without_agent(&["leave"]);
        assert_eq!(ran.code, 1);
        let (first, second) = ran.err.trim_end().split_once('\n').unwrap();
        assert!(
            first.starts_with("Error leaving: Put \"http://127.0.0.1:"),
            "{first}"
        );
        assert!(first.ends_with(": connect: connection refused"), "{first}");
        assert!(second.contains("CONSUL_HTTP_ADDR"), "{second}");
    }

    #[test]
    fn leave_takes_no_words() {
        let ran = Ran::without_agent(&["leave", "a", "b"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error found unexpected args: [a b]\n")
        );
        assert!(ran.out.starts_with("Usage: lictor leave"));
    }
}
