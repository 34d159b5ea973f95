use super::*;
use crate::tree::{Object, Pos};

fn error(text: &str) -> String {
    match parse(text.as_bytes()) {
        Ok(tree) => panic!("{text:?} was read as {tree:?}"),
        Err(text) => text,
    }
}

fn object(text: &str) -> Object {
    match parse(text.as_bytes()) {
        Ok(Tree {
            value: Value::Object(object),
            ..
        }) => object,
        other => panic!("{text:?} was read as {other:?}"),
    }
}

/// The value of `a` in the text.
fn value(text: &str) -> Value {
    object(text)
        .value("a")
        .unwrap_or_else(|| panic!("no a in {text:?}"))
        .clone()
}

fn string(text: &str) -> String {
    match value(text) {
        Value::String(text) => text,
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[test]
fn errors_have_consuls_places_and_texts() {
    let table = [
        (
            "data_dir \"/srv/x\"\n",
            "At 2:1: key 'data_dir \"/srv/x\"' expected start of object ('{') or assignment ('=')",
        ),
        ("data_dir = \"/srv/x", "At 1:19: literal not terminated"),
        ("data_dir = \"/srv/x\n", "At 1:19: literal not terminated"),
        (
            "data_dir = \"/srv/x\"\nports {\n  http = 1\n",
            "At 4:2: object expected closing RBRACE got: EOF",
        ),
        (
            "service { name = ",
            "At 1:19: object expected closing RBRACE got: EOF",
        ),
        (
            "d = \"/srv/x\"\nretry_join =      [\"a\" \"b\"]",
            "At 2:24: error parsing list, expected comma or list end, got: STRING",
        ),
        (
            "d = 1\nx y = 5\n",
            "At 2:5: nested object expected: LBRACE got: ASSIGN",
        ),
        ("d = 1\n= 5\n", "At 2:1: no object keys found!"),
        (
            "[1]",
            "At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: LBRACK",
        ),
        ("a = yes\n", "At 1:5: Unknown token: 1:5 IDENT yes"),
        (
            "a { b = 1",
            "At 1:13: object expected closing RBRACE got: EOF",
        ),
        (
            "a { 5 = 1 }",
            "At 1:5: expected: IDENT | STRING | ASSIGN | LBRACE got: NUMBER",
        ),
        (
            "a { b }",
            "At 1:7: key 'b' expected start of object ('{') or assignment ('=')",
        ),
        ("a = 1;", "At 1:6: illegal char"),
        ("a = 'x'", "At 1:5: illegal char"),
        ("\"k\" : 1", "At 1:5: illegal char"),
        ("\u{feff}a = 1", "At 1:1: illegal char"),
        ("a = \"\\q\"", "At 1:7: illegal char escape"),
        ("a = \"\\xg0\"", "At 1:8: illegal char escape"),
        ("/ x", "At 1:1: expected '/' for comment"),
        ("/* x", "At 1:5: comment not terminated"),
        ("a = <<E\nx\n", "At 3:1: heredoc not terminated"),
        ("a = <<E\nx\nE", "At 3:2: heredoc not terminated"),
        ("a = <<\nx\n", "At 1:7: zero-length heredoc anchor"),
        (
            "a = <<E!\nx\nE\n",
            "At 1:8: invalid characters in heredoc anchor",
        ),
        ("a = 08", "strconv.ParseInt: parsing \"08\": invalid syntax"),
        (
            "a = 99999999999999999999",
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        ("a = 0x", "At 1:7: illegal hexadecimal number"),
        (
            "a = [b]",
            "At 1:6: unexpected token while parsing list: IDENT",
        ),
        (
            "a = [{ b }]",
            "At 1:6: error while trying to parse object within list: At 1:10: key 'b' expected start of object ('{') or assignment ('=')",
        ),
        (
            "a = \"x\"\na = [1]",
            "At 2:5: root.a: unknown type for string *ast.ListType",
        ),
        (
            "a = 1\na { }",
            "At 2:3: root.a: unknown type *ast.ObjectType",
        ),
        (
            "p { a = \"x\"\na = [1] }",
            "At 2:5: root.p[0].a: unknown type for string *ast.ListType",
        ),
        ("a = \"\0\"", "At 1:6: unexpected null character (0x00)"),
        (
            "a = \"\u{e123}\"",
            "At 1:6: unicode code point U+E123 reserved for internal use",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "for {text:?}");
    }
    assert_eq!(
        parse(b"a = \"\xff\""),
        Err("At 1:6: illegal UTF-8 encoding".to_string())
    );
}

#[test]
fn literals() {
    assert_eq!(value("a = 10"), Value::Int(10));
    assert_eq!(value("a = -3"), Value::Int(-3));
    assert_eq!(value("a = 0x1F"), Value::Int(31));
    assert_eq!(value("a = 010"), Value::Int(8));
    assert_eq!(value("a = 0"), Value::Int(0));
    assert_eq!(value("a = 1.5"), Value::Float(1.5));
    assert_eq!(value("a = .5"), Value::Float(0.5));
    assert_eq!(value("a = 1e3"), Value::Float(1000.0));
    assert_eq!(value("a = -1.5e-1"), Value::Float(-0.15));
    assert_eq!(value("a = true"), Value::Bool(true));
    assert_eq!(value("a = false"), Value::Bool(false));
}

#[test]
fn strings() {
    assert_eq!(
        string(r#"a = "x\n\t\\\"\a\x41\101\u00e9\U0001F600""#),
        "x\n\t\\\"\x07AA\u{e9}\u{1f600}"
    );
    assert_eq!(
        string(r#"a = "${ "quoted \n" } end""#),
        r#"${ "quoted \n" } end"#
    );
    assert_eq!(string("a = \"{{ GetPrivateIP }}\""), "{{ GetPrivateIP }}");
    assert_eq!(string("a = \"${ {}\n } x\""), "${ {}\n } x");
    assert_eq!(string("a = \"$x {\""), "$x {");
}

#[test]
fn heredocs() {
    assert_eq!(string("a = <<EOF\none\n two\nEOF\n"), "one\n two\n");
    assert_eq!(string("a = <<EOF\none\n  EOF\n"), "one\n");
    assert_eq!(
        string("a = <<-EOF\n  one\n    two\n  EOF\n"),
        "one\n  two\n"
    );
    assert_eq!(string("a = <<-EOF\n  one\n two\n  EOF\n"), "  one\n two\n");
    assert_eq!(string("a = <<EOF\r\none\\n\r\nEOF\r\n"), "one\\n\n");
    assert_eq!(string("a = <<EOF\nEOF\n"), "");
}

#[test]
fn comments_commas_and_keys() {
    let text = "# one\n// two\n/* three\n four */ a.b-c = 1, \"d e\" = 2,\nf = [1,,2,[3] 4,]\n";
    let object = object(text);
    assert_eq!(object.value("a.b-c"), Some(&Value::Int(1)));
    assert_eq!(object.value("d e"), Some(&Value::Int(2)));
    assert_eq!(
        object.value("f").map(Value::go_text).as_deref(),
        Some("[1 2 [3] 4]")
    );
}

#[test]
fn a_key_without_a_value_at_the_end_is_dropped() {
    assert_eq!(object("a = 1\nb =").entries.len(), 1);
    assert_eq!(object("").entries.len(), 0);
}

#[test]
fn blocks_and_labels() {
    assert_eq!(value("a { x = 1 }").go_text(), "[map[x:1]]");
    assert!(matches!(value("a = { x = 1 }"), Value::Blocks(_)));
    assert_eq!(
        value("a { x = 1 } a { x = 2 }").go_text(),
        "[map[x:1] map[x:2]]"
    );
    assert_eq!(value("a \"b\" { x = 1 }").go_text(), "[map[b:[map[x:1]]]]");
    assert_eq!(
        value("a \"b\" \"c\" { x = 1 }").go_text(),
        "[map[b:[map[c:[map[x:1]]]]]]"
    );
    let Value::List(list) = value("a = [{ x = 1 }]") else {
        panic!("a list")
    };
    assert!(
        matches!(list[0].value, Value::Object(_)),
        "an object in a list is no block"
    );
}

#[test]
fn repeated_keys() {
    assert_eq!(value("a = 1\na = 2"), Value::Int(2));
    assert_eq!(value("a = \"x\"\na = 2"), Value::String("2".into()));
    assert_eq!(value("a = 1\na = \"2\""), Value::Int(2));
    assert_eq!(value("a = [1]\na = [2]").go_text(), "[1 2]");
}

#[test]
fn json_in_an_hcl_file() {
    let object = object(" {\"a\": {\"x\": [1, {\"y\": 2},],}, }");
    assert!(matches!(object.value("a"), Some(Value::Blocks(_))));
    assert_eq!(
        object.value("a").map(Value::go_text).as_deref(),
        Some("[map[x:[1 map[y:2]]]]")
    );
}

#[test]
fn positions_are_kept() {
    let object = object("x = 1\r\n  a = 2");
    let entry = object.entry("a").map(|entry| (entry.pos, entry.value.pos));
    assert_eq!(
        entry,
        Some((Pos { line: 2, column: 3 }, Pos { line: 2, column: 7 }))
    );
}

#[test]
fn nesting_is_bounded() {
    assert!(error("a = [").contains("unexpected token while parsing list: EOF"));
    assert!(error(&"a {".repeat(100_000)).contains("nested deeper than 64 levels"));
    assert!(
        error(&format!("a = {}", "[".repeat(100_000))).contains("nested deeper than 64 levels")
    );
}

/// Whatever the bytes, reading them ends, and without a panic.
#[test]
fn odd_bytes_do_no_harm() {
    let parts: [&[u8]; 24] = [
        b"a", b"=", b"{", b"}", b"[", b"]", b",", b"\"", b"\\", b"$", b"<<", b"-", b"E", b"\n",
        b" ", b"0", b"9", b".", b"e", b"/*", b"*/", b"#", b"\xc3", b"\xa9",
    ];
    // A simple congruential sequence: the same texts in every run.
    let mut state: u32 = 7;
    for _ in 0..20_000 {
        let mut text = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend_from_slice(parts[(state >> 16) as usize % parts.len()]);
        }
        let _ = parse(&text);
        let _ = crate::json::parse(&text);
    }
}
