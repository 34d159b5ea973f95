//! What containers mean for the catalog, as pure functions.
//!
//! [`Container`] is what the daemon says of one container. [`plan()`] turns it, with [`Settings`]
//! and what is known of its [`Surroundings`], into services and into the problems that kept others
//! out. [`World`] holds all containers of a daemon over time and compares what should be registered
//! with what is: events only say when to look again, so whatever was missed is made good by the
//! next look.
//!
//! Labels, variables, names and ids are Registrator's. Where its behaviour is a known defect ours
//! differs; the comments say so.
//!
//! An address and its port come from one source, in one type ([`Endpoint`]): a container's address
//! can never be paired with a port of its host.

mod address;
mod check;
mod endpoint;
mod facts;
mod inspect;
mod metadata;
mod name;
mod plan;
mod report;
mod signal;
mod stamp;
mod world;

pub use address::{AddressFacts, Decision, Nic, Place, Rejected, choose_address};
pub use endpoint::{Endpoint, Rule};
pub use facts::{Deregister, Filter, HostAddress, Mode, Settings, Surroundings};
pub use inspect::{
    Binding, Container, ContainerConfig, Health, HealthRun, HostConfig, Network, NetworkSettings,
    State,
};
pub use metadata::Metadata;
pub use name::{PortKey, image_base, is_generated_id};
pub use plan::{Plan, Problem, Registration, SERVICES_MAX, plan};
pub use report::{ContainerReport, ServiceReport};
pub use signal::signal_number;
pub use stamp::nanos;
pub use world::{
    Action, Held, Mark, Rivals, Seen, Trace, Wanted, World, health_check_id, state_check_id,
};
