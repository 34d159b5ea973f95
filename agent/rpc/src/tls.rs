//! TLS of the servers' port, both ways: what is accepted there, and what is dialled.
//!
//! The rules are Consul's. Who dials decides whether there is TLS; who listens decides whether
//! there must be. A server's name is `server.<datacenter>.<domain>`, and is verified only where
//! that is asked for: without it any certificate of the authority will do.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::server::{NoClientAuth, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::dial::ClientTls;

/// What the TLS of the port is made of. Contents of files, not names: who reads them names them in
/// errors.
#[derive(Clone, Default)]
pub struct PortTlsSettings {
    /// Authorities, PEM; empty: none.
    pub ca_pem: Vec<u8>,
    /// The own certificate with its chain, PEM; empty: none.
    pub cert_pem: Vec<u8>,
    /// Its key, PEM.
    pub key_pem: Vec<u8>,
    /// TLS 1.3 and nothing older; else 1.2 too.
    pub only_1_3: bool,
    /// Only TLS is taken, and only from those who show a certificate of the authorities.
    pub verify_incoming: bool,
    /// TLS is used, and the other side's certificate verified.
    pub verify_outgoing: bool,
    /// The name in it too.
    pub verify_server_hostname: bool,
    /// The own datacenter.
    pub datacenter: String,
    /// The domain of names: `consul`.
    pub domain: String,
}

impl std::fmt::Debug for PortTlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("PortTlsSettings")
            .field("verify_incoming", &self.verify_incoming)
            .field("verify_outgoing", &self.verify_outgoing)
            .field("verify_server_hostname", &self.verify_server_hostname)
            .finish_non_exhaustive()
    }
}

/// What is wrong with settings: the part, and why.
#[derive(Debug, thiserror::Error)]
pub enum PortTlsError {
    /// The authorities.
    #[error("CA certificates cannot be used: {0}")]
    Authorities(String),
    /// The certificate.
    #[error("no certificate found: {0}")]
    Certificate(String),
    /// The key.
    #[error("no private key found: {0}")]
    Key(String),
    /// Certificate and key together.
    #[error("certificate and key cannot be used: {0}")]
    Pair(rustls::Error),
    /// The name that servers have.
    #[error("server.{datacenter}.{domain} is no name that a certificate can have")]
    Name {
        /// The datacenter in it.
        datacenter: String,
        /// The domain in it.
        domain: String,
    },
}

/// TLS of the port. Connections made after [`PortTls::reload`] follow the new settings.
#[derive(Debug)]
pub struct PortTls(RwLock<Arc<Made>>);

#[derive(Debug)]
struct Made {
    settings: PortTlsSettings,
    incoming: Option<Arc<ServerConfig>>,
    outgoing: Option<Arc<ClientConfig>>,
}

impl PortTls {
    /// Checks the settings and makes them ready for use.
    ///
    /// # Errors
    /// [`PortTlsError`].
    pub fn new(settings: PortTlsSettings) -> Result<PortTls, PortTlsError> {
        Ok(PortTls(RwLock::new(Arc::new(make(settings)?))))
    }

