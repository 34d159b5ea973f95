//! The services of this agent: `/v1/agent/service/`.

use lictor_tests::{Agent, Value, json};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn a_service_comes_into_the_catalog_and_goes_again() {
    let agent = Agent::dev().await;
    agent
        .register(json!({
            "ID": "web-1", "Name": "web", "Tags": ["v1"], "Address": "10.1.2.3", "Port": 8000,
            "Meta": {"owner": "a"}, "EnableTagOverride": true,
            "Weights": {"Passing": 10, "Warning": 2},
            "Check": {"TTL": "60s", "Name": "alive", "Notes": "n", "Status": "passing"},
        }))
        .await;
    let service = agent.get("/v1/agent/services").await.ok();
    let address = json!({"Address": "10.1.2.3", "Port": 8000});
    assert_eq!(
        service.json,
        json!({"web-1": {"ID": "web-1", "Service": "web", "Tags": ["v1"], "Meta": {"owner": "a"},
               "Port": 8000, "Address": "10.1.2.3", "Weights": {"Passing": 10, "Warning": 2},
               "TaggedAddresses": {"lan_ipv4": address, "wan_ipv4": address},
               "EnableTagOverride": true, "Datacenter": "dc1"}})
    );
    let row = agent
        .get_until("/v1/catalog/service/web", |r| r.rows().len() == 1)
        .await;
    assert_eq!(row.str("/0/ServiceAddress"), "10.1.2.3");
    assert_eq!(
        row.at("/0/ServiceWeights"),
        &json!({"Passing": 10, "Warning": 2})
    );
    let checks = agent
        .get_until("/v1/health/checks/web", |r| r.rows().len() == 1)
        .await;
    assert_eq!(checks.str("/0/CheckID"), "service:web-1");
    assert_eq!(checks.at("/0/ServiceTags"), &json!(["v1"]));

    agent
        .put("/v1/agent/service/deregister/web-1", ())
        .await
        .ok();
    agent
        .get_until("/v1/catalog/service/web", |r| r.json == json!([]))
        .await;
    assert_eq!(agent.get("/v1/agent/checks").await.ok().json, json!({}));
    agent.put("/v1/agent/service/deregister/web-1", ()).await.refused(
        404,
        "Unknown service ID \"web-1\". Ensure that the service ID is passed, not the service name.",
    );
    agent
        .get("/v1/agent/service/web-1")
        .await
        .refused(404, "unknown service ID: web-1");
}

#[tokio::test]
async fn checks_take_their_ids_from_the_service() {
    let agent = Agent::dev().await;
    agent
        .register(json!({"Name": "one", "Check": {"TTL": "1h"}}))
        .await;
    agent
        .register(json!({"Name": "two", "Checks": [{"TTL": "1h"}, {"TTL": "1h"}]}))
        .await;
    let own = json!({"TTL": "1h", "CheckID": "chosen", "Name": "n"});
    agent
        .register(json!({"Name": "own", "Checks": [own]}))
        .await;
    let checks = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(
        checks.keys(),
        ["chosen", "service:one", "service:two:1", "service:two:2"]
    );
}

#[tokio::test]
async fn keys_may_be_written_in_snake_case() {
    let agent = Agent::dev().await;
    agent
        .register(
            json!({"id": "s-1", "name": "snake", "tags": ["a"], "port": 7,
                         "enable_tag_override": true,
                         "check": {"ttl": "1h", "deregister_critical_service_after": "90m"}}),
        )
        .await;
    let service = agent.get("/v1/agent/service/s-1").await.ok();
    assert_eq!(service.at("/EnableTagOverride"), &json!(true));
    assert_eq!(
        agent.get("/v1/agent/checks").await.ok().keys(),
        ["service:s-1"]
    );
}

