//! An agent as a child process.

use crate::netns::Place;
use crate::reply::shortened;
use crate::{
    Answer, Body, Folder, Output, Question, Reply, free_port, lictor_binary, run, until, until_for,
};
use lictor_client::{Client, ClientConfig, Method, Request};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a request may take unless it says so itself.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the log that a failing test shows.
const LOG_TAIL: usize = 6_000;

/// What an agent is to be.
pub struct Builder {
    folder: Folder,
    args: Vec<String>,
    config: Map<String, Value>,
    env: Vec<(String, String)>,
    ports: Ports,
    data: Option<PathBuf>,
    program: PathBuf,
    place: Option<Place>,
}

#[derive(Clone, Debug)]
struct Ports {
    http: u16,
    dns: u16,
    server: u16,
    serf_lan: u16,
    serf_wan: u16,
}

impl Ports {
    fn new() -> Ports {
        Ports {
            http: free_port(),
            dns: free_port(),
            server: free_port(),
            serf_lan: free_port(),
            serf_wan: free_port(),
        }
    }
}

impl Builder {
    /// Adds to the configuration; objects are laid over what is there.
    pub fn config(mut self, more: Value) -> Builder {
        lay_over(&mut self.config, more);
        self
    }

    /// Adds an argument of the command line.
    pub fn arg(mut self, arg: impl Into<String>) -> Builder {
        self.args.push(arg.into());
        self
    }

    /// Adds a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file into the folder that `-config-dir` names.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Builder {
        self.folder.write(&format!("conf.d/{name}"), content);
        self
    }

    /// Where its LAN gossip is going to be.
    pub fn gossip_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.serf_lan))
    }

    /// Uses another program than the agent under test.
    pub fn program(mut self, path: &Path) -> Builder {
        self.program = path.to_owned();
        self
    }

    /// Puts it on a machine of a network of its own, at that machine's address and on the default
    /// ports. Its HTTP interface is a unix socket, which no fault of the network touches.
    pub fn within(mut self, place: &Place) -> Builder {
        self.place = Some(place.clone());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Agent {
        let mut agent = self.spawn();
        agent.ready().await;
        agent
    }

    /// Starts it.
    pub fn spawn(mut self) -> Agent {
        let api = match &self.place {
            Some(_) => format!("unix://{}", self.folder.join("http.sock").display()),
            None => format!("127.0.0.1:{}", self.ports.http),
        };
        let mut config = Map::new();
        lay_over(&mut config, self.base(&api));
        lay_over(&mut config, Value::Object(std::mem::take(&mut self.config)));
        let base = self
            .folder
            .write("base.json", Value::Object(config).to_string());
        // Where `file` wrote nothing the folder is empty.
        std::fs::create_dir_all(self.folder.join("conf.d")).expect("the configuration folder");
        let mut command = match &self.place {
            Some(place) => place.command(&self.program),
            None => Command::new(&self.program),
        };
        command.arg("agent").args(&self.args);
        if let Some(data) = &self.data {
            command.arg("-data-dir").arg(data);
        }
        command
            .arg("-config-file")
            .arg(base)
            .arg("-config-dir")
            .arg(self.folder.join("conf.d"));
        command.env_clear();
        command.envs(
            ["PATH", "TMPDIR"]
                .into_iter()
                .filter_map(|k| Some((k, std::env::var_os(k)?))),
        );
        command.env("HOME", self.folder.path());
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let client = client(&api);
        let mut agent = Agent {
            child: None,
            command,
            client,
            api,
            ports: self.ports,
            folder: self.folder,
            data: self.data,
            quiet: false,
        };
        agent.respawn();
        agent
    }

    /// What every agent is told.
    fn base(&self, api: &str) -> Value {
        let ports = &self.ports;
        let mut base = json!({
            "node_name": "lictor-test",
            "client_addr": "127.0.0.1",
            "log_level": "info",
            "disable_update_check": true,
        });
        let more = match &self.place {
            Some(place) => json!({
                "bind_addr": place.address(),
                "addresses": {"http": api},
            }),
            None => json!({
                "bind_addr": "127.0.0.1",
                "ports": {
                    "http": ports.http,
                    "dns": ports.dns,
                    "server": ports.server,
                    "serf_lan": ports.serf_lan,
                    "serf_wan": ports.serf_wan,
                    "grpc": -1,
                    "grpc_tls": -1,
                },
            }),
        };
        if let Value::Object(base) = &mut base {
            lay_over(base, more);
        }
        base
    }
}

