//! A filter expression: parsed, bound to a row of every kind of field, and tried.
#![no_main]

use lictor_bexpr::{Expression, Filter, row};
use std::collections::BTreeMap;

struct Inner {
    status: &'static str,
}

struct Whole {
    meta: BTreeMap<String, String>,
    tags: Vec<&'static str>,
    checks: Vec<Inner>,
    by_name: BTreeMap<String, Inner>,
}

struct InnerRow<'a>(&'a Inner);

row! { InnerRow<'_> as r { Status: str = r.0.status; } }
row! {
    Whole as w {
        Name: str = "web";
        Port: int = 8080i64;
        Small: i8 = -3i8;
        Count: uint = 7u64;
        Native: bool = true;
        Tags: strs = &w.tags;
        Meta: map = w.meta;
        Inner: object(InnerRow<'_>) = InnerRow(&w.checks[0]);
        Checks: objects(InnerRow<'_>) = w.checks.iter().map(InnerRow);
        ByName: object_map(InnerRow<'_>, InnerRow) = w.by_name;
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(expression) = Expression::parse(text) else {
        return;
    };
    let Ok(filter) = expression.compile::<Whole>() else {
        return;
    };
    let whole = Whole {
        meta: BTreeMap::from([("rack".to_owned(), "a1".to_owned())]),
        tags: vec!["v1", "primary"],
        checks: vec![Inner { status: "passing" }, Inner { status: "critical" }],
        by_name: BTreeMap::from([("lan".to_owned(), Inner { status: "warning" })]),
    };
    let matched = filter.matches(&whole);
    // What `not` says is the opposite, and a second reading says the same.
    let other =
        |text: String| -> Option<Filter> { Expression::parse(&text).ok()?.compile::<Whole>().ok() };
    if !text.trim().is_empty()
        && let Some(opposite) = other(format!("not ( {text} )"))
    {
        assert_eq!(opposite.matches(&whole), !matched, "not ( {text} )");
    }
});
