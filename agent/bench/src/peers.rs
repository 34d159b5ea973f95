//! How each server is started and filled.

use crate::Result;
use crate::process::{Bench, Server, find, free_ports};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How Lictor is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `-dev`: everything in memory.
    Memory,
    /// A single server with a data directory: every write is flushed.
    Durable,
}

/// Lictor, ready: it took a write. With it the milliseconds that took.
pub fn lictor(bench: &Bench, kind: Kind) -> Result<(Server, f64)> {
    let dir = bench.folder("lictor")?;
    let [http, dns, server, lan, wan] = free_ports()?;
    let config = json!({
        "ports": {"http": http, "dns": dns, "server": server, "serf_lan": lan, "serf_wan": wan,
                  "grpc": -1, "grpc_tls": -1},
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "log_level": "ERR",
        "limits": {"http_max_conns_per_client": 12000},
    });
    fs::write(dir.join("agent.json"), config.to_string())?;
    let mut args = vec!["agent".to_owned(), "-config-file=agent.json".to_owned()];
    match kind {
        Kind::Memory => args.push("-dev".into()),
        Kind::Durable => {
            args.extend(["-server", "-bootstrap-expect=1", "-data-dir=data"].map(String::from));
        }
    }
    let mut lictor = bench.start(&bench.lictor, &args, &dir)?;
    (lictor.port, lictor.dns) = (http, dns);
    let took = lictor.wait(takes_a_write)?;
    Ok((lictor, took.as_secs_f64() * 1000.0))
}

/// Three durable servers that are one cluster, the leader first.
pub fn lictor_cluster(bench: &Bench) -> Result<Vec<Server>> {
    let all: [u16; 15] = free_ports()?;
    let mut servers = Vec::new();
    for (n, ports) in all.chunks(5).enumerate() {
        let dir = bench.folder("lictor")?;
        let others: Vec<String> = (0..3)
            .filter(|other| *other != n)
            .map(|other| format!("127.0.0.1:{}", all[other * 5 + 3]))
            .collect();
        let config = json!({
            "node_name": format!("server-{n}"),
            "ports": {"http": ports[0], "dns": ports[1], "server": ports[2], "serf_lan": ports[3],
                      "serf_wan": ports[4], "grpc": -1, "grpc_tls": -1},
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "log_level": "ERR",
            "retry_join": others,
            "retry_interval": "1s",
        });
        fs::write(dir.join("agent.json"), config.to_string())?;
        let args = [
            "agent",
            "-config-file=agent.json",
            "-server",
            "-bootstrap-expect=3",
            "-data-dir=data",
        ];
        let mut server = bench.start(&bench.lictor, &args.map(String::from), &dir)?;
        (server.port, server.dns) = (ports[0], ports[1]);
        servers.push((server, format!("127.0.0.1:{}", ports[2])));
    }
    // All of them know the same leader, and three vote.
    let mut leader = String::new();
    for (server, _) in &mut servers {
        server.wait(|s| {
            let mut client = s.client()?;
            let known = client.good("GET", "/v1/status/leader", b"")?.body;
            leader = serde_json::from_slice(&known)?;
            let peers = client.good("GET", "/v1/status/peers", b"")?.body;
            let peers: Vec<String> = serde_json::from_slice(&peers)?;
            Ok(!leader.is_empty() && peers.len() == 3)
        })?;
    }
    servers.sort_by_key(|(_, rpc)| *rpc != leader);
    let mut servers: Vec<Server> = servers.into_iter().map(|(server, _)| server).collect();
    servers[0].wait(takes_a_write)?;
    Ok(servers)
}

fn takes_a_write(lictor: &Server) -> Result<bool> {
    let answer = lictor.client()?.ask("PUT", "/v1/kv/ready", b"x")?;
    Ok(answer.body.starts_with(b"true"))
}

