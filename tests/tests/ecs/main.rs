//! AWS: agents that find each other by tag in moto's EC2 and ECS, notices that end an instance, and
//! what is in `ecs/`. Takes root: each agent is on a machine of its own, with EC2's address for
//! metadata.

mod join;
mod notices;
mod python;
mod templates;
