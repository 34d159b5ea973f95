//! HTTPS, against a server that asks for a client certificate.

use lictor_client::{Client, ClientConfig, Error, TlsOptions};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(name)
}

/// Serves one connection after another and answers every request with `true`.
async fn server() -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file("ca.pem")).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(file("server-key.pem")).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut io) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut buffer = [0; 2048];
            // Requests here fit into one read.
            while matches!(io.read(&mut buffer).await, Ok(n) if n > 0) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
                if io.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn config(address: &str) -> ClientConfig {
    ClientConfig {
        tls: TlsOptions {
            ca_file: Some(file("ca.pem")),
            client_cert: Some(file("client.pem")),
            client_key: Some(file("client-key.pem")),
            server_name: Some("server.dc1.consul".into()),
            ..TlsOptions::default()
        },
        ..ClientConfig::at(format!("https://{address}"))
    }
}

async fn ask(config: ClientConfig) -> Result<String, Error> {
    let response = Client::new(config)?.raw("GET", "/v1/x", &[], "").await?;
    Ok(response.text())
}

#[tokio::test]
async fn both_sides_know_each_other_by_certificate() {
    let address = server().await;
    assert_eq!(ask(config(&address)).await.unwrap(), "true");
    let mut folder = config(&address);
    folder.address = address.clone();
    folder.ssl = true;
    assert_eq!(ask(folder).await.unwrap(), "true");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_refused_with_advice() {
    let address = server().await;
    let mut other_name = config(&address);
    other_name.tls.server_name = None;
    let err = ask(other_name).await.unwrap_err();
    assert!(err.is_unsent(), "{err}");
    assert!(err.hint().unwrap().contains("-tls-server-name"), "{err}");
    let mut no_authority = config(&address);
    // A certificate of nobody's trust.
    no_authority.tls.ca_file = Some(file("client.pem"));
    let err = ask(no_authority).await.unwrap_err();
    assert!(err.hint().unwrap().contains("-ca-file"), "{err}");
}

#[tokio::test]
async fn verification_can_be_given_up() {
    let address = server().await;
    let mut trusting = config(&address);
    trusting.tls.server_name = None;
    trusting.tls.ca_file = None;
    trusting.tls.verify = false;
    assert_eq!(ask(trusting).await.unwrap(), "true");
}

#[tokio::test]
async fn without_a_client_certificate_the_server_says_no() {
    let address = server().await;
    let mut unknown = config(&address);
    (unknown.tls.client_cert, unknown.tls.client_key) = (None, None);
    // With TLS 1.3 the refusal comes behind the handshake.
    assert!(ask(unknown).await.is_err());
}

#[tokio::test]
async fn a_plain_server_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let _ = io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = io.read(&mut [0; 512]).await;
    });
    let err = ask(config(&address)).await.unwrap_err();
    assert!(
        err.hint().unwrap().contains(&format!("http://{address}")),
        "{err}"
    );
}
