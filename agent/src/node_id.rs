//! The node's identity on disk: its UUID, and when a server was last alive.

use crate::local;
use lictor_config::Config;
use lictor_wire::Str;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The node's UUID: from the configuration, else from the data directory, else new.
pub fn node_id(config: &Config, data_dir: Option<&Path>) -> Result<Str, String> {
    if let Some(id) = &config.node_id {
        return Ok(Str::from(id.as_str()));
    }
    let fresh = || {
        let stable = if config.disable_host_node_id {
            None
        } else {
            lictor_host::stable_id()
        };
        stable.map_or_else(crate::random::uuid, Str::from)
    };
    let Some(dir) = data_dir else {
        return Ok(fresh());
    };
    let path = dir.join("node-id");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim().to_lowercase();
            crate::writes::check_uuid(&id)
                .map_err(|e| format!("NodeID in {} is invalid: {e}", path.display()))?;
            Ok(Str::from(id))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = fresh();
            local::replace(&path, id.as_bytes(), true)
                .map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(id)
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    last_seen_unix: u64,
}

/// Refuses a server that was away for too long: its data may have been replaced by others.
pub fn check_age(config: &Config, data_dir: &Path, now: u64) -> Result<(), String> {
    let path = data_dir.join("server_metadata.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(format!(
                "error reading server metadata: {}: {error}",
                path.display()
            ));
        }
    };
    let seen: Metadata = serde_json::from_str(&text)
        .map_err(|e| format!("error reading server metadata: {}: {e}", path.display()))?;
    let max = config.server_rejoin_age_max;
    let age = now.saturating_sub(seen.last_seen_unix);
    if max.0 > 0 && u128::from(age) * 1_000_000_000 > max.0.unsigned_abs().into() {
        return Err(format!(
            "refusing to rejoin cluster because server has been offline for more than the configured server_rejoin_age_max ({max}) - consider wiping your data dir"
        ));
    }
    Ok(())
}

/// Notes that the server is alive now.
pub fn note_alive(data_dir: &Path, now: u64) {
    let bytes = lictor_wire::gojson::to_vec(&Metadata {
        last_seen_unix: now,
    });
    if let Err(error) = local::replace(&data_dir.join("server_metadata.json"), &bytes, false) {
        tracing::error!(target: "agent", error = %error, "failed to write server metadata");
    }
}
