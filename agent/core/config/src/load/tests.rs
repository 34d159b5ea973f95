use std::iter;

use super::*;
use crate::flags::parse_agent_flags;
use crate::testing::{BASE, bad, bad_json, config, good, load_all};

#[test]
fn unknown_keys_come_all_at_once_inner_ones_first() {
    let text = bad("foo = 1\nports { bar = 2 }\nservice { zzz = 1 }");
    assert!(
        text.starts_with("failed to parse F.hcl: 3 errors occurred:\n\t* "),
        "{text}"
    );
    assert!(text.ends_with("\n\n"), "{text:?}");
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("\t* "))
        .collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("invalid config key ports.bar (")),
        "{text}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("invalid config key service.zzz (")),
        "{text}"
    );
    assert!(
        lines[2].starts_with("invalid config key foo (") && lines[2].ends_with("at F.hcl:1:1)")
    );
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    for (text, expected) in [
        (
            "prots { http = 1 }",
            "invalid config key prots (did you mean \"ports\"? at F.hcl:1:1)",
        ),
        (
            "ports { htpp = 1 }",
            "invalid config key ports.htpp (did you mean \"ports.http\"? at F.hcl:1:9)",
        ),
        (
            "http_port = 1",
            "invalid config key http_port (did you mean \"ports.http\"? at F.hcl:1:1)",
        ),
        (
            "services { name = \"a\"\n chek { ttl = \"1s\" } }",
            "invalid config key services[0].chek (did you mean \"services[0].check\"? at F.hcl:2:2)",
        ),
        (
            "service { check { intervall = \"1s\" } }",
            "invalid config key service.check.intervall (did you mean \"service.check.interval\"? at F.hcl:1:19)",
        ),
        (
            "service { EnableTagOverride = true }",
            "invalid config key service.EnableTagOverride (did you mean",
        ),
        ("ae_interval = \"1m\"", "invalid config key ae_interval ("),
    ] {
        let got = bad(text);
        assert!(
            got.contains(expected),
            "for {text}\n got {got}\nwant {expected}"
        );
    }
    let json = bad_json(r#"{"no_such_setting": 1}"#);
    assert!(
        json.starts_with(
            "failed to parse F.json: 1 error occurred:\n\t* invalid config key no_such_setting ("
        ),
        "{json}"
    );
}

