//! `validate`.

use crate::command::Command;
use crate::cx::{ConfigFormat, Cx};
use clap::ArgAction;

#[derive(clap::Args)]
pub(crate) struct Validate {
    /// The form of files whose names do not end in .hcl or .json: hcl or json.
    #[arg(long)]
    config_format: Option<String>,
    /// Print only what is wrong.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    quiet: bool,
}

impl Command for Validate {
    const NAME: &'static str = "validate";
    const USAGE: &'static str = "[options] FILE_OR_DIRECTORY...";
    const ABOUT: &'static str = "Checks configuration files";
    const LONG: &'static str = "Reads configuration files and folders together, as the agent would at its start, and \
says what is wrong with them. Nothing is started or changed. Ends with 0 if the agent would start with them.";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if args.is_empty() {
            cx.complain("Must specify at least one config file or directory");
            return 1;
        }
        let format = match self.config_format.as_deref() {
            None | Some("") => None,
            Some("hcl") => Some(ConfigFormat::Hcl),
            Some("json") => Some(ConfigFormat::Json),
            Some(_) => {
                cx.complain("Config validation failed: config: -config-format must be either 'hcl' or 'json'");
                return 1;
            }
        };
        match (cx.hooks.validate)(&args, format) {
            Ok(warnings) => {
                if !self.quiet {
                    for warning in warnings {
                        cx.complain(warning);
                    }
                    cx.say("Configuration is valid!");
                }
                0
            }
            Err(why) => {
                cx.complain(format_args!("Config validation failed: {why}"));
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::Ran;

    #[test]
    fn good_and_bad_files() {
        let ran = Ran::without_agent(&["validate", "-config-format=hcl", "good"]);
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (0, "Configuration is valid!\n", "format is Some(Hcl)\n")
        );
        let ran = Ran::without_agent(&["validate", "-quiet", "good"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
        let ran = Ran::without_agent(&["validate", "bad.json"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (
                1,
                "Config validation failed: failed to parse bad.json: unexpected end of JSON input\n"
            )
        );
        let ran = Ran::without_agent(&["validate"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Must specify at least one config file or directory\n")
        );
        assert_eq!(
            Ran::without_agent(&["validate", "-config-format=toml", "good"]).code,
            1
        );
    }
}
