//! A configuration file in JSON: read, merged with the defaults and resolved. An object that another
//! reader of JSON takes, ours takes too.
#![no_main]

#[path = "shared/config.rs"]
mod config;

use lictor_config::{Format, json};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let tree = json::parse(text);
    if let Err(error) = &tree
        && let Ok(serde_json::Value::Object(_)) = serde_json::from_slice(text)
    {
        panic!("refused: {error}");
    }
    config::whole("fuzz.json", Format::Json, text, tree.is_ok());
});
