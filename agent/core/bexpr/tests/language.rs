//! The language as Consul 1.21 speaks it, over rows like those of its catalog.

use std::collections::BTreeMap;

use lictor_bexpr::{ERROR_PREFIX, Error, Expression, Row, row};

#[derive(Default)]
struct Address {
    address: String,
    port: i64,
}

#[derive(Default)]
struct Upstream {
    name: String,
}

#[derive(Default)]
struct Service {
    name: String,
    kind: String,
    port: u16,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
    addresses: BTreeMap<String, Address>,
    passing: i32,
    enable_tag_override: bool,
    upstreams: Vec<Upstream>,
}

struct Check {
    id: String,
    status: &'static str,
    tags: Vec<String>,
}

struct ServiceNode<'a> {
    node: &'a str,
    service: &'a Service,
}

struct CheckServiceNode<'a> {
    service: ServiceNode<'a>,
    checks: &'a [Check],
}

struct AddressRow<'a>(&'a Address);
struct Weights<'a>(&'a Service);
struct Proxy<'a>(&'a Service);

row! {
    AddressRow<'_> as row {
        Address: str = row.0.address;
        Port: int = row.0.port;
    }
}

row! {
    Weights<'_> as row {
        Passing: int = row.0.passing;
    }
}

row! {
    Upstream as row {
        DestinationName: str = row.name;
    }
}

row! {
    Proxy<'_> as row {
        Upstreams: objects(&Upstream) = &row.0.upstreams;
    }
}

