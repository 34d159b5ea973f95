//! Metadata services: ECS on the host, and EC2.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Answers are small documents.
const BODY_MAX: usize = 4 << 20;

/// Where the ECS agent of a host answers.
pub const ECS_AGENT: &str = "127.0.0.1:51678";

/// An answer of a metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks a metadata service: no proxy, no redirect, one connection, within `limit`.
///
/// # Errors
/// A text that says what failed.
pub async fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    limit: Duration,
) -> Result<Answer, String> {
    let exchange = async {
        let io = TcpStream::connect(at).await.map_err(|e| e.to_string())?;
        let (mut send, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|e| e.to_string())?;
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", at.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|e| e.to_string())?;
        let answer = async {
            let answer = send
                .send_request(request)
                .await
                .map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), BODY_MAX)
                .collect()
                .await
                .map_err(|e| e.to_string())?;
            Ok::<_, String>(Answer {
                status,
                body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            })
        };
        tokio::pin!(answer);
        tokio::pin!(connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(answer) => answer.map_err(|e| format!("http://{at}{path}: {e}")),
        Err(_) => Err(format!("http://{at}{path}: no answer within {limit:?}")),
    }
}

/// Where EC2's metadata service is.
pub const EC2: &str = "169.254.169.254:80";

/// How long a step of EC2's metadata service may take: it is on the same machine, or not there.
const EC2_PATIENCE: Duration = Duration::from_secs(1);

/// A session with EC2's metadata service (IMDSv2: a token first, always).
#[derive(Clone, Debug)]
pub struct Ec2 {
    at: SocketAddr,
    token: String,
}

impl Ec2 {
    /// Gets a token.
    ///
    /// # Errors
    /// A text that names the hop limit where the service stays silent: its answer does not survive
    /// the hop into a container with a network namespace of its own unless the limit is raised.
    pub async fn session(at: SocketAddr) -> Result<Ec2, String> {
        let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let answer = ask(at, "PUT", "/latest/api/token", &ttl, EC2_PATIENCE)
            .await
            .map_err(|why| {
                format!("the metadata service gave no token ({why}): this is no EC2 instance, or the hop limit of its metadata is 1 and has to be 2 for containers")
            })?;
        match answer.status {
            200 => Ok(Ec2 {
                at,
                token: answer.body.trim().to_owned(),
            }),
            403 => Err("the metadata service is disabled on this instance".to_owned()),
            status => Err(format!(
                "the metadata service gave no token: status {status}"
            )),
        }
    }

    /// An item below `/latest/`; `None` if there is none. An expired token is renewed once.
    ///
    /// # Errors
    /// A text.
    pub async fn item(&mut self, path: &str) -> Result<Option<String>, String> {
        for last in [false, true] {
            let header = [("x-aws-ec2-metadata-token", self.token.as_str())];
            let path = format!("/latest/{path}");
            let answer = ask(self.at, "GET", &path, &header, EC2_PATIENCE).await?;
            match answer.status {
                200 => return Ok(Some(answer.body.trim().to_owned())),
                404 => return Ok(None),
                401 if !last => *self = Ec2::session(self.at).await?,
                status => return Err(format!("{path}: status {status}")),
            }
        }
        Err("the metadata service accepts no token".to_owned())
    }

    /// The instance's private IPv4 address.
    ///
    /// # Errors
    /// A text.
    pub async fn local_ipv4(&mut self) -> Result<IpAddr, String> {
        let text = self.item("meta-data/local-ipv4").await?;
        let text = text.ok_or("the instance has no private IPv4 address")?;
        text.parse()
            .map_err(|_| format!("the metadata service gave no address: {text:?}"))
    }
}

