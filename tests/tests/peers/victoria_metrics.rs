//! VictoriaMetrics finds what to scrape in the catalog: it waits on the list of services and on each
//! service it knows.

use crate::process::Process;
use lictor_client::{Client, ClientConfig, Method, Request};
use lictor_tests::{Agent, Folder, HttpTarget, free_port, json, peer, until_for};
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn its_targets_follow_the_catalog() {
    let folder = Folder::new();
    let agent = Agent::dev().await;
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: lictor\n  consul_sd_configs:\n  \
         - server: '{}'\n    tags: ['metrics']\n  relabel_configs:\n  \
         - source_labels: [__meta_consul_service]\n    target_label: service\n  \
         - source_labels: [__meta_consul_service_metadata_team]\n    target_label: team\n",
        agent.http_address()
    );
    let config = folder.write("scrape.yaml", config);
    let port = free_port();
    let mut command = Command::new(peer("victoria-metrics", "victoria-metrics"));
    command.arg(format!("-promscrape.config={}", config.display()));
    command.arg(format!(
        "-storageDataPath={}",
        folder.join("data").display()
    ));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.args([
        "-promscrape.consulSDCheckInterval=1s",
        "-memory.allowedBytes=64MB",
    ]);
    let mut victoria = Process::start(command, &folder.join("victoria.log"));
    let client = Client::new(ClientConfig::at(format!("127.0.0.1:{port}"))).expect("a client");

    // The active targets as `service at address is up`.
    let targets = async || -> Option<Vec<String>> {
        let request = Request::encoded(Method::GET, "/api/v1/targets").raw_query("state=active");
        let answer = client
            .send(request)
            .await
            .ok()?
            .json::<lictor_tests::Value>()
            .ok()?;
        let rows = answer.pointer("/data/activeTargets")?.as_array()?;
        let text = |row: &lictor_tests::Value| {
            let label = |name: &str| row["labels"][name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                label("service"),
                label("instance"),
                label("team"),
                row["health"].as_str().unwrap_or("-")
            )
        };
        let mut rows: Vec<String> = rows.iter().map(text).collect();
        rows.sort();
        Some(rows)
    };
    let become_ = async |what: &str, wanted: &[String]| {
        let look = async || targets().await.filter(|t| t == wanted);
        until_for(Duration::from_secs(60), what, look).await;
    };
    let (one, two) = (HttpTarget::start().await, HttpTarget::start().await);
    one.answers(200, "a_metric 1\n");
    two.answers(200, "a_metric 2\n");
    let register = async |id: &str, name: &str, target: &HttpTarget| {
        let at = target.address();
        agent
            .register(
                json!({"ID": id, "Name": name, "Address": at.ip().to_string(), "Port": at.port(),
                             "Tags": ["metrics"], "Meta": {"team": "blue"}}),
            )
            .await;
    };
    let up = |name: &str, target: &HttpTarget| format!("{name} {} blue up", target.address());
    register("api-1", "api", &one).await;
    become_("one target", &[up("api", &one)]).await;
    register("db-1", "db", &two).await;
    become_("a new service", &[up("api", &one), up("db", &two)]).await;
    agent
        .put("/v1/agent/service/deregister/api-1", ())
        .await
        .ok();
    become_("without the old one", &[up("db", &two)]).await;
    register("db-1", "db", &one).await;
    become_("at its new address", &[up("db", &one)]).await;
    assert!(victoria.runs());
}
