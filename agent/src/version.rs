//! Who we are: the version of Consul that clients see, and our own beside it. The command line
//! knows them too, and defines them.

pub use lictor_cli::{BUILD_DATE, COMPATIBLE_VERSION as COMPATIBLE, VERSION as OWN, metadata};

/// What the product is called where scripts wait for a line: Consul's word when called by that
/// name, ours otherwise.
pub fn product(program: &str) -> &'static str {
    if program == "consul" {
        "Consul"
    } else {
        "Lictor"
    }
}