fn client(address: &str) -> Client {
    let config = ClientConfig {
        timeout: Some(REQUEST_LIMIT),
        ..ClientConfig::at(address)
    };
    Client::new(config).expect("a client")
}

/// How an agent ended.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// How long it took from the question on.
    pub took: Duration,
}

/// A running agent. Its end comes with its value.
pub struct Agent {
    child: Option<Child>,
    command: Command,
    client: Client,
    /// Where its HTTP interface is, as a client is told.
    api: String,
    ports: Ports,
    folder: Folder,
    data: Option<PathBuf>,
    /// Set where the test itself looks at the log.
    quiet: bool,
}

impl Agent {
    /// What a `-dev` agent is; to be changed and started.
    pub fn build() -> Builder {
        Builder {
            folder: Folder::new(),
            args: vec!["-dev".to_owned()],
            config: Map::new(),
            env: Vec::new(),
            ports: Ports::new(),
            data: None,
            program: lictor_binary().to_owned(),
            place: None,
        }
    }

    /// What a lone server is that keeps its data in a folder.
    pub fn build_server(data: &Path) -> Builder {
        let args = ["-server", "-bootstrap-expect=1"].map(str::to_owned);
        Agent::build_with(args.to_vec(), data)
    }

    /// What these arguments say, with its data in a folder.
    pub fn build_with(args: Vec<String>, data: &Path) -> Builder {
        Builder {
            args,
            data: Some(data.to_owned()),
            ..Agent::build()
        }
    }

    /// What a server is that keeps its data in a folder and makes a cluster with others; with zero
    /// it waits to be taken in.
    pub fn build_server_of(data: &Path, expect: usize) -> Builder {
        let mut args = vec!["-server".to_owned()];
        if expect > 0 {
            args.push(format!("-bootstrap-expect={expect}"));
        }
        Builder {
            args,
            data: Some(data.to_owned()),
            ..Agent::build()
        }
    }

    /// A `-dev` agent, ready.
    pub async fn dev() -> Agent {
        Agent::build().start().await
    }

    /// A lone server with its data in a folder, ready.
    pub async fn server(data: &Path) -> Agent {
        Agent::build_server(data).start().await
    }