#[tokio::test]
async fn wrong_services_are_refused_and_leave_nothing() {
    let agent = Agent::dev().await;
    let refused = async |body: Value, text: &str| {
        agent
            .put("/v1/agent/service/register", body)
            .await
            .refused(400, text);
    };
    refused(json!({"ID": "nameless"}), "Missing service name").await;
    refused(
        json!({"Name": "x", "Address": "0.0.0.0"}),
        "Invalid service address",
    )
    .await;
    refused(
        json!({"Name": "x", "Meta": {"bad key!": "y"}}),
        "Invalid Service Meta: Couldn't load metadata pair ('bad key!', 'y'): Key contains invalid characters",
    )
    .await;
    refused(
        json!({"Name": "x", "Weights": {"Passing": 0}}),
        "Invalid Weights: Passing must be greater than 0",
    )
    .await;
    refused(
        json!({"Name": "x", "Check": {"HTTP": "http://x/"}}),
        "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
    )
    .await;
    refused(
        json!({"Name": "x", "Check": {"TTL": "soon"}}),
        "Request decode failed: time: invalid duration \"soon\"",
    )
    .await;
    for body in [
        "",
        "{not json",
        "\"text\"",
        "{\"Name\": \"x\", \"Port\": \"eighty\"}",
    ] {
        let reply = agent
            .put("/v1/agent/service/register", body)
            .await
            .expect(400);
        assert!(
            reply.text.starts_with("Request decode failed: "),
            "{}",
            reply.text
        );
    }
    agent
        .put("/v1/agent/service/register", b"\xff\xfe\x00".to_vec())
        .await
        .expect(400);
    assert_eq!(agent.get("/v1/agent/services").await.ok().json, json!({}));
}

#[tokio::test]
async fn registering_again_replaces_the_service_and_on_request_its_checks() {
    let agent = Agent::dev().await;
    let check = json!({"TTL": "1h", "Status": "passing"});
    agent
        .register(json!({"Name": "web", "Port": 1, "Tags": ["old"], "Check": check}))
        .await;
    agent.register(json!({"Name": "web", "Port": 2})).await;
    let service = agent.get("/v1/agent/service/web").await.ok();
    assert_eq!(
        (service.at("/Port"), service.at("/Tags")),
        (&json!(2), &json!([]))
    );
    assert_eq!(
        agent.get("/v1/agent/checks").await.ok().keys(),
        ["service:web"]
    );
    let path = "/v1/agent/service/register?replace-existing-checks=true";
    agent
        .put(path, json!({"Name": "web", "Port": 2}))
        .await
        .ok();
    assert_eq!(agent.get("/v1/agent/checks").await.ok().json, json!({}));
    agent
        .get_until("/v1/catalog/service/web", |r| {
            r.at("/0/ServicePort") == &json!(2)
        })
        .await;
}

#[tokio::test]
async fn maintenance_takes_a_service_out() {
    let agent = Agent::dev().await;
    agent
        .register(json!({"Name": "web", "ID": "web-1", "Port": 80}))
        .await;
    let path = "/v1/agent/service/maintenance/web-1";
    agent
        .put(&format!("{path}?enable=true&reason=moving+house"), ())
        .await
        .ok();
    let checks = agent.get("/v1/agent/checks").await.ok();
    let id = "_service_maintenance:web-1";
    assert_eq!(checks.str(&format!("/{id}/Notes")), "moving house");
    assert_eq!(checks.str(&format!("/{id}/Status")), "critical");
    agent
        .get_until("/v1/health/checks/web", |r| r.rows().len() == 1)
        .await;
    assert_eq!(
        agent.get("/v1/health/service/web?passing").await.ok().json,
        json!([])
    );
    agent
        .dns("web.service.consul", "A")
        .await
        .nothing("NXDOMAIN");

    agent.put(&format!("{path}?enable=false"), ()).await.ok();
    agent
        .get_until("/v1/health/service/web?passing", |r| r.rows().len() == 1)
        .await;
    agent
        .put(path, ())
        .await
        .refused(400, "Missing value for enable");
    let wrong = agent.put(&format!("{path}?enable=perhaps"), ()).await;
    wrong.refused(400, "Invalid value for enable: \"perhaps\"");
    agent
        .put("/v1/agent/service/maintenance/nobody?enable=true", ())
        .await
        .expect(404);
}

#[tokio::test]
async fn maintenance_of_the_node_takes_all_of_it_out() {
    let agent = Agent::dev().await;
    agent.register(json!({"Name": "web", "Port": 80})).await;
    agent
        .get_until("/v1/health/service/web?passing", |r| r.rows().len() == 1)
        .await;
    agent
        .put("/v1/agent/maintenance?enable=true&reason=disk", ())
        .await
        .ok();
    let checks = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(checks.str("/_node_maintenance/Notes"), "disk");
    agent
        .get_until("/v1/health/service/web?passing", |r| r.json == json!([]))
        .await;
    agent
        .get_until("/v1/health/service/consul?passing", |r| r.json == json!([]))
        .await;
    agent
        .put("/v1/agent/maintenance?enable=false", ())
        .await
        .ok();
    agent
        .get_until("/v1/health/service/web?passing", |r| r.rows().len() == 1)
        .await;
}

