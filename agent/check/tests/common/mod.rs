//! What the tests share: a place for results, small servers, certificates.

#![allow(dead_code)]

use lictor_check::{CheckTls, Checks, Notify, Options};
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::GoDuration;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Longer than anything here takes; only a failing test waits for it.
pub const LIMIT: Duration = Duration::from_secs(30);

pub type Update = (String, Status, String);

/// Keeps every result.
#[derive(Clone)]
pub struct Results(Arc<watch::Sender<Vec<Update>>>);

impl Notify for Results {
    fn update(&self, check: &str, status: Status, output: String) {
        self.0
            .send_modify(|all| all.push((check.to_owned(), status, output)));
    }
}

impl Results {
    pub fn new() -> Results {
        Results(Arc::new(watch::channel(vec![]).0))
    }

    pub fn all(&self) -> Vec<Update> {
        self.0.borrow().clone()
    }

    /// Waits until the results are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Update]) -> bool) -> Vec<Update> {
        let mut receiver = self.0.subscribe();
        let found = tokio::time::timeout(LIMIT, receiver.wait_for(|all| wanted(all))).await;
        match found {
            Ok(all) => all.unwrap().clone(),
            Err(_) => panic!("it never came to that: {:?}", self.all()),
        }
    }

    /// Waits for one result more than there are now, of any check, and gives it.
    pub async fn next(&self) -> (Status, String) {
        let seen = self.all().len();
        let all = self.until(|all| all.len() > seen).await;
        let (_, status, output) = all[seen].clone();
        (status, output)
    }
}

pub fn quick() -> Options {
    Options {
        min_interval: Duration::from_millis(10),
        ..Options::default()
    }
}

/// A definition that runs all the time and gives up after five seconds.
pub fn check(fill: impl FnOnce(&mut CheckType)) -> CheckType {
    let mut check = CheckType {
        interval: GoDuration::from_millis(10),
        timeout: GoDuration::from_secs(5),
        ..CheckType::default()
    };
    fill(&mut check);
    check
}

/// The first result of a check.
pub async fn once(options: Options, fill: impl FnOnce(&mut CheckType)) -> (Status, String) {
    let results = Results::new();
    let checks = Checks::new(options, results.clone());
    checks.start("c", &check(fill), Status::Critical);
    let (_, status, output) = results.until(|all| !all.is_empty()).await.swap_remove(0);
    checks.shutdown().await;
    (status, output)
}

/// What the server was asked: head and body.
#[derive(Clone, Debug)]
pub struct Asked {
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .filter(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .collect()
    }
}

/// An HTTP server that answers one request of each connection with the bytes it is told.
pub struct Web {
    pub address: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    pub async fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Web {
        Web::start_tls(None, answer).await
    }

    pub async fn start_tls(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(vec![]));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &seen, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &seen, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        Web { address, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<S>(
    mut stream: S,
    seen: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> Vec<u8> + Send + Sync),
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = vec![];
    let asked = loop {
        let mut buffer = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let asked = Asked {
            head: head.to_owned(),
            body: body.to_owned(),
        };
        let length: usize = asked
            .header("content-length")
            .first()
            .map_or(0, |l| l.parse().unwrap());
        if body.len() >= length {
            break asked;
        }
    };
    seen.lock().unwrap().push(asked.clone());
    let bytes = answer(&asked);
    let hang = bytes.is_empty();
    let _ = stream.write_all(&bytes).await;
    if hang || asked.line().contains("/hang") {
        // Until the client goes away.
        let _ = stream.read(&mut [0; 1]).await;
    }
    let _ = stream.shutdown().await;
}

/// A plain answer with a body.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub fn certificate(name: &str) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_file(format!("testdata/{name}.pem")).unwrap()]
}

pub fn key() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file("testdata/key.pem").unwrap()
}

/// A server's side of TLS. `name` is a certificate of the test data.
pub fn acceptor(name: &str, asks_for_certificate: bool, alpn: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if asks_for_certificate {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca").remove(0)).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(certificate(name), key()).unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Options that trust the test authority.
pub fn trusting() -> Options {
    Options {
        tls: CheckTls {
            roots: Some(certificate("ca")),
            identity: None,
        },
        ..quick()
    }
}
