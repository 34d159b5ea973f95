//! TLS of the HTTPS listener, from the files that the configuration names.

use crate::agent::StartFailed;
use lictor_config::Config;
use lictor_net::{Tls, TlsSettings, TlsVersion};
use std::sync::Arc;

/// The TLS of the HTTPS listener.
pub fn https(config: &Config) -> Result<Arc<Tls>, StartFailed> {
    let settings = settings(config)?;
    Tls::new(&settings)
        .map(Arc::new)
        .map_err(|e| StartFailed(format!("tls.https: {e}")))
}

/// Reads the files again: new connections get what they hold now.
pub fn reload(tls: &Tls, config: &Config) -> Result<(), String> {
    let settings = settings(config).map_err(|e| e.to_string())?;
    tls.reload(&settings).map_err(|e| format!("tls.https: {e}"))
}

fn settings(config: &Config) -> Result<TlsSettings, StartFailed> {
    let t = &config.tls.https;
    if t.cert_file.is_empty() || t.key_file.is_empty() {
        return Err(StartFailed(
            "ports.https is set but there is no certificate: set tls.https.cert_file and tls.https.key_file".to_owned(),
        ));
    }
    let read = |path: &str| {
        std::fs::read(path).map_err(|e| StartFailed(format!("tls.https: {path}: {e}")))
    };
    let mut ca = Vec::new();
    if !t.ca_file.is_empty() {
        ca.extend(read(&t.ca_file)?);
    }
    if !t.ca_path.is_empty() {
        let entries = std::fs::read_dir(&t.ca_path)
            .map_err(|e| StartFailed(format!("tls.https: {}: {e}", t.ca_path)))?;
        for entry in entries.flatten() {
            ca.extend(read(&entry.path().to_string_lossy())?);
            ca.push(b'\n');
        }
    }
    Ok(TlsSettings {
        cert_pem: read(&t.cert_file)?,
        key_pem: read(&t.key_file)?,
        client_ca_pem: (!ca.is_empty()).then_some(ca),
        verify_incoming: t.verify_incoming,
        min_version: if t.min_version == "TLSv1_3" {
            TlsVersion::Tls13
        } else {
            TlsVersion::Tls12
        },
    })
}
