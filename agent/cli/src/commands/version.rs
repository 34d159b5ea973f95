//! `version`.

use crate::command::Command;
use crate::cx::Cx;
use serde_json::json;

/// The release of Consul whose behaviour clients may expect: by it they decide what to ask.
pub const COMPATIBLE_VERSION: &str = "1.21.0";
/// Our own release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// When it was built. A constant, as in Consul's own development builds, so that equal sources
/// make equal binaries.
pub const BUILD_DATE: &str = "1970-01-01T00:00:01Z";

/// Our own release as the metadata of the compatible one.
pub fn metadata() -> String {
    format!("lictor.{VERSION}")
}

#[derive(clap::Args)]
pub(crate) struct Version {
    /// How to write it: pretty or json.
    #[arg(long, default_value = "pretty")]
    format: String,
}

impl Command for Version {
    const NAME: &'static str = "version";
    const USAGE: &'static str = "[options]";
    const ABOUT: &'static str = "Prints the version";
    const LONG: &'static str = "Prints the release of Consul whose interfaces this is compatible with, which is what \
clients and scripts look at, and our own release.";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        match self.format.as_str() {
            "pretty" => print(cx),
            "json" => {
                let own = metadata();
                let about = json!({
                    "HumanVersion": format!("{COMPATIBLE_VERSION}+{own}"),
                    "Version": COMPATIBLE_VERSION,
                    "VersionMetadata": own,
                    "Revision": "",
                    "Prerelease": "",
                    "BuildDate": BUILD_DATE,
                    "RPC": {"Default": 2, "Min": 2, "Max": 3},
                });
                let text = serde_json::to_string_pretty(&about).unwrap_or_default();
                cx.say(text);
                0
            }
            other => {
                cx.complain(format_args!("Unknown format: {other}"));
                1
            }
        }
    }
}

/// The version for people; the first line is for scripts too.
pub(crate) fn print(cx: &mut Cx<'_>) -> i32 {
    cx.say(format_args!("Consul v{COMPATIBLE_VERSION}"));
    cx.say(format_args!(
        "Lictor v{VERSION} (compatible with Consul v{COMPATIBLE_VERSION})"
    ));
    cx.say(format_args!("Build Date {BUILD_DATE}"));
    cx.say(
        "Protocol 2 spoken by default, understands 2 to 3 \
         (agent will automatically use protocol >2 when speaking to compatible agents)",
    );
    cx.say("");
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cx::testing::Ran;

    #[test]
    fn the_first_line_is_consuls_and_ours_follows() {
        for args in [&["version"][..], &["--version"], &["-v"]] {
            let ran = Ran::without_agent(args);
            let lines: Vec<&str> = ran.out.lines().collect();
            assert_eq!((ran.code, lines[0]), (0, "Consul v1.21.0"), "{args:?}");
            assert!(lines[1].starts_with(&format!("Lictor v{VERSION} ")));
        }
    }

    #[test]
    fn json_has_both() {
        let ran = Ran::without_agent(&["version", "-format=json"]);
        let v: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&v["Version"], &v["RPC"]["Max"]),
            (&json!("1.21.0"), &json!(3))
        );
        assert_eq!(v["HumanVersion"], json!(format!("1.21.0+lictor.{VERSION}")));
        assert_eq!(
            Ran::without_agent(&["version", "-format=xml"]).err,
            "Unknown format: xml\n"
        );
    }
}
