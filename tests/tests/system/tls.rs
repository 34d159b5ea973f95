//! TLS on the servers' port: between servers, and from client agents to them.

use lictor_tests::{Agent, Builder, Folder, Value, json, until};
use std::path::Path;
use std::process::Command;

/// An authority and the certificates that it has made, by OpenSSL.
struct Authority {
    folder: Folder,
}

fn openssl(folder: &Path, args: &[&str]) {
    let done = Command::new("openssl")
        .current_dir(folder)
        .args(args)
        .output()
        .expect("openssl");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {args:?}: {said}");
}

impl Authority {
    fn new() -> Authority {
        let folder = Folder::new();
        let curve = "ec_paramgen_curve:P-256";
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes"];
        args.extend(["-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2"]);
        args.extend(["-subj", "/CN=An authority of tests"]);
        openssl(folder.path(), &args);
        Authority { folder }
    }

    /// What an agent with a certificate of this name is given.
    fn config(&self, name: &str) -> Value {
        let (key, cert) = (format!("{name}-key.pem"), format!("{name}.pem"));
        let folder = self.folder.path();
        if !folder.join(&cert).exists() {
            let (ext, request) = (format!("{name}.ext"), format!("{name}.csr"));
            self.folder.write(
                &ext,
                format!("subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"),
            );
            let curve = "ec_paramgen_curve:P-256";
            let subject = format!("/CN={name}");
            let mut args = vec!["req", "-newkey", "ec", "-pkeyopt", curve, "-nodes"];
            args.extend(["-keyout", &key, "-out", &request, "-subj", &subject]);
            openssl(folder, &args);
            let mut args = vec!["x509", "-req", "-in", &request, "-out", &cert, "-days", "2"];
            args.extend(["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial"]);
            args.extend(["-extfile", &ext]);
            openssl(folder, &args);
        }
        json!({"ca_file": folder.join("ca.pem"), "cert_file": folder.join(cert), "key_file": folder.join(key)})
    }
}

fn with(mut config: Value, flags: &[&str]) -> Value {
    for flag in flags {
        config[*flag] = true.into();
    }
    json!({"tls": {"internal_rpc": config}})
}

const ALL: &[&str] = &[
    "verify_incoming",
    "verify_outgoing",
    "verify_server_hostname",
];

fn client(folder: &Folder, name: &str, join: &[String]) -> Builder {
    Agent::build_with(Vec::new(), &folder.join(name)).config(json!({
        "node_name": name,
        "retry_join": join,
        "retry_interval": "500ms",
        "performance": {"rpc_hold_timeout": "2s"},
    }))
}

/// Three servers that verify all they can.
async fn servers(folder: &Folder, tls: &Value) -> (Vec<Agent>, Vec<String>) {
    let builders: Vec<Builder> = (1..=3)
        .map(|n| {
            Agent::build_server_of(&folder.join(&format!("s{n}")), 3)
                .config(json!({"node_name": format!("s{n}"), "retry_interval": "500ms"}))
                .config(tls.clone())
        })
        .collect();
    let join: Vec<String> = builders
        .iter()
        .map(|b| b.gossip_address().to_string())
        .collect();
    let mut servers: Vec<Agent> = builders
        .into_iter()
        .map(|b| b.config(json!({"retry_join": join})).spawn())
        .collect();
    for server in &mut servers {
        server.ready().await;
    }
    (servers, join)
}

async fn writes(agent: &Agent, key: &str) {
    let path = format!("/v1/kv/{key}");
    until(&format!("{key} is written"), async || {
        let reply = agent.try_put(&path, "v").await?;
        (reply.status == 200).then_some(())
    })
    .await;
}

