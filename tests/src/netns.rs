//! Networks that a test makes for itself: a namespace with a bridge, and one namespace for each
//! machine, with an address of its own. Nothing of it is connected to the machine that runs the
//! test, so whatever is sent there stays there, and nobody else's rules are touched.
//!
//! Faults are rules for what a machine takes in: nothing from some, or only a part of what comes.
//! All rules of one machine are replaced at once.

use crate::peer;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Where `ip netns` keeps namespaces.
const PLACES: &str = "/run/netns";
/// What the names of ours begin with; the number of the process that made them follows.
const PREFIX: &str = "lictor-";

/// The programs that are needed.
struct Tools {
    ip: PathBuf,
    nsenter: PathBuf,
    restore: PathBuf,
}

static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools {
    ip: peer("ip", "iproute2"),
    nsenter: peer("nsenter", "util-linux"),
    restore: peer("iptables-restore", "iptables"),
});

/// A namespace; gone with its value and the last process in it.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Namespace {
        ip(&["netns", "add", &name]);
        let namespace = Namespace(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    fn path(&self) -> PathBuf {
        Path::new(PLACES).join(&self.0)
    }

    fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.0], args].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new(&TOOLS.ip)
            .args(["netns", "delete", &self.0])
            .stderr(Stdio::null())
            .status();
    }
}

fn ip(args: &[&str]) {
    let output = Command::new(&TOOLS.ip).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("ip: {e}"));
    assert!(
        output.status.success(),
        "ip {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

/// Fails in words where namespaces cannot be made.
fn require() {
    // SAFETY: geteuid has no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    assert!(
        root,
        "this test makes network namespaces and needs root: run it as root, or in a container \
         with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    );
    LazyLock::force(&TOOLS);
}

/// Removes what test programs left that were killed.
fn sweep() {
    for entry in std::fs::read_dir(PLACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(Namespace(name));
        }
    }
}

/// A network of machines.
pub struct Net(Arc<Inner>);

struct Inner {
    prefix: String,
    hub: Namespace,
    /// Changed under one lock, so that the rules in force are those written here.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<u8, Machine>,
    /// From whom to whom nothing comes through.
    cut: BTreeSet<(u8, u8)>,
    /// Of what comes to whom so many of a hundred packets are lost.
    loss: BTreeMap<u8, u8>,
}

struct Machine {
    namespace: Namespace,
    address: Ipv4Addr,
}

impl Net {
    /// A network without machines. Panics with what is missing where none can be made.
    pub fn new() -> Net {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        require();
        sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let hub = Namespace::new(format!("{prefix}-hub"));
        hub.ip(&["link", "add", "bridge", "type", "bridge"]);
        hub.ip(&["link", "set", "bridge", "up"]);
        Net(Arc::new(Inner {
            prefix,
            hub,
            state: Mutex::default(),
        }))
    }

