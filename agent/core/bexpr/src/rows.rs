//! The macro that makes a type filterable.

/// Implements [`Row`](crate::Row) for a type: one line per field.
///
/// `Type as name { Field: kind = expression; … }`, where `name` stands for `&Type` in the expressions.
///
/// | kind | the expression is | Consul's type |
/// |---|---|---|
/// | `str` | `AsRef<str>` | string |
/// | `bool` | `bool` | bool |
/// | `int`, `i8` … `i64` | `Into<i64>` | int (64 bits), int8 … |
/// | `uint`, `u8` … `u64` | `Into<u64>` | uint (64 bits), uint8 … |
/// | `strs` | iterable of `AsRef<str>` | list of strings |
/// | `bytes` | iterable of `u8` | list of bytes |
/// | `map` | has `is_empty()`, and `get(&str)` giving `Option` of `AsRef<str>` | map of strings |
/// | `object(T)` | a `T`, which is a `Row` | object |
/// | `objects(T)` | iterable of `T` | list of objects |
/// | `object_map(T, make)` | has `is_empty()` and `get(&str)`; `make` turns a found `&V` into a `T` | map of objects |
///
/// The width of a number bounds what a filter may compare it with, nothing else. Expressions are
/// evaluated in place and borrow from the row; the macro takes a reference to `map`s itself.
///
/// ```
/// use std::collections::BTreeMap;
/// use lictor_bexpr::{Expression, row};
///
/// struct Check { status: String }
/// struct Node { id: u8, meta: BTreeMap<String, String>, checks: Vec<Check> }
/// struct CheckRow<'a>(&'a Check);
///
/// row! { CheckRow<'_> as check { Status: str = &check.0.status; } }
/// row! {
///     Node as node {
///         ID: u8 = node.id;
///         Meta: map = node.meta;
///         Checks: objects(CheckRow<'_>) = node.checks.iter().map(CheckRow);
///     }
/// }
///
/// let node = Node { id: 1, meta: BTreeMap::new(), checks: vec![Check { status: "passing".into() }] };
/// let filter = Expression::parse("Checks.Status == passing and Meta.rack != a")?.compile::<Node>()?;
/// assert!(filter.matches(&node));
/// # Ok::<(), lictor_bexpr::Error>(())
/// ```
#[macro_export]
macro_rules! row {
    ($type:ty as $row:ident { $($name:ident : $kind:ident $(($($of:tt)*))? = $value:expr;)* }) => {
        impl $crate::Row for $type {
            const SCHEMA: &'static $crate::Schema = {
                static SCHEMA: $crate::Schema = $crate::Schema {
                    fields: &[$($crate::Field {
                        name: stringify!($name),
                        kind: $crate::row!(@kind $kind $(($($of)*))?),
                    }),*],
                };
                &SCHEMA
            };

            fn test(&self, probe: $crate::Probe<'_>) -> bool {
                #[allow(non_camel_case_types, clippy::upper_case_acronyms, clippy::enum_variant_names)]
                enum Index { $($name),* }
                let $row = self;
                let Some((index, probe)) = probe.field() else {
                    return false;
                };
                $(if index == Index::$name as usize {
                    return $crate::row!(@test probe, $kind $(($($of)*))?, $value);
                })*
                false
            }
        }
    };

    (@kind str) => { $crate::Kind::Scalar($crate::Scalar::Str) };
    (@kind bool) => { $crate::Kind::Scalar($crate::Scalar::Bool) };
    (@kind int) => { $crate::Kind::Scalar($crate::Scalar::Int(64)) };
    (@kind i8) => { $crate::Kind::Scalar($crate::Scalar::Int(8)) };
    (@kind i16) => { $crate::Kind::Scalar($crate::Scalar::Int(16)) };
    (@kind i32) => { $crate::Kind::Scalar($crate::Scalar::Int(32)) };
    (@kind i64) => { $crate::Kind::Scalar($crate::Scalar::Int(64)) };
    (@kind uint) => { $crate::Kind::Scalar($crate::Scalar::Uint(64)) };
    (@kind u8) => { $crate::Kind::Scalar($crate::Scalar::Uint(8)) };
    (@kind u16) => { $crate::Kind::Scalar($crate::Scalar::Uint(16)) };
    (@kind u32) => { $crate::Kind::Scalar($crate::Scalar::Uint(32)) };
    (@kind u64) => { $crate::Kind::Scalar($crate::Scalar::Uint(64)) };
    (@kind strs) => { $crate::Kind::List($crate::Scalar::Str) };
    (@kind bytes) => { $crate::Kind::List($crate::Scalar::Uint(8)) };
    (@kind map) => { $crate::Kind::Map($crate::Scalar::Str) };
    (@kind object($of:ty)) => { $crate::Kind::Object(<$of as $crate::Row>::SCHEMA) };
    (@kind objects($of:ty)) => { $crate::Kind::Objects(<$of as $crate::Row>::SCHEMA) };
    (@kind object_map($of:ty, $make:expr)) => {
        $crate::Kind::ObjectMap(<$of as $crate::Row>::SCHEMA)
    };

    (@test $probe:ident, str, $value:expr) => { $probe.str(&$value) };
    (@test $probe:ident, bool, $value:expr) => { $probe.bool($value) };
    (@test $probe:ident, int, $value:expr) => { $probe.int($value) };
    (@test $probe:ident, i8, $value:expr) => { $probe.int($value) };
    (@test $probe:ident, i16, $value:expr) => { $probe.int($value) };
    (@test $probe:ident, i32, $value:expr) => { $probe.int($value) };
    (@test $probe:ident, i64, $value:expr) => { $probe.int($value) };
    (@test $probe:ident, uint, $value:expr) => { $probe.uint($value) };
    (@test $probe:ident, u8, $value:expr) => { $probe.uint($value) };
    (@test $probe:ident, u16, $value:expr) => { $probe.uint($value) };
    (@test $probe:ident, u32, $value:expr) => { $probe.uint($value) };
    (@test $probe:ident, u64, $value:expr) => { $probe.uint($value) };
    (@test $probe:ident, strs, $value:expr) => { $probe.strs($value) };
    (@test $probe:ident, bytes, $value:expr) => { $probe.uints::<u8>($value) };
    (@test $probe:ident, map, $value:expr) => {{
        let map = &$value;
        $probe.map(map.is_empty(), |key| map.get(key), |value, probe| probe.str(value))
    }};
    (@test $probe:ident, object($of:ty), $value:expr) => {
        <$of as $crate::Row>::test(&$value, $probe)
    };
    (@test $probe:ident, objects($of:ty), $value:expr) => { $probe.rows::<$of>($value) };
    (@test $probe:ident, object_map($of:ty, $make:expr), $value:expr) => {{
        let map = &$value;
        $probe.map(
            map.is_empty(),
            |key| map.get(key),
            |value, probe| <$of as $crate::Row>::test(&($make)(value), probe),
        )
    }};
}
