//! A configuration file in HCL: read, merged with the defaults and resolved.
#![no_main]

#[path = "shared/config.rs"]
mod config;

use lictor_config::{Format, hcl};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    config::whole("fuzz.hcl", Format::Hcl, text, hcl::parse(text).is_ok());
});
