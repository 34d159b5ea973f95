//! Servers and client agents on machines of their own.

use crate::netns::{Net, Place, SmallDisk};
use crate::{Agent, Folder, Reply, until_for};
use lictor_client::{Client, Method, Request};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a cluster may take to agree on something. A member that is dead is found to be so
/// after some seconds, the more the larger the pool.
const LIMIT: Duration = Duration::from_secs(60);
/// How long an agent may take to say what it knows.
const ANSWER: Duration = Duration::from_secs(3);
/// Numbers of machines that are clients begin here.
const CLIENTS: u8 = 100;

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    servers: u8,
    clients: u8,
    multiplier: u8,
    disk: Option<u64>,
    config: Value,
}

impl Plan {
    /// So many servers, that wait for each other.
    pub fn servers(servers: u8) -> Plan {
        Plan {
            servers,
            clients: 0,
            multiplier: 1,
            disk: None,
            config: json!({}),
        }
    }

    /// And so many client agents.
    pub fn clients(mut self, clients: u8) -> Plan {
        self.clients = clients;
        self
    }

    /// `performance.raft_multiplier`; 1 unless given.
    pub fn multiplier(mut self, multiplier: u8) -> Plan {
        self.multiplier = multiplier;
        self
    }

    /// Each server's data is on a disk of so many bytes.
    pub fn disk(mut self, bytes: u64) -> Plan {
        self.disk = Some(bytes);
        self
    }

    /// More configuration for all.
    pub fn config(mut self, config: Value) -> Plan {
        self.config = config;
        self
    }

    /// Starts it and waits until everybody knows everybody.
    pub async fn start(self) -> Cluster {
        let cluster = self.spawn();
        cluster.settled().await;
        cluster
    }

    /// Starts it.
    pub fn spawn(self) -> Cluster {
        let mut cluster = Cluster {
            servers: Vec::new(),
            clients: Vec::new(),
            folder: Folder::new(),
            net: Net::new(),
            plan: self.clone(),
            numbers: 0,
        };
        for _ in 0..self.servers {
            cluster.add_server();
        }
        for _ in 0..self.clients {
            cluster.add_client();
        }
        cluster
    }
}

/// An agent on its machine.
pub struct Member {
    /// The agent.
    pub agent: Agent,
    /// Its machine.
    pub place: Place,
    /// Its node's name.
    pub name: String,
    /// Whether it should run and answer now.
    pub up: bool,
    /// Its data's file system, if it has one of its own.
    pub disk: Option<SmallDisk>,
    /// What is added to its clock; see `agent/src/clock.rs`.
    clock: PathBuf,
}

impl Member {
    /// Stops it where it is: it does nothing until it is resumed.
    pub fn pause(&mut self) {
        self.agent.signal(libc::SIGSTOP);
        self.up = false;
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.agent.signal(libc::SIGCONT);
        self.up = true;
    }

    /// Ends it in an instant.
    pub async fn kill(&mut self) {
        self.up = false;
        self.agent.kill().await;
    }

    /// Waits for the end of one to which the test has sent SIGKILL itself.
    pub async fn kill_is_done(&mut self) {
        self.up = false;
        self.agent.exit().await;
    }

    /// Starts it again after its end.
    pub fn start_again(&mut self) {
        self.agent.spawn_again();
        self.up = true;
    }

    /// Sets its clock: so many milliseconds are added to that of the machine.
    pub fn set_clock(&self, ahead: i64) {
        // Aside first: it must not read half a number.
        let aside = self.clock.with_extension("new");
        std::fs::write(&aside, ahead.to_string()).expect("a clock that can be set");
        std::fs::rename(&aside, &self.clock).expect("a clock that can be set");
    }

    /// Where its RPC port is, as `/v1/status/leader` names it.
    pub fn rpc(&self) -> String {
        format!("{}:8300", self.place.address())
    }

    /// GET with a short limit; `None` without a good answer.
    async fn ask(&self, path: &str) -> Option<Reply> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request::encoded(Method::GET, path).raw_query(query);
        let answer = self
            .agent
            .client()
            .send(request.timeout(ANSWER))
            .await
            .ok()?;
        let reply = Reply::new(path.to_owned(), &answer);
        (reply.status == 200).then_some(reply)
    }

    /// The leader's address as it knows it.
    async fn leader(&self) -> Option<String> {
        let reply = self.ask("/v1/status/leader").await?;
        let leader = reply.json.as_str()?.to_owned();
        (!leader.is_empty()).then_some(leader)
    }
}

