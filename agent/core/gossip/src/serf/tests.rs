//! Scenarios of two and three members.
