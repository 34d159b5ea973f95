//! TLS of the HTTPS listener and of the servers' port, from the files that the configuration names.

use crate::agent::StartFailed;
use lictor_config::{Config, TlsProtocol};
use lictor_net::{Tls, TlsSettings, TlsVersion};
use lictor_rpc::{PortTls, PortTlsError, PortTlsSettings};
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
    let Files { cert, key, ca } = files("tls.https", t).map_err(StartFailed)?;
    Ok(TlsSettings {
        cert_pem: cert,
        key_pem: key,
        client_ca_pem: (!ca.is_empty()).then_some(ca),
        verify_incoming: t.verify_incoming,
        min_version: if t.min_version == "TLSv1_3" {
            TlsVersion::Tls13
        } else {
            TlsVersion::Tls12
        },
    })
}

/// The contents of the files of one protocol; empty where none is named.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

fn files(at: &str, t: &TlsProtocol) -> Result<Files, String> {
    let read = |key: &str, path: &str| match path {
        "" => Ok(Vec::new()),
        path => std::fs::read(path).map_err(|e| format!("{at}.{key}: {path}: {e}")),
    };
    let mut ca = read("ca_file", &t.ca_file)?;
    if !t.ca_path.is_empty() {
        let entries = std::fs::read_dir(&t.ca_path)
            .map_err(|e| format!("{at}.ca_path: {}: {e}", t.ca_path))?;
        for entry in entries.flatten() {
            ca.push(b'\n');
            ca.extend(read("ca_path", &entry.path().to_string_lossy())?);
        }
    }
    Ok(Files {
        cert: read("cert_file", &t.cert_file)?,
        key: read("key_file", &t.key_file)?,
        ca,
    })
}

/// TLS of the servers' port, both ways.
///
/// # Errors
/// What is wrong, with the key of the configuration and the file.
pub fn rpc(config: &Config) -> Result<Arc<PortTls>, String> {
    let tls = PortTls::new(rpc_settings(config)?).map_err(|e| rpc_error(config, &e))?;
    tls.outgoing(&config.datacenter)
        .map_err(|e| rpc_error(config, &e))?;
    Ok(Arc::new(tls))
}

/// Reads the files again: new connections get what they hold now.
///
/// # Errors
/// As [`rpc`]; what was goes on then.
pub fn reload_rpc(tls: &PortTls, config: &Config) -> Result<(), String> {
    tls.reload(rpc_settings(config)?)
        .map_err(|e| rpc_error(config, &e))
}

fn rpc_settings(config: &Config) -> Result<PortTlsSettings, String> {
    let t = &config.tls.internal_rpc;
    let Files { cert, key, ca } = files("tls.internal_rpc", t)?;
    Ok(PortTlsSettings {
        ca_pem: ca,
        cert_pem: cert,
        key_pem: key,
        only_1_3: t.min_version == "TLSv1_3",
        verify_incoming: t.verify_incoming,
        verify_outgoing: t.verify_outgoing,
        verify_server_hostname: t.verify_server_hostname,
        datacenter: config.datacenter.clone(),
        domain: config.dns.domain.clone(),
    })
}

/// Names the key and the file that an error is about.
fn rpc_error(config: &Config, error: &PortTlsError) -> String {
    let t = &config.tls.internal_rpc;
    let (key, file) = match error {
        PortTlsError::Authorities(_) if t.ca_file.is_empty() => ("ca_path", &t.ca_path),
        PortTlsError::Authorities(_) => ("ca_file", &t.ca_file),
        PortTlsError::Certificate(_) => ("cert_file", &t.cert_file),
        PortTlsError::Key(_) | PortTlsError::Pair(_) => ("key_file", &t.key_file),
        PortTlsError::Name { .. } => return format!("tls.internal_rpc: {error}"),
    };
    format!("tls.internal_rpc.{key}: {file}: {error}")
}