/// Three members of etcd that flush every write, the leader first.
pub fn etcd_cluster(bench: &Bench) -> Result<Vec<Server>> {
    let ports: [u16; 6] = free_ports()?;
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let all: Vec<String> = (0..3)
        .map(|n| format!("m{n}={}", url(ports[n * 2 + 1])))
        .collect();
    let mut servers = Vec::new();
    for (n, ports) in ports.chunks(2).enumerate() {
        let dir = bench.folder("etcd")?;
        let args = [
            format!("--name=m{n}"),
            "--data-dir=data".to_owned(),
            format!("--listen-client-urls={}", url(ports[0])),
            format!("--advertise-client-urls={}", url(ports[0])),
            format!("--listen-peer-urls={}", url(ports[1])),
            format!("--initial-advertise-peer-urls={}", url(ports[1])),
            format!("--initial-cluster={}", all.join(",")),
            "--log-level=error".to_owned(),
        ];
        let program = find("etcd").ok_or("no etcd")?;
        let mut server = bench.start(&program, &args, &dir)?;
        server.port = ports[0];
        servers.push(server);
    }
    let body = etcd_put("ready", b"x");
    let mut leads = Vec::new();
    for server in &mut servers {
        server.wait(|s| {
            let mut client = s.client()?;
            let put = client.ask("POST", "/v3/kv/put", body.as_bytes())?;
            Ok(put.status == 200)
        })?;
        let status = server
            .client()?
            .good("POST", "/v3/maintenance/status", b"{}")?;
        let status: serde_json::Value = serde_json::from_slice(&status.body)?;
        leads.push(status["leader"] == status["header"]["member_id"]);
    }
    let leader = leads.iter().position(|l| *l).ok_or("no leader")?;
    servers.swap(0, leader);
    Ok(servers)
}

/// Registers instances through the catalog, each with a check, ten services to a node at most.
pub fn register(lictor: &Server, services: u32, instances: u32) -> Result<()> {
    let mut client = lictor.client()?;
    for s in 0..services {
        for i in 0..instances {
            client.good(
                "PUT",
                "/v1/catalog/register",
                registration(s, i, instances).as_bytes(),
            )?;
        }
    }
    Ok(())
}

/// The body of one registration.
pub fn registration(s: u32, i: u32, instances: u32) -> String {
    let node = if instances == 1 {
        s / 10
    } else {
        i + s / 10 * instances
    };
    json!({
        "Node": format!("node-{node}"),
        "Address": format!("10.0.{}.{}", node / 250, node % 250 + 1),
        "Service": {"ID": format!("svc-{s}-{i}"), "Service": format!("svc-{s}"), "Port": 8000 + i,
                    "Tags": ["v1", "http"]},
        "Check": {"CheckID": format!("chk-{s}-{i}"), "Name": "alive", "Status": "passing",
                  "ServiceID": format!("svc-{s}-{i}")},
    })
    .to_string()
}

/// The bare warp handler, returning `bytes`. With it the milliseconds until its first answer.
pub fn bare(bench: &Bench, bytes: &[u8]) -> Result<(Server, f64)> {
    let dir = bench.folder("bare")?;
    let [port] = free_ports()?;
    fs::write(dir.join("bytes"), bytes)?;
    let args = [
        "serve-bare".to_owned(),
        port.to_string(),
        "bytes".to_owned(),
    ];
    let mut bare = bench.start(&std::env::current_exe()?, &args, &dir)?;
    bare.port = port;
    let took = bare.wait(|s| Ok(s.client()?.ask("GET", "/", b"")?.status == 200))?;
    Ok((bare, took.as_secs_f64() * 1000.0))
}

/// nginx with the bytes in a file under `path`: one process, no log, the file kept open.
pub fn nginx(bench: &Bench, path: &str, bytes: &[u8]) -> Result<(Server, f64)> {
    let dir = bench.folder("nginx")?;
    let [port] = free_ports()?;
    let file = dir.join("root").join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().ok_or("no folder")?)?;
    fs::write(&file, bytes)?;
    let at = dir.display();
    fs::write(
        dir.join("nginx.conf"),
        format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log crit;
             user root;
             events {{ worker_connections 16384; }}
             http {{
               access_log off; default_type application/json; sendfile on; tcp_nopush on;
               keepalive_requests 1000000000; open_file_cache max=10; root {at}/root;
               client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;
               uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
               server {{ listen 127.0.0.1:{port}; }}
             }}"
        ),
    )?;
    let args = [
        "-p".to_owned(),
        format!("{at}/"),
        "-c".to_owned(),
        format!("{at}/nginx.conf"),
    ];
    let mut nginx = bench.start(&find("nginx").ok_or("no nginx")?, &args, &dir)?;
    nginx.port = port;
    let took = nginx.wait(|s| Ok(s.client()?.ask("GET", path, b"")?.status == 200))?;
    Ok((nginx, took.as_secs_f64() * 1000.0))
}

