//! TLS settings from files.

use crate::config::TlsOptions;
use crate::error::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// Where systems keep the authorities they trust; the first that exists is used.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path)
        .map_err(|err| Error::Config(format!("cannot read {}: {err}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let certs = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|err| Error::Config(format!("{} is not PEM: {err}", path.display())))?;
    if certs.is_empty() {
        return Err(Error::Config(format!(
            "{} holds no certificate",
            path.display()
        )));
    }
    Ok(certs)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    for cert in certificates(path)? {
        roots.add(cert).map_err(|err| {
            Error::Config(format!(
                "{} holds an unusable certificate: {err}",
                path.display()
            ))
        })?;
    }
    Ok(())
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &options.ca_file {
        add_file(&mut roots, file)?;
    } else if let Some(dir) = &options.ca_path {
        let entries = std::fs::read_dir(dir)
            .map_err(|err| Error::Config(format!("cannot read {}: {err}", dir.display())))?;
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|e| e.path())
            .filter(|p| p.is_file())
            .collect();
        files.sort();
        for file in &files {
            add_file(&mut roots, file)?;
        }
        if files.is_empty() {
            return Err(Error::Config(format!(
                "{} holds no certificate",
                dir.display()
            )));
        }
    } else if let Some(bundle) = SYSTEM_BUNDLES.iter().map(Path::new).find(|p| p.is_file()) {
        // A system's bundle may hold what rustls cannot use; the rest still counts.
        let bytes = read(bundle)?;
        roots.add_parsable_certificates(
            CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok),
        );
    }
    Ok(roots)
}

/// The settings for every connection of a client.
pub(crate) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|err| Error::Config(format!("TLS: {err}")))?;
    let builder = if options.verify {
        builder.with_root_certificates(roots(options)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
    };
    let mut config = match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => {
            let bytes = read(key)?;
            let parsed = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|err| Error::Config(format!("{} holds no key: {err}", key.display())))?;
            builder
                .with_client_auth_cert(certificates(cert)?, parsed)
                .map_err(|err| {
                    Error::Config(format!("{} and {}: {err}", cert.display(), key.display()))
                })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(Error::Config(
                "a client certificate and its key go together: give both or neither".into(),
            ));
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate, as CONSUL_HTTP_SSL_VERIFY=false asks; signatures are still checked.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_do_not_fit_are_named() {
        let missing = TlsOptions {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..TlsOptions::default()
        };
        let err = client_config(&missing).unwrap_err().to_string();
        assert!(err.starts_with("cannot read /nonexistent/ca.pem"), "{err}");
        let half = TlsOptions {
            client_cert: Some("/x.pem".into()),
            verify: false,
            ..TlsOptions::default()
        };
        assert!(
            client_config(&half)
                .unwrap_err()
                .to_string()
                .contains("give both or neither")
        );
        assert!(
            client_config(&TlsOptions {
                verify: false,
                ..TlsOptions::default()
            })
            .is_ok()
        );
    }
}
