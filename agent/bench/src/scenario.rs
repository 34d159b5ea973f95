//! What is measured.

use crate::load::{self, Sample};
use crate::peers::{self, Kind};
use crate::process::{Bench, Server};
use crate::table::median;
use crate::{Result, watch};
use std::time::Duration;

/// A thing to measure.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What the figures count.
    pub unit: &'static str,
    /// A rate, not a cost.
    pub more_is_better: bool,
    /// What is done, and with what it is compared.
    pub what: &'static str,
    /// Does it.
    pub run: fn(&Bench) -> Result<Vec<Row>>,
}

/// A line of the table.
pub struct Row {
    /// Lictor's figure.
    pub lictor: Sample,
    /// The reference.
    pub against: &'static str,
    /// Its figure.
    pub reference: Option<Sample>,
    /// What one has to know to read it.
    pub note: String,
}

macro_rules! scenario {
    ($name:literal, $unit:literal, $more:literal, $run:expr, $what:literal) => {
        Scenario {
            name: $name,
            unit: $unit,
            more_is_better: $more,
            what: $what,
            run: $run,
        }
    };
}

/// Everything there is, in the order of the table.
pub const ALL: &[Scenario] = &[
    scenario!(
        "start-memory",
        "ms",
        false,
        start_memory,
        "-dev until its first write; nginx until its first answer"
    ),
    scenario!(
        "start-durable",
        "ms",
        false,
        start_durable,
        "server with an empty data directory until its first write; etcd the same"
    ),
    scenario!(
        "idle-memory",
        "MB",
        false,
        idle_memory,
        "anonymous memory of -dev with nothing to do; etcd"
    ),
    scenario!(
        "idle-cpu",
        "ms/s",
        false,
        idle_cpu,
        "processor time of -dev with nothing to do; etcd"
    ),
    scenario!(
        "fleet-memory",
        "MB",
        false,
        fleet_memory,
        "anonymous memory with 5,000 instances; etcd with them as 5,000 keys"
    ),
    scenario!("kv-get", "1/s", true, kv_get, "GET of one key of 100 bytes"),
    scenario!(
        "health-10",
        "1/s",
        true,
        health_10,
        "GET /v1/health/service/svc-0?passing, 10 instances"
    ),
    scenario!(
        "health-100",
        "1/s",
        true,
        health_100,
        "the same, 100 instances"
    ),
    scenario!(
        "catalog-1000",
        "1/s",
        true,
        catalog_1000,
        "GET /v1/catalog/services, 1,000 names"
    ),
    scenario!(
        "kv-put-memory",
        "1/s",
        true,
        kv_put_memory,
        "PUTs on 1,000 keys, -dev; a handler that reads the body"
    ),
    scenario!(
        "register",
        "1/s",
        true,
        register,
        "PUT /v1/catalog/register, -dev; a handler that reads the body"
    ),
    scenario!(
        "kv-put-1",
        "1/s",
        true,
        kv_put_1,
        "durable PUTs by one client; etcd, and the disk's own flushes"
    ),
    scenario!(
        "kv-put-32",
        "1/s",
        true,
        kv_put_32,
        "durable PUTs by 32 clients; etcd, and the disk's own flushes"
    ),
    scenario!(
        "cluster-put-64",
        "1/s",
        true,
        cluster_put_64,
        "durable PUTs by 64 clients at the leader of three servers; three members of etcd"
    ),
    scenario!(
        "follower-put-64",
        "1/s",
        true,
        follower_put_64,
        "the same at a follower"
    ),
    scenario!(
        "dns-a",
        "1/s",
        true,
        dns_a,
        "A of a service with 3 instances"
    ),
    scenario!(
        "dns-srv",
        "1/s",
        true,
        dns_srv,
        "SRV of a service with 3 instances"
    ),
    scenario!(
        "watch-2000",
        "ms",
        false,
        watch_2000,
        "2,000 clients wait on one service: the change until the last has its answer"
    ),
    scenario!(
        "watch-memory",
        "KB",
        false,
        watch_memory,
        "anonymous memory for each of 5,000 waiting clients"
    ),
];