/// etcd as a single member that flushes every write. With it the milliseconds until it took one.
pub fn etcd(bench: &Bench) -> Result<(Server, f64)> {
    let dir = bench.folder("etcd")?;
    let [port, peer] = free_ports()?;
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let args = [
        "--data-dir=data".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=error".to_owned(),
    ];
    let mut etcd = bench.start(&find("etcd").ok_or("no etcd")?, &args, &dir)?;
    etcd.port = port;
    let body = etcd_put("ready", b"x");
    let took = etcd.wait(|s| {
        Ok(s.client()?
            .ask("POST", "/v3/kv/put", body.as_bytes())?
            .status
            == 200)
    })?;
    Ok((etcd, took.as_secs_f64() * 1000.0))
}

/// The body of a put through etcd's HTTP gateway.
pub fn etcd_put(key: &str, value: &[u8]) -> String {
    json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)}).to_string()
}

/// The zone that answers as Lictor answers for `svc-0` with three instances.
fn records() -> [(String, String, String); 9] {
    let mut records = std::array::from_fn(|_| Default::default());
    for i in 0..3 {
        let node = format!("0a00000{}.addr.dc1.consul.", i + 1);
        let a = format!("10.0.0.{}", i + 1);
        records[i] = ("svc-0.service.consul.".into(), "A".into(), a.clone());
        records[3 + i] = (
            "svc-0.service.consul.".into(),
            "SRV".into(),
            format!("1 1 {} {node}", 8000 + i),
        );
        records[6 + i] = (node, "A".into(), a);
    }
    records
}

/// Knot with those records as a zone.
pub fn knot(bench: &Bench) -> Result<Server> {
    let dir = bench.folder("knot")?;
    let [port] = free_ports()?;
    let mut zone =
        "consul. 0 SOA ns.consul. h.consul. 1 3600 600 86400 0\nconsul. 0 NS ns.consul.\n\
                    ns.consul. 0 A 127.0.0.1\n"
            .to_owned();
    for (name, kind, data) in records() {
        writeln!(zone, "{name} 0 {kind} {data}")?;
    }
    fs::write(dir.join("consul.zone"), zone)?;
    let at = dir.display();
    fs::write(
        dir.join("knot.conf"),
        format!(
            "server:\n  rundir: {at}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n  - target: stderr\n    any: error\n\
             database:\n  storage: {at}/db\n\
             zone:\n  - domain: consul.\n    storage: {at}\n    file: consul.zone\n    journal-content: none\n"
        ),
    )?;
    let args = ["-c".to_owned(), "knot.conf".to_owned()];
    let server = bench.start(&find("knotd").ok_or("no knotd")?, &args, &dir)?;
    answering(server, port)
}

/// unbound with those records as local data.
pub fn unbound(bench: &Bench) -> Result<Server> {
    let dir = bench.folder("unbound")?;
    let [port] = free_ports()?;
    let mut data = String::new();
    for (name, kind, value) in records() {
        writeln!(data, "  local-data: \"{name} 0 IN {kind} {value}\"")?;
    }
    let at = dir.display();
    fs::write(
        dir.join("unbound.conf"),
        format!(
            "server:\n  interface: 127.0.0.1@{port}\n  num-threads: 1\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n\
             \x20 directory: \"{at}\"\n  pidfile: \"{at}/pid\"\n  use-syslog: no\n  verbosity: 0\n  access-control: 127.0.0.0/8 allow\n\
             \x20 local-zone: \"consul.\" static\n{data}remote-control:\n  control-enable: no\n"
        ),
    )?;
    let args = ["-d".to_owned(), "-c".to_owned(), "unbound.conf".to_owned()];
    let server = bench.start(&find("unbound").ok_or("no unbound")?, &args, &dir)?;
    answering(server, port)
}

/// Waits until the server answers a question for `svc-0`.
fn answering(mut server: Server, port: u16) -> Result<Server> {
    server.dns = port;
    server.wait(|s| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(50)))?;
        socket.send_to(
            b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x05svc-0\x07service\x06consul\0\0\x01\0\x01",
            ("127.0.0.1", s.dns),
        )?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(length > 12 && answer[3] & 15 == 0)
    })?;
    Ok(server)
}

/// The type of the file system of a folder, by the longest mount point above it.
pub fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind) = (fields.next()?, fields.next()?);
            dir.starts_with(at).then(|| (at.len(), kind.to_owned()))
        })
        .max()
        .map_or_else(|| "unknown".into(), |(_, kind)| kind)
}
