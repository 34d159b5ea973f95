//! `raft/peers.json`: the membership rewritten by hand, when a quorum is lost.

use crate::agent::StartFailed;
use lictor_raft::ServerInfo;
use serde::Deserialize;
use std::path::Path;

/// What stands in `peers.info`, for who looks for help there.
const INFO: &str = "\
As of Lictor's first version the file raft/peers.json is read only once, at a start, to bring back
a cluster that has lost its quorum. It names all servers that are to be in the cluster:

    [
      { \"id\": \"adf4238a-882b-9ddc-4a9d-5b6758e4159e\", \"address\": \"10.1.0.1:8300\", \"non_voter\": false },
      { \"id\": \"8b6dda82-3103-11e7-93ae-92361f002671\", \"address\": \"10.1.0.2:8300\", \"non_voter\": false }
    ]

\"id\" is what the file node-id in the data directory of that server holds, \"address\" where its
server port is. Stop all servers, write the same file into the data directory of each that is left,
and start them. The file is deleted when it has been applied.

It is not needed to add or remove single servers: a server joins with retry_join, and leaves with
`leave`. Do not delete this file: while it is missing a peers.json is taken for an old one and
deleted without being read.
";

#[derive(Deserialize)]
struct Line {
    id: String,
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// Applies a `peers.json` in the directory of consensus, by Consul's rules: where there is no
/// `peers.info` yet that is written and the other deleted unread.
///
/// # Errors
/// When there is one and it cannot be used. Nothing has been changed then.
pub fn apply(dir: &Path) -> Result<(), StartFailed> {
    let (info, peers) = (dir.join("peers.info"), dir.join("peers.json"));
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        StartFailed(format!("{what} {}: {e}", peers.display()))
    };
    let known = info.try_exists().unwrap_or(false);
    if !known {
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&info, INFO))
            .map_err(|e| StartFailed(format!("{}: {e}", info.display())))?;
    }
    let bytes = match std::fs::read(&peers) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("recovery failed to read", &e)),
    };
    if !known {
        std::fs::remove_file(&peers).map_err(|e| failed("failed to delete", &e))?;
        tracing::info!(target: "agent.server", file = %peers.display(), "deleted peers.json file (see peers.info for details)");
        return Ok(());
    }
    tracing::info!(target: "agent.server", "found peers.json file, recovering Raft configuration...");
    let (voters, learners) =
        read(&bytes).map_err(|e| failed("recovery failed to parse peers.json", &e))?;
    let recovered =
        lictor_raft::recover(dir, &voters, &learners).map_err(|e| failed("recovery failed", &e))?;
    std::fs::remove_file(&peers)
        .map_err(|e| failed("recovery failed to delete, please delete manually:", &e))?;
    tracing::info!(target: "agent.server", index = recovered.index, term = recovered.term, "deleted peers.json file after successful recovery");
    Ok(())
}

fn read(bytes: &[u8]) -> Result<(Vec<ServerInfo>, Vec<ServerInfo>), String> {
    let lines: Vec<Line> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let (mut voters, mut learners) = (Vec::new(), Vec::new());
    for line in lines {
        let server = ServerInfo {
            node_id: line.id.trim().to_lowercase(),
            name: String::new(),
            address: line.address,
        };
        if line.non_voter {
            learners.push(server);
        } else {
            voters.push(server);
        }
    }
    Ok((voters, learners))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_consuls() {
        let text = br#"[{"id":"A1","address":"10.0.0.1:8300"},
            {"id":"b2","address":"10.0.0.2:8300","non_voter":true}]"#;
        let (voters, learners) = read(text).unwrap();
        assert_eq!((voters.len(), learners.len()), (1, 1));
        assert_eq!(voters[0].node_id, "a1");
        assert_eq!(learners[0].address, "10.0.0.2:8300");
        assert!(read(b"[{\"address\":\"x\"}]").is_err());
        assert!(read(b"{}").is_err());
    }

    #[test]
    fn without_the_explaining_file_it_is_deleted_unread() {
        let dir = std::env::temp_dir().join(format!("lictor-peers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("peers.json"), b"nonsense").unwrap();
        apply(&dir).unwrap();
        assert!(!dir.join("peers.json").exists());
        assert!(dir.join("peers.info").exists());
        // From now on it counts.
        std::fs::write(dir.join("peers.json"), b"nonsense").unwrap();
        assert!(apply(&dir).unwrap_err().to_string().contains("peers.json"));
        assert!(dir.join("peers.json").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