#[tokio::test]
async fn the_health_of_own_services_is_a_status() {
    let agent = Agent::dev().await;
    let check = json!({"TTL": "1h", "CheckID": "c", "Status": "passing"});
    agent
        .register(json!({"Name": "web", "ID": "web-1", "Check": check}))
        .await;
    let (by_id, by_name) = (
        "/v1/agent/health/service/id/web-1",
        "/v1/agent/health/service/name/web",
    );
    for (verb, status, word) in [
        ("pass", 200, "passing"),
        ("warn", 429, "warning"),
        ("fail", 503, "critical"),
    ] {
        agent
            .put(&format!("/v1/agent/check/{verb}/c"), ())
            .await
            .ok();
        let one = agent.get(by_id).await.expect(status);
        assert_eq!(one.str("/AggregatedStatus"), word);
        let all = agent.get(by_name).await.expect(status);
        assert_eq!(all.str("/0/Service/ID"), "web-1");
        agent
            .get(&format!("{by_id}?format=text"))
            .await
            .refused(status, word);
    }
    agent
        .get("/v1/agent/health/service/id/nobody")
        .await
        .expect(404);
}

#[tokio::test]
async fn a_service_is_waited_for_by_its_hash() {
    let agent = Agent::dev().await;
    agent.register(json!({"Name": "web", "Port": 1})).await;
    let first = agent.get("/v1/agent/service/web").await.ok();
    let hash = first.str("/ContentHash").to_owned();
    assert_eq!(first.header("x-consul-contenthash"), Some(hash.as_str()));
    let path = format!("/v1/agent/service/web?hash={hash}");
    let same = agent.get(&format!("{path}&wait=200ms")).await.ok();
    assert_eq!(same.str("/ContentHash"), hash);

    let client = agent.another_client();
    let asked = lictor_client::Request::encoded(lictor_tests::Method::GET, "/v1/agent/service/web")
        .raw_query(&format!("hash={hash}&wait=25s"));
    let waiting = tokio::spawn(async move { client.send(asked).await });
    agent.register(json!({"Name": "web", "Port": 2})).await;
    let woken = timeout(Duration::from_secs(10), waiting)
        .await
        .expect("woken")
        .expect("no panic");
    assert!(!woken.expect("an answer").text().contains(&hash));
    agent.register(json!({"Name": "web", "Port": 1})).await;
    let back = agent.get("/v1/agent/service/web").await.ok();
    assert_eq!(
        back.str("/ContentHash"),
        hash,
        "the same content has the same hash"
    );
}

#[tokio::test]
async fn ids_may_hold_anything() {
    let agent = Agent::dev().await;
    for id in ["a/b c", "uni-\u{e9}", "%41"] {
        agent.register(json!({"ID": id, "Name": "odd"})).await;
    }
    assert_eq!(
        agent.get("/v1/agent/services").await.ok().keys(),
        ["%41", "a/b c", "uni-é"]
    );
    assert_eq!(
        agent
            .get("/v1/agent/service/a%2Fb%20c")
            .await
            .ok()
            .str("/ID"),
        "a/b c"
    );
    for path in ["a%2Fb%20c", "uni-%C3%A9", "%2541"] {
        agent
            .put(&format!("/v1/agent/service/deregister/{path}"), ())
            .await
            .ok();
    }
    assert_eq!(agent.get("/v1/agent/services").await.ok().json, json!({}));
    agent
        .get_until("/v1/catalog/service/odd", |r| r.json == json!([]))
        .await;
}

/// What somebody else does to the catalog, the agent sets right: it vouches for its services.
#[tokio::test]
async fn the_agent_repairs_what_others_did_to_its_entries() {
    let agent = Agent::dev().await;
    agent.register(json!({"Name": "web", "Port": 1})).await;
    agent
        .get_until("/v1/catalog/service/web", |r| r.rows().len() == 1)
        .await;
    let gone = json!({"Node": "lictor-test", "ServiceID": "web"});
    agent.put("/v1/catalog/deregister", gone).await.ok();
    // A change of its own makes the agent look at all of it.
    agent
        .register(json!({"Name": "web", "Port": 1, "Meta": {"a": "b"}}))
        .await;
    let back = agent
        .get_until("/v1/catalog/service/web", |r| r.rows().len() == 1)
        .await;
    assert_eq!(back.at("/0/ServiceMeta"), &json!({"a": "b"}));
}
