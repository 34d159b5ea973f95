//! Bodies of requests, read as Go reads them. What was read can be written as JSON.
#![no_main]

use lictor_wire::gojson::{self, Mode};
use lictor_wire::{
    CheckRequest, CheckUpdateRequest, CoordinateUpdateRequest, DeregisterRequest, RegisterRequest,
    ServiceRequest, SessionRequest,
};
use serde_json::Value;

fn read<T: serde::de::DeserializeOwned + serde::Serialize>(body: &[u8]) {
    for mode in [Mode::Strict, Mode::Lenient] {
        let Ok(value) = gojson::decode::<T>(body, mode, "fuzz") else {
            continue;
        };
        let text = gojson::to_vec(&value);
        assert_eq!(
            gojson::syntax_error(&text),
            None,
            "{}",
            String::from_utf8_lossy(&text)
        );
        assert!(serde_json::from_slice::<Value>(&text).is_ok());
        assert!(serde_json::from_slice::<Value>(&gojson::to_pretty(&value)).is_ok());
    }
}

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    // JSON by somebody else's reader is JSON by ours.
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert_eq!(gojson::syntax_error(body), None, "{value}");
    }
    read::<RegisterRequest>(body);
    read::<DeregisterRequest>(body);
    read::<ServiceRequest>(body);
    read::<CheckRequest>(body);
    read::<CheckUpdateRequest>(body);
    read::<CoordinateUpdateRequest>(body);
    read::<SessionRequest>(body);
});
