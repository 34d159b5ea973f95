use lictor_sockaddr::Interface;

use crate::keys::{Schema, Support};
use crate::testing::{BASE, bad, config, good, load_all, load_on, up};

#[test]
fn defaults_follow_the_mode() {
    let client = config("");
    assert!(!client.server && client.leave_on_terminate && !client.skip_leave_on_interrupt);
    assert_eq!((client.ports.grpc, client.ports.grpc_tls), (None, None));
    assert!(client.serf_wan.is_none());
    assert_eq!(client.logging.level.to_string(), "INFO");

    let server = config("server = true");
    assert!(server.server && !server.leave_on_terminate && server.skip_leave_on_interrupt);
    assert_eq!(
        (server.ports.grpc, server.ports.grpc_tls),
        (None, Some(8503))
    );
    let wan = server.serf_wan.as_ref().expect("a server has a WAN pool");
    assert_eq!((wan.bind.port(), wan.suspicion_mult), (8302, 6));
    assert_eq!(wan.gossip_interval.to_string(), "500ms");
    assert!(!server.ui.enabled && !server.enable_debug);

    let dev = load_all(
        &["-dev"],
        &[("a.hcl", "gossip_lan { gossip_interval = \"9s\" }")],
        &[],
    )
    .expect("dev")
    .config;
    assert!(
        dev.server
            && dev.bootstrap
            && dev.dev_mode
            && dev.ui.enabled
            && dev.enable_debug
            && dev.http.pretty
    );
    assert!(!dev.leave_on_terminate && dev.skip_leave_on_interrupt && dev.disable_keyring_file);
    assert_eq!(dev.bind_addr.to_string(), "127.0.0.1");
    assert_eq!(
        (dev.ports.grpc, dev.ports.grpc_tls),
        (Some(8502), Some(8503))
    );
    assert_eq!(dev.logging.level.to_string(), "DEBUG");
    assert_eq!(dev.performance.raft_multiplier, 1);
    assert_eq!(
        dev.serf_lan.gossip_interval.to_string(),
        "100ms",
        "fixed in dev mode"
    );
    assert_eq!(dev.serf_lan.suspicion_mult, 3);
    assert_eq!(dev.data_dir, None);
    assert_eq!(
        dev.tagged_addresses.get("lan_ipv4").map(String::as_str),
        Some("127.0.0.1")
    );

    let c = &client;
    assert_eq!(c.limits.http_max_conns_per_client, 200);
    assert_eq!((c.limits.rpc_rate, c.limits.rpc_max_burst), (None, 1000));
    assert_eq!(c.retry_join_lan.interval.to_string(), "30s");
    assert_eq!(c.server_rejoin_age_max.to_string(), "168h0m0s");
    assert_eq!(c.dns.max_stale.to_string(), "87600h0m0s");
    assert_eq!(
        (c.dns.udp_answer_limit, c.dns.domain.as_str()),
        (3, "consul.")
    );
    assert_eq!(c.check_update_interval.to_string(), "5m0s");
}

