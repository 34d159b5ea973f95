//! Tests on generated input.

use proptest::prelude::*;

use crate::ast::{Expression, Match, Node, Operator};
use crate::re2::Regex;

fn operator() -> impl Strategy<Value = Operator> {
    prop_oneof![
        Just(Operator::Equal),
        Just(Operator::NotEqual),
        Just(Operator::In),
        Just(Operator::NotIn),
        Just(Operator::IsEmpty),
        Just(Operator::IsNotEmpty),
        Just(Operator::Matches),
        Just(Operator::NotMatches),
    ]
}

fn comparison() -> impl Strategy<Value = Node> {
    let first = prop_oneof![
        "[a-zA-Z][a-zA-Z0-9_]{0,3}",
        Just("not".to_owned()),
        Just("in".to_owned()),
        Just("is".to_owned()),
        Just("empty".to_owned()),
        Just("contains".to_owned()),
    ];
    let rest = prop::collection::vec(
        prop_oneof![
            "[a-zA-Z][a-zA-Z0-9_]{0,3}",
            ".{0,4}",
            "[\"`\\\\\\]. \n\r-]{0,3}"
        ],
        0..3,
    );
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        "[\"`\\\\ \n\r()a-c]{0,6}".prop_map(String::into_bytes),
        ".{0,6}".prop_map(String::into_bytes),
    ];
    (first, rest, operator(), value).prop_map(|(first, rest, operator, value)| {
        let mut selector = vec![first];
        selector.extend(rest);
        // "not not matches" is always read as a negation.
        let operator = match operator {
            Operator::NotMatches if selector == ["not"] => Operator::Matches,
            other => other,
        };
        let value = match operator {
            Operator::IsEmpty | Operator::IsNotEmpty => Vec::new(),
            _ => value,
        };
        Node::Match(Match {
            selector,
            operator,
            value,
        })
    })
}

fn tree() -> impl Strategy<Value = Node> {
    comparison().prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..5).prop_map(Node::Or),
            prop::collection::vec(inner.clone(), 2..5).prop_map(Node::And),
            inner.prop_map(|node| match node {
                Node::Not(part) => Node::Not(part),
                other => Node::Not(Box::new(other)),
            }),
        ]
    })
}

/// Pieces of the language in any order.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        ".",
        "==",
        "!=",
        "and",
        "or",
        "not",
        "in",
        "is",
        "empty",
        "contains",
        "matches",
        " ",
        "\n",
        "`",
        "\"",
        "a",
        "Tags",
        "1",
        "-",
        "0",
        "é",
        "\\",
        "\\x",
        "\0",
        "{",
        "*",
        "?",
        "\u{10FFFF}",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(root in tree()) {
        let expression = Expression { root: Some(root) };
        let text = expression.to_string();
        prop_assert_eq!(Expression::parse(&text), Ok(expression), "{}", text);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in prop_oneof![soup(), ".{0,40}"]) {
        match Expression::parse(&text) {
            Ok(expression) => {
                let printed = expression.to_string();
                prop_assert_eq!(Expression::parse(&printed), Ok(expression));
            }
            Err(error) => {
                prop_assert!(error.is_syntax());
                // Every line says where, and the place is in the text.
                for line in error.to_string().split('\n') {
                    let offset = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
                    let offset = offset.and_then(|(digits, _)| digits.parse::<usize>().ok());
                    prop_assert!(offset.is_some_and(|offset| text.is_char_boundary(offset)), "{}", line);
                }
            }
        }
    }

    #[test]
    fn any_pattern_is_compiled_or_refused(text in prop_oneof![soup(), ".{0,20}", "[a-b()|*+?{}0-9,\\[\\]^$\\\\pPLdDwx:<>=!is-]{0,20}"]) {
        if let Ok(regex) = Regex::with_limit(&text, 1 << 20) {
            // Not what it finds is asked here, but that it comes to an end.
            let _ = regex.is_match("ab(é) 1");
        }
    }

    #[test]
    fn a_quoted_pattern_finds_itself(text in ".{1,12}") {
        prop_assume!(!text.contains("\\E"));
        let regex = Regex::new(&format!("^\\Q{text}\\E$"));
        prop_assert!(regex.is_ok_and(|regex| regex.is_match(&text)));
    }
}
