//! `join` and `force-leave`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use clap::ArgAction;

#[derive(clap::Args)]
pub(crate) struct Join {
    /// Join a server to one of another datacenter.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    wan: bool,
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for Join {
    const NAME: &'static str = "join";
    const USAGE: &'static str = "[options] address ...";
    const ABOUT: &'static str = "Lets the agent join a cluster";
    const LONG: &'static str = "Lets the running agent join a cluster through one or more of its members. An address \
is a host name or IP, with the gossip port if it is not the usual one.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if args.is_empty() {
            return cx.misused::<Join>("At least one address to join must be specified.");
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut joined = 0;
        for address in &args {
            match client.join(address, self.wan).await {
                Ok(()) => joined += 1,
                Err(err) => {
                    cx.fail(format_args!("Error joining address '{address}'"), &err);
                }
            }
        }
        if joined == 0 {
            cx.complain("Failed to join any nodes.");
            return 1;
        }
        cx.say(format_args!(
            "Successfully joined cluster by contacting {joined} nodes."
        ));
        0
    }
}

#[derive(clap::Args)]
pub(crate) struct ForceLeave {
    /// Forget the member at once, so that it is no longer listed.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    prune: bool,
    /// The name is one of the WAN pool, with its datacenter.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    wan: bool,
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for ForceLeave {
    const NAME: &'static str = "force-leave";
    const USAGE: &'static str = "[options] name";
    const ABOUT: &'static str = "Marks a failed member as left";
    const LONG: &'static str = "Marks a member as left that failed and will not come back, so that the cluster stops \
trying to reach it and forgets it sooner. A member that is in fact alive joins again by itself.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let [node] = args.as_slice() else {
            return cx
                .misused::<ForceLeave>("A single node name must be specified to force leave.");
        };
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        match client.force_leave(node, self.prune, self.wan).await {
            Ok(()) => 0,
            Err(err) => cx.fail("Error force leaving", &err),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    #[test]
    fn one_address_that_works_is_enough() {
        let ran = Ran::with(
            &["join", "-wan", "a:1", "b:2"],
            &[Answer(500, "", "no"), ok("")],
        );
        assert_eq!(ran.code, 0);
        assert_eq!(
            ran.lines(),
            [
                "PUT /v1/agent/join/a:1?wan=1",
                "PUT /v1/agent/join/b:2?wan=1"
            ]
        );
        assert_eq!(
            ran.out,
            "Successfully joined cluster by contacting 1 nodes.\n"
        );
        assert_eq!(
            ran.err,
            "Error joining address 'a:1': Unexpected response code: 500 (no)\n"
        );
    }

    #[test]
    fn no_address_that_works_is_a_failure() {
        let ran = Ran::with(&["join", "a:1"], &[Answer(500, "", "no")]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.ends_with("Failed to join any nodes.\n"));
        let ran = Ran::without_agent(&["join"]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.err
                .starts_with("At least one address to join must be specified.\n\nUsage: ")
        );
    }

    #[test]
    fn force_leave_is_silent_when_it_works() {
        let ran = Ran::with(&["force-leave", "-prune", "n1"], &[ok("")]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
        assert_eq!(ran.lines(), ["PUT /v1/agent/force-leave/n1?prune=1"]);
        let why = "agent: No node found with name 'n1'";
        let ran = Ran::with(&["force-leave", "n1"], &[Answer(500, "", why)]);
        assert_eq!(
            ran.err,
            format!("Error force leaving: Unexpected response code: 500 ({why})\n")
        );
        assert_eq!(Ran::without_agent(&["force-leave"]).code, 1);
    }
}
