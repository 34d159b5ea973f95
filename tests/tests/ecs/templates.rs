//! What is in `ecs/`: scripts, templates, task definitions.

use crate::python::programs;
use lictor_tests::{Folder, Value, json, lictor_binary, peer, run, workspace};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
const SCRIPTS: [&str; 2] = ["userdata.sh", "userdata-bridge.sh"];

fn ecs(name: &str) -> PathBuf {
    workspace().join("ecs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(ecs(name)).expect("a file of ecs/")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn scripts_pass_shellcheck() {
    let mut args = vec!["--severity=style".to_owned()];
    args.extend(SCRIPTS.map(|name| text(&ecs(name))));
    for more in ["docker/rootfs.sh", "tests/run", ".ci/run"] {
        args.push(text(&workspace().join(more)));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = peer("shellcheck", "shellcheck");
    run(&program, &args, &[], "", LIMIT).await.ok();
}

#[tokio::test]
async fn the_template_passes_cfn_lint() {
    let template = text(&ecs("cluster.yaml"));
    let program = programs().await.join("cfn-lint");
    run(&program, &[&template], &[], "", LIMIT).await.ok();
}

#[tokio::test]
async fn task_definitions_and_policy_are_what_aws_takes() {
    let mut args = vec![text(
        &workspace().join("tests/tests/ecs/python/definitions.py"),
    )];
    args.extend(["iam-policy.json", "iam-policy-tasks.json"].map(|name| text(&ecs(name))));
    let families = ["agent", "demo", "fargate-sidecar", "server"];
    args.extend(families.map(|name| text(&ecs(&format!("task-{name}.json")))));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let python = programs().await.join("python");
    let out = run(&python, &args, &[], "", LIMIT).await.ok();
    assert_eq!(
        out.stdout.split_whitespace().collect::<Vec<_>>(),
        [
            "lictor-agent",
            "lictor-demo",
            "web-with-lictor",
            "lictor-server"
        ]
    );
}

/// The blocks below `Fn::Base64` in the template, without their indent.
fn embedded() -> Vec<String> {
    let template = read("cluster.yaml");
    let mut lines = template.lines().peekable();
    let mut out = Vec::new();
    while let Some(line) = lines.next() {
        if !line.trim_end().ends_with("Fn::Base64: !Sub |") {
            continue;
        }
        let indent = |line: &str| line.len() - line.trim_start().len();
        let depth = lines.peek().map_or(0, |first| indent(first));
        let mut block = String::new();
        while let Some(next) = lines.next_if(|l| l.trim().is_empty() || indent(l) >= depth) {
            block.push_str(next.get(depth..).unwrap_or_default());
            block.push('\n');
        }
        out.push(block.trim_end().to_owned() + "\n");
    }
    out
}

/// What people read and what CloudFormation gets are one; and it fits into what EC2 takes.
#[test]
fn the_template_has_the_scripts() {
    let embedded = embedded();
    assert_eq!(embedded.len(), 3, "servers, and two kinds of agents");
    for name in SCRIPTS {
        let script = read(name);
        assert!(
            embedded.contains(&script),
            "{name} is not in cluster.yaml: copy it"
        );
    }
    for block in embedded {
        assert!(block.len() < 16 << 10, "{} bytes of UserData", block.len());
    }
}

/// Runs a script as cloud-init does, in a folder instead of `/`, and gives the folder.
async fn run_script(script: &str, name: &str) -> Folder {
    let folder = Folder::new();
    let root = text(folder.path());
    // As CloudFormation's Fn::Sub does.
    let mut script = script.to_owned();
    for (word, value) in [
        ("Cluster", "c"),
        ("AWS::Region", "eu-west-1"),
        ("Datacenter", "dc1"),
        ("GossipKeyParameter", "/lictor/gossip-key"),
        ("JoinTagKey", "lictor"),
        ("JoinTagValue", "server"),
        ("Image", "registry.example/lictor:1"),
    ] {
        script = script.replace(&format!("${{{word}}}"), value);
    }
    assert!(
        !script.contains("${"),
        "{name} has words that CloudFormation does not know"
    );
    for path in ["/etc/", "/opt/"] {
        script = script.replace(path, &format!("{root}{path}"));
    }
    // Users and groups need root to give.
    script = script.replace(" -o 100 -g 1000", "");
    for dir in ["etc/ecs", "etc/docker", "etc/systemd/system", "programs"] {
        std::fs::create_dir_all(folder.join(dir)).expect("a folder");
    }
    let fakes = [
        (
            "aws",
            "echo 'pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s='".to_owned(),
        ),
        (
            "curl",
            "case \"$*\" in *local-ipv4*) echo 10.0.0.7;; *) echo token;; esac".to_owned(),
        ),
        ("systemctl", format!("echo \"systemctl $*\" >>{root}/done")),
        ("docker", format!("echo \"docker $*\" >>{root}/done")),
        ("chown", "true".to_owned()),
    ];
    for (program, body) in fakes {
        let path = folder.write(
            &format!("programs/{program}"),
            format!("#!/bin/sh\n{body}\n"),
        );
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("executable");
    }
    let path = folder.write("script", script);
    let search = format!("{root}/programs:/usr/bin:/bin:/usr/sbin:/sbin");
    let bash = Path::new("/bin/bash");
    run(bash, &[&text(&path)], &[("PATH", &search)], "", LIMIT)
        .await
        .ok();
    folder
}

/// What a script writes is a configuration that an agent takes, and says what it should.
#[tokio::test]
async fn userdata_writes_what_an_agent_takes() {
    let all = embedded();
    let servers = all.iter().find(|s| s.contains("bootstrap_expect"));
    let scripts = [
        (
            "the servers' script",
            servers.expect("the servers' script").clone(),
            "server.json",
        ),
        (SCRIPTS[0], read(SCRIPTS[0]), "agent.json"),
        (SCRIPTS[1], read(SCRIPTS[1]), "agent.json"),
    ];
    for (name, script, file) in scripts {
        let folder = run_script(&script, name).await;
        let config = folder.join("opt/lictor/config");
        // What EC2 says of the instance's address, and the image of the data directory.
        let rest = r#"{"bind_addr": "127.0.0.1", "data_dir": "/consul/data"}"#;
        let rest = folder.write("rest.json", rest);
        let validate = ["validate", &text(&config), &text(&rest)];
        run(lictor_binary(), &validate, &[], "", LIMIT).await.ok();
        let written = std::fs::read_to_string(config.join(file)).expect("its configuration");
        let written: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(
            written["retry_join"],
            json!(["provider=aws region=eu-west-1 tag_key=lictor tag_value=server"]),
            "{name}"
        );
        let done = std::fs::read_to_string(folder.join("done")).expect("what was done");
        if file == "server.json" {
            assert!(
                done.contains("docker run") && done.contains("--net=host"),
                "{done}"
            );
            continue;
        }
        assert!(
            done.contains("systemctl start lictor.service --no-block"),
            "{done}"
        );
        let unit = std::fs::read_to_string(folder.join("etc/systemd/system/lictor.service"));
        assert!(unit.expect("the unit").contains("Before=ecs.service"));
        let daemon = std::fs::read_to_string(folder.join("etc/docker/daemon.json"));
        let daemon: Value = serde_json::from_str(&daemon.expect("the file")).expect("JSON");
        assert_eq!(daemon["dns"], json!(["172.17.0.1"]));
        let ecs = std::fs::read_to_string(folder.join("etc/ecs/ecs.config")).expect("the file");
        for port in [22, 53, 2375, 2376, 8300, 8301, 8302, 8500, 51678, 51679] {
            assert!(
                ecs.contains(&port.to_string()),
                "{name}: port {port} is not reserved"
            );
        }
    }
}

/// Every port that members have among themselves is open among them.
#[test]
fn the_security_group_has_every_port() {
    let template = read("cluster.yaml");
    let mut open = Vec::new();
    for block in template
        .split("Type: AWS::EC2::SecurityGroupIngress")
        .skip(1)
    {
        let value = |key: &str| {
            let line = block.lines().find(|l| l.trim().starts_with(key));
            line.and_then(|l| l.split(": ").nth(1))
                .expect("a value")
                .trim()
                .to_owned()
        };
        let port = |key: &str| value(key).parse::<u16>().expect("a port");
        open.push((value("IpProtocol"), port("FromPort")..=port("ToPort")));
    }
    for (protocol, port) in [
        ("tcp", 8300),
        ("tcp", 8301),
        ("udp", 8301),
        ("tcp", 8302),
        ("udp", 8302),
        ("tcp", 8500),
        ("tcp", 53),
        ("udp", 53),
    ] {
        let has = open
            .iter()
            .any(|(p, range)| p == protocol && range.contains(&port));
        assert!(has, "{protocol} {port} is closed");
    }
}
