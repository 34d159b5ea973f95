//! TLS for listeners: settings in PEM, replaceable while connections are open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3, Consul's default.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl TlsVersion {
    /// Reads a `tls_min_version`: `TLSv1_0` to `TLSv1_3`, or the older `tls10` to `tls13`. TLS 1.0
    /// and 1.1 are not offered (RFC 8996): such a value is 1.2, and the second half says that it
    /// was raised.
    pub fn parse(text: &str) -> Option<(Self, bool)> {
        match text {
            "" | "TLSv1_2" | "tls12" | "TLS_AUTO" => Some((Self::Tls12, false)),
            "TLSv1_3" | "tls13" => Some((Self::Tls13, false)),
            "TLSv1_0" | "TLSv1_1" | "tls10" | "tls11" => Some((Self::Tls12, true)),
            _ => None,
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

/// What a TLS listener needs. Contents, not names of files: who reads the files knows how to name
/// them in an error.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// The certificate and its chain, PEM, leaf first.
    pub cert_pem: Vec<u8>,
    /// Its private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key_pem: Vec<u8>,
    /// Certificates of the authorities that clients' certificates may come from, PEM.
    pub client_ca_pem: Option<Vec<u8>>,
    /// Clients must show a certificate (`verify_incoming`).
    pub verify_incoming: bool,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("TlsSettings")
            .field("client_ca", &self.client_ca_pem.is_some())
            .field("verify_incoming", &self.verify_incoming)
            .field("min_version", &self.min_version)
            .finish_non_exhaustive()
    }
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file holds none, or is not PEM.
    #[error("no certificate found: {0}")]
    Certificate(String),
    /// The key file holds none, or is not PEM.
    #[error("no private key found: {0}")]
    Key(String),
    /// Clients are to be verified and there is nothing to verify them with.
    #[error("verify_incoming is set, and no CA certificates were given (ca_file or ca_path)")]
    NoClientCa,
    /// The authorities of clients cannot be read.
    #[error("CA certificates cannot be used: {0}")]
    ClientCa(String),
    /// The parts do not fit together.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// The TLS side of one or several listeners. [`Tls::reload`] gives new connections a new
/// certificate; open ones keep theirs.
#[derive(Debug)]
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    /// Checks the settings and makes them ready for use.
    ///
    /// # Errors
    /// When PEM cannot be read or key and certificate do not belong together.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(config(settings)?)))
    }

    /// Replaces the settings for connections accepted from now on. After an error the old ones
    /// still hold.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        self.0.store(Arc::new(config(settings)?));
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

fn config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    // Named here, so that nothing depends on what another part of the process made the default.
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&settings.cert_pem).map_err(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&settings.key_pem)
        .map_err(|e| TlsError::Key(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(settings.min_version.versions())?
        .with_client_cert_verifier(verifier(settings, provider)?)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if !settings.verify_incoming {
        return Ok(Arc::new(NoClientAuth));
    }
    let pem = settings.client_ca_pem.as_deref();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem.ok_or(TlsError::NoClientCa)?).map_err(TlsError::ClientCa)? {
        roots
            .add(certificate)
            .map_err(|e| TlsError::ClientCa(e.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| TlsError::ClientCa(e.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TlsSettings {
        TlsSettings {
            cert_pem: include_bytes!("../tests/pki/server.pem").to_vec(),
            key_pem: include_bytes!("../tests/pki/server-key.pem").to_vec(),
            ..TlsSettings::default()
        }
    }

    #[test]
    fn errors_name_the_part() {
        assert!(matches!(
            Tls::new(&TlsSettings::default()),
            Err(TlsError::Certificate(_))
        ));
        let no_key = TlsSettings {
            key_pem: b"nothing".to_vec(),
            ..settings()
        };
        assert!(matches!(Tls::new(&no_key), Err(TlsError::Key(_))));
        let other_key = TlsSettings {
            key_pem: include_bytes!("../tests/pki/client-key.pem").to_vec(),
            ..settings()
        };
        assert!(matches!(Tls::new(&other_key), Err(TlsError::Pair(_))));
        let no_ca = TlsSettings {
            verify_incoming: true,
            ..settings()
        };
        assert!(matches!(Tls::new(&no_ca), Err(TlsError::NoClientCa)));
    }

    #[test]
    fn a_bad_reload_keeps_what_was() {
        let tls = Tls::new(&settings()).expect("good settings");
        let before = tls.current();
        assert!(tls.reload(&TlsSettings::default()).is_err());
        assert!(Arc::ptr_eq(&before, &tls.current()));
        tls.reload(&settings()).expect("good settings");
        assert!(!Arc::ptr_eq(&before, &tls.current()));
    }

    #[test]
    fn versions_by_name() {
        assert_eq!(TlsVersion::parse(""), Some((TlsVersion::Tls12, false)));
        assert_eq!(
            TlsVersion::parse("TLSv1_0"),
            Some((TlsVersion::Tls12, true))
        );
        assert_eq!(
            TlsVersion::parse("TLSv1_3"),
            Some((TlsVersion::Tls13, false))
        );
        assert_eq!(TlsVersion::parse("SSLv3"), None);
    }

    #[test]
    fn keys_are_not_printed() {
        assert!(!format!("{:?}", settings()).contains("key"));
    }
}
