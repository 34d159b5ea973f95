//! `keygen`.

use crate::command::Command;
use crate::cx::Cx;
use base64::Engine;

#[derive(clap::Args)]
pub(crate) struct Keygen {}

impl Command for Keygen {
    const NAME: &'static str = "keygen";
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Makes a key for gossip encryption";
    const LONG: &'static str = "Makes a new key for gossip encryption: 32 random bytes in base64. Give it to every \
agent as -encrypt or in the setting \"encrypt\".";

    async fn run(self, _args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let mut key = [0; 32];
        if let Err(err) = getrandom::fill(&mut key) {
            cx.complain(format_args!("Error reading random data: {err}"));
            return 1;
        }
        cx.say(base64::engine::general_purpose::STANDARD.encode(key));
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::Ran;
    use base64::Engine;

    #[test]
    fn keys_have_32_bytes_and_differ() {
        let key = || {
            let ran = Ran::without_agent(&["keygen"]);
            assert_eq!(ran.code, 0);
            base64::engine::general_purpose::STANDARD
                .decode(ran.out.trim())
                .unwrap()
        };
        let (a, b) = (key(), key());
        assert_eq!((a.len(), b.len()), (32, 32));
        assert_ne!(a, b);
    }
}