const REST: Duration = Duration::from_secs(3);

/// A round for each side in turn; the medians.
fn turns(bench: &Bench, sides: &mut [(&'static str, Side<'_>)]) -> Result<Vec<Row>> {
    let mut all = vec![Vec::new(); sides.len()];
    for _ in 0..bench.rounds {
        for ((name, side), values) in sides.iter_mut().zip(&mut all) {
            values.push(side().map_err(|e| format!("{name}: {e}"))?);
        }
    }
    let figure = |i: usize| {
        let by_cpu: Vec<f64> = all[i].iter().filter_map(|s: &Sample| s.by_cpu).collect();
        Sample {
            value: median(&all[i].iter().map(|s| s.value).collect::<Vec<_>>()),
            by_cpu: (!by_cpu.is_empty()).then(|| median(&by_cpu)),
        }
    };
    let row = |against, reference| Row {
        lictor: figure(0),
        against,
        reference,
        note: String::new(),
    };
    if sides.len() == 1 {
        return Ok(vec![row("", None)]);
    }
    Ok((1..sides.len())
        .map(|i| row(sides[i].0, Some(figure(i))))
        .collect())
}

type Side<'a> = Box<dyn FnMut() -> Result<Sample> + 'a>;

/// A side that measures a cost.
fn cost<'a>(mut measure: impl FnMut() -> Result<f64> + 'a) -> Side<'a> {
    Box::new(move || {
        Ok(Sample {
            value: measure()?,
            by_cpu: None,
        })
    })
}

fn start_memory(bench: &Bench) -> Result<Vec<Row>> {
    let mut sides = vec![("lictor", cost(|| Ok(peers::lictor(bench, Kind::Memory)?.1)))];
    if bench.wants("nginx", "nginx") {
        sides.push(("nginx", cost(|| Ok(peers::nginx(bench, "/f", b"x")?.1))));
    }
    turns(bench, &mut sides)
}

fn start_durable(bench: &Bench) -> Result<Vec<Row>> {
    let mut sides = vec![(
        "lictor",
        cost(|| Ok(peers::lictor(bench, Kind::Durable)?.1)),
    )];
    if bench.wants("etcd", "etcd") {
        sides.push(("etcd", cost(|| Ok(peers::etcd(bench)?.1))));
    }
    turns(bench, &mut sides)
}

fn idle_memory(bench: &Bench) -> Result<Vec<Row>> {
    fn at_rest((server, _): (Server, f64)) -> Result<f64> {
        std::thread::sleep(REST);
        Ok(server.memory()? / 1e6)
    }
    let mut sides = vec![(
        "lictor",
        cost(|| at_rest(peers::lictor(bench, Kind::Memory)?)),
    )];
    if bench.wants("etcd", "etcd") {
        sides.push(("etcd", cost(|| at_rest(peers::etcd(bench)?))));
    }
    turns(bench, &mut sides)
}

fn idle_cpu(bench: &Bench) -> Result<Vec<Row>> {
    fn at_rest((server, _): (Server, f64)) -> Result<f64> {
        std::thread::sleep(REST);
        let (before, seconds) = (server.cpu_of_threads()?, 10.0);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        // A process that never woke has used nothing: then it is this much at most.
        Ok(((server.cpu_of_threads()? - before) * 1000.0 / seconds).max(0.01))
    }
    let mut sides = vec![(
        "lictor",
        cost(|| at_rest(peers::lictor(bench, Kind::Memory)?)),
    )];
    if bench.wants("etcd", "etcd") {
        sides.push(("etcd", cost(|| at_rest(peers::etcd(bench)?))));
    }
    turns(bench, &mut sides)
}

