//! Containers: their registration, the checks inside them, and our own image, on a real Docker
//! daemon.

mod compose;
mod containers;
mod daemon_faults;
mod engine;
mod faults;
mod host;
mod image;
mod modes;
mod rolling;