#[test]
fn types_are_strict() {
    for (text, expected) in [
        (
            "ports { http = \"abc\" }",
            "'ports.http' expected type 'int', got unconvertible type 'string', value: 'abc'",
        ),
        (
            "ports { http = \"8501\" }",
            "'ports.http' expected type 'int', got unconvertible type 'string', value: '8501'",
        ),
        (
            "server = \"true\"",
            "'server' expected type 'bool', got unconvertible type 'string', value: 'true'",
        ),
        (
            "server = 1",
            "'server' expected type 'bool', got unconvertible type 'int', value: '1'",
        ),
        (
            "node_name = 5",
            "'node_name' expected type 'string', got unconvertible type 'int', value: '5'",
        ),
        (
            "check_update_interval = 5",
            "'check_update_interval' expected type 'string', got unconvertible type 'int', value: '5'",
        ),
        (
            "data_dir = [\"a\",\"b\"]",
            "'data_dir' expected type 'string', got unconvertible type '[]interface {}', value: '[a b]'",
        ),
        (
            "retry_join = [\"a\", 5]",
            "'retry_join[1]' expected type 'string', got unconvertible type 'int', value: '5'",
        ),
        (
            "retry_join = \"a\"",
            "'retry_join': source data must be an array or slice, got string",
        ),
        (
            "node_meta { a = 5 }",
            "'node_meta[a]' expected type 'string', got unconvertible type 'int', value: '5'",
        ),
        ("ports = 5", "'ports' expected a map, got 'int'"),
        ("ports { } ports { }", "'ports' expected a map, got 'slice'"),
        (
            "service { name = \"a\" } service { name = \"b\" }",
            "'service' expected a map, got 'slice'",
        ),
        (
            "limits { rpc_rate = \"a\" }",
            "'limits.rpc_rate' expected type 'float64', got unconvertible type 'string', value: 'a'",
        ),
        (
            "check { header { a = 5 } }",
            "'check.header[a]': source data must be an array or slice, got int",
        ),
        (
            "services { port = \"x\" }",
            "'services[0].port' expected type 'int', got unconvertible type 'string', value: 'x'",
        ),
    ] {
        let got = bad(text);
        assert!(
            got.starts_with("failed to parse F.hcl: 1 error(s) decoding:\n\n* "),
            "{got}"
        );
        assert!(
            got.contains(&format!("* {expected} (at F.hcl:1:")),
            "for {text}\n got {got}\nwant {expected}"
        );
    }
    let got = bad_json(r#"{"node_name": 5, "service": {"port": "x"}}"#);
    assert!(got.contains("2 error(s) decoding:\n\n* 'node_name' expected type 'string', got unconvertible type 'float64', value: '5'"), "{got}");
    let got = bad_json(r#"{"services": {"name": "a"}}"#);
    assert!(
        got.contains("'services': source data must be an array or slice, got map"),
        "{got}"
    );
}

#[test]
fn a_type_error_hides_unknown_keys_and_the_first_bad_source_ends_the_work() {
    let text = bad("foo = 1\nserver = 1");
    assert!(
        text.contains("1 error(s) decoding") && !text.contains("foo"),
        "{text}"
    );
    let error = load_all(
        &[],
        &[
            ("a.hcl", "x = "),
            ("b.hcl", "foo = 1"),
            ("c.hcl", "bar = 1"),
        ],
        &[],
    );
    let lines = error.expect_err("unknown").lines();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("b.hcl: invalid config key foo"),
        "{lines:?}"
    );
}

#[test]
fn syntax_errors_name_the_file() {
    assert_eq!(
        bad_json("{\"datacenter\": "),
        "failed to parse F.json: unexpected end of JSON input"
    );
    assert_eq!(
        bad("a = ["),
        "failed to parse F.hcl: At 1:6: unexpected token while parsing list: EOF"
    );
    let got = load_all(&["-dev", "-hcl", "x y = 1"], &[], &[])
        .expect_err("syntax")
        .to_string();
    assert_eq!(
        got,
        "failed to parse flags-0.hcl: At 1:5: nested object expected: LBRACE got: ASSIGN"
    );
}

#[test]
fn leniencies() {
    let c =
        config("node_name = [\"one\"]\nports = [{ HTTP = 1.5 }]\nretry_join = []\nServer = true");
    assert_eq!(
        (c.node_name.as_str(), c.ports.http, c.server),
        ("one", Some(1), true)
    );
    // Alternative spellings exist for these only; the right one wins.
    let c = config(
        "check { name = \"c\", ServiceID = \"s\", ScriptArgs = [\"x\"], interval = \"5s\",
           TLSSkipVerify = true, DockerContainerID = \"d\", DeregisterCriticalServiceAfter = \"1m\" }
         enable_local_script_checks = true",
    );
    let check = &c.checks[0];
    assert_eq!(
        (
            check.service_id.as_str(),
            check.args.len(),
            check.tls_skip_verify
        ),
        ("s", 1, true)
    );
    assert_eq!(check.deregister_critical_service_after.to_string(), "1m0s");
    assert_eq!(check.docker_container_id, "d");
    let c = config(
        "check { name = \"c\", ttl = \"1s\", service_id = \"right\", serviceid = \"other\" }",
    );
    assert_eq!(c.checks[0].service_id, "right");
    let c = load_all(
        &[],
        &[
            BASE,
            (
                "F.json",
                r#"{"node_name": null, "service": {"ID": "camel-1", "Name": "camel", "Port": 6}}"#,
            ),
        ],
        &[],
    );
    let c = c.expect("valid").config;
    assert_eq!(
        (
            c.services[0].id.as_str(),
            c.services[0].port,
            c.node_name.as_str()
        ),
        ("camel-1", 6, "host")
    );
    assert_eq!(
        good("  \n\t").config.node_name,
        "host",
        "an empty file says nothing"
    );
}

#[test]
fn sources_merge_in_order() {
    let c = load_all(
        &["-domain", "flag.test", "-node-meta", "c:3", "-retry-join", "flag", "-hcl", "log_json = true", "-log-json=false"],
        &[
            BASE,
            ("1.json", r#"{"datacenter": "first", "node_meta": {"a": "1", "b": "1"}, "domain": "one.", "retry_join": ["one"], "ports": {"http": 1, "dns": 1}}"#),
            ("2.hcl", "datacenter = \"second\"\nnode_meta { b = \"2\" }\nretry_join = [\"two\"]\nports { dns = 2 }\nlog_level = \"WARN\""),
        ],
        &[("LICTOR_CONFIG_PORTS__DNS", "3"), ("LICTOR_CONFIG_DOMAIN", "env.test"), ("LICTOR_CONFIG_RETRY_JOIN", "three, four")],
    )
    .expect("valid")
    .config;
    assert_eq!(c.datacenter, "second");
    assert_eq!(
        c.dns.domain, "flag.test.",
        "flags win over environment and files"
    );
    assert_eq!(
        c.retry_join_lan.addresses,
        ["flag", "one", "two", "three", "four"]
    );
    assert_eq!(
        (c.ports.http, c.ports.dns),
        (Some(1), Some(3)),
        "objects merge field by field"
    );
    let meta: Vec<(&str, &str)> = c
        .node_meta
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(meta, [("a", "1"), ("b", "2"), ("c", "3")]);
    assert!(c.logging.json, "-hcl wins over flags");
}

#[test]
fn single_definitions_come_last_in_their_file() {
    let c = load_all(
        &[],
        &[
            BASE,
            (
                "a.hcl",
                "service { name = \"a3\" }\nservices { name = \"a1\" }\nservices { name = \"a2\" }",
            ),
            (
                "b.json",
                r#"{"services": [{"name": "b1"}], "check": {"name": "c", "ttl": "1s"}}"#,
            ),
        ],
        &[],
    )
    .expect("valid")
    .config;
    let names: Vec<&str> = c.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a1", "a2", "a3", "b1"]);
    assert_eq!(c.checks.len(), 1);
}

#[test]
fn the_environment_is_typed_by_the_keys() {
    let env = [
        ("PATH", "/bin"),
        ("LICTOR_CONFIG_SERVER", "1"),
        ("LICTOR_CONFIG_BOOTSTRAP", "true"),
        ("LICTOR_CONFIG_UI_CONFIG__ENABLED", "0"),
        ("LICTOR_CONFIG_NODE_META", "a:1,b:x:y"),
        ("LICTOR_CONFIG_LEAVE_ON_TERMINATE", "true"),
        ("LICTOR_CONFIG_LIMITS__RPC_RATE", "1.5"),
        (
            "LICTOR_CONFIG_SERVICES",
            r#"[{"name": "web", "port": 80, "check": {"ttl": "5s"}}]"#,
        ),
    ];
    let c = load_all(&[], &[BASE], &env).expect("valid").config;
    assert!(c.server && c.bootstrap && !c.ui.enabled && c.leave_on_terminate);
    assert_eq!(c.node_meta.get("b").map(String::as_str), Some("x:y"));
    assert_eq!(c.limits.rpc_rate, Some(1.5));
    assert_eq!(c.services[0].checks[0].ttl.to_string(), "5s");

    let env = [
        ("LICTOR_CONFIG_PORTS__HTPP", "1"),
        ("LICTOR_CONFIG_PORTS__HTTP", "x"),
        ("LICTOR_CONFIG_SERVER", "yes"),
        ("LICTOR_CONFIG_SERVICES", "[{\"nam\": 1}]"),
    ];
    let error = load_all(&[], &[BASE], &env).expect_err("bad");
    let lines = error.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        lines[0],
        "LICTOR_CONFIG_PORTS__HTPP: invalid config key ports.htpp (did you mean LICTOR_CONFIG_PORTS__HTTP?)"
    );
    assert_eq!(
        lines[1],
        "LICTOR_CONFIG_PORTS__HTTP: 'ports.http' expected a whole number, got \"x\""
    );
    assert_eq!(
        lines[2],
        "LICTOR_CONFIG_SERVER: 'server' expected true or false, got \"yes\""
    );
    assert!(
        lines[3].starts_with("LICTOR_CONFIG_SERVICES: invalid config key services[0].nam"),
        "{lines:?}"
    );
}

#[test]
fn old_names_warn_and_new_ones_win() {
    let loaded = good(
        "start_join = [\"b\"]\nretry_join = [\"a\"]\nui = true\nui_dir = \"\"\nacl_datacenter = \"dc2\"\nprimary_datacenter = \"dc3\"",
    );
    let c = &loaded.config;
    assert_eq!(c.retry_join_lan.addresses, ["a", "b"]);
    assert!(c.ui.enabled);
    assert_eq!(c.primary_datacenter, "dc3");
    assert!(loaded.warnings.contains(
        &"The 'start_join' field is deprecated. Use the 'retry_join' field instead.".to_string()
    ));
    assert_eq!(loaded.warnings.len(), 4);
    let flag = load_all(&["-join", "x"], &[BASE], &[]).expect("valid");
    assert_eq!(flag.config.retry_join_lan.addresses, ["x"]);
}

#[test]
fn no_variables_and_no_files_are_fine_in_dev_mode() {
    let flags = parse_agent_flags(["-dev"]).expect("flags");
    let loaded = load(&flags, Vec::new(), iter::empty(), &[], "host").expect("dev");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.node_name, "host");
}
