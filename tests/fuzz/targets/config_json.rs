//! A configuration file in JSON: read, merged with the defaults and resolved. An object that another
//! reader of JSON takes, ours takes too.
#![no_main]

use lictor_config::{Format, Source, json, load, parse_agent_flags, read_definitions};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let tree = json::parse(text);
    if let Err(error) = &tree
        && let Ok(serde_json::Value::Object(_)) = serde_json::from_slice(text)
    {
        panic!("refused: {error}");
    }
    let source = Source::new("fuzz.json", Format::Json, text);
    let read = lictor_config::read(&source, &mut Vec::new());
    let blank = text.iter().all(u8::is_ascii_whitespace);
    assert!(
        blank || tree.is_ok() || read.is_err(),
        "read what cannot be parsed"
    );
    if read.is_ok() {
        let _ = read_definitions(&source);
        let flags = parse_agent_flags(["-dev"]).expect("a flag");
        let _ = load(&flags, vec![source], std::iter::empty(), &[], "host");
    }
});
