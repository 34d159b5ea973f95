//! Containers: their registration, the checks inside them, and our own image, on a real Docker
//! daemon.

mod containers;
mod daemon_faults;
mod engine;
mod image;
