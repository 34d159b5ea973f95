//! What the interfaces do, one area a file.

mod kv;