/// Servers and client agents, each on its own machine. Its agents end with it, then its network.
pub struct Cluster {
    /// The servers.
    pub servers: Vec<Member>,
    /// The client agents.
    pub clients: Vec<Member>,
    /// The network.
    pub net: Net,
    folder: Folder,
    plan: Plan,
    /// Servers made so far.
    numbers: u8,
}

impl Cluster {
    /// Adds a server that joins the others. Gives its place among the servers.
    pub fn add_server(&mut self) -> usize {
        self.numbers += 1;
        let number = self.numbers;
        let mut args = vec!["-server".to_owned()];
        // One that comes later must find a cluster; it never makes one.
        if number <= self.plan.servers {
            args.push(format!("-bootstrap-expect={}", self.plan.servers));
        }
        let member = self.member(number, format!("server-{number}"), args);
        self.servers.push(member);
        self.servers.len() - 1
    }

    /// Adds a client agent. Gives its place among the clients.
    pub fn add_client(&mut self) -> usize {
        let number = self.clients.len() as u8 + 1;
        let name = format!("client-{number}");
        let member = self.member(CLIENTS + number, name, Vec::new());
        self.clients.push(member);
        self.clients.len() - 1
    }

    fn member(&self, number: u8, name: String, mut args: Vec<String>) -> Member {
        let place = self.net.machine(number);
        let is_server = number < CLIENTS;
        // A lone server has nobody to join.
        for server in 1..=self.plan.servers.max(self.numbers) {
            if server != number {
                args.push(format!("-retry-join=10.99.0.{server}"));
            }
        }
        args.push("-retry-interval=1s".to_owned());
        let data = self.folder.join(&name);
        let disk = self.plan.disk.filter(|_| is_server);
        let disk = disk.map(|bytes| SmallDisk::mount(&data, bytes));
        let config = json!({
            "node_name": name,
            "performance": {"raft_multiplier": self.plan.multiplier},
            // One that was taken out of the membership, as a dead server is, votes again so long
            // after its return. Ten seconds unless given, which is long for a test.
            "autopilot": {"server_stabilization_time": "1s"},
        });
        let clock = self.folder.join(&format!("{name}.clock"));
        let agent = Agent::build_with(args, &data)
            .config(config)
            .config(self.plan.config.clone())
            .env("LICTOR_TEST_CLOCK", &clock.display().to_string())
            .within(&place)
            .spawn();
        Member {
            agent,
            place,
            name,
            up: true,
            disk,
            clock,
        }
    }

