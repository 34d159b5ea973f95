//! `services register` and `services deregister`.

use super::key_value;
use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use lictor_wire::{ServiceAddress, ServiceRequest, StrMap};

#[derive(clap::Args)]
pub(crate) struct Register {
    /// The instance's id; the name unless given.
    #[arg(long, default_value = "")]
    id: String,
    /// The service's name.
    #[arg(long, default_value = "")]
    name: String,
    /// Its address; that of the node unless given.
    #[arg(long, default_value = "")]
    address: String,
    /// Its port.
    #[arg(long, default_value_t = 0)]
    port: i64,
    /// A unix socket in place of address and port.
    #[arg(long, default_value = "", value_name = "path")]
    socket: String,
    /// Metadata; may be given several times.
    #[arg(long, value_name = "key=value", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// A tag; may be given several times.
    #[arg(long)]
    tag: Vec<String>,
    /// An address for a purpose, as lan=host:port; may be given several times.
    #[arg(long, value_name = "key=value", value_parser = key_value)]
    tagged_address: Vec<(String, String)>,
    /// The kind of mesh proxy, if it is one.
    #[arg(long, default_value = "")]
    kind: String,
    #[command(flatten)]
    api: ApiFlags,
}

fn tagged_address(text: &str) -> Result<ServiceAddress, String> {
    let lowered = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let Some((host, port)) = lowered else {
        return Ok(ServiceAddress {
            address: text.trim_matches(['[', ']']).into(),
            port: 0,
        });
    };
    let port = port
        .parse::<u16>()
        .map_err(|_| format!("invalid port {port:?} in {text:?}"))?;
    Ok(ServiceAddress {
        address: host.trim_matches(['[', ']']).into(),
        port: i64::from(port),
    })
}

impl Register {
    fn described_by_flags(&self) -> Result<ServiceRequest, String> {
        let mut service = ServiceRequest {
            kind: self.kind.as_str().into(),
            id: self.id.as_str().into(),
            name: self.name.as_str().into(),
            address: self.address.as_str().into(),
            port: self.port,
            socket_path: self.socket.as_str().into(),
            tags: self.tag.iter().map(|t| t.as_str().into()).collect(),
            meta: (!self.meta.is_empty()).then(|| {
                self.meta
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_str()))
                    .collect()
            }),
            ..ServiceRequest::default()
        };
        for (key, value) in &self.tagged_address {
            let address =
                tagged_address(value).map_err(|why| format!("Invalid Tagged Address: {why}"))?;
            service
                .tagged_addresses
                .insert(key.as_str().into(), address);
        }
        Ok(service)
    }
}

/// Adds to a service of a file what flags say and the file does not.
fn complete(service: &mut ServiceRequest, flags: &ServiceRequest) {
    for (mine, other) in [
        (&mut service.id, &flags.id),
        (&mut service.name, &flags.name),
        (&mut service.address, &flags.address),
        (&mut service.kind, &flags.kind),
        (&mut service.socket_path, &flags.socket_path),
    ] {
        if mine.is_empty() {
            mine.clone_from(other);
        }
    }
    if service.port == 0 {
        service.port = flags.port;
    }
    if let Some(more) = &flags.meta {
        let meta = service.meta.get_or_insert_with(StrMap::new);
        for (k, v) in more.iter() {
            meta.insert(k.clone(), v.clone());
        }
    }
    for (k, v) in &flags.tagged_addresses {
        service.tagged_addresses.insert(k.clone(), v.clone());
    }
    service.tags.extend(flags.tags.iter().cloned());
}

impl Command for Register {
    const NAME: &'static str = "services register";
    const USAGE: &'static str = "[options] [FILE...]";
    const ABOUT: &'static str = "Registers services with the agent";
    const LONG: &'static str = "Registers services with the agent: those of files in the form of the agent's \
configuration (HCL or JSON), or one that the flags describe. It stays registered when the command has ended.

    $ {p} services register web.json
    $ {p} services register -name=web -port=80 -tag=v1";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let flags = match self.described_by_flags() {
            Ok(flags) => flags,
            Err(why) => {
                cx.complain(why);
                return 1;
            }
        };
        if args.is_empty() && self.name.is_empty() {
            cx.complain("Service registration requires at least one argument or flags.");
            return 1;
        }
        if !args.is_empty() && !self.name.is_empty() {
            cx.complain("Service registration requires arguments or -id, not both.");
            return 1;
        }
        let services = if args.is_empty() {
            vec![flags]
        } else {
            match (cx.hooks.service_files)(&args) {
                Ok(mut services) => {
                    services.iter_mut().for_each(|s| complete(s, &flags));
                    services
                }
                Err(why) => {
                    cx.complain(format_args!("Error: {why}"));
                    return 1;
                }
            }
        };
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        for service in &services {
            if let Err(err) = client.register_service(service).await {
                return cx.fail(
                    format_args!("Error registering service {:?}", service.name.as_str()),
                    &err,
                );
            }
            cx.say(format_args!("Registered service: {}", service.name));
        }
        0
    }
}