    fn respawn(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the log");
        self.command
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log);
        let child = self.command.spawn();
        let program = self.command.get_program().display().to_string();
        self.child = Some(child.unwrap_or_else(|e| panic!("{program}: {e}")));
    }

    /// Waits until it takes writes and its own node is in the catalog.
    pub async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            if self.is_ready().await {
                return;
            }
            if let Some(status) = self.ended() {
                panic!("the agent ended ({status}) before it was ready");
            }
            assert!(start.elapsed() < crate::DEADLINE, "the agent is not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let leader = self.try_get("/v1/status/leader").await;
        if !leader.is_some_and(|r| r.status == 200 && r.text.len() > 4) {
            return false;
        }
        // The node's own facts come a moment after its entry. By its name, which a test may set,
        // it is not asked for: of other servers only their agents know the addresses by purpose.
        let servers = self.try_get("/v1/health/service/consul").await;
        servers.is_some_and(|r| {
            r.json.as_array().into_iter().flatten().any(|row| {
                let checks = row["Checks"].as_array();
                let serf = checks.is_some_and(|c| c.iter().any(|c| c["CheckID"] == "serfHealth"));
                serf && row["Node"]["TaggedAddresses"]["lan"].is_string()
            })
        })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()?
            .try_wait()
            .expect("the state of the child")
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.is_some() && self.ended().is_none()
    }

    /// Whether it has ended by itself and nobody has asked for its exit code.
    pub fn has_ended(&self) -> bool {
        let Some(child) = &self.child else {
            return false;
        };
        // The state follows the name, which is in brackets.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
        let state = stat.as_ref().ok().and_then(|s| s.rsplit_once(") "));
        state.is_none_or(|(_, state)| state.starts_with('Z'))
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running agent").id()
    }

    /// Its client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client of its own, with connections of its own.
    pub fn another_client(&self) -> Client {
        client(&self.api)
    }

    /// Where its HTTP interface is; not for one on a machine of its own.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.http))
    }

    /// Where its DNS interface is; not for one on a machine of its own.
    pub fn dns_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.dns))
    }

    /// Where its LAN gossip is.
    pub fn gossip_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.serf_lan))
    }

    /// Where its server RPC is.
    pub fn server_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.server))
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http_address())
    }

    /// Its folder: configuration, log, whatever the test puts there.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Changes its configuration; for the next start.
    pub fn reconfigure(&self, more: Value) {
        let path = self.folder.join("base.json");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        let mut config = serde_json::from_str::<Map<String, Value>>(&text).expect("an object");
        lay_over(&mut config, more);
        self.folder
            .write("base.json", Value::Object(config).to_string());
    }

    /// Where its server port is.
    pub fn server_port(&self) -> u16 {
        self.ports.server
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.as_deref().expect("an agent with a data folder")
    }

    /// Writes a file into the folder that `-config-dir` names.
    pub fn write_config(&self, name: &str, content: impl AsRef<[u8]>) {
        self.folder.write(&format!("conf.d/{name}"), content);
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// What it has logged and printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Anonymous resident memory in bytes: what it holds itself.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the state of the process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes.expect("its memory") * 1024
    }

    // ---- requests ----

    /// A request of any kind; panics without an answer.
    pub async fn request(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let request = prepared(method, path).body(body.into().0);
        self.send(request, path).await
    }

    /// A request with headers.
    pub async fn request_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let request = prepared(method, path);
        let request = headers.iter().fold(request, |r, (k, v)| r.header(k, v));
        self.send(request, path).await
    }

    async fn send(&self, request: Request, path: &str) -> Reply {
        match self.client.send(request).await {
            Ok(response) => Reply::new(path.to_owned(), &response),
            Err(error) => panic!("{}: {error}", shortened(path.to_owned())),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path, ()).await
    }

    /// GET; `None` without an answer.
    pub async fn try_get(&self, path: &str) -> Option<Reply> {
        let response = self.client.send(prepared(Method::GET, path)).await.ok()?;
        Some(Reply::new(path.to_owned(), &response))
    }

    /// PUT; `None` without an answer.
    pub async fn try_put(&self, path: &str, body: impl Into<Body>) -> Option<Reply> {
        let request = prepared(Method::PUT, path).body(body.into().0);
        let response = self.client.send(request).await.ok()?;
        Some(Reply::new(path.to_owned(), &response))
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.request(Method::PUT, path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.request(Method::DELETE, path, ()).await
    }

    /// GET until the answer is as wished.
    pub async fn get_until(&self, path: &str, wish: impl Fn(&Reply) -> bool) -> Reply {
        let mut last = String::new();
        let look = async || {
            let reply = self.try_get(path).await?;
            last.clone_from(&reply.text);
            wish(&reply).then_some(reply)
        };
        let what = format!("the wished answer of {path}");
        until(&what, look).await
    }

    /// A GET that waits for what comes after `index`, sent at once and awaited by the caller.
    pub fn wait_on(&self, path: &str, index: u64) -> tokio::task::JoinHandle<Reply> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}index={index}&wait=25s");
        let client = self.client.clone();
        tokio::spawn(async move {
            let response = client.send(prepared(Method::GET, &path)).await;
            let response = response.unwrap_or_else(|e| panic!("{path}: {e}"));
            Reply::new(path, &response)
        })
    }

    /// Registers a service of this agent.
    pub async fn register(&self, service: Value) {
        self.put("/v1/agent/service/register", service).await.ok();
    }

    /// Registers a node that has no agent, with what `more` says.
    pub async fn external(&self, node: &str, address: &str, more: Value) {
        let mut body = Map::new();
        lay_over(&mut body, json!({"Node": node, "Address": address}));
        lay_over(&mut body, more);
        self.put("/v1/catalog/register", Value::Object(body))
            .await
            .ok();
    }

    // ---- DNS and the command line ----

    /// Asks by UDP.
    pub async fn dns(&self, name: &str, kind: &str) -> Answer {
        Question::new(name, kind).ask(self.dns_address()).await
    }

    /// Asks until the answer is as wished.
    pub async fn dns_until(
        &self,
        name: &str,
        kind: &str,
        wish: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let question = Question::new(name, kind);
        let look = async || question.try_ask(self.dns_address()).await.filter(&wish);
        until(&format!("the wished answer for {name} {kind}"), look).await
    }

    /// Runs a command of the command line against it.
    pub async fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, "").await
    }

    /// Runs a command of the command line against it, with something to read.
    pub async fn cli_with(&self, args: &[&str], stdin: &str) -> Output {
        let env = [("CONSUL_HTTP_ADDR", self.api.as_str())];
        run(lictor_binary(), args, &env, stdin, REQUEST_LIMIT).await
    }

    // ---- life ----

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a process number");
        // SAFETY: kill takes two numbers and touches no memory of ours. The child has not been
        // waited for, so its number is not another process's.
        unsafe {
            libc::kill(pid, signal);
        }
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> Exit {
        let start = Instant::now();
        let limit = Duration::from_secs(40);
        let status = until_for(limit, "the end of the agent", async || self.ended()).await;
        let code = status.code().unwrap_or(-1);
        if status
            .signal()
            .is_some_and(|s| s == libc::SIGSEGV || s == libc::SIGABRT)
        {
            panic!("the agent crashed: {status}");
        }
        self.child = None;
        Exit {
            code,
            took: start.elapsed(),
        }
    }

    /// Ends it in an instant, as a loss of power would.
    pub async fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.exit().await;
    }

    /// Starts it again after its end: the same files, the same ports.
    pub async fn start_again(&mut self) {
        assert!(!self.runs(), "it still runs");
        self.respawn();
        self.ready().await;
    }

    /// Starts it again after its end, without waiting.
    pub fn spawn_again(&mut self) {
        assert!(!self.runs(), "it still runs");
        self.respawn();
    }

    /// Says that the test has looked at the log and expects what is there.
    pub fn log_is_checked(&mut self) {
        self.quiet = true;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log();
        if let Some(kept) = std::env::var_os("LICTOR_TEST_LOGS") {
            let folder = self.folder.path().file_name().unwrap_or_default();
            let path = PathBuf::from(kept).join(folder).with_extension("log");
            let _ = std::fs::copy(self.log_path(), path);
        }
        if std::thread::panicking() {
            let start = log.len().saturating_sub(LOG_TAIL);
            let start = (start..).find(|i| log.is_char_boundary(*i)).unwrap_or(0);
            eprintln!(
                "---- the agent's log ----\n{}\n---- end of the log ----",
                &log[start..]
            );
        } else if !self.quiet {
            assert!(!log.contains("panicked"), "the agent panicked:\n{log}");
        }
    }
}

fn prepared(method: Method, target: &str) -> Request {
    match target.split_once('?') {
        Some((path, query)) => Request::encoded(method, path).raw_query(query),
        None => Request::encoded(method, target),
    }
}

/// Lays an object over another, at every depth; lists and plain values replace.
fn lay_over(base: &mut Map<String, Value>, over: Value) {
    let Value::Object(over) = over else {
        panic!("{over} is no object")
    };
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(below)), value @ Value::Object(_)) => lay_over(below, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
