//! What surrounds a command.

use crate::command::Command;
use crate::help;
use crate::http_flags::HttpFlags;
use lictor_client::{Client, ClientConfig, Error};
use lictor_wire::ServiceRequest;
use std::fmt::Display;
use std::io::{Read, Write};

/// The form of configuration files that do not say it by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFormat {
    /// HCL version 1.
    Hcl,
    /// JSON.
    Json,
}

/// Reads services from configuration files.
pub type ServiceFiles<'a> = &'a dyn Fn(&[String]) -> Result<Vec<ServiceRequest>, String>;
/// Checks configuration files and folders; gives warnings.
pub type Validate<'a> = &'a dyn Fn(&[String], Option<ConfigFormat>) -> Result<Vec<String>, String>;

/// The parts of the agent that the command line calls without knowing them.
pub struct Hooks<'a> {
    /// Runs a command that is part of the agent (`agent` itself, `registrator`, ...) with the words
    /// behind it (help among them) and gives the exit status.
    pub agent: &'a dyn Fn(&str, &[String]) -> i32,
    /// Reads the services of configuration files, for `services register` and `deregister`.
    pub service_files: ServiceFiles<'a>,
    /// Checks configuration files and folders; gives warnings, or what is wrong.
    pub validate: Validate<'a>,
}

/// What surrounds a command.
pub struct Cx<'a> {
    /// The name that the program was called by.
    pub program: &'a str,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where errors go.
    pub err: &'a mut dyn Write,
    /// Where data comes from.
    pub input: &'a mut dyn Read,
    /// Looks up a variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The parts of the agent.
    pub hooks: &'a Hooks<'a>,
}

impl Cx<'_> {
    /// Prints a line of the result.
    pub(crate) fn say(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Prints bytes of the result and ends the line.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self
            .out
            .write_all(bytes)
            .and_then(|()| self.out.write_all(b"\n"));
    }

    /// Hands on what was printed, before someone else prints to the same place.
    pub(crate) fn flush(&mut self) {
        let _ = self.out.flush();
        let _ = self.err.flush();
    }

    /// Prints a line to stderr. What was printed before stays before it.
    pub(crate) fn complain(&mut self, line: impl Display) {
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{line}");
    }

    /// Says what failed and why, and what to do about it. Gives the exit status.
    pub(crate) fn fail(&mut self, what: impl Display, err: &Error) -> i32 {
        self.complain(format_args!("{what}: {err}"));
        if let Some(hint) = err.hint() {
            self.complain(hint);
        }
        1
    }

    /// Says how a command is used wrongly, and how rightly. Gives the exit status.
    pub(crate) fn misused<C: Command>(&mut self, what: impl Display) -> i32 {
        let text = help::command::<C>(self.program);
        self.complain(what);
        self.complain("");
        self.complain(text);
        1
    }

    /// A client for the flags and the environment; what is wrong with them has been said.
    pub(crate) fn client(&mut self, flags: &HttpFlags) -> Result<Client, i32> {
        ClientConfig::from_env(self.env)
            .map(|config| flags.over(config))
            .and_then(Client::new)
            .map_err(|err| self.fail("Error connecting to Consul agent", &err))
    }

    /// The data an argument means: itself, `@file`, or `-` for the input.
    pub(crate) fn data(&mut self, argument: &str) -> Result<Vec<u8>, String> {
        if argument == "-" {
            let mut data = Vec::new();
            return match self.input.read_to_end(&mut data) {
                Ok(_) => Ok(data),
                Err(err) => Err(format!("Failed to read stdin: {err}")),
            };
        }
        match argument.strip_prefix('@') {
            Some(path) => std::fs::read(path)
                .map_err(|err| format!("Failed to read file: {}", open_error(path, &err))),
            None => Ok(argument.as_bytes().to_vec()),
        }
    }
}

/// Go's words for a file that cannot be opened.
pub(crate) fn open_error(path: &str, err: &std::io::Error) -> String {
    let why = match err.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => return format!("read {path}: is a directory"),
        _ => err.to_string(),
    };
    format!("open {path}: {why}")
}

#[cfg(test)]
pub(crate) mod testing {
    //! Runs the command line inside a test, against an agent that is a list of answers.

