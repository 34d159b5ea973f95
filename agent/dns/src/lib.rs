//! Lictor's DNS server: services and nodes of the catalog as DNS records, the rest of the world
//! through recursors.
//!
//! Names, records and limits are those of Consul's DNS interface, so that whatever resolves
//! `web.service.consul` today goes on to. What a packet is answered with is decided by pure
//! functions ([`answer`], [`trim`], [`encode`]) over a [`lictor_state::View`]; [`Responder`] joins
//! them for one packet, and [`bind`] puts sockets around it.
//!
//! Packets are decoded by hickory. The sockets and the encoder are our own, because hickory's
//! server takes records rather than bytes and starts a task for each datagram: a recursor's answer
//! could not be passed on as it came, compression could not be switched off, and neither
//! connections nor pending answers would have a bound.

pub mod answer;
mod cache;
mod datagram;
pub mod encode;
mod find;
pub mod name;
mod question;
pub mod record;
mod recursor;
mod respond;
pub mod rows;
mod server;
mod settings;
mod shuffle;
mod source;
pub mod trim;
mod zone;

pub use respond::{Responder, Stats, Transport};
pub use server::{BindError, DnsServer, bind};
pub use settings::{RecursorStrategy, Settings, SettingsError, Soa};
pub use shuffle::Shuffle;
pub use source::{Found, Lookup, Queried, Source, SourceError, What};
pub use zone::Zone;
