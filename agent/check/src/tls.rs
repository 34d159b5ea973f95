//! TLS towards what is checked, with and without verification.

use crate::texts::{io_text, rfc3339};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Files with the platform's authorities; the first that exists counts.
const ROOT_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Most authorities read from a file; systems have about 150.
const MAX_ROOTS: usize = 10_000;

/// Whom checks trust and who they are, towards TLS servers.
#[derive(Debug, Default)]
pub struct CheckTls {
    /// The authorities. `None` takes the platform's: the file `SSL_CERT_FILE` names, or the
    /// system's usual one, read when first needed.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// A certificate chain and its key, shown to servers that ask (Consul's
    /// `enable_agent_tls_for_checks`).
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Nothing is negotiated.
    Nothing = 0,
    /// HTTP/2, else HTTP/1.1.
    Http = 1,
    /// HTTP/2 only.
    Http2 = 2,
}

/// Settings, or why there are none.
type Made = OnceLock<Result<Arc<ClientConfig>, String>>;

/// Makes TLS connections; its settings are built when first needed and kept.
#[derive(Debug)]
pub(crate) struct Connector {
    given: CheckTls,
    /// By [`Speaks`], then by whether verification is skipped.
    made: [[Made; 2]; 3],
}

impl Connector {
    pub(crate) fn new(given: CheckTls) -> Connector {
        Connector {
            given,
            made: Default::default(),
        }
    }

    /// Shakes hands over `stream`. `name` is what the certificate must be for.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        name: &str,
        skip_verify: bool,
        speaks: Speaks,
    ) -> Result<TlsStream<TcpStream>, io::Error> {
        let made = self.made[speaks as usize][usize::from(skip_verify)]
            .get_or_init(|| self.make(skip_verify, speaks));
        let config = made.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("invalid server name {name}")))?;
        TlsConnector::from(Arc::clone(config))
            .connect(server, stream)
            .await
    }

    fn make(&self, skip_verify: bool, speaks: Speaks) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = if skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let mut roots = RootCertStore::empty();
            match &self.given.roots {
                Some(given) => roots.add_parsable_certificates(given.iter().cloned()),
                None => roots.add_parsable_certificates(platform_roots()),
            };
            if roots.is_empty() {
                return Err(
                    "tls: failed to verify certificate: x509: no certificate authorities are known"
                        .to_owned(),
                );
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_webpki_verifier(verifier.map_err(|e| e.to_string())?)
        };
        let mut config = match &self.given.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|e| e.to_string())?,
            None => builder.with_no_client_auth(),
        };
        // A resumed session would not look at the certificate again: an expired one would go on
        // passing.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match speaks {
            Speaks::Nothing => vec![],
            Speaks::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Speaks::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Arc::new(config))
    }
}

fn platform_roots() -> Vec<CertificateDer<'static>> {
    let read = |path: &str| -> Option<Vec<CertificateDer<'static>>> {
        let pem = std::fs::read(path).ok()?;
        // One unreadable certificate does not spoil the others.
        Some(
            CertificateDer::pem_slice_iter(&pem)
                .take(MAX_ROOTS)
                .filter_map(Result::ok)
                .collect(),
        )
    };
    match std::env::var("SSL_CERT_FILE") {
        Ok(path) if !path.is_empty() => read(&path),
        _ => ROOT_FILES.iter().find_map(|path| read(path)),
    }
    .unwrap_or_default()
}

/// Takes any certificate, but still has the server prove that it holds the key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the server answered with something that is not TLS.
pub(crate) fn is_not_tls(error: &io::Error) -> bool {
    matches!(rustls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

/// What went wrong in a handshake, as Go prints it.
pub(crate) fn handshake_text(error: &io::Error) -> String {
    match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!(
                "tls: failed to verify certificate: x509: {}",
                certificate_text(why)
            )
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("remote error: tls: {}", alert_text(*alert))
        }
        Some(other) => format!("tls: {other}"),
        None => io_text(error),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate_text(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::NotValidYet => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => {
            expired_text(*time, "after", *not_after)
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            expired_text(*time, "before", *not_before)
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => name_text(expected, presented),
        other => other.to_string(),
    }
}

fn expired_text(now: UnixTime, relation: &str, limit: UnixTime) -> String {
    let (now, limit) = (rfc3339(now.as_secs()), rfc3339(limit.as_secs()));
    format!("certificate has expired or is not yet valid: current time {now} is {relation} {limit}")
}

/// `presented` lists names as `DnsName("a.test")` and `IpAddress(127.0.0.1)`.
fn name_text(expected: &ServerName<'_>, presented: &[String]) -> String {
    let inside = |name: &str, kind: &str| {
        let inner = name
            .strip_prefix(kind)?
            .strip_prefix('(')?
            .strip_suffix(')')?;
        Some(inner.trim_matches('"').to_owned())
    };
    let (kind, wanted) = match expected {
        ServerName::IpAddress(ip) => ("IpAddress", std::net::IpAddr::from(*ip).to_string()),
        name => ("DnsName", name.to_str().into_owned()),
    };
    let names: Vec<String> = presented
        .iter()
        .filter_map(|name| inside(name, kind))
        .collect();
    match (names.is_empty(), kind) {
        (false, _) => format!(
            "certificate is valid for {}, not {wanted}",
            names.join(", ")
        ),
        (true, "IpAddress") => format!(
            "cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
        ),
        (true, _) => {
            format!("certificate is not valid for any names, but wanted to match {wanted}")
        }
    }
}

fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        AlertDescription::InternalError => "internal error".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized name".to_owned(),
        AlertDescription::CertificateRequired => "certificate required".to_owned(),
        AlertDescription::NoApplicationProtocol => "no application protocol".to_owned(),
        other => format!("{other:?}"),
    }
}
