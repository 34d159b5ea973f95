//! Checks from `SERVICE_CHECK_*`.

use crate::endpoint::Endpoint;
use crate::metadata::PortMetadata;
use crate::name::PortKey;
use lictor_wire::{CheckRequest, GoDuration, Status, Str};

const DEFAULT_INTERVAL: i64 = 10;

/// Reads the check of a service, if it has one. What is wrong with it is added to `problems`.
pub(crate) fn check(
    meta: &PortMetadata,
    endpoint: &Endpoint,
    port: &PortKey,
    container: &str,
    problems: &mut Vec<String>,
) -> Option<CheckRequest> {
    let get = |key: &str| meta.get(&format!("check_{key}"));
    let mut wrong = |key: &str, why: String| {
        problems.push(format!("SERVICE_CHECK_{} {why}", key.to_uppercase()));
    };
    let mut duration = |key: &str| -> Option<GoDuration> {
        let text = get(key)?;
        match GoDuration::parse(text) {
            Ok(d) if d.0 > 0 => Some(d),
            Ok(_) => {
                wrong(key, format!("must be more than nothing: {text:?}"));
                None
            }
            Err(why) => {
                wrong(key, format!("is no duration: {text:?}: {why}"));
                None
            }
        }
    };
    let timeout = duration("timeout");
    let interval = duration("interval");
    let after = duration("deregister_after");
    let ttl = duration("ttl");
    let at = endpoint.at;
    let mut check = CheckRequest {
        interval: interval.unwrap_or(GoDuration::from_secs(DEFAULT_INTERVAL)),
        timeout: timeout.unwrap_or_default(),
        deregister_critical_service_after: after.unwrap_or_default(),
        tls_skip_verify: yes(get("tls_skip_verify")),
        ..CheckRequest::default()
    };
    // The first key in this order decides.
    if let Some(path) = get("http") {
        check.http = format!("http://{at}{}", rooted(path)).into();
        check.method = get("http_method").unwrap_or_default().into();
    } else if let Some(path) = get("https") {
        check.http = format!("https://{at}{}", rooted(path)).into();
        check.method = get("https_method").unwrap_or_default().into();
    } else if let Some(command) = get("cmd") {
        let mut args: Vec<Str> = vec![
            "check-cmd".into(),
            container.get(..12).unwrap_or(container).into(),
            port.port.to_string().into(),
        ];
        args.extend(command.split_whitespace().map(Str::from));
        check.args = args;
    } else if let Some(command) = get("script") {
        let command = command
            .replace("$SERVICE_IP", &at.ip().to_string())
            .replace("$SERVICE_PORT", &at.port().to_string());
        check.args = shell("/bin/sh", &command);
    } else if let Some(command) = get("docker").or_else(|| get("docker_script")) {
        check.docker_container_id = container.into();
        // A list, as in a Dockerfile, needs no shell in the image.
        check.args = match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) if !words.is_empty() => words.into_iter().map(Str::from).collect(),
            _ => shell(get("docker_shell").unwrap_or("/bin/sh"), command),
        };
    } else if get("ttl").is_some() {
        check.ttl = ttl?;
        check.interval = GoDuration::ZERO;
    } else if yes(get("tcp")) {
        check.tcp = at.to_string().into();
    } else if yes(get("grpc")) {
        check.grpc = at.to_string().into();
        check.grpc_use_tls = yes(get("grpc_use_tls"));
    } else {
        return None;
    }
    if let Some(status) = get("initial_status") {
        if Status::parse(status).is_some() {
            check.status = status.into();
        } else {
            problems.push(format!(
                "SERVICE_CHECK_INITIAL_STATUS is no status: {status:?}; passing, warning and critical are"
            ));
        }
    }
    Some(check)
}

