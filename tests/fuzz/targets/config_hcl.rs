//! A configuration file in HCL: read, merged with the defaults and resolved.
#![no_main]

use lictor_config::{Format, Source, hcl, load, parse_agent_flags, read_definitions};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let tree = hcl::parse(text);
    let source = Source::new("fuzz.hcl", Format::Hcl, text);
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
