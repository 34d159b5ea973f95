//! Address templates: text in configuration that chooses among the addresses
//! of the machine.
//!
//! Consul lets every address of its configuration be a template in the language
//! of Go's `text/template` with the functions of go-sockaddr, for example
//! `{{ GetPrivateIP }}` or
//! `{{ GetAllInterfaces | include "name" "^eth" | include "type" "ipv4" | attr "address" }}`.
//! [`expand`] evaluates such a text against a list of [`Interface`]s.
//!
//! The crate is pure: it never asks the machine anything. The caller reads the
//! interfaces and says which one carries the default route; on Linux
//! [`parse_proc_net_route`] reads that from the text of `/proc/net/route`.
//!
//! ```
//! use lictor_sockaddr::{Flags, Interface, expand};
//!
//! let eth0 = Interface {
//!     name: "eth0".into(),
//!     flags: Flags::UP,
//!     addresses: vec![("10.0.0.5".parse().unwrap(), 24)],
//!     is_default_route: true,
//!     ..Interface::default()
//! };
//! assert_eq!(expand("{{ GetPrivateIP }}:8500", &[eth0]).unwrap(), "10.0.0.5:8500");
//! ```
//!
//! # Differences from go-sockaddr
//!
//! * Of the template language, `define`, `template` and `block`, the functions
//!   `call`, `html`, `js` and `urlquery`, and imaginary numbers are left out.
//! * A template is bounded in its nesting, work and output, see [`limits`].
//! * `math "network" "+0"` on IPv6 gives the network's address; go-sockaddr
//!   overflows there and gives an unrelated one.
//! * `include "network"` takes numbers only; go-sockaddr would look host and
//!   service names up.
//! * Sorting is stable. go-sockaddr's is up to twelve addresses; beyond that it
//!   leaves the order of equal ones open.
//! * Regular expressions are those of the `regex` crate: a brace that starts no
//!   repetition must be escaped, which Go does not ask for, and only the common
//!   mistakes are reported in the words of Go.

mod address;
mod filter;
mod interface;
pub mod limits;
mod math;
mod number;
mod order;
mod quote;
mod rfc;
mod route;
mod source;
mod template;

pub use interface::{Flags, Interface};
pub use route::{parse_proc_net_ipv6_route, parse_proc_net_route};
pub use source::{private_ip_v4, public_ip_v6};
pub use template::{Error, expand};