    /// A new machine. Its first address is 10.99.0.`number`.
    pub fn machine(&self, number: u8) -> Place {
        let inner = &self.0;
        let mut state = inner.state();
        assert!(
            !state.machines.contains_key(&number),
            "machine {number} exists"
        );
        let namespace = Namespace::new(format!("{}-{number}", inner.prefix));
        let port = format!("m{number}");
        inner.hub.ip(&[
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace.0,
        ]);
        inner
            .hub
            .ip(&["link", "set", &port, "master", "bridge", "up"]);
        let address = Ipv4Addr::new(10, 99, 0, number);
        namespace.ip(&["address", "add", &format!("{address}/16"), "dev", "eth0"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        state
            .machines
            .insert(number, Machine { namespace, address });
        Place {
            net: inner.clone(),
            number,
        }
    }

    /// Nothing goes from the one to the other; the other way is as it was.
    pub fn cut_one_way(&self, from: &Place, to: &Place) {
        self.0.change(|state| {
            state.cut.insert((from.number, to.number));
        });
    }

    /// Nothing goes between the two groups, in either direction.
    pub fn cut(&self, some: &[&Place], others: &[&Place]) {
        self.0.change(|state| {
            for (one, other) in some.iter().flat_map(|a| others.iter().map(move |b| (a, b))) {
                state.cut.insert((one.number, other.number));
                state.cut.insert((other.number, one.number));
            }
        });
    }

    /// The machine is alone.
    pub fn isolate(&self, place: &Place) {
        self.0.change(|state| {
            let others: Vec<u8> = state.machines.keys().copied().collect();
            for other in others.into_iter().filter(|o| *o != place.number) {
                state.cut.insert((place.number, other));
                state.cut.insert((other, place.number));
            }
        });
    }

    /// Of all packets that arrive anywhere so many of a hundred are lost.
    pub fn lose(&self, percent: u8) {
        assert!(percent <= 100, "{percent} of a hundred");
        self.0.change(|state| {
            state.loss = state.machines.keys().map(|m| (*m, percent)).collect();
        });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.0.change(|state| {
            state.cut.clear();
            state.loss.clear();
        });
    }
}

impl Default for Net {
    fn default() -> Net {
        Net::new()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is wrong and puts it into force on every machine that it concerns.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before: Vec<String> = state.machines.keys().map(|m| state.rules(*m)).collect();
        change(&mut state);
        for ((number, machine), before) in state.machines.iter().zip(before) {
            let rules = state.rules(*number);
            if rules != before {
                load(&machine.namespace, &rules);
            }
        }
    }
}

impl State {
    /// The rules of one machine, as `iptables-restore` reads them.
    fn rules(&self, machine: u8) -> String {
        let mut rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n".to_owned();
        for (from, to) in &self.cut {
            if let Some(from) = self.machines.get(from)
                && *to == machine
            {
                rules.push_str(&format!("-A INPUT -s {}/32 -j DROP\n", from.address));
            }
        }
        if let Some(percent) = self.loss.get(&machine).filter(|p| **p > 0) {
            let share = f64::from(*percent) / 100.0;
            rules.push_str(&format!(
                "-A INPUT -m statistic --mode random --probability {share:.2} -j DROP\n"
            ));
        }
        rules.push_str("COMMIT\n");
        rules
    }
}

fn load(namespace: &Namespace, rules: &str) {
    let mut command = within(namespace, &TOOLS.restore);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("iptables-restore: {e}"));
    let mut pipe = child.stdin.take().expect("a pipe to it");
    let written = pipe.write_all(rules.as_bytes());
    drop(pipe);
    let output = child.wait_with_output().expect("its end");
    assert!(
        output.status.success() && written.is_ok(),
        "iptables-restore in {}: {}\n{rules}",
        namespace.0,
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

fn within(namespace: &Namespace, program: &Path) -> Command {
    // It becomes the program: the process number is the program's own.
    let mut command = Command::new(&TOOLS.nsenter);
    let mut net = std::ffi::OsString::from("--net=");
    net.push(namespace.path());
    command.arg(net).arg("--").arg(program);
    command
}

/// A machine of a network.
#[derive(Clone)]
pub struct Place {
    net: Arc<Inner>,
    number: u8,
}

impl Place {
    fn with<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.net.state().machines[&self.number])
    }

    /// The file that is its namespace.
    pub fn namespace(&self) -> PathBuf {
        self.with(|m| m.namespace.path())
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.with(|m| m.address)
    }

    /// Takes another address. What is bound to the old one loses it.
    pub fn move_to(&self, address: Ipv4Addr) {
        self.with(|m| {
            m.namespace.ip(&["address", "flush", "dev", "eth0"]);
            m.namespace
                .ip(&["address", "add", &format!("{address}/16"), "dev", "eth0"]);
        });
        // Rules name addresses: the others are told.
        self.net.change(|state| {
            if let Some(machine) = state.machines.get_mut(&self.number) {
                machine.address = address;
            }
        });
    }

    /// A program that will run there.
    pub fn command(&self, program: &Path) -> Command {
        self.with(|m| within(&m.namespace, program))
    }

    /// Runs something there, in a thread of its own. Sockets that it makes stay there and may be
    /// used from here.
    pub fn enter<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let path = self.namespace();
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let inside = || {
            // SAFETY: setns takes two numbers; the descriptor is open. It moves this thread
            // alone, which ends below.
            let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "setns: {}", std::io::Error::last_os_error());
            task()
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// A file system in memory of a limited size, for what happens on a full disk. Unmounted when it
/// goes.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on a folder, which is made. Panics without root.
    pub fn mount(folder: &Path, bytes: u64) -> SmallDisk {
        require();
        std::fs::create_dir_all(folder).expect("the folder to mount on");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder)
            .status();
        assert!(status.is_ok_and(|s| s.success()), "mount: no tmpfs");
        SmallDisk(folder.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills what is free. Gives the file that does it.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