    /// Connections made from now on follow these settings. After an error the old ones still hold.
    ///
    /// # Errors
    /// As [`PortTls::new`].
    pub fn reload(&self, settings: PortTlsSettings) -> Result<(), PortTlsError> {
        let made = Arc::new(make(settings)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(())
    }

    fn made(&self) -> Arc<Made> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether connections without TLS are refused.
    pub fn verify_incoming(&self) -> bool {
        self.made().settings.verify_incoming
    }

    /// Whether TLS is taken: there is a certificate.
    pub fn takes_tls(&self) -> bool {
        self.made().incoming.is_some()
    }

    /// How servers of this datacenter are dialled; `None`: without TLS.
    ///
    /// # Errors
    /// [`PortTlsError::Name`]: no server of a datacenter of that name can be verified.
    pub fn outgoing(&self, datacenter: &str) -> Result<Option<ClientTls>, PortTlsError> {
        let made = self.made();
        let Some(config) = made.outgoing.clone() else {
            return Ok(None);
        };
        let name = server_name(datacenter, &made.settings.domain)?;
        Ok(Some(ClientTls { config, name }))
    }

    /// The handshake of a connection whose first byte has announced TLS; `None`: there is no
    /// certificate for it.
    pub async fn accept(&self, stream: TcpStream) -> Option<io::Result<TlsStream<TcpStream>>> {
        let incoming = self.made().incoming.clone()?;
        Some(TlsAcceptor::from(incoming).accept(stream).await)
    }

    /// Whether the other side may be a server: where names are verified, consensus is nothing for
    /// a client agent, whose certificate comes from the same authority.
    ///
    /// # Errors
    /// Why not.
    pub fn is_server(&self, peer: Option<&TlsStream<TcpStream>>) -> Result<(), String> {
        let made = self.made();
        let settings = &made.settings;
        if !(settings.verify_incoming && settings.verify_server_hostname) {
            return Ok(());
        }
        let shown = peer.and_then(|stream| stream.get_ref().1.peer_certificates());
        let Some(shown) = shown.and_then(<[_]>::first) else {
            return Err("it has shown no certificate".to_owned());
        };
        let name = server_name(&settings.datacenter, &settings.domain);
        let name = name.map_err(|e| e.to_string())?;
        ParsedCertificate::try_from(shown)
            .and_then(|parsed| verify_server_name(&parsed, &name))
            .map_err(|_| format!("its certificate is not of {}", name.to_str()))
    }
}

fn server_name(datacenter: &str, domain: &str) -> Result<ServerName<'static>, PortTlsError> {
    let text = format!("server.{datacenter}.{}", domain.trim_matches('.'));
    ServerName::try_from(text).map_err(|_| PortTlsError::Name {
        datacenter: datacenter.to_owned(),
        domain: domain.to_owned(),
    })
}

fn make(settings: PortTlsSettings) -> Result<Made, PortTlsError> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    let versions = if settings.only_1_3 { &BOTH[..1] } else { &BOTH };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    if !settings.ca_pem.is_empty() {
        for authority in certificates(&settings.ca_pem).map_err(PortTlsError::Authorities)? {
            let added = roots.add(authority);
            added.map_err(|e| PortTlsError::Authorities(e.to_string()))?;
        }
    }
    let roots = Arc::new(roots);
    let pair = if settings.cert_pem.is_empty() {
        None
    } else {
        let chain = certificates(&settings.cert_pem).map_err(PortTlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&settings.key_pem)
            .map_err(|e| PortTlsError::Key(e.to_string()))?;
        Some((chain, key))
    };
    let incoming = match &pair {
        None => None,
        Some((chain, key)) => {
            let verifier = if settings.verify_incoming {
                let built =
                    WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                        .build();
                built.map_err(|e| PortTlsError::Authorities(e.to_string()))?
            } else {
                Arc::new(NoClientAuth)
            };
            let config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(versions)
                .map_err(PortTlsError::Pair)?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(PortTlsError::Pair)?;
            Some(Arc::new(config))
        }
    };
    let outgoing = if settings.verify_outgoing {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|e| PortTlsError::Authorities(e.to_string()))?;
        let verifier = Arc::new(Verifier {
            inner,
            names: settings.verify_server_hostname,
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(PortTlsError::Pair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match pair {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(PortTlsError::Pair)?,
            None => builder.with_no_client_auth(),
        };
        Some(Arc::new(config))
    } else {
        None
    };
    Ok(Made {
        settings,
        incoming,
        outgoing,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    if chain.is_empty() {
        return Err("no PEM section of that kind".into());
    }
    Ok(chain)
}

/// Verifies a server's chain, and its name if that is wanted.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    names: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is what is looked at last: all else is good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.names => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