fn fleet_memory(bench: &Bench) -> Result<Vec<Row>> {
    let ours = || {
        let (server, _) = peers::lictor(bench, Kind::Memory)?;
        peers::register(&server, 500, 10)?;
        std::thread::sleep(REST);
        Ok(server.memory()? / 1e6)
    };
    let theirs = || {
        let (server, _) = peers::etcd(bench)?;
        let mut client = server.client()?;
        for s in 0..500 {
            for i in 0..10 {
                let value = peers::registration(s, i, 10);
                let body = peers::etcd_put(&format!("svc-{s}/{i}"), value.as_bytes());
                client.good("POST", "/v3/kv/put", body.as_bytes())?;
            }
        }
        std::thread::sleep(REST);
        Ok(server.memory()? / 1e6)
    };
    let mut sides = vec![("lictor", cost(ours))];
    if bench.wants("etcd", "etcd") {
        sides.push(("etcd", cost(theirs)));
    }
    turns(bench, &mut sides)
}

/// GETs of one path; everybody returns the same bytes.
fn reads(
    bench: &Bench,
    prepare: impl FnOnce(&Server) -> Result<()>,
    path: &str,
) -> Result<Vec<Row>> {
    let (lictor, _) = peers::lictor(bench, Kind::Memory)?;
    prepare(&lictor)?;
    let bytes = lictor.client()?.good("GET", path, b"")?.body;
    let mut servers = vec![("lictor", lictor)];
    if bench.wants("warp", "") {
        servers.push(("warp", peers::bare(bench, &bytes)?.0));
    }
    if bench.wants("nginx", "nginx") {
        let file = path.split('?').next().unwrap_or(path);
        servers.push(("nginx", peers::nginx(bench, file, &bytes)?.0));
    }
    for (name, server) in &servers[1..] {
        if server.client()?.good("GET", path, b"")?.body != bytes {
            return Err(format!("{name} returns something else").into());
        }
    }
    let mut rows = loaded(bench, &servers, path, 32, None)?;
    for row in &mut rows {
        row.note = format!("{} bytes", bytes.len());
    }
    Ok(rows)
}