fn yes(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value.to_lowercase().as_str(), "false" | "0" | "no" | "f"))
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// Registrator passed the whole line as one word, so that nothing with a blank could start.
fn shell(shell: &str, command: &str) -> Vec<Str> {
    vec![shell.into(), "-c".into(), command.into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Rule;
    use crate::metadata::Metadata;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn read(env: &[&str]) -> (Option<CheckRequest>, Vec<String>) {
        read_at("10.0.0.1:32768", env)
    }

    fn read_at(at: &str, env: &[&str]) -> (Option<CheckRequest>, Vec<String>) {
        let env: Vec<String> = env.iter().map(|e| format!("SERVICE_CHECK_{e}")).collect();
        let meta = Metadata::read(&env, &Default::default()).of_port(80);
        let endpoint = Endpoint {
            at: at.parse().unwrap(),
            other: None,
            rule: Rule::Published,
        };
        let port = PortKey::parse("80/tcp").unwrap();
        let mut problems = Vec::new();
        let check = check(&meta, &endpoint, &port, ID, &mut problems);
        (check, problems)
    }

    fn good(env: &[&str]) -> CheckRequest {
        let (check, problems) = read(env);
        assert_eq!(problems, Vec::<String>::new());
        check.unwrap()
    }

    #[test]
    fn each_key_makes_its_check() {
        let c = good(&[
            "HTTP=/health?a=b",
            "HTTP_METHOD=HEAD",
            "TIMEOUT=3s",
            "INTERVAL=15s",
        ]);
        assert_eq!(
            (c.http.as_str(), c.method.as_str()),
            ("http://10.0.0.1:32768/health?a=b", "HEAD")
        );
        assert_eq!(
            (c.timeout, c.interval),
            (GoDuration::from_secs(3), GoDuration::from_secs(15))
        );
        let c = good(&["HTTPS=x", "TLS_SKIP_VERIFY=true"]);
        assert_eq!(
            (c.http.as_str(), c.tls_skip_verify),
            ("https://10.0.0.1:32768/x", true)
        );
        assert_eq!(c.interval, GoDuration::from_secs(10));
        assert_eq!(
            good(&["CMD=a b"]).args,
            ["check-cmd", "0123456789ab", "80", "a", "b"]
        );
        let c = good(&["SCRIPT=nc $SERVICE_IP $SERVICE_PORT | grep ok"]);
        assert_eq!(c.args, ["/bin/sh", "-c", "nc 10.0.0.1 32768 | grep ok"]);
        let c = good(&["TTL=30s"]);
        assert_eq!(
            (c.ttl, c.interval),
            (GoDuration::from_secs(30), GoDuration::ZERO)
        );
        assert_eq!(good(&["TCP=true"]).tcp, "10.0.0.1:32768");
        let c = good(&["GRPC=true", "GRPC_USE_TLS=true"]);
        assert_eq!((c.grpc.as_str(), c.grpc_use_tls), ("10.0.0.1:32768", true));
        let c = good(&["DOCKER=test -f /ok", "DOCKER_SHELL=/bin/bash"]);
        assert_eq!(
            (c.docker_container_id.as_str(), &c.args[..]),
            (
                ID,
                &["/bin/bash".into(), "-c".into(), "test -f /ok".into()][..]
            )
        );
        assert_eq!(
            good(&["DOCKER_SCRIPT=[\"/bin/ok\", \"-q\"]"]).args,
            ["/bin/ok", "-q"]
        );
        let c = good(&["TCP=true", "INITIAL_STATUS=passing", "DEREGISTER_AFTER=10m"]);
        assert_eq!(
            (c.status.as_str(), c.deregister_critical_service_after),
            ("passing", GoDuration::from_secs(600))
        );
    }

    #[test]
    fn the_first_key_decides_and_false_is_no_check() {
        assert!(good(&["TTL=3s", "HTTP=/"]).ttl == GoDuration::ZERO);
        assert_eq!(read(&["TCP=false"]).0, None);
        assert_eq!(read(&["INTERVAL=3s"]).0, None);
    }

    #[test]
    fn an_ipv6_address_has_brackets() {
        let (check, _) = read_at("[fd00::1]:80", &["HTTP=/"]);
        assert_eq!(check.unwrap().http, "http://[fd00::1]:80/");
    }

    #[test]
    fn what_is_wrong_is_said_and_the_rest_counts() {
        let (check, problems) = read(&["HTTP=/", "INTERVAL=often", "INITIAL_STATUS=good"]);
        assert_eq!(check.unwrap().interval, GoDuration::from_secs(10));
        assert!(
            problems[0].starts_with("SERVICE_CHECK_INTERVAL is no duration"),
            "{problems:?}"
        );
        assert!(
            problems[1].starts_with("SERVICE_CHECK_INITIAL_STATUS is no status"),
            "{problems:?}"
        );
        let (check, problems) = read(&["TTL=0s"]);
        assert_eq!((check, problems.len()), (None, 1));
    }
}
