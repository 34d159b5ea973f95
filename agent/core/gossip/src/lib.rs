//! Part of Lictor.