#[derive(clap::Args)]
pub(crate) struct Deregister {
    /// The id of the instance to remove.
    #[arg(long, default_value = "")]
    id: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Deregister {
    const NAME: &'static str = "services deregister";
    const USAGE: &'static str = "[options] [FILE...]";
    const ABOUT: &'static str = "Removes services from the agent";
    const LONG: &'static str =
        "Removes services from the agent that they were registered with: those of files in the \
form of the agent's configuration, or one by its id.

    $ {p} services deregister web.json
    $ {p} services deregister -id=web";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        if args.is_empty() && self.id.is_empty() {
            cx.complain("Service deregistration requires at least one argument or -id.");
            return 1;
        }
        if !args.is_empty() && !self.id.is_empty() {
            cx.complain("Service deregistration requires arguments or -id, not both.");
            return 1;
        }
        let ids: Vec<String> = if args.is_empty() {
            vec![self.id.clone()]
        } else {
            match (cx.hooks.service_files)(&args) {
                Ok(services) => services
                    .iter()
                    .map(|s| {
                        if s.id.is_empty() {
                            s.name.to_string()
                        } else {
                            s.id.to_string()
                        }
                    })
                    .filter(|id| !id.is_empty())
                    .collect(),
                Err(why) => {
                    cx.complain(format_args!("Error: {why}"));
                    return 1;
                }
            }
        };
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        for id in &ids {
            if let Err(err) = client.deregister_service(id).await {
                return cx.fail(format_args!("Error deregistering service {id:?}"), &err);
            }
            cx.say(format_args!("Deregistered service: {id}"));
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cx::testing::{Answer, Ran, ok};

    #[test]
    fn a_service_of_flags() {
        let ran = Ran::with(
            &[
                "services",
                "register",
                "-name=web",
                "-port=80",
                "-tag=a",
                "-tag=b",
                "-meta=k=v",
                "-tagged-address=lan=10.0.0.1:81",
            ],
            &[ok("")],
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Registered service: web\n")
        );
        let body: serde_json::Value = serde_json::from_str(&ran.seen[0].body).unwrap();
        assert_eq!(body["Tags"], serde_json::json!(["a", "b"]));
        assert_eq!(
            (&body["Port"], &body["Meta"]["k"]),
            (&80.into(), &"v".into())
        );
        assert_eq!(
            body["TaggedAddresses"]["lan"],
            serde_json::json!({"Address": "10.0.0.1", "Port": 81})
        );
        assert_eq!(body.get("Kind"), None);
    }

    #[test]
    fn services_of_files_take_from_flags_what_they_lack() {
        let ran = Ran::with(
            &["services", "register", "-port=1", "-tag=x", "svc.json"],
            &[ok(""), ok("")],
        );
        assert_eq!(
            ran.out,
            "Registered service: from-file\nRegistered service: second\n"
        );
        let bodies: Vec<serde_json::Value> = ran
            .seen
            .iter()
            .map(|s| serde_json::from_str(&s.body).unwrap())
            .collect();
        assert_eq!(
            (
                &bodies[0]["Port"],
                &bodies[1]["Port"],
                &bodies[1]["Tags"][0]
            ),
            (&99.into(), &1.into(), &"x".into())
        );
        assert_eq!(
            bodies[0]["Check"]["TTL"],
            serde_json::json!(3_600_000_000_000_i64)
        );
    }

    #[test]
    fn services_go_by_id_else_by_name() {
        let ran = Ran::with(&["services", "deregister", "svc.json"], &[ok(""), ok("")]);
        assert_eq!(
            ran.lines(),
            [
                "PUT /v1/agent/service/deregister/from-file",
                "PUT /v1/agent/service/deregister/two"
            ]
        );
        assert_eq!(
            ran.out,
            "Deregistered service: from-file\nDeregistered service: two\n"
        );
        let ran = Ran::with(
            &["services", "deregister", "-id=a"],
            &[Answer(404, "", "Unknown service ID \"a\"")],
        );
        assert_eq!(ran.code, 1);
        assert!(
            ran.err
                .contains("Unexpected response code: 404 (Unknown service ID \"a\")"),
            "{}",
            ran.err
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        for (args, text) in [
            (
                &["services", "register"][..],
                "Service registration requires at least one argument or flags.\n",
            ),
            (
                &["services", "register", "-name=a", "f"],
                "Service registration requires arguments or -id, not both.\n",
            ),
            (
                &["services", "deregister"],
                "Service deregistration requires at least one argument or -id.\n",
            ),
            (
                &["services", "register", "none.json"],
                "Error: config: Open failed on none.json. open none.json: no such file or directory\n",
            ),
        ] {
            let ran = Ran::without_agent(args);
            assert_eq!((ran.code, ran.err.as_str()), (1, text));
        }
    }

    #[test]
    fn addresses_for_a_purpose() {
        let read = |t| tagged_address(t).map(|a| (a.address.to_string(), a.port));
        assert_eq!(read("h:1"), Ok(("h".into(), 1)));
        assert_eq!(read("[::1]:2"), Ok(("::1".into(), 2)));
        assert_eq!(read("::1"), Ok(("::1".into(), 0)));
        assert!(read("h:x").is_err());
    }
}
