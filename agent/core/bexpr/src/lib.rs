//! Filter expressions: the `?filter=` language of Consul 1.21 (go-bexpr).
//!
//! Three steps, each with its own errors:
//!
//! 1. [`Expression::parse`] reads the text. Only the grammar is checked.
//! 2. [`Expression::compile`] binds it to a type of row: selectors, operators, values and regular
//!    expressions are checked, so that a bad filter fails even where there is no row.
//! 3. [`Filter::matches`] tests a row. It cannot fail and does not allocate.
//!
//! An endpoint that wants type errors only when there is a row (Consul's `/v1/agent/checks`) parses
//! at once and compiles when it meets its first row.
//!
//! Filters come from outside, so their cost is bounded where Consul's is not: nesting
//! ([`Expression::MAX_DEPTH`]), and size and depth of regular expressions ([`re2::Regex`]). The
//! number of comparisons is not: reading and compiling take time linear in the text.
//!
//! A type becomes filterable by implementing [`Row`], which the [`row!`] macro writes: one line per
//! field gives its name, its kind and where it is found.
//!
//! ```
//! use lictor_bexpr::{Expression, row};
//!
//! struct Service { name: String, port: u16, tags: Vec<String> }
//!
//! row! {
//!     Service as service {
//!         Name: str = service.name;
//!         Port: int = service.port;
//!         Tags: strs = &service.tags;
//!     }
//! }
//!
//! let web = Service { name: "web".into(), port: 80, tags: vec!["v1".into()] };
//! let filter = Expression::parse("v1 in Tags and Port != 81")?.compile::<Service>()?;
//! assert!(filter.matches(&web));
//!
//! let error = Expression::parse("Prot == 80")?.compile::<Service>().unwrap_err();
//! assert_eq!(error.to_string(), r#"Selector "Prot" is not valid"#);
//! # Ok::<(), lictor_bexpr::Error>(())
//! ```

mod ast;
mod compile;
mod error;
mod number;
mod parse;
#[cfg(test)]
mod properties;
mod quote;
mod row;
mod rows;
mod schema;

pub mod re2;

pub use ast::Expression;
pub use compile::Filter;
pub use error::{ERROR_PREFIX, Error};
pub use row::{Probe, Row};
pub use schema::{Field, Kind, Scalar, Schema};