#[test]
fn rules_have_consuls_texts() {
    for (text, expected) in [
        (
            "datacenter = \"x y\"",
            "datacenter can only contain lowercase alphanumeric, - or _ characters. received: \"x y\"",
        ),
        (
            "encrypt = \"abc\"",
            "encrypt has invalid key: illegal base64 data at input byte 0",
        ),
        (
            "bootstrap = true",
            "'bootstrap = true' requires 'server = true'",
        ),
        (
            "bootstrap_expect = 3",
            "'bootstrap_expect > 0' requires 'server = true'",
        ),
        (
            "bootstrap_expect = -1",
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        (
            "server = true\nbootstrap = true\nbootstrap_expect = 3",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (
            "alt_domain = \"service.x\"",
            "alt_domain cannot start with {service,connect,node,query,addr,dc1}",
        ),
        (
            "advertise_addr = \"0.0.0.0\"",
            "Advertise address cannot be 0.0.0.0, :: or [::]",
        ),
        (
            "advertise_addr_wan = \"::\"",
            "Advertise WAN address cannot be 0.0.0.0, :: or [::]",
        ),
        (
            "ports { dns = 8500 }",
            "HTTP address 127.0.0.1:8500 already configured for DNS",
        ),
        (
            "node_meta { \"consul-x\" = \"1\" }",
            "node_meta invalid: Couldn't load metadata pair ('consul-x', '1'): Key prefix 'consul-' is reserved for internal use",
        ),
        (
            "ui_config { enabled = true\n dir = \"/x\" }",
            "Both the ui_config.enabled and ui_config.dir were specified",
        ),
        ("bind_addr = \"localhost\"", "bind_addr cannot be empty"),
        ("bind_addr = \"{{ broken\"", "bind_addr cannot be empty"),
        (
            "bind_addr = \"127.0.0.1 127.0.0.2\"",
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead.",
        ),
        (
            "bind_addr = \"unix:///x\"",
            "bind_addr cannot be a unix socket",
        ),
    ] {
        let got = bad(text);
        assert!(
            got.starts_with(expected),
            "for {text}\n got {got}\nwant {expected}"
        );
    }
    let nothing = load_on(&[up("eth0", &["10.0.0.5"])], &[], &[], &[]).expect_err("nothing");
    assert_eq!(nothing.to_string(), "data_dir cannot be empty");
    let dev = load_all(
        &["-dev", "-bootstrap=false", "-bootstrap-expect=3"],
        &[],
        &[],
    )
    .expect_err("dev");
    assert_eq!(
        dev.to_string(),
        "'bootstrap_expect > 0' not allowed in dev mode (at -bootstrap-expect)"
    );
}

#[test]
fn collected_errors_come_together() {
    for (text, expected) in [
        (
            "autopilot { server_stabilization_time = \"5x\" }",
            "autopilot.server_stabilization_time: invalid duration: \"5x\": time: unknown unit \"x\" in duration \"5x\"",
        ),
        (
            "check { interval = \"5\"\n tcp = \"a:1\" }",
            "check[].interval: invalid duration: \"5\": time: missing unit in duration \"5\"",
        ),
        ("ports { http = 70000 }", "ports.http: invalid port: 70000"),
        (
            "check { name = \"x\" }",
            "check \"x\": TTL must be > 0 for TTL checks",
        ),
        (
            "service { name = \"s\"\n check { name = \"x\"\n http = \"u\" } }",
            "check \"x\": Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
        ),
        ("service { port = 1 }", "service \"\": Service name missing"),
        (
            "node_id = \"not-a-uuid\"",
            "node_id: \"not-a-uuid\" is not a UUID",
        ),
        (
            "log_level = \"loud\"",
            "Invalid log level: loud. Valid log levels are: [TRACE DEBUG INFO WARN ERROR]",
        ),
        (
            "server_rejoin_age_max = \"1h\"",
            "server_rejoin_age_max: duration '1h' cannot be less than: 6h0m0s",
        ),
        (
            "advertise_addr = \"x\"",
            "advertise_addr: invalid ip address: x",
        ),
        (
            "advertise_addr = \"127.0.0.1 127.0.0.2\"",
            "advertise_addr: multiple addresses found: 127.0.0.1 127.0.0.2",
        ),
        (
            "advertise_addr_ipv4 = \"::1\"",
            "advertise_addr_ipv4 must be an ipv4 address",
        ),
        (
            "advertise_addr_ipv6 = \"1.2.3.4\"",
            "advertise_addr_ipv6 must be an ipv6 address",
        ),
        (
            "client_addr = \"unix:///x\"",
            "client_addr cannot be a unix socket",
        ),
        (
            "serf_lan_allowed_cidrs = [\"10.0.0.0\"]",
            "serf_lan_allowed_cidrs: invalid cidr: 10.0.0.0",
        ),
        (
            "performance { raft_multiplier = 11 }",
            "performance.raft_multiplier cannot be 11. Must be between 1 and 10",
        ),
        (
            "dns_config { udp_answer_limit = -1 }",
            "dns_config.udp_answer_limit cannot be -1. Must be greater than or equal to zero",
        ),
        (
            "dns_config { recursor_strategy = \"x\" }",
            "dns_config.recursor_strategy: invalid strategy: \"x\"",
        ),
        (
            "recursors = [\"0.0.0.0\"]",
            "DNS recursor address cannot be 0.0.0.0, :: or [::]",
        ),
        (
            "check_output_max_size = 0",
            "check_output_max_size must be positive",
        ),
        (
            "service { name = \"s\"\n weights { passing = 0 } }",
            "Invalid weight definition for service s: Passing must be greater than 0",
        ),
        (
            "service { name = \"s\"\n meta { \"a b\" = \"\" } }",
            "invalid meta for service s: Couldn't load metadata pair ('a b', ''): Key contains invalid characters",
        ),
        (
            "serf_lan = \"{{ GetNothing }}\"",
            "serf_lan: error parsing \"{{ GetNothing }}\": unable to parse template \"{{ GetNothing }}\"",
        ),
    ] {
        let got = bad(text);
        assert!(
            got.starts_with(&format!("1 error occurred:\n\t* {expected}")),
            "for {text}\n got {got}\nwant {expected}"
        );
    }
    let got = bad("ports { http = 70000\n dns = 70001 }\nretry_interval = \"x\"");
    assert!(
        got.starts_with(
            "3 errors occurred:\n\t* ports.dns: invalid port: 70001 (at F.hcl:2:2)\n\t* ports.http"
        ),
        "{got}"
    );
}

#[test]
fn known_but_not_served() {
    for (text, expected) in [
        (
            "segment = \"a\"",
            "\"segment\" is a Consul Enterprise configuration and will have no effect",
        ),
        (
            "non_voting_server = true",
            "\"read_replica\" is a Consul Enterprise configuration",
        ),
        (
            "audit { enabled = true }",
            "\"audit\" is a Consul Enterprise configuration",
        ),
        (
            "service { name = \"a\"\n namespace = \"x\" }",
            "\"services.namespace\" is a Consul Enterprise configuration",
        ),
        (
            "acl { enabled = true }",
            "config key \"acl.enabled\" is not supported by this version of Lictor (at F.hcl:1:7)",
        ),
        (
            "verify_outgoing = true",
            "tls.internal_rpc.verify_outgoing is set, but neither tls.internal_rpc.ca_file nor tls.internal_rpc.ca_path is",
        ),
        (
            "auto_encrypt { tls = true }",
            "config key \"auto_encrypt.tls\" is not supported",
        ),
        (
            "tls { grpc { verify_incoming = true } }",
            "config key \"tls.grpc.verify_incoming\" is not supported",
        ),
    ] {
        let got = bad(text);
        assert!(
            got.contains(&format!("\t* {expected}")),
            "for {text}\n got {got}\nwant {expected}"
        );
    }
    let fine = good(
        "segment = \"\"\nread_replica = false\nacl { enabled = false\n default_policy = \"allow\"\n down_policy = \"deny\"\n tokens { agent = \"\" } }
         audit { enabled = false }\nauto_encrypt { tls = false }\ndisable_update_check = true",
    );
    assert_eq!(fine.warnings, Vec::<String>::new());
}

#[test]
fn the_mesh_is_accepted_whole_with_one_warning() {
    let loaded = good(
        "connect { enabled = false\n anything { goes = [1, { a = 2 }] } }\npeering { enabled = false }
         ports { sidecar_min_port = 1 }
         service { name = \"a\"\n connect { sidecar_service { port = 1 } }\n proxy { x = 1 } }",
    );
    assert_eq!(
        loaded.warnings,
        [
            "The service mesh is not part of Lictor; these keys have no effect: connect, peering, ports.sidecar_min_port, services.connect, services.proxy"
        ]
    );
    assert!(!loaded.config.connect_enabled && !loaded.config.peering_enabled);
    assert_eq!(
        loaded.config.services[0].connect,
        Some(serde_json::json!({"sidecar_service": {"port": 1}}))
    );
}

#[test]
fn warnings() {
    let of = |text: &str| good(text).warnings;
    assert_eq!(
        of("server = true\nbootstrap_expect = 1"),
        [
            "BootstrapExpect is set to 1; this is the same as Bootstrap mode.",
            "bootstrap = true: do not enable unless necessary"
        ]
    );
    assert_eq!(
        of("server = true\nbootstrap_expect = 3"),
        ["bootstrap_expect > 0: expecting 3 servers"]
    );
    assert!(
        of("server = true\nbootstrap_expect = 2")[0]
            .starts_with("bootstrap_expect = 2: A cluster with 2 servers")
    );
    assert!(
        of("server = true\nbootstrap_expect = 4")[0].starts_with("bootstrap_expect is even number")
    );
    assert!(of("node_name = \"a.b\"")[0].starts_with(
        "Node name \"a.b\" will not be discoverable via DNS due to invalid characters."
    ));
    assert!(of("enable_script_checks = true")[0].contains("DANGEROUS"));
    assert!(of("client_addr = \"\"")[0].starts_with("client_addr is empty"));
    assert_eq!(of("datacenter = \"DC2\""), Vec::<String>::new());
    assert!(
        of("telemetry { prefix_filter = [\"x\"] }")[0].starts_with("Filter rule must begin with")
    );
}

#[test]
fn one_expected_server_is_bootstrap() {
    let c = config("server = true\nbootstrap_expect = 1");
    assert!(c.bootstrap);
    assert_eq!(c.bootstrap_expect, 0);
}

#[test]
fn addresses_are_found() {
    let one = [up("eth0", &["10.0.0.5", "2001:4860::1"])];
    let two = [up("eth0", &["10.0.0.5"]), up("eth1", &["10.1.0.5"])];
    let data = ("d.hcl", "data_dir = \"/x\"");
    let c = load_on(&one, &[], &[data], &[]).expect("one").config;
    assert_eq!(
        (c.bind_addr.to_string(), c.advertise.lan.to_string()),
        ("0.0.0.0".into(), "10.0.0.5".into())
    );
    assert_eq!(c.serf_lan.advertise.to_string(), "10.0.0.5:8301");
    assert_eq!(c.rpc_bind.to_string(), "0.0.0.0:8300");
    let c = load_on(&one, &["-bind", "::"], &[data], &[])
        .expect("v6")
        .config;
    assert_eq!(c.advertise.lan.to_string(), "2001:4860::1");
    let error = |ifs: &[Interface], flags: &[&str]| {
        load_on(ifs, flags, &[data], &[])
            .expect_err("none")
            .to_string()
    };
    assert_eq!(error(&[], &[]), "No private IPv4 address found");
    assert_eq!(error(&[], &["-bind=[::]"]), "No public IPv6 address found");
    assert_eq!(
        error(&two, &[]),
        "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'."
    );
    let c = load_on(
        &two,
        &["-bind", "{{ GetInterfaceIP \"eth1\" }}"],
        &[data],
        &[],
    )
    .expect("template")
    .config;
    assert_eq!(c.advertise.lan.to_string(), "10.1.0.5");
}

#[test]
fn listeners_and_lists() {
    let c = config(
        "client_addr = \"127.0.0.1 127.0.0.2\"\naddresses { http = \"127.0.0.3 unix:///run/h.sock\" }\nports { https = 8501\n grpc = 0 }
         recursors = [\"9.9.9.9\", \"9.9.9.9:5353\", \"::1\"]\nretry_join = [\"provider=aws tag_key=a tag_value=b\", \"\"]",
    );
    let show =
        |list: &[crate::ListenAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        show(&c.listeners.http),
        ["tcp://127.0.0.3:8500", "unix:///run/h.sock"]
    );
    assert_eq!(
        show(&c.listeners.https),
        ["tcp://127.0.0.1:8501", "tcp://127.0.0.2:8501"]
    );
    assert!(c.listeners.grpc.is_empty());
    assert_eq!(c.listeners.dns.len(), 2);
    let recursors: Vec<String> = c.dns.recursors.iter().map(ToString::to_string).collect();
    assert_eq!(recursors, ["9.9.9.9:53", "9.9.9.9:5353", "[::1]:53"]);
    assert_eq!(
        c.retry_join_lan.addresses,
        ["provider=aws tag_key=a tag_value=b"]
    );
}

#[test]
fn definitions_are_read_in_full() {
    let c = config(
        r#"service {
            id = "w1", name = "web", tags = ["a", "b"], address = "10.0.0.1", port = 80
            tagged_addresses { lan { address = "1.2.3.4", port = 81 } }
            meta { k = "v" }
            weights { passing = 5, warning = 2 }
            enable_tag_override = true
            token = "t"
            check { name = "last", ttl = "5s" }
            checks = [
              { id = "h", name = "http", http = "http://x", interval = "10s", timeout = "1s", method = "PUT",
                header { X = ["1", "2"] }, failures_before_critical = 3, tls_skip_verify = true },
              { h2ping = "x:1", interval = "1s", h2ping_use_tls = false },
            ]
            locality { region = "r", zone = "z" }
          }"#,
    );
    let s = &c.services[0];
    assert_eq!((s.effective_id(), s.tags.len(), s.port), ("w1", 2, 80));
    assert_eq!(s.tagged_addresses["lan"].port, 81);
    assert_eq!((s.weights.passing, s.weights.warning), (5, 2));
    assert_eq!(s.locality.as_ref().map(|l| l.zone.as_str()), Some("z"));
    let names: Vec<&str> = s.checks.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["http", "", "last"], "the single check stands last");
    let http = &s.checks[0];
    assert_eq!(http.header["X"], ["1", "2"]);
    assert_eq!(
        (http.failures_before_warning, http.failures_before_critical),
        (3, 3)
    );
    assert!(!s.checks[1].h2ping_use_tls && http.h2ping_use_tls);
}

#[test]
fn script_checks_need_leave() {
    let script = "check { name = \"s\"\n args = [\"x\"]\n interval = \"1s\" }";
    assert!(bad(script).contains("Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true"));
    assert!(
        config(&format!("{script}\nenable_local_script_checks = true")).enable_local_script_checks
    );
}

#[test]
fn https_needs_both_certificate_and_key() {
    assert!(
        bad("tls { https { cert_file = \"c\" } }")
            .contains("tls.https.cert_file is set, but tls.https.key_file is not")
    );
    let loaded = good(
        "tls { defaults { cert_file = \"c\"\n key_file = \"k\" }\n https { tls_min_version = \"TLSv1_3\" } }\nports { https = 8501 }",
    );
    let https = &loaded.config.tls.https;
    assert_eq!(
        (https.cert_file.as_str(), https.min_version.as_str()),
        ("c", "TLSv1_3")
    );
    assert_eq!(loaded.config.tls.grpc.min_version, "TLSv1_2");
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn rpc_needs_what_its_verification_takes() {
    for (text, expected) in [
        (
            "tls { internal_rpc { key_file = \"k\" } }",
            "tls.internal_rpc.key_file is set, but tls.internal_rpc.cert_file is not",
        ),
        (
            "tls { internal_rpc { verify_incoming = true } }",
            "tls.internal_rpc.verify_incoming is set, but neither tls.internal_rpc.ca_file nor tls.internal_rpc.ca_path is",
        ),
        (
            "ca_file = \"c\"\nverify_incoming_rpc = true",
            "tls.internal_rpc.verify_incoming is set, but tls.internal_rpc.cert_file is not",
        ),
        (
            "verify_server_hostname = true",
            "tls.internal_rpc.verify_server_hostname is set, but neither",
        ),
    ] {
        let got = bad(text);
        assert!(got.contains(expected), "for {text}\n got {got}");
    }
    let old = "ca_file = \"c\"\ncert_file = \"e\"\nkey_file = \"k\"\nverify_incoming_rpc = true\nverify_server_hostname = true";
    let rpc = config(old).tls.internal_rpc;
    assert!(rpc.verify_incoming && rpc.verify_outgoing && rpc.verify_server_hostname);
    assert_eq!((rpc.ca_file.as_str(), rpc.cert_file.as_str()), ("c", "e"));
}

/// Every key takes a value of every sort: most are refused, none does harm, and each refusal names
/// the key.
#[test]
fn odd_values_are_refused_by_name() {
    let values = [
        "true",
        "0",
        "-1",
        "70000",
        "-9223372036854775808",
        "1.5",
        "1e300",
        "\"\"",
        "\"x y\"",
        "\"{{ x\"",
        "\"-5s\"",
        "\"1h\"",
        "[]",
        "[1]",
        "[\"\", \"/\"]",
        "[[[]]]",
        "[{ }]",
        "{ }",
        "{ a = 1 }",
        "{ a = \"1\" }",
        "{ a = [\"1\"] }",
        "{ a { b { } } }",
    ];
    let mut refused = 0;
    for key in Schema::agent().keys() {
        let parts: Vec<&str> = key.path.split('.').collect();
        let open = parts.join(" { ");
        let close = " }".repeat(parts.len() - 1);
        for value in values {
            let text = format!("{open} = {value}{close}");
            let Err(errors) = load_all(&[], &[BASE, ("F.hcl", &text)], &[]) else {
                continue;
            };
            refused += 1;
            let (name, said) = (key.last_part(), errors.to_string());
            let new_name = match key.support {
                Support::Renamed(to) => to,
                _ => key.path,
            };
            let named = said.contains(name) || said.contains(new_name);
            assert!(named || said.contains("F.hcl:1:"), "{text}: {said}");
        }
    }
    assert!(refused > 3000, "only {refused} of them were refused");
}
