//! Containers: their registration, the checks inside them, and our own image, on a real Docker
//! daemon.

mod compose;
mod containers;
mod engine;
mod engine_faults;
mod faults;
mod host;
mod image;
mod modes;
mod rolling;