    use super::*;
    use std::collections::VecDeque;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// A request as the agent got it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Seen {
        pub(crate) line: String,
        pub(crate) token: String,
        pub(crate) body: String,
    }

    /// What a run left behind.
    pub(crate) struct Ran {
        pub(crate) code: i32,
        pub(crate) out: String,
        pub(crate) err: String,
        pub(crate) seen: Vec<Seen>,
        pub(crate) agent_args: Vec<String>,
    }

    impl Ran {
        /// The request lines, without the protocol.
        pub(crate) fn lines(&self) -> Vec<&str> {
            self.seen.iter().map(|s| s.line.as_str()).collect()
        }

        /// Runs where nobody listens.
        pub(crate) fn without_agent(args: &[&str]) -> Ran {
            let port = {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.local_addr().unwrap().port()
            };
            run(args, "", &format!("127.0.0.1:{port}"), Vec::new())
        }

        /// Runs against an agent that gives these answers in order: a status, headers and a body.
        pub(crate) fn with(args: &[&str], answers: &[Answer<'_>]) -> Ran {
            Ran::with_input(args, "", answers)
        }

        /// The same, with something to read.
        pub(crate) fn with_input(args: &[&str], input: &str, answers: &[Answer<'_>]) -> Ran {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let answers: VecDeque<String> = answers.iter().map(Answer::text).collect();
            let answers = Arc::new(Mutex::new(answers));
            let log = seen.clone();
            // The thread ends with the test's process; the run's connections end before.
            std::thread::spawn(move || {
                for io in listener.incoming() {
                    let Ok(io) = io else { return };
                    let (log, answers) = (log.clone(), answers.clone());
                    std::thread::spawn(move || serve(io, &log, &answers));
                }
            });
            let mut ran = run(args, input, &address, Vec::new());
            ran.seen = seen.lock().unwrap().clone();
            ran
        }
    }

    /// An answer of the agent.
    pub(crate) struct Answer<'a>(pub(crate) u16, pub(crate) &'a str, pub(crate) &'a str);

    /// A plain answer.
    pub(crate) fn ok(body: &str) -> Answer<'_> {
        Answer(200, "", body)
    }

    impl Answer<'_> {
        fn text(&self) -> String {
            format!(
                "HTTP/1.1 {} X\r\n{}Content-Length: {}\r\n\r\n{}",
                self.0,
                self.1,
                self.2.len(),
                self.2
            )
        }
    }

    fn serve(io: std::net::TcpStream, log: &Mutex<Vec<Seen>>, answers: &Mutex<VecDeque<String>>) {
        let mut reader = BufReader::new(io);
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                match reader.read_line(&mut line) {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
                if line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            let header = |name: &str| {
                head.iter()
                    .filter_map(|l| l.split_once(": "))
                    .find(|(n, _)| n.eq_ignore_ascii_case(name))
                    .map(|(_, v)| v.to_owned())
                    .unwrap_or_default()
            };
            let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            log.lock().unwrap().push(Seen {
                line: head[0].trim_end_matches(" HTTP/1.1").to_owned(),
                token: header("x-consul-token"),
                body: String::from_utf8_lossy(&body).into_owned(),
            });
            let answer = answers.lock().unwrap().pop_front();
            let answer = answer.unwrap_or_else(|| Answer(500, "", "no more answers").text());
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn run(args: &[&str], input: &str, address: &str, seen: Vec<Seen>) -> Ran {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let agent_args = Mutex::new(Vec::new());
        let hooks = Hooks {
            agent: &|_, words| {
                *agent_args.lock().unwrap() = words.to_vec();
                42
            },
            service_files: &|files| {
                if files[0] == "none.json" {
                    return Err("config: Open failed on none.json. open none.json: no such file or directory".into());
                }
                Ok(vec![
                    serde_json::from_str(
                        r#"{"Name": "from-file", "Port": 99, "Check": {"TTL": "1h"}}"#,
                    )
                    .unwrap(),
                    serde_json::from_str(r#"{"ID": "two", "Name": "second"}"#).unwrap(),
                ])
            },
            validate: &|paths, format| match paths[0].as_str() {
                "good" => Ok(vec![format!("format is {format:?}")]),
                _ => Err(format!(
                    "failed to parse {}: unexpected end of JSON input",
                    paths[0]
                )),
            },
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let env = |name: &str| (name == "CONSUL_HTTP_ADDR").then(|| address.to_owned());
        let mut cx = Cx {
            program: "lictor",
            out: &mut out,
            err: &mut err,
            input: &mut input.as_bytes(),
            env: &env,
            hooks: &hooks,
        };
        let code = crate::dispatch(&args, &mut cx);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code,
            out: text(out),
            err: text(err),
            seen,
            agent_args: agent_args.into_inner().unwrap(),
        }
    }
}
