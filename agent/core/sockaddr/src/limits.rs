//! How far a template may go.
//!
//! Templates come from whoever configures the agent, but a slip such as nested
//! `range`s over a thousand addresses must end in a message, not in an agent
//! that never starts. Each limit lies far above any sensible template.

/// Levels of parentheses and of `if`, `with` and `range` together.
pub const NESTING: usize = 64;

/// Steps of evaluation: one for each part of the template evaluated, each
/// address a function looks at, and each 64 bytes of text made; more for
/// sorting and for regular expressions.
pub const STEPS: u64 = 1_000_000;

/// Bytes of any text made by a template, the result included.
pub const TEXT: usize = 1 << 20;

/// Addresses in any list. Lists can outgrow the machine's own, because
/// selectors with `|` repeat an address for each alternative.
pub const ADDRESSES: usize = 1 << 16;

/// Bytes a compiled regular expression may take.
pub(crate) const REGEX: usize = 1 << 20;

/// The message for a list over [`ADDRESSES`].
pub(crate) fn too_many_addresses() -> String {
    format!("a list may hold at most {ADDRESSES} addresses")
}

/// The message for a text over [`TEXT`].
pub(crate) fn too_much_text() -> String {
    format!("a text may be at most {TEXT} bytes long")
}
