use super::*;
use lictor_wire::gojson;
use serde_json::json;

fn given(body: &str) -> Result<Txn, (u16, String)> {
    decode(body.as_bytes())
        .and_then(|given| Txn::of(given, &"dc1".into(), 8))
        .map_err(|e| (e.status.as_u16(), e.text))
}

fn refused(body: &str) -> String {
    given(body).unwrap_err().1
}

/// The one operation of a body.
fn one(body: Value) -> TxnOp {
    let txn = given(&json!([body]).to_string()).unwrap();
    assert!(txn.errors.is_empty(), "{:?}", txn.errors);
    txn.ops.into_iter().next().unwrap()
}

fn whats(body: Value) -> Vec<(u64, String)> {
    given(&body.to_string())
        .unwrap()
        .errors
        .into_iter()
        .map(|e| (e.op_index, e.what))
        .collect()
}

#[test]
fn base64_is_read_as_go_reads_it() {
    for (text, want) in [
        ("", Ok("")),
        ("Zg==", Ok("f")),
        ("Zm8=", Ok("fo")),
        ("Zm9v", Ok("foo")),
        ("Zm9v\r\nZg=\n=\n", Ok("foof")),
        // Bits that are left over do not count.
        ("Zh==", Ok("f")),
        ("not base64!", Err(3)),
        ("Z", Err(0)),
        ("Zm9vZm8", Err(4)),
        ("=", Err(0)),
        ("Z===", Err(1)),
        ("Zg=", Err(3)),
        ("Zg=x", Err(2)),
        ("Zg==Zg==", Err(4)),
        ("Zm8=x", Err(4)),
        ("Zm_v", Err(2)),
    ] {
        let got = super::base64::decode(text.as_bytes());
        assert_eq!(got, want.map(|w: &str| w.as_bytes().to_vec()), "{text:?}");
    }
}

#[test]
fn bodies_are_refused_in_gos_words() {
    for (body, want) in [
        ("", "EOF"),
        ("{", "unexpected EOF"),
        (
            "{\"KV\":{}}",
            "json: cannot unmarshal object into Go value of type api.TxnOps",
        ),
        (
            "5",
            "json: cannot unmarshal number into Go value of type api.TxnOps",
        ),
        (
            "[5]",
            "json: cannot unmarshal number into Go value of type api.TxnOp",
        ),
        (
            "[{\"Kv\":5}]",
            "json: cannot unmarshal number into Go struct field TxnOp.KV of type api.KVTxnOp",
        ),
        (
            "[{\"KV\":{\"Key\":5}}]",
            "json: cannot unmarshal number into Go struct field KVTxnOp.KV.Key of type string",
        ),
        ("[{\"Nothing\":{}}]", "json: unknown field \"Nothing\""),
        (
            "[{\"KV\":{\"Colour\":1}}]",
            "json: unknown field \"Colour\"",
        ),
        (
            "[{\"KV\":{\"Value\":\"not base64!\"}}]",
            "illegal base64 data at input byte 3",
        ),
    ] {
        assert_eq!(
            given(body).unwrap_err(),
            (400, format!("Failed to parse body: {want}")),
            "{body}"
        );
    }
}

