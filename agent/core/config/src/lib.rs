//! Lictor's configuration: from texts to a validated [`Config`].
//!
//! Files (HCL and JSON), flags and environment are read into what was *given* ([`given::Given`]),
//! strictly and by one table of keys ([`keys`]), merged as Consul merges, and resolved into
//! concrete values. Error texts are those of Consul 1.21 where it has the rule, with the place and
//! the nearest key added at the end.
//!
//! The crate is pure: it opens no file, reads no environment, knows no clock. The caller passes
//! texts, variables, network interfaces and the host's name to [`load`].
//!
//! ```
//! use lictor_config::{Format, Source, flags::parse_agent_flags, load};
//!
//! let flags = parse_agent_flags(["-dev", "-http-port", "8501"]).unwrap();
//! let file = Source::new("a.hcl", Format::Hcl, r#"node_name = "one""#);
//! let loaded = load(&flags, vec![file], std::iter::empty(), &[], "host").unwrap();
//! assert_eq!(loaded.config.node_name, "one");
//! assert_eq!(loaded.config.ports.http, Some(8501));
//! ```

// `json!` with a hundred keys.
#![recursion_limit = "512"]

pub mod config;
mod debug;
mod decode;
pub mod definitions;
pub mod env;
pub mod error;
pub mod flags;
pub mod given;
pub mod hcl;
pub mod json;
pub mod keys;
mod load;
pub mod reload;
mod resolve;
pub mod source;
#[cfg(test)]
mod testing;
pub mod tree;

pub use config::*;
pub use debug::without_secrets;
pub use definitions::{CheckDefinition, ServiceAddress, ServiceDefinition, Weights};
pub use error::Errors;
pub use flags::{FlagError, Flags, parse_agent_flags};
pub use load::{Loaded, definitions as read_definitions, load, read};
pub use reload::ReloadPlan;
pub use source::{Format, Source};
