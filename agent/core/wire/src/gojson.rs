//! JSON as Go writes and reads it.
//!
//! Writing: compact or with four blanks, `<`, `>` and `&` escaped. Reading: field names without
//! regard to case, `null` leaves a field as it was, unknown fields refused where Go was told to,
//! and Go's error texts, because scripts and dashboards show them.

mod read;
mod syntax;
mod write;

pub use read::{Mode, decode, decode_value};
pub use syntax::syntax_error;
pub use write::{to_pretty, to_string, to_vec};