/// Network mode and addresses of this process's ECS task, from the answer of its metadata endpoint
/// (`${ECS_CONTAINER_METADATA_URI_V4}`).
pub fn own_task(answer: &str) -> Option<(String, Vec<IpAddr>)> {
    let container: TaskContainer = serde_json::from_str(answer).ok()?;
    let networks = container.networks?;
    let mode = networks.first()?.network_mode.clone();
    let addresses = networks
        .into_iter()
        .flat_map(|n| n.v4.into_iter().chain(n.v6).flatten().collect::<Vec<_>>())
        .filter_map(|text| text.parse().ok())
        .collect();
    Some((mode, addresses))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Tasks {
    tasks: Vec<Task>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Task {
    containers: Vec<TaskContainer>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct TaskContainer {
    docker_id: String,
    networks: Option<Vec<TaskNetwork>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct TaskNetwork {
    network_mode: String,
    #[serde(rename = "IPv4Addresses")]
    v4: Option<Vec<String>>,
    #[serde(rename = "IPv6Addresses")]
    v6: Option<Vec<String>>,
}

/// Addresses of the tasks that have interfaces of their own (`awsvpc`), by container id, from the
/// answer of the ECS agent to `/v1/tasks`.
pub fn task_addresses(answer: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let tasks: Tasks = serde_json::from_str(answer).unwrap_or_default();
    let containers = tasks.tasks.into_iter().flat_map(|task| task.containers);
    containers
        .filter_map(|c| {
            let networks = c.networks.unwrap_or_default();
            let own = networks.into_iter().filter(|n| n.network_mode == "awsvpc");
            let addresses: Vec<IpAddr> = own
                .flat_map(|n| n.v4.into_iter().chain(n.v6).flatten().collect::<Vec<_>>())
                .filter_map(|text| text.parse().ok())
                .collect();
            (!addresses.is_empty()).then_some((c.docker_id, addresses))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn tasks_with_interfaces_of_their_own_have_addresses() {
        let text = r#"{"Tasks":[{"Arn":"a","Containers":[
            {"DockerId":"one","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.61"],"IPv6Addresses":["2001:db8::1"]}]},
            {"DockerId":"two","Networks":[{"NetworkMode":"bridge","IPv4Addresses":["172.17.0.2"]}]},
            {"DockerId":"three"}]}]}"#;
        let all = task_addresses(text);
        assert_eq!(all.len(), 1);
        assert_eq!(all["one"].len(), 2);
        assert!(task_addresses("nonsense").is_empty());
    }

    #[test]
    fn a_task_knows_its_network() {
        let text = r#"{"DockerId":"x","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.61"]}]}"#;
        assert_eq!(own_task(text).unwrap().0, "awsvpc");
        assert_eq!(own_task("{}"), None);
    }

    /// A metadata service as EC2's: a token is needed, and the first one expires at once.
    async fn fake_ec2() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut tokens = 0;
            while let Ok((mut io, _)) = listener.accept().await {
                let mut head = vec![0; 2048];
                let n = io.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..n]).to_lowercase();
                let (status, body) = if head.starts_with("put /latest/api/token ") {
                    tokens += 1;
                    ("200 OK", format!("token-{tokens}"))
                } else if !head.contains("x-aws-ec2-metadata-token: token-2") {
                    ("401 Unauthorized", String::new())
                } else if head.starts_with("get /latest/meta-data/local-ipv4 ") {
                    ("200 OK", "10.0.0.7".to_owned())
                } else {
                    ("404 Not Found", String::new())
                };
                let text = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = io.write_all(text.as_bytes()).await;
            }
        });
        at
    }

    #[tokio::test]
    async fn a_token_is_got_and_renewed() {
        let mut session = Ec2::session(fake_ec2().await).await.unwrap();
        assert_eq!(session.local_ipv4().await.unwrap().to_string(), "10.0.0.7");
        assert_eq!(
            session
                .item("meta-data/spot/instance-action")
                .await
                .unwrap(),
            None
        );
        assert_eq!(session.token, "token-2");
    }

    #[tokio::test]
    async fn silence_is_named_by_its_usual_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = Ec2::session(listener.local_addr().unwrap())
            .await
            .unwrap_err();
        assert!(error.contains("hop limit"), "{error}");
    }

    #[tokio::test]
    async fn a_service_is_asked_and_one_that_is_silent_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let n = io.read(&mut head).await.unwrap();
            io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await
                .unwrap();
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let (silent, _) = listener.accept().await.unwrap();
            (head, silent)
        });
        let limit = Duration::from_secs(20);
        let answer = ask(at, "PUT", "/latest/api/token", &[("x-ttl", "60")], limit)
            .await
            .unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
        let silent = ask(at, "GET", "/", &[], Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(silent.contains("no answer within"), "{silent}");
        let (head, _silent) = server.await.unwrap();
        assert!(
            head.starts_with("PUT /latest/api/token HTTP/1.1\r\n") && head.contains("x-ttl: 60"),
            "{head}"
        );
    }
}