fn loaded(
    bench: &Bench,
    servers: &[(&'static str, Server)],
    path: &str,
    connections: u32,
    script: Option<&str>,
) -> Result<Vec<Row>> {
    let mut sides: Vec<(&'static str, Side<'_>)> = Vec::new();
    for (name, server) in servers {
        sides.push((
            name,
            Box::new(move || load::http(bench, server, path, connections, script)),
        ));
    }
    turns(bench, &mut sides)
}

fn kv_get(bench: &Bench) -> Result<Vec<Row>> {
    let put = |s: &Server| {
        s.client()?
            .good("PUT", "/v1/kv/bench/key", &[b'v'; 100])
            .map(drop)
    };
    reads(bench, put, "/v1/kv/bench/key")
}

fn health_10(bench: &Bench) -> Result<Vec<Row>> {
    reads(
        bench,
        |s| peers::register(s, 1, 10),
        "/v1/health/service/svc-0?passing",
    )
}

fn health_100(bench: &Bench) -> Result<Vec<Row>> {
    reads(
        bench,
        |s| peers::register(s, 1, 100),
        "/v1/health/service/svc-0?passing",
    )
}

fn catalog_1000(bench: &Bench) -> Result<Vec<Row>> {
    reads(
        bench,
        |s| peers::register(s, 1000, 1),
        "/v1/catalog/services",
    )
}

const PUT: &str = r#"
local n = 0
request = function()
  n = n + 1
  return wrk.format("PUT", "/v1/kv/bench/" .. n % 1000, nil, "value-" .. n .. string.rep("x", 100))
end
"#;

/// The same keys and values through etcd's gateway. Each value's base64 is put together from parts
/// that were encoded before, so that wrk has no more to do than for Lictor.
fn etcd_script() -> String {
    let keys: Vec<String> = (0..1000)
        .map(|n| {
            format!(
                "'{}'",
                peers::etcd_put(
                    &format!("bench/{n}"),
                    format!("value-{n:06}{}", "x".repeat(100)).as_bytes()
                )
            )
        })
        .collect();
    format!(
        "local bodies = {{{}}}\nlocal n = 0\nrequest = function()\n n = n + 1\n\
         return wrk.format('POST', '/v3/kv/put', nil, bodies[n % 1000 + 1])\nend\n",
        keys.join(",")
    )
}

const REGISTER: &str = r#"
local n = 0
request = function()
  n = n + 1
  local id = n % 500
  return wrk.format("PUT", "/v1/catalog/register", nil, '{"Node":"n' .. id % 50 ..
    '","Address":"10.0.0.' .. id % 50 .. '","Service":{"ID":"s' .. id ..
    '","Service":"web","Port":' .. n % 60000 + 1 .. '}}')
end
"#;

fn writes(bench: &Bench, script: &str) -> Result<Vec<Row>> {
    let mut servers = vec![("lictor", peers::lictor(bench, Kind::Memory)?.0)];
    if bench.wants("warp", "") {
        servers.push(("warp", peers::bare(bench, b"true")?.0));
    }
    loaded(bench, &servers, "/", 32, Some(script))
}

fn kv_put_memory(bench: &Bench) -> Result<Vec<Row>> {
    writes(bench, PUT)
}

fn register(bench: &Bench) -> Result<Vec<Row>> {
    writes(bench, REGISTER)
}

fn durable(bench: &Bench, clients: u32) -> Result<Vec<Row>> {
    let (lictor, _) = peers::lictor(bench, Kind::Durable)?;
    let etcd = if bench.wants("etcd", "etcd") {
        Some(peers::etcd(bench)?.0)
    } else {
        None
    };
    let script = etcd_script();
    let mut sides: Vec<(&'static str, Side<'_>)> = vec![(
        "lictor",
        Box::new(|| load::http(bench, &lictor, "/", clients, Some(PUT))),
    )];
    if let Some(etcd) = &etcd {
        sides.push((
            "etcd",
            Box::new(|| load::http(bench, etcd, "/", clients, Some(&script))),
        ));
    }
    if bench.wants("disk", "") {
        sides.push(("disk", Box::new(|| load::disk(bench))));
    }
    let mut rows = turns(bench, &mut sides)?;
    for row in &mut rows {
        row.note = on_disk(bench);
    }
    Ok(rows)
}

fn kv_put_1(bench: &Bench) -> Result<Vec<Row>> {
    durable(bench, 1)
}

fn kv_put_32(bench: &Bench) -> Result<Vec<Row>> {
    durable(bench, 32)
}

/// Three servers on one processor, one of which is asked: the leader, or one that follows.
fn cluster(bench: &Bench, follower: bool) -> Result<Vec<Row>> {
    let asked = |mut servers: Vec<Server>| {
        if follower {
            servers.swap(0, 1);
        }
        servers
    };
    let script = etcd_script();
    let lictor = asked(peers::lictor_cluster(bench)?);
    let etcd = if bench.wants("etcd", "etcd") {
        asked(peers::etcd_cluster(bench)?)
    } else {
        Vec::new()
    };
    let lictor: Vec<&Server> = lictor.iter().collect();
    let etcd: Vec<&Server> = etcd.iter().collect();
    let mut sides: Vec<(&'static str, Side<'_>)> = vec![(
        "lictor",
        Box::new(|| load::http_of(bench, &lictor, "/", 64, Some(PUT))),
    )];
    if !etcd.is_empty() {
        sides.push((
            "etcd",
            Box::new(|| load::http_of(bench, &etcd, "/", 64, Some(&script))),
        ));
    }
    let mut rows = turns(bench, &mut sides)?;
    for row in &mut rows {
        row.note = on_disk(bench);
    }
    Ok(rows)
}

fn on_disk(bench: &Bench) -> String {
    match peers::file_system(&bench.dir).as_str() {
        "tmpfs" => "ON TMPFS: NOTHING IS FLUSHED, see --dir".into(),
        kind => kind.to_owned(),
    }
}

fn cluster_put_64(bench: &Bench) -> Result<Vec<Row>> {
    cluster(bench, false)
}

fn follower_put_64(bench: &Bench) -> Result<Vec<Row>> {
    cluster(bench, true)
}

fn dns(bench: &Bench, question: &str) -> Result<Vec<Row>> {
    let (lictor, _) = peers::lictor(bench, Kind::Memory)?;
    peers::register(&lictor, 1, 3)?;
    let mut servers = vec![("lictor", lictor)];
    if bench.wants("knot", "knotd") {
        servers.push(("knot", peers::knot(bench)?));
    }
    if bench.wants("unbound", "unbound") {
        servers.push(("unbound", peers::unbound(bench)?));
    }
    let mut sides: Vec<(&'static str, Side<'_>)> = Vec::new();
    for (name, server) in &servers {
        sides.push((name, Box::new(move || load::dns(bench, server, question))));
    }
    turns(bench, &mut sides)
}

fn dns_a(bench: &Bench) -> Result<Vec<Row>> {
    dns(bench, "svc-0.service.consul A")
}

fn dns_srv(bench: &Bench) -> Result<Vec<Row>> {
    dns(bench, "svc-0.service.consul SRV")
}

fn watch_2000(bench: &Bench) -> Result<Vec<Row>> {
    const PATH: &str = "/v1/health/service/svc-0";
    const WATCHERS: usize = 2000;
    let ready = || -> Result<(Server, u64, Vec<u8>)> {
        let (lictor, _) = peers::lictor(bench, Kind::Memory)?;
        peers::register(&lictor, 1, 10)?;
        let now = lictor.client()?.good("GET", PATH, b"")?;
        Ok((lictor, now.index.ok_or("no index")?, now.body))
    };
    let ours = || {
        let (lictor, index, _) = ready()?;
        let path = format!("{PATH}?index={index}&wait=120s");
        watch::until_the_last(&lictor, WATCHERS, &path, |client| {
            let body = peers::registration(0, 10, 11);
            client
                .good("PUT", "/v1/catalog/register", body.as_bytes())
                .map(drop)
        })
    };
    let bytes = ready()?.2;
    let bare = || {
        let (bare, _) = peers::bare(bench, &bytes)?;
        let path = format!("{PATH}?index=1&wait=120s");
        watch::until_the_last(&bare, WATCHERS, &path, |client| {
            client.good("PUT", "/change", b"").map(drop)
        })
    };
    let mut sides: Vec<(&'static str, Side<'_>)> = vec![("lictor", Box::new(ours))];
    if bench.wants("warp", "") {
        sides.push(("warp", Box::new(bare)));
    }
    turns(bench, &mut sides)
}

fn watch_memory(bench: &Bench) -> Result<Vec<Row>> {
    const WATCHERS: usize = 5000;
    let ours = || {
        let (lictor, _) = peers::lictor(bench, Kind::Memory)?;
        peers::register(&lictor, 100, 2)?;
        std::thread::sleep(REST);
        let mut client = lictor.client()?;
        let mut paths = Vec::new();
        for s in 0..100 {
            let path = format!("/v1/health/service/svc-{s}");
            let now = client.good("GET", &path, b"")?;
            let index = now.index.ok_or("no index")?;
            paths.push(format!("{path}?index={index}&wait=300s"));
        }
        let path = |i: usize| paths[i % 100].clone();
        Ok(watch::cost(&lictor, WATCHERS, path)? / 1024.0)
    };
    let bare = || {
        let (bare, _) = peers::bare(bench, b"[]")?;
        let path = |i| format!("/v1/health/service/svc-{}?index=1&wait=300s", i % 100);
        Ok(watch::cost(&bare, WATCHERS, path)? / 1024.0)
    };
    let mut sides = vec![("lictor", cost(ours))];
    if bench.wants("warp", "") {
        sides.push(("warp", cost(bare)));
    }
    turns(bench, &mut sides)
}
