//! TLS under a session: first byte 3, the handshake, first byte 4.

mod common;

use std::sync::Arc;

use common::{Methods, pattern, raw, soon};
use lictor_rpc::{
    CallError, ClientLimits, ClientTls, Dial, Pool, ServeOptions, first_byte, serve_multiplexed,
};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

macro_rules! pki {
    ($name:literal) => {
        include_bytes!(concat!("../../net/tests/pki/", $name))
    };
}

fn roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki!("ca.pem")) {
        roots.add(certificate.expect("PEM")).expect("a CA");
    }
    Arc::new(roots)
}

fn pair(cert: &[u8], key: &[u8]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(cert).map(|c| c.expect("PEM"));
    let key = PrivateKeyDer::from_pem_slice(key).expect("PEM");
    (chain.collect(), key)
}

/// A server that demands certificates, as `verify_incoming` does.
async fn server() -> std::net::SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let (chain, key) = pair(pki!("server.pem"), pki!("server-key.pem"));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(), provider.clone())
        .build()
        .expect("roots");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            if stream.read_u8().await.ok() != Some(first_byte::TLS) {
                continue;
            }
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let first = stream.read_u8().await.ok()?;
                assert_eq!(first, first_byte::MULTIPLEXED);
                let options = ServeOptions::default();
                let _ = serve_multiplexed(stream, Methods::default(), options, peer).await;
                Some(())
            });
        }
    });
    addr
}

fn client(name: &'static str, certificate: bool) -> ClientTls {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots());
    let config = if certificate {
        let (chain, key) = pair(pki!("client.pem"), pki!("client-key.pem"));
        builder.with_client_auth_cert(chain, key).expect("a pair")
    } else {
        builder.with_no_client_auth()
    };
    ClientTls {
        config: Arc::new(config),
        name: name.try_into().expect("a name"),
    }
}

#[tokio::test]
async fn calls_through_tls() {
    let addr = server().await;
    let pool = Pool::new(Dial::default(), ClientLimits::default());
    pool.dial().set_tls(Some(client("localhost", true)));
    for size in [0, 5 << 20] {
        let args = raw(&pattern(size));
        let reply = pool.call(addr, "Test.Echo", &args, soon()).await;
        assert!(reply.expect("a reply") == args);
    }
    assert_eq!(pool.sessions(), 1);
}

#[tokio::test]
async fn who_cannot_show_itself_is_not_served() {
    let addr = server().await;
    for (tls, what) in [
        (Some(client("server.dc9.consul", true)), "another name"),
        (Some(client("localhost", false)), "no certificate"),
        (None, "no TLS"),
    ] {
        let pool = Pool::new(Dial::default(), ClientLimits::default());
        pool.dial().set_tls(tls);
        let outcome = pool.call(addr, "Status.Ping", &[0x80], soon()).await;
        assert!(
            matches!(outcome, Err(CallError::NotSent(_) | CallError::Lost(_))),
            "{what}: {outcome:?}"
        );
    }
}
