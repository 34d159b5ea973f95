//! Who we are: the version of Consul that clients see, and our own beside it.

/// The version of Consul whose interfaces these are. Clients decide by it what they may ask.
pub const COMPATIBLE: &str = "1.21.0";
/// Our own version.
pub const OWN: &str = env!("CARGO_PKG_VERSION");
/// When it was built, for those who ask. Reproducible builds have no clock: SOURCE_DATE_EPOCH or
/// the start of time.
pub const BUILD_DATE: &str = "1970-01-01T00:00:01Z";

/// Our own version as the metadata of the compatible one.
pub fn metadata() -> String {
    format!("lictor.{OWN}")
}

/// What the product is called where scripts wait for a line: Consul's word when called by that
/// name, ours otherwise.
pub fn product(program: &str) -> &'static str {
    if program == "consul" {
        "Consul"
    } else {
        "Lictor"
    }
}
