//! `monitor`.

use super::exec::Signals;
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use clap::ArgAction;
use lictor_client::{Client, Error, Method, Request, Streaming};
use std::time::Duration;

/// How long the text of an error may take.
const ERROR_LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Monitor {
    /// The least level to show: trace, debug, info, warn or err.
    #[arg(long, default_value = "INFO", value_name = "level")]
    log_level: String,
    /// Show lines as JSON.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    log_json: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Monitor {
    const NAME: &'static str = "monitor";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Shows the log of the agent as it comes";
    const LONG: &'static str =
        "Shows what the agent logs from now on, until Ctrl-C. The level may be lower than that \
of the agent's own log:

    $ {p} monitor -log-level=debug";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(err) => {
                cx.complain(format_args!("Error waiting for signals: {err}"));
                return 1;
            }
        };
        let opened = tokio::select! {
            opened = open(&client, &self.log_level, self.log_json) => opened,
            _ = signals.end() => return 0,
        };
        let mut log = match opened {
            Ok(log) => log,
            Err(err) => return cx.fail("Error starting monitor", &err),
        };
        loop {
            let piece = tokio::select! {
                piece = log.chunk() => piece,
                _ = signals.end() => return 0,
            };
            match piece {
                Ok(Some(lines)) => {
                    // Whoever reads us may have gone, as `head` does.
                    if cx
                        .out
                        .write_all(&lines)
                        .and_then(|()| cx.out.flush())
                        .is_err()
                    {
                        return 0;
                    }
                }
                // The agent has ended.
                Ok(None) | Err(_) => {
                    cx.say("");
                    cx.say("Remote side ended the monitor! This usually means that the\nremote side has exited or crashed.");
                    return 1;
                }
            }
        }
    }
}

/// Asks for the log; an answer that is none becomes an error with its text.
async fn open(client: &Client, level: &str, json: bool) -> Result<Streaming, Error> {
    let mut request = Request::new(Method::GET, "/v1/agent/monitor").param("loglevel", level);
    if json {
        request = request.param("logjson", "true");
    }
    client.stream(request).await?.ok(ERROR_LIMIT).await
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    #[test]
    fn lines_come_as_they_are() {
        let ran = Ran::with(
            &["monitor", "-log-level=debug", "-log-json"],
            &[ok("one\ntwo\n")],
        );
        assert_eq!(ran.code, 1, "the other side ended it");
        assert!(
            ran.out
                .starts_with("one\ntwo\n\nRemote side ended the monitor!"),
            "{}{}",
            ran.out,
            ran.err
        );
        assert_eq!(
            ran.lines(),
            ["GET /v1/agent/monitor?logjson=true&loglevel=debug"]
        );
    }

    #[test]
    fn a_level_that_is_none_is_said() {
        let ran = Ran::with(
            &["monitor", "-log-level=loud"],
            &[Answer(400, "", "Unknown log level: loud")],
        );
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(
            ran.err.starts_with(
                "Error starting monitor: Unexpected response code: 400 (Unknown log level: loud)"
            ),
            "{}",
            ran.err
        );
        assert_eq!(Ran::without_agent(&["monitor"]).code, 1);
    }
}