row! {
    ServiceNode<'_> as row {
        Node: str = row.node;
        ServiceName: str = row.service.name;
        ServiceKind: str = row.service.kind;
        ServicePort: int = row.service.port;
        ServiceTags: strs = &row.service.tags;
        ServiceMeta: map = row.service.meta;
        ServiceTaggedAddresses: object_map(AddressRow<'_>, AddressRow) = row.service.addresses;
        ServiceWeights: object(Weights<'_>) = Weights(row.service);
        ServiceEnableTagOverride: bool = row.service.enable_tag_override;
        ServiceProxy: object(Proxy<'_>) = Proxy(row.service);
    }
}

row! {
    &Check as row {
        CheckID: str = row.id;
        Status: str = row.status;
        ServiceTags: strs = &row.tags;
    }
}

row! {
    CheckServiceNode<'_> as row {
        Service: object(&ServiceNode<'_>) = &row.service;
        Checks: objects(&Check) = row.checks;
    }
}

struct Member {
    name: &'static str,
    address: [u8; 4],
    status: i32,
    protocol: u8,
    large: u64,
    tags: BTreeMap<&'static str, String>,
}

row! {
    Member as row {
        Name: str = row.name;
        Addr: bytes = row.address;
        Status: int = row.status;
        ProtocolCur: u8 = row.protocol;
        Large: uint = row.large;
        Small: i8 = row.protocol;
        Tags: map = row.tags;
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn web1() -> Service {
    Service {
        name: "web".into(),
        port: 80,
        tags: strings(&["prod", "v1"]),
        meta: [("ver", "1"), ("a-b", "x")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        addresses: [(
            "wan".to_owned(),
            Address {
                address: "198.51.100.1".into(),
                port: 8000,
            },
        )]
        .into(),
        passing: 5,
        ..Service::default()
    }
}

fn web2() -> Service {
    Service {
        name: "web".into(),
        port: 81,
        tags: strings(&["dev"]),
        passing: 1,
        enable_tag_override: true,
        upstreams: vec![Upstream { name: "db".into() }],
        ..Service::default()
    }
}

fn checks(service: &Service, status: &'static str) -> Vec<Check> {
    let serf = Check {
        id: "serfHealth".into(),
        status: "passing",
        tags: Vec::new(),
    };
    let own = Check {
        id: format!("service:{}", service.name),
        status,
        tags: service.tags.clone(),
    };
    vec![serf, own]
}

fn compile_error<R: Row>(text: &str) -> String {
    match Expression::parse(text).and_then(|parsed| parsed.compile::<R>()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// Numbers of the rows that match.
fn which<R: Row>(text: &str, rows: &[R]) -> Vec<usize> {
    let filter = Expression::parse(text)
        .and_then(|parsed| parsed.compile::<R>())
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let matching = rows.iter().zip(1..).filter(|(row, _)| filter.matches(*row));
    matching.map(|(_, number)| number).collect()
}

#[test]
fn service_rows() {
    let (web1, web2) = (web1(), web2());
    let rows = [
        ServiceNode {
            node: "n1",
            service: &web1,
        },
        ServiceNode {
            node: "n2",
            service: &web2,
        },
    ];
    let both: &[usize] = &[1, 2];
    let none: &[usize] = &[];
    for (text, want) in [
        ("", both),
        (r#"ServiceTags contains "prod""#, &[1]),
        ("prod in ServiceTags", &[1]),
        ("Prod in ServiceTags", none),
        (r#""prod" not in ServiceTags"#, &[2]),
        ("ServiceTags not contains prod", &[2]),
        ("ServiceTags contains pro", none),
        ("ServiceTags is empty", none),
        ("ServiceTags is not empty", both),
        ("ServicePort == 80", &[1]),
        (r#"ServicePort == "0x50""#, &[1]),
        (r#"ServicePort == "0120""#, &[1]),
        (r#"ServicePort == "0b1_010_000""#, &[1]),
        ("ServicePort == -1", none),
        ("ServicePort != 80", &[2]),
        (r#"ServiceMeta["a-b"] == x"#, &[1]),
        ("ServiceMeta[ `a-b` ] == x", &[1]),
        (r#"ServiceMeta["ver"] == ServiceMeta.ver"#, none),
        ("ServiceMeta.nope != 1", both),
        ("ServiceMeta.nope == 1", none),
        (r#"ServiceMeta.nope matches "x""#, both),
        (r#"ServiceMeta.nope not matches "x""#, both),
        ("x in ServiceMeta.nope", none),
        ("x not in ServiceMeta.nope", both),
        ("ServiceMeta.ver == 1", &[1]),
        ("ServiceMeta.ver != 1", &[2]),
        ("ver in ServiceMeta", &[1]),
        ("ver not in ServiceMeta", &[2]),
        ("ServiceMeta is empty", &[2]),
        ("ServiceMeta is not empty", &[1]),
        ("ServiceName contains we", both),
        ("ServiceName not contains we", none),
        (r#"ServiceName matches "^w.b$""#, both),
        (r#"ServiceName matches "e""#, both),
        ("ServiceName not matches `^e`", both),
        (r#"ServiceName == "we\u0062""#, both),
        (r#"ServiceKind == """#, both),
        ("ServiceTaggedAddresses.lan.Port != 80", both),
        ("ServiceTaggedAddresses.lan.Port == 80", none),
        ("ServiceTaggedAddresses.wan.Port == 8000", &[1]),
        ("ServiceTaggedAddresses.wan.Address contains `198.51`", &[1]),
        ("wan in ServiceTaggedAddresses", &[1]),
        ("ServiceTaggedAddresses is empty", &[2]),
        ("ServiceProxy.Upstreams is empty", &[1]),
        ("ServiceProxy.Upstreams is not empty", &[2]),
        ("ServiceProxy.Upstreams.DestinationName == db", &[2]),
        // No element, so there is none that differs.
        ("ServiceProxy.Upstreams.DestinationName != db", none),
        ("ServiceWeights.Passing == 5", &[1]),
        ("ServiceEnableTagOverride == T", &[2]),
        ("ServiceEnableTagOverride != true", &[1]),
        ("((ServicePort == 80))", &[1]),
        ("not not ServicePort == 80", &[1]),
        ("not in ServiceTags", none),
        ("not not in ServiceTags", both),
        // `not` binds more tightly than `and`, that more than `or`.
        (
            "ServicePort == 80 or ServicePort == 81 and ServiceName == x",
            &[1],
        ),
        (
            "(ServicePort == 80 or ServicePort == 81) and ServiceName == x",
            none,
        ),
        ("not ServicePort == 80 or ServicePort == 80", both),
        ("not (ServicePort == 80 or ServicePort == 81)", none),
        ("\tServicePort\n==\r\n80 and\tNode == n1 ", &[1]),
        ("ServicePort==80 and Node!=n2", &[1]),
        // A bare word as a value is a selector joined by dots.
        (r#"Node == a["b c"].d or Node == n1"#, &[1]),
        // Raw text has no escapes, but loses carriage returns.
        ("ServiceName == `w\reb`", both),
        (r"ServiceName == `w\eb`", none),
    ] {
        assert_eq!(which(text, &rows), want, "{text}");
    }
    let many = vec!["ServicePort == 81"; 10_000].join(" or ");
    assert_eq!(which(&many, &rows), [2]);
}

#[test]
fn health_rows() {
    let (web1, web2) = (web1(), web2());
    let (checks1, checks2) = (checks(&web1, "passing"), checks(&web2, "critical"));
    let rows = [
        CheckServiceNode {
            service: ServiceNode {
                node: "n1",
                service: &web1,
            },
            checks: &checks1,
        },
        CheckServiceNode {
            service: ServiceNode {
                node: "n2",
                service: &web2,
            },
            checks: &checks2,
        },
        CheckServiceNode {
            service: ServiceNode {
                node: "n3",
                service: &web2,
            },
            checks: &[],
        },
    ];
    for (text, want) in [
        ("Checks.Status == passing", &[1, 2][..]),
        ("Checks.Status != passing", &[2]),
        ("not Checks.Status == critical", &[1, 3]),
        ("Checks.Status not matches `^pass`", &[2]),
        (
            "Checks.Status == critical and Checks.CheckID == serfHealth",
            &[2],
        ),
        ("Service.ServiceWeights.Passing == 5", &[1]),
        ("Checks.ServiceTags contains prod", &[1]),
        ("prod not in Checks.ServiceTags", &[1, 2]),
        ("Checks.ServiceTags is empty", &[1, 2]),
        ("Checks is empty", &[3]),
        ("Checks is not empty", &[1, 2]),
        ("Service.ServiceTaggedAddresses.wan.Port == 8000", &[1]),
        ("Service.ServiceMeta.nope matches x", &[1, 2, 3]),
    ] {
        assert_eq!(which(text, &rows), want, "{text}");
    }
}

#[test]
fn member_rows() {
    let rows = [
        Member {
            name: "n1",
            address: [127, 0, 0, 1],
            status: 1,
            protocol: 2,
            large: u64::MAX,
            tags: [("role", "consul".to_owned())].into(),
        },
        Member {
            name: "дом",
            address: [10, 0, 0, 1],
            status: 4,
            protocol: 5,
            large: 0,
            tags: BTreeMap::new(),
        },
    ];
    for (text, want) in [
        ("Status == 1", &[1][..]),
        ("Tags.role == consul", &[1]),
        ("127 in Addr", &[1]),
        ("127 not in Addr", &[2]),
        ("Addr contains \"0x0a\"", &[2]),
        ("Large == 18446744073709551615", &[1]),
        ("Small == -5 or Small == 5", &[2]),
        ("Name contains `о`", &[2]),
        // A half of a character can be looked for, but is nobody's name.
        (r#"Name contains "\xd0""#, &[2]),
        (r#"Name not contains "\xd0""#, &[1]),
        (r#"Name == "\xd0""#, &[]),
        (r#"Name == "\xd0\xb4\u043e\u043c""#, &[2]),
        (r#"Name contains """#, &[1, 2]),
        (r#""\xd0" in Tags"#, &[]),
    ] {
        assert_eq!(which(text, &rows), want, "{text}");
    }
    for (text, want) in [
        (
            "Addr == `x`",
            r#"Invalid match operator "Equal" for selector "Addr""#,
        ),
        (
            "300 in Addr",
            r#"Failed to coerce value "300" for selector "Addr": strconv.ParseUint: parsing "300": value out of range"#,
        ),
        (
            "ProtocolCur == -1",
            r#"Failed to coerce value "-1" for selector "ProtocolCur": strconv.ParseUint: parsing "-1": invalid syntax"#,
        ),
        (
            "Small == 128",
            r#"Failed to coerce value "128" for selector "Small": strconv.ParseInt: parsing "128": value out of range"#,
        ),
        (
            "Large == 18446744073709551616",
            r#"Failed to coerce value "18446744073709551616" for selector "Large": strconv.ParseUint: parsing "18446744073709551616": value out of range"#,
        ),
    ] {
        assert_eq!(compile_error::<Member>(text), want, "{text}");
    }
}

#[test]
fn type_errors() {
    for (text, want) in [
        ("Bogus == 1", r#"Selector "Bogus" is not valid"#),
        ("serviceport == 1", r#"Selector "serviceport" is not valid"#),
        ("not not == 3", r#"Selector "not" is not valid"#),
        (
            "ServiceMeta.ver.x == 1",
            r#"Selector "ServiceMeta.ver.x" is not valid"#,
        ),
        ("Node.x.y == 1", r#"Selector "Node.x" is not valid"#),
        (
            "ServiceTags.x == 1",
            r#"Selector "ServiceTags.x" is not valid"#,
        ),
        (
            "ServiceProxy.Upstreams.No == 1",
            r#"Selector "ServiceProxy.Upstreams.No" is not valid"#,
        ),
        (
            r#"ServiceWeights["a b"] == 1"#,
            r#"Selector "ServiceWeights.a b" is not valid"#,
        ),
        (
            "ServiceTaggedAddresses.lan.Foo == 1",
            r#"Selector "ServiceTaggedAddresses.lan.Foo" is not valid"#,
        ),
        // From left to right: the selector of the first, not the value of the second.
        (
            "Bogus == 1 or ServicePort == x",
            r#"Selector "Bogus" is not valid"#,
        ),
        (
            "ServiceTags == 1",
            r#"Invalid match operator "Equal" for selector "ServiceTags""#,
        ),
        (
            "ServiceTags != 1",
            r#"Invalid match operator "Not Equal" for selector "ServiceTags""#,
        ),
        (
            "ServiceTags matches x",
            r#"Invalid match operator "Matches" for selector "ServiceTags""#,
        ),
        (
            "ServiceMeta not matches x",
            r#"Invalid match operator "Not Matches" for selector "ServiceMeta""#,
        ),
        (
            "ServiceMeta == x",
            r#"Invalid match operator "Equal" for selector "ServiceMeta""#,
        ),
        (
            "ServiceName is empty",
            r#"Invalid match operator "Is Empty" for selector "ServiceName""#,
        ),
        (
            "ServicePort is not empty",
            r#"Invalid match operator "Is Not Empty" for selector "ServicePort""#,
        ),
        (
            "ServicePort contains 8",
            r#"Invalid match operator "In" for selector "ServicePort""#,
        ),
        (
            "x not in ServiceProxy.Upstreams",
            r#"Invalid match operator "Not In" for selector "ServiceProxy.Upstreams""#,
        ),
        (
            "ServiceEnableTagOverride matches T",
            r#"Invalid match operator "Matches" for selector "ServiceEnableTagOverride""#,
        ),
        (
            "ServiceWeights is empty",
            r#"Invalid match operator "Is Empty" for selector "ServiceWeights""#,
        ),
        (
            "ServiceTaggedAddresses.lan == 1",
            r#"Invalid match operator "Equal" for selector "ServiceTaggedAddresses.lan""#,
        ),
        (
            "ServiceTaggedAddresses.lan is empty",
            r#"Invalid match operator "Is Empty" for selector "ServiceTaggedAddresses.lan""#,
        ),
        (
            "ServicePort == eighty",
            r#"Failed to coerce value "eighty" for selector "ServicePort": strconv.ParseInt: parsing "eighty": invalid syntax"#,
        ),
        (
            "ServicePort == 80.5",
            r#"Failed to coerce value "80.5" for selector "ServicePort": strconv.ParseInt: parsing "80.5": invalid syntax"#,
        ),
        (
            r#"ServicePort == "a\n\x80""#,
            r#"Failed to coerce value "a\n\x80" for selector "ServicePort": strconv.ParseInt: parsing "a\n\x80": invalid syntax"#,
        ),
        (
            "ServiceTaggedAddresses.lan.Port == x",
            r#"Failed to coerce value "x" for selector "ServiceTaggedAddresses.lan.Port": strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        (
            "ServiceEnableTagOverride == yes",
            r#"Failed to coerce value "yes" for selector "ServiceEnableTagOverride": strconv.ParseBool: parsing "yes": invalid syntax"#,
        ),
        (
            r#"Node matches "(""#,
            "Failed to compile regular expression \"(\": error parsing regexp: missing closing ): `(`",
        ),
        (
            r#"Node not matches "[""#,
            "Failed to compile regular expression \"[\": error parsing regexp: missing closing ]: `[`",
        ),
        (
            r#"Node matches "a\x80""#,
            "Failed to compile regular expression \"a\\x80\": error parsing regexp: invalid UTF-8: `\u{fffd}`",
        ),
    ] {
        // The grammar has nothing against any of them: an endpoint without rows may stop there.
        let parsed = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let error = parsed.compile::<ServiceNode<'_>>().expect_err(text);
        assert!(!error.is_syntax());
        assert_eq!(error.to_string(), want, "{text}");
    }
}

#[test]
fn syntax_errors() {
    const OPERATORS: &str = r#""!=", "==", "contains", "in", "is", "matches", "not" or [ \t\r\n]"#;
    const VALUE: &str = r#""-", "0", "\"", "`", [ \t\r\n], [1-9] or [a-zA-Z]"#;
    const START: &str = r#""(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#;
    const TAIL: &str = r#""and", "or", [ \t\r\n] or EOF"#;
    for (text, place, wanted) in [
        ("Node ==", "1:8 (7)", VALUE),
        ("Node==", "1:7 (6)", VALUE),
        ("Node == é", "1:9 (8)", VALUE),
        ("ServiceName == 'web'", "1:16 (15)", VALUE),
        ("Node == \n", "2:1 (9)", VALUE),
        ("Node\n\n== ", "3:4 (9)", VALUE),
        ("any Checks as c { c.Status == x }", "1:5 (4)", OPERATORS),
        ("Node == x AND Node == y", "1:11 (10)", TAIL),
        ("ServicePort < 80", "1:13 (12)", OPERATORS),
        ("Node == \"é\" x", "1:13 (13)", TAIL),
        ("Node == x\nfoo", "2:1 (10)", TAIL),
        ("x in foo abc", "1:10 (9)", TAIL),
        (" ", "1:2 (1)", START),
        ("()", "1:2 (1)", START),
        ("x in foo and ", "1:14 (13)", START),
        ("x in foo or ", "1:13 (12)", START),
        ("Node is nothing", "1:12 (11)", r"[ \t\r\n]"),
        ("Node == n1 and(Node == n1)", "1:15 (14)", r"[ \t\r\n]"),
        (
            "(Node == n1)and Node == n2",
            "1:13 (12)",
            r"[ \t\r\n] or EOF",
        ),
        (
            r#"ServicePort=="80"and ServiceName==web"#,
            "1:18 (17)",
            r"[ \t\r\n] or EOF",
        ),
        ("32 == 32", "1:4 (3)", r#""in", "not" or [ \t\r\n]"#),
        ("32 is empty", "1:4 (3)", r#""in", "not" or [ \t\r\n]"#),
        ("- == 1", "1:2 (1)", r#""0" or [1-9]"#),
        ("Node == -", "1:10 (9)", r#""0" or [1-9]"#),
        (
            "Node not is",
            "1:10 (9)",
            r#""contains", "in", "matches" or [ \t\r\n]"#,
        ),
        (
            "Node == n1)",
            "1:11 (10)",
            r#"".", "[", [ \t\r\n], [a-zA-Z0-9_] or EOF"#,
        ),
        ("200)1", "1:4 (3)", r#"".", [ \t\r\n], [0-9] or EOF"#),
        (
            "ServiceEnableTagOverride",
            "1:25 (24)",
            r#""!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#,
        ),
        (
            "we-b == x",
            "1:3 (2)",
            r#""!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#,
        ),
        (
            "x in foo or not ",
            "1:17 (16)",
            r#""!=", "(", "-", "0", "==", "\"", "`", "contains", "in", "is", "matches", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
        ),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert!(error.is_syntax());
        assert_eq!(
            error.to_string(),
            format!("{place}: no match found, expected: {wanted}"),
            "{text}"
        );
    }
    for (text, want) in [
        (
            "(ServicePort == 80",
            "1:19 (18): rule \"grouping\": Unmatched parentheses",
        ),
        (
            "((Node == n1) and Node == n1",
            "1:29 (28): rule \"grouping\": Unmatched parentheses",
        ),
        (
            "ServicePort == 0x50",
            "1:17 (16): rule \"number\": Invalid number literal",
        ),
        (
            "ServicePort == 080",
            "1:17 (16): rule \"number\": Invalid number literal",
        ),
        (
            "foo == 3x",
            "1:9 (8): rule \"number\": Invalid number literal",
        ),
        (
            "Node == -1.",
            "1:11 (10): rule \"number\": Invalid number literal",
        ),
        (
            "foo == \"12x",
            "1:12 (11): rule \"string\": Unterminated string literal",
        ),
        (
            "foo == `12x",
            "1:12 (11): rule \"string\": Unterminated string literal",
        ),
        (
            r#"ServicePort == "\q""#,
            "1:16 (15): rule \"string\": invalid syntax",
        ),
        (
            "Node == \"a\nb\"",
            "1:9 (8): rule \"string\": invalid syntax",
        ),
        (
            r#"Node == "a\"b""#,
            "1:9 (8): rule \"string\": invalid syntax",
        ),
        (
            "ServiceMeta[x] == 1",
            "1:13 (12): rule \"index\": Invalid index",
        ),
        ("foo[3] == abc", "1:5 (4): rule \"index\": Invalid index"),
        ("foo[", "1:5 (4): rule \"index\": Invalid index"),
        (
            "foo[\"abc\" == 3",
            "1:11 (10): rule \"index\": Unclosed index expression",
        ),
        (
            "x in foo[\"abc\"",
            "1:15 (14): rule \"index\": Unclosed index expression",
        ),
        ("x in 32", "1:6 (5): rule \"match\": Invalid selector"),
        ("x not in ", "1:10 (9): rule \"match\": Invalid selector"),
        (
            "ServiceMeta[\"abc",
            "1:17 (16): rule \"string\": Unterminated string literal\n\
             1:13 (12): rule \"index\": Invalid index",
        ),
        // An error within what no one needs remains one.
        (
            r#"Node == x or Node == "\q""#,
            "1:22 (21): rule \"string\": invalid syntax",
        ),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.to_string(), want, "{text}");
    }
}

#[test]
fn hostile_input_is_refused_at_once() {
    let deepest = Expression::MAX_DEPTH;
    let nested = |depth: usize| format!("{}Node == n1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(deepest)).is_ok());
    let error = Expression::parse(&nested(deepest + 1)).expect_err("too deep");
    assert_eq!(
        error.to_string(),
        "1:130 (129): rule \"grouping\": Expression is nested too deeply"
    );
    let size = 100_000;
    for text in [
        "(".repeat(size),
        nested(size),
        format!("{}Node == n1", "not ".repeat(size)),
        format!("{}1", "(not ".repeat(size)),
        "a[".repeat(size),
        "a[`".repeat(size),
        format!("a{} ", ".a".repeat(size)),
        "a == 1 or ".repeat(size / 4),
        "(a == 1 or ".repeat(size / 4),
        " ".repeat(size),
        "\"".repeat(size + 1),
        "1".repeat(size),
    ] {
        let start = text.get(..12).unwrap_or_default();
        assert!(Expression::parse(&text).is_err(), "{start}");
    }
    // A pattern that would take gigabytes, many times.
    let greedy = (0..200)
        .map(|i| format!(r"Node matches `(\pL{{100}}){{9}}{i}`"))
        .collect::<Vec<_>>()
        .join(" or ");
    assert!(compile_error::<ServiceNode<'_>>(&greedy).contains("expression too large"));
    let modest = (0..200)
        .map(|i| format!("Node matches `^n{i}$`"))
        .collect::<Vec<_>>()
        .join(" or ");
    let service = web1();
    let rows = [ServiceNode {
        node: "n7",
        service: &service,
    }];
    assert_eq!(which(&modest, &rows), [1]);
}

#[test]
fn printing() {
    for (text, want) in [
        ("", ""),
        ("a==1", r#"a == "1""#),
        ("a contains b", r#""b" in a"#),
        ("a not contains b", r#""b" not in a"#),
        ("not not a is empty", "a is empty"),
        ("a.b[`c d`] is not empty", r#"a.b["c d"] is not empty"#),
        (
            "a == 1 and (b == 2 or not (c == 3 and d == 4))",
            r#"a == "1" and (b == "2" or not (c == "3" and d == "4"))"#,
        ),
        (r#"a == `"`"#, r#"a == "\x22""#),
    ] {
        let expression: Expression = text
            .parse()
            .unwrap_or_else(|e: Error| panic!("{text}: {e}"));
        assert_eq!(expression.to_string(), want, "{text}");
    }
}

#[test]
fn the_empty_filter_is_known() {
    let all = Expression::parse("").and_then(|e| e.compile::<Upstream>());
    assert!(all.is_ok_and(|filter| filter.matches_all()));
    let some = Expression::parse("DestinationName == x").and_then(|e| e.compile::<Upstream>());
    assert!(some.is_ok_and(|filter| !filter.matches_all()));
    assert!(ERROR_PREFIX.ends_with(": "));
}