async fn logged(agent: &Agent, parts: &[&str]) {
    until(&format!("{parts:?} in the log"), async || {
        let log = agent.log();
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        log.lines().any(has).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_verifies_everything_works_and_takes_nobody_else() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let tls = with(authority.config("server.dc1.consul"), ALL);
    let (servers, join) = servers(&folder, &tls).await;
    // Consensus, forwarded writes and reads, all in TLS.
    for (n, server) in servers.iter().enumerate() {
        writes(server, &format!("of-s{n}")).await;
    }
    let mine = with(authority.config("client.dc1.consul"), ALL);
    let good = client(&folder, "good", &join).config(mine).start().await;
    writes(&good, "of-client").await;
    for server in &servers {
        assert_eq!(server.get("/v1/kv/of-client?raw").await.text, "v");
    }

    // Without TLS nobody comes in, whatever gossip says.
    let plain = client(&folder, "plain", &join).spawn();
    until("a server refuses the plain client", async || {
        plain.try_get("/v1/kv/of-client").await;
        let refused = |s: &Agent| {
            s.log().lines().any(|line| {
                line.contains("Non-TLS connection attempted with VerifyIncoming set")
                    && line.contains("tls.internal_rpc.verify_incoming")
                    && line.contains("127.0.0.1:")
            })
        };
        servers.iter().any(refused).then_some(())
    })
    .await;
    assert_ne!(plain.get("/v1/kv/of-client").await.status, 200);

    // Nor does another authority's certificate help.
    let other = Authority::new();
    let foreign = with(other.config("client.dc1.consul"), &["verify_outgoing"]);
    let foreign = client(&folder, "foreign", &join).config(foreign).spawn();
    until("the foreign client is told", async || {
        let reply = foreign.try_get("/v1/kv/of-client").await?;
        (reply.status == 500 && reply.text.contains("TLS handshake")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_name_of_a_server_is_verified_where_that_is_asked_for() {
    let (folder, authority) = (Folder::new(), Authority::new());
    // A server with a client's certificate, which the authority has made all the same.
    let tls = with(authority.config("client.dc1.consul"), &["verify_outgoing"]);
    let server = Agent::build_server(&folder.join("server"))
        .config(tls.clone())
        .start()
        .await;
    let join = [server.gossip_address().to_string()];
    let trusting = client(&folder, "trusting", &join).config(tls).start().await;
    writes(&trusting, "k").await;
    let names = &["verify_server_hostname"];
    let careful = with(authority.config("client.dc1.consul"), names);
    let careful = client(&folder, "careful", &join).config(careful).spawn();
    until("the careful client does not talk to it", async || {
        let reply = careful.try_get("/v1/kv/k").await?;
        let text = reply.text;
        (reply.status == 500 && text.contains("server.dc1.consul")).then_some(())
    })
    .await;

    // What the files hold counts from the next connection on.
    let named = with(authority.config("server.dc1.consul"), &["verify_outgoing"]);
    server.reconfigure(named);
    server.signal(libc::SIGHUP);
    writes(&careful, "j").await;
}

#[tokio::test]
async fn a_server_without_certificate_says_so() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let server = Agent::server(&folder.join("server")).await;
    let join = [server.gossip_address().to_string()];
    let tls = with(authority.config("client.dc1.consul"), &["verify_outgoing"]);
    let agent = client(&folder, "client", &join).config(tls).spawn();
    until("the client has tried", async || {
        agent.try_get("/v1/kv/k").await.map(drop)
    })
    .await;
    let words = "TLS connection attempted, server not configured for TLS";
    logged(&server, &[words, "tls.internal_rpc.cert_file"]).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let good = authority.config("server.dc1.consul");
    let empty = folder.write("empty.pem", "");
    let odd = folder.write("odd.pem", "nothing");
    for (key, file) in [
        ("key_file", &odd),
        ("cert_file", &odd),
        ("ca_file", &odd),
        ("key_file", &empty),
    ] {
        let mut config = good.clone();
        config[key] = json!(file);
        let mut agent = Agent::build_server(&folder.join("server"))
            .config(with(config, ALL))
            .spawn();
        let exit = agent.exit().await;
        assert_ne!(exit.code, 0);
        let wanted = format!("tls.internal_rpc.{key}: {}", file.display());
        assert!(agent.log().contains(&wanted), "{}", agent.log());
    }
}