#[test]
fn names_match_without_case_and_what_follows_is_not_read() {
    let txn =
        given(r#"[{"kv":{"VERB":"set","key":"k","VALUE":"Zg==","flags":null}}] rest"#).unwrap();
    let [TxnOp::Kv(op)] = &txn.ops[..] else {
        panic!("{txn:?}")
    };
    assert_eq!(
        (op.key.as_str(), &op.value[..], op.verb),
        ("k", &b"f"[..], KvVerb::Set)
    );
    assert!(txn.writes);
}

#[test]
fn limits_are_kept() {
    let op = json!({"KV": {"Verb": "get", "Key": "k"}});
    let many = |n| Value::Array(vec![op.clone(); n]).to_string();
    assert_eq!(given(&many(128)).unwrap().ops.len(), 128);
    assert_eq!(
        given(&many(129)).unwrap_err(),
        (
            413,
            "Transaction contains too many operations (129 > 128)".into()
        )
    );
    let set =
        |value: &str| json!([{"KV": {"Verb": "set", "Key": "a\"b", "Value": value}}]).to_string();
    assert!(given(&set("Zm9vZm9vZm8=")).is_ok());
    assert_eq!(
        refused(&set("Zm9vZm9vZm9v")),
        r#"Value for key "a\"b" is too large (9 > 8 bytes)"#
    );
}

#[test]
fn empty_operations_are_not_counted() {
    for nothing in ["null", "[]", "[{}]", "[null]", r#"[{"KV":null}]"#] {
        let txn = given(nothing).unwrap();
        assert!(
            txn.ops.is_empty() && txn.errors.is_empty() && !txn.writes,
            "{nothing}"
        );
    }
    assert_eq!(
        whats(
            json!([{}, {"KV": {"Verb": "what", "Key": "x"}}, {"KV": {"Verb": "get", "Key": "x"}}, {"KV": {"Verb": "set"}}])
        ),
        [
            (0, "unknown KV operation: what".to_owned()),
            (2, "Must provide key".to_owned())
        ]
    );
}

#[test]
fn keys_must_be_given_but_for_the_removal_of_a_tree() {
    for verb in [
        "set",
        "get",
        "get-tree",
        "check-not-exists",
        "delete",
        "no-such-verb",
    ] {
        assert_eq!(
            whats(json!([{"KV": {"Verb": verb}}])),
            [(0, "Must provide key".to_owned())],
            "{verb}"
        );
    }
    assert!(whats(json!([{"KV": {"Verb": "delete-tree"}}])).is_empty());
}

#[test]
fn only_what_may_write_is_a_write() {
    let writes = |op: Value| {
        given(&json!([{"KV": {"Verb": "get", "Key": "k"}}, op]).to_string())
            .unwrap()
            .writes
    };
    for verb in [
        "set",
        "cas",
        "lock",
        "unlock",
        "delete",
        "delete-tree",
        "delete-cas",
    ] {
        assert!(writes(json!({"KV": {"Verb": verb, "Key": "k"}})), "{verb}");
    }
    for verb in [
        "get",
        "get-or-empty",
        "get-tree",
        "check-index",
        "check-session",
        "check-not-exists",
        "what",
    ] {
        assert!(!writes(json!({"KV": {"Verb": verb, "Key": "k"}})), "{verb}");
    }
    assert!(
        writes(json!({"KV": {"Verb": "set"}})),
        "also where it is refused"
    );
    for kind in ["Node", "Service", "Check"] {
        assert!(!writes(json!({kind: {"Verb": "get"}})), "{kind}");
        for verb in ["set", "cas", "delete", "delete-cas", "what"] {
            assert!(writes(json!({kind: {"Verb": verb}})), "{kind} {verb}");
        }
    }
}

#[test]
fn catalog_operations_are_looked_at_before_they_run() {
    for (op, want) in [
        (
            json!({"Node": {"Verb": "what"}}),
            "unknown node operation: what",
        ),
        (json!({"Service": {}}), "unknown service operation: "),
        (
            json!({"Check": {"Verb": "put"}}),
            "unknown check operation: put",
        ),
        (
            json!({"Node": {"Verb": "delete", "Node": {}}}),
            "Must provide node",
        ),
        (
            json!({"Node": {"Verb": "set", "Node": {"Node": "n", "ID": "x"}}}),
            "Bad node ID: uuid string is wrong length",
        ),
        (
            json!({"Service": {"Verb": "delete", "Node": "n", "Service": {"ID": "s"}}}),
            "Must provide service name (Service.Service) when service ID is provided",
        ),
        (
            json!({"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "s", "Address": "0.0.0.0"}}}),
            "Invalid service address",
        ),
        (
            json!({"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "s", "Meta": {"a b": "c"}}}}),
            "Invalid Service Meta for node n and serviceID s: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
        ),
        (
            json!({"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "s", "Kind": "connect-proxy", "Port": 1}}}),
            "1 error occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
        ),
    ] {
        assert_eq!(whats(json!([op])), [(0, want.to_owned())]);
    }
    assert!(whats(json!([{"Node": {"Verb": "get", "Node": {"ID": "x"}}}])).is_empty());
}

#[test]
fn rows_are_completed_as_consul_completes_them() {
    let TxnOp::Node(op) = one(
        json!({"Node": {"Verb": "cas", "Node": {"Node": "n", "Address": "a", "ModifyIndex": 5}}}),
    ) else {
        panic!()
    };
    assert_eq!(
        (op.verb, op.node.datacenter.as_str(), op.node.modify_index),
        (CatalogVerb::Cas, "dc1", 5)
    );
    let TxnOp::Service(op) = one(json!({"Service": {"Verb": "set", "Node": "n", "Service": {
        "Service": "s", "Weights": {"Passing": 5}, "SocketPath": "/s", "Connect": {"Native": true}, "Tags": ["t"],
        "Proxy": {"DestinationServiceName": "d", "Config": {"a": 1}}, "TaggedAddresses": {"lan": {"Address": "x", "Port": 1}},
    }}})) else {
        panic!()
    };
    let row = &op.service;
    assert_eq!(
        (row.id.as_str(), row.weights),
        (
            "s",
            Weights {
                passing: 5,
                warning: 0
            }
        )
    );
    assert!(
        row.socket_path.is_empty() && row.connect.is_none(),
        "Consul does not take these over"
    );
    assert_eq!(row.proxy_destination(), Some("d"));
    assert!(row.proxy.as_ref().unwrap().get("Config").is_none());
    assert_eq!(
        (row.tags.len(), row.tagged_addresses.as_ref().unwrap().len()),
        (1, 1)
    );
    let TxnOp::Check(op) = one(
        json!({"Check": {"Verb": "set", "Check": {"Node": "n", "Name": "c", "Definition": {}}}}),
    ) else {
        panic!()
    };
    assert_eq!(
        (
            op.check.check_id.as_str(),
            &op.check.status,
            &op.check.definition
        ),
        ("c", &Status::Critical, &None)
    );
}

#[test]
fn answers_have_consuls_form() {
    let shown = |results: &[TxnResult], errors: &[TxnError], meta: Option<&Meta>| {
        gojson::to_string(&Answer {
            results,
            errors,
            meta,
        })
    };
    assert_eq!(shown(&[], &[], None), r#"{"Results":[],"Errors":null}"#);
    let failed = [TxnError::new(2, "no <key>")];
    let meta = Meta {
        index: 1,
        last_contact_ms: 3,
        known_leader: true,
    };
    assert_eq!(
        shown(&[], &failed, Some(&meta)),
        concat!(
            r#"{"Results":null,"Errors":[{"OpIndex":2,"What":"no \u003ckey\u003e"}],"Index":1,"LastContact":3000000,"KnownLeader":true,"#,
            r#""ConsistencyLevel":"","NotModified":false,"Backend":0,"ResultsFilteredByACLs":false}"#
        )
    );
    let service = |tags: &[&str]| {
        let row = NodeService {
            id: "i".into(),
            tags: tags.iter().map(|t| Str::from(*t)).collect(),
            ..NodeService::default()
        };
        shown(&[TxnResult::Service(Arc::new(row))], &[], None)
    };
    assert!(
        service(&[])
            .starts_with(r#"{"Results":[{"Service":{"ID":"i","Service":"","Tags":null,"Address""#),
        "{}",
        service(&[])
    );
    assert!(service(&["t"]).contains(r#""Tags":["t"]"#));
    let check = shown(
        &[TxnResult::Check(Arc::new(HealthCheck::default()))],
        &[],
        None,
    );
    assert!(check.contains(r#""ServiceTags":null"#), "{check}");
}
