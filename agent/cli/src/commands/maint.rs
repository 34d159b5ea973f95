//! `maint`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::HttpFlags;
use clap::ArgAction;

#[derive(clap::Args)]
pub(crate) struct Maint {
    /// Begin maintenance.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    enable: bool,
    /// End maintenance.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    disable: bool,
    /// Why; shown as the notes of the check that marks it.
    #[arg(long, default_value = "")]
    reason: String,
    /// The id of the only service that is meant.
    #[arg(long, default_value = "", value_name = "id")]
    service: String,
    #[command(flatten)]
    http: HttpFlags,
}

impl Command for Maint {
    const NAME: &'static str = "maint";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Takes the node or a service out of service";
    const LONG: &'static str = "Takes the agent's node, or one of its services, out of the answers of DNS and health \
queries, by a check that is critical for as long. It lasts over restarts of the agent. Without -enable or -disable, \
lists what is in maintenance.

    $ {p} maint -enable -service=web -reason='new disk'
    $ {p} maint -disable -service=web";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let wrong = if self.enable && self.disable {
            Some("Only one of -enable or -disable may be provided")
        } else if !self.enable && !self.reason.is_empty() {
            Some("Reason may only be provided with -enable")
        } else if !self.enable && !self.disable && !self.service.is_empty() {
            Some("Service requires either -enable or -disable")
        } else {
            None
        };
        if let Some(text) = wrong {
            cx.complain(text);
            return 1;
        }
        let client = match cx.client(&self.http) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let node = match client.node_name().await {
            Ok(node) => node,
            Err(err) => return cx.fail("Error querying Consul agent", &err),
        };
        if !self.enable && !self.disable {
            let checks = match client.agent_checks().await {
                Ok(checks) => checks,
                Err(err) => return cx.fail("Error getting checks", &err),
            };
            for check in checks.values() {
                if check.check_id == "_node_maintenance" {
                    cx.say(format_args!(
                        "Node:\n  Name:   {node}\n  Reason: {}\n",
                        check.notes
                    ));
                } else if check.check_id.starts_with("_service_maintenance:") {
                    cx.say(format_args!(
                        "Service:\n  ID:     {}\n  Reason: {}\n",
                        check.service_id, check.notes
                    ));
                }
            }
            return 0;
        }
        let (doing, done) = if self.enable {
            ("enabling", "enabled")
        } else {
            ("disabling", "disabled")
        };
        if self.service.is_empty() {
            match client.node_maintenance(self.enable, &self.reason).await {
                Ok(()) => cx.say(format_args!("Node maintenance is now {done}")),
                Err(err) => return cx.fail(format_args!("Error {doing} node maintenance"), &err),
            }
        } else {
            match client
                .service_maintenance(&self.service, self.enable, &self.reason)
                .await
            {
                Ok(()) => cx.say(format_args!(
                    "Service maintenance is now {done} for {:?}",
                    self.service
                )),
                Err(err) => {
                    return cx.fail(format_args!("Error {doing} service maintenance"), &err);
                }
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    const SELF: &str = r#"{"Config": {"NodeName": "n1"}}"#;

    #[test]
    fn maintenance_begins_and_ends() {
        let ran = Ran::with(
            &["maint", "-enable", "-reason=new disk"],
            &[ok(SELF), ok("")],
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Node maintenance is now enabled\n")
        );
        assert_eq!(
            ran.lines()[1],
            "PUT /v1/agent/maintenance?enable=true&reason=new+disk"
        );
        let ran = Ran::with(&["maint", "-disable", "-service=web"], &[ok(SELF), ok("")]);
        assert_eq!(ran.out, "Service maintenance is now disabled for \"web\"\n");
        assert_eq!(
            ran.lines()[1],
            "PUT /v1/agent/service/maintenance/web?enable=false"
        );
    }

    #[test]
    fn what_is_in_maintenance_is_listed() {
        let checks = r#"{"_node_maintenance": {"CheckID": "_node_maintenance", "Notes": "works"},
            "_service_maintenance:web": {"CheckID": "_service_maintenance:web", "ServiceID": "web", "Notes": "why"},
            "other": {"CheckID": "other"}}"#;
        let ran = Ran::with(&["maint"], &[ok(SELF), ok(checks)]);
        assert_eq!(
            ran.out,
            "Node:\n  Name:   n1\n  Reason: works\n\nService:\n  ID:     web\n  Reason: why\n\n"
        );
    }

    #[test]
    fn flags_that_do_not_fit_together_are_refused() {
        for (args, text) in [
            (
                &["maint", "-enable", "-disable"][..],
                "Only one of -enable or -disable may be provided\n",
            ),
            (
                &["maint", "-disable", "-reason=x"],
                "Reason may only be provided with -enable\n",
            ),
            (
                &["maint", "-service=x"],
                "Service requires either -enable or -disable\n",
            ),
        ] {
            let ran = Ran::without_agent(args);
            assert_eq!((ran.code, ran.err.as_str()), (1, text));
        }
    }
}
