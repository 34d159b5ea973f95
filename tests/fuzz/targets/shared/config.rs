//! What becomes of a configuration file, whatever its format.

use lictor_config::{Format, Source, load, parse_agent_flags, read_definitions};

/// Reads a file, merges it with the defaults and resolves it. `parses` says whether the reader of
/// the format alone takes it: what it refuses must not be read.
pub fn whole(name: &'static str, format: Format, text: &[u8], parses: bool) {
    let source = Source::new(name, format, text);
    let read = lictor_config::read(&source, &mut Vec::new());
    let blank = text.iter().all(u8::is_ascii_whitespace);
    assert!(
        blank || parses || read.is_err(),
        "read what cannot be parsed"
    );
    if read.is_ok() {
        let _ = read_definitions(&source);
        let flags = parse_agent_flags(["-dev"]).expect("a flag");
        let _ = load(&flags, vec![source], std::iter::empty(), &[], "host");
    }
}