    /// All agents.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.servers.iter().chain(&self.clients)
    }

    /// All agents that should answer.
    pub fn up(&self) -> impl Iterator<Item = &Member> {
        self.all().filter(|m| m.up)
    }

    /// A client, with connections of its own, of each of these agents in turn.
    pub fn clients_of(members: &[Member], count: usize) -> Vec<Client> {
        let turns = members.iter().cycle().take(count);
        turns.map(|m| m.agent.another_client()).collect()
    }

    /// Waits until most servers that are up agree on a leader that is up. Gives its place.
    pub async fn leader(&self) -> usize {
        self.leader_but(None).await
    }

    /// As [`Cluster::leader`], but not that one.
    pub async fn leader_but(&self, not: Option<usize>) -> usize {
        let up: Vec<usize> = (0..self.servers.len())
            .filter(|i| self.servers[*i].up)
            .collect();
        until_for(LIMIT, "a leader that most servers know", async || {
            let mut votes = vec![0; self.servers.len()];
            for server in up.iter().map(|i| &self.servers[*i]) {
                assert!(!server.agent.has_ended(), "{} has ended", server.name);
                let leader = server.leader().await;
                let known = up.iter().find(|i| Some(self.servers[**i].rpc()) == leader);
                if let Some(known) = known {
                    votes[*known] += 1;
                }
            }
            let most = |i: &usize| votes[*i] > up.len() / 2 && Some(*i) != not;
            (0..votes.len()).find(most)
        })
        .await
    }

    /// Any server that is up and not that one.
    pub fn server_but(&self, not: usize) -> usize {
        let other = |i: &usize| *i != not && self.servers[*i].up;
        (0..self.servers.len())
            .find(other)
            .expect("another server that is up")
    }

    /// Waits until all that are up know the same leader and each other, all are in the catalog and
    /// healthy, and all servers have a vote. Gives the leader's place and how long it took.
    pub async fn settled(&self) -> (usize, Duration) {
        self.settled_within(LIMIT).await
    }

    /// As [`Cluster::settled`], with a limit of its own.
    pub async fn settled_within(&self, limit: Duration) -> (usize, Duration) {
        let start = Instant::now();
        let names: BTreeSet<&str> = self.up().map(|m| m.name.as_str()).collect();
        while let Some(missing) = self.unsettled(&names).await {
            assert!(
                start.elapsed() < limit,
                "the cluster is not settled within {limit:?}: {missing}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (self.leader().await, start.elapsed())
    }

    /// The first thing that keeps it from being settled.
    async fn unsettled(&self, names: &BTreeSet<&str>) -> Option<String> {
        let mut leaders = BTreeSet::new();
        for member in self.up() {
            let name = &member.name;
            assert!(!member.agent.has_ended(), "{name} has ended");
            let Some(leader) = member.leader().await else {
                return Some(format!("{name} knows no leader"));
            };
            leaders.insert(leader);
            let alive = alive(member).await;
            if let Some(missed) = names.iter().find(|n| !alive.contains(**n)) {
                let state = standing(member, missed).await;
                return Some(format!("{name} sees {missed} as {state}"));
            }
            let healthy = healthy(member).await;
            if let Some(missed) = names.iter().find(|n| !healthy.contains(**n)) {
                return Some(format!("{name} does not read {missed} as healthy"));
            }
        }
        if let Some(name) = self.voteless().await {
            return Some(format!("{name} has no vote"));
        }
        let known = |l: &String| self.servers.iter().any(|s| s.up && s.rpc() == *l);
        (leaders.len() != 1 || !leaders.iter().all(known))
            .then(|| format!("the leaders are {leaders:?}"))
    }

    /// A server that is up and has no vote. Whoever was dead for long enough to be taken out of
    /// the membership must have it again before the next may go.
    async fn voteless(&self) -> Option<String> {
        let mut servers = self.servers.iter().filter(|s| s.up);
        let asked = self.servers.iter().find(|s| s.up)?;
        let reply = asked.ask("/v1/operator/raft/configuration").await;
        let rows = reply.as_ref().and_then(|r| r.at("/Servers").as_array());
        let rows = rows.into_iter().flatten();
        let voters: BTreeSet<&str> = rows
            .filter(|r| r["Voter"] == true)
            .filter_map(|r| r["Node"].as_str())
            .collect();
        let without = servers.find(|s| !voters.contains(s.name.as_str()));
        without.map(|s| s.name.clone())
    }

    /// Waits until all that are up see that member as failed or left, and the catalog says the
    /// same.
    pub async fn gone(&self, name: &str) {
        until_for(LIMIT, &format!("{name} is seen as gone"), async || {
            for member in self.up() {
                if alive(member).await.contains(name) || healthy(member).await.contains(name) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Moves a machine whose agent does not run to another address.
    pub fn readdress(member: &mut Member, address: Ipv4Addr, join: &[Ipv4Addr]) {
        assert!(!member.agent.runs(), "it still runs");
        member.place.move_to(address);
        let join: Vec<String> = join.iter().map(Ipv4Addr::to_string).collect();
        let config = json!({"bind_addr": address, "retry_join": join});
        member
            .agent
            .write_config("address.json", config.to_string());
    }
}

/// The members that an agent sees as alive.
pub async fn alive(member: &Member) -> BTreeSet<String> {
    let reply = member.ask("/v1/agent/members").await;
    let rows = reply.as_ref().and_then(|r| r.json.as_array());
    let rows = rows.into_iter().flatten();
    let alive = rows.filter(|r| r["Status"] == 1);
    alive
        .filter_map(|r| Some(r["Name"].as_str()?.to_owned()))
        .collect()
}

/// How a member stands with an agent, as Serf's number says.
async fn standing(member: &Member, of: &str) -> String {
    let Some(reply) = member.ask("/v1/agent/members").await else {
        return "nothing: it does not answer".to_owned();
    };
    let rows = reply.json.as_array().into_iter().flatten();
    let status = rows
        .filter(|r| r["Name"] == of)
        .map(|r| r["Status"].clone());
    match status.map(|s| s.as_u64().unwrap_or(0)).next() {
        None => "no member".to_owned(),
        Some(0) => "none".to_owned(),
        Some(1) => "alive".to_owned(),
        Some(2) => "leaving".to_owned(),
        Some(3) => "left".to_owned(),
        Some(4) => "failed".to_owned(),
        Some(n) => format!("{n}"),
    }
}

/// The nodes of the catalog whose serfHealth passes.
pub async fn healthy(member: &Member) -> BTreeSet<String> {
    let reply = member.ask("/v1/health/state/passing").await;
    let rows = reply.as_ref().and_then(|r| r.json.as_array());
    let rows = rows.into_iter().flatten();
    let passing = rows.filter(|r| r["CheckID"] == "serfHealth");
    passing
        .filter_map(|r| Some(r["Node"].as_str()?.to_owned()))
        .collect()
}
