//! The key/value store.
