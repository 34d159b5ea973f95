//! `event`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use lictor_client::EventRow;

#[derive(clap::Args)]
pub(crate) struct Event {
    /// The event's name.
    #[arg(long, default_value = "")]
    name: String,
    /// A regular expression that the name of a node must match to get it.
    #[arg(long, default_value = "", value_name = "regexp")]
    node: String,
    /// A regular expression that the name of a service on the node must match.
    #[arg(long, default_value = "", value_name = "regexp")]
    service: String,
    /// A regular expression that a tag of that service must match.
    #[arg(long, default_value = "", value_name = "regexp")]
    tag: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Event {
    const NAME: &'static str = "event";
    const USAGE: &'static str = "[options] [payload]";
    const ABOUT: &'static str = "Fires an event";
    const LONG: &'static str =
        "Sends an event with a name, and data if given, to the agents of a datacenter by gossip. \
Regular expressions choose the nodes that act on it:

    $ {p} event -name=deploy -service=web 1.4.2";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if self.name.is_empty() {
            return cx.misused::<Event>("Event name must be specified");
        }
        for (what, pattern) in [
            ("node", &self.node),
            ("service", &self.service),
            ("tag", &self.tag),
        ] {
            if let Err(err) = regex::Regex::new(pattern) {
                cx.complain(format_args!(
                    "Failed to compile {what} filter regexp: {err}"
                ));
                return 1;
            }
        }
        if !self.tag.is_empty() && self.service.is_empty() {
            cx.complain("Cannot provide tag filter without service filter.");
            return 1;
        }
        if args.len() > 1 {
            return cx.misused::<Event>("Too many command line arguments.");
        }
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        if let Err(err) = client.node_name().await {
            return cx.fail("Error querying Consul agent", &err);
        }
        let event = EventRow {
            name: self.name.into(),
            payload: args
                .first()
                .map(|a| a.as_bytes())
                .unwrap_or_default()
                .into(),
            node_filter: self.node.into(),
            service_filter: self.service.into(),
            tag_filter: self.tag.into(),
            ..EventRow::default()
        };
        match client.fire_event(&event).await {
            Ok(id) => {
                cx.say(format_args!("Event ID: {id}"));
                0
            }
            Err(err) => cx.fail("Error firing event", &err),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Ran, ok};

    #[test]
    fn an_event_is_fired_with_its_filters() {
        let ran = Ran::with(
            &["event", "-name=deploy", "-service=^web$", "data"],
            &[
                ok(r#"{"Config": {"NodeName": "n"}}"#),
                ok(r#"{"ID": "e1", "Name": "deploy", "Payload": null}"#),
            ],
        );
        assert_eq!((ran.code, ran.out.as_str()), (0, "Event ID: e1\n"));
        assert_eq!(
            ran.lines()[1],
            "PUT /v1/event/fire/deploy?service=%5Eweb%24"
        );
        assert_eq!(ran.seen[1].body, "data");
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(
            Ran::without_agent(&["event"])
                .err
                .starts_with("Event name must be specified\n\nUsage: ")
        );
        let ran = Ran::without_agent(&["event", "-name=a", "-tag=b"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Cannot provide tag filter without service filter.\n")
        );
        assert!(
            Ran::without_agent(&["event", "-name=a", "-node=("])
                .err
                .starts_with("Failed to compile node filter")
        );
    }
}
