//! The `lictor` binary.
fn main() {}
