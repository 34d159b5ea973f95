//! Reads what the configuration is made of: files, directories, environment, interfaces.

use crate::agent::Shared;
use lictor_config::{Flags, Format, Loaded, Source};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Reads the configuration as the command line names it; the same again at each reload.
#[derive(Clone, Debug)]
pub struct Loader {
    flags: Flags,
}

impl Loader {
    /// A loader for a command line.
    pub fn new(flags: Flags) -> Loader {
        Loader { flags }
    }

    /// When each of the named files and folders was changed last.
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let mut out = Vec::new();
        for path in self.flags.config_paths.iter().map(Path::new) {
            out.push(changed(path));
            let mut files: Vec<_> = fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path())
                .collect();
            files.sort();
            out.extend(files.iter().map(|f| changed(f)));
        }
        out
    }

    /// The command line, and the files that it names.
    pub fn sources(&self) -> Result<(&Flags, Vec<Source>), String> {
        let mut sources = Vec::new();
        for path in &self.flags.config_paths {
            let format = self.flags.config_format;
            read_path(path, format, &mut sources, &mut Vec::new())?;
        }
        Ok((&self.flags, sources))
    }

    /// Reads everything and resolves it.
    pub fn load(&self) -> Result<Loaded, String> {
        let mut warnings = Vec::new();
        let mut sources = Vec::new();
        for path in &self.flags.config_paths {
            read_path(path, self.flags.config_format, &mut sources, &mut warnings)?;
        }
        if let Some(found) = crate::addresses::found(&self.flags, &sources)? {
            sources.insert(0, found);
        }
        let interfaces = lictor_host::interfaces()
            .map_err(|e| format!("cannot list the network interfaces: {e}"))?;
        let hostname = lictor_host::hostname();
        let mut loaded = lictor_config::load(
            &self.flags,
            sources,
            std::env::vars(),
            &interfaces,
            &hostname,
        )
        .map_err(|e| e.to_string())?;
        warnings.append(&mut loaded.warnings);
        loaded.warnings = warnings;
        Ok(loaded)
    }
}

/// How often files are looked at where they are reloaded by themselves.
const LOOK: Duration = Duration::from_secs(1);

/// Reloads whenever a configuration file has changed and stayed as it is for a moment
/// (`auto_reload_config`).
pub async fn reload_on_change(shared: Arc<Shared>) {
    let mut known = shared.loader().stamps();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = shared.loader().stamps();
        if now == known {
            continue;
        }
        // Several files are usually replaced together.
        tokio::time::sleep(LOOK).await;
        known = shared.loader().stamps();
        tracing::info!(target: "agent", "configuration files changed, reloading");
        if let Err(error) = shared.reload().await {
            tracing::error!(target: "agent", error = %error, "Reload config failed");
        }
    }
}

/// The words of Go for an error of the system.
fn reason(error: &std::io::Error) -> String {
    crate::members::go_error(error)
}

/// Reads a file, or the files of a directory in the order of their names.
pub fn read_path(
    path: &str,
    format: Option<Format>,
    sources: &mut Vec<Source>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let failed = |e: std::io::Error| lictor_config::source::open_failed(path, &reason(&e));
    let meta = fs::metadata(path).map_err(failed)?;
    if !meta.is_dir() {
        let format = match format.or_else(|| Format::of_path(path)) {
            Some(format) => format,
            None => return Err(lictor_config::source::unknown_extension(path)),
        };
        sources.push(Source::new(path, format, fs::read(path).map_err(failed)?));
        return Ok(());
    }
    let mut names: Vec<_> = fs::read_dir(path)
        .map_err(failed)?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    names.sort();
    for name in names {
        let file = Path::new(path).join(&name);
        let shown = file.to_string_lossy().into_owned();
        let failed = |e: std::io::Error| lictor_config::source::open_failed(&shown, &reason(&e));
        // Follows symbolic links, as configuration managers make them.
        if fs::metadata(&file).map_err(failed)?.is_dir() {
            continue;
        }
        match format.or_else(|| Format::of_path(&shown)) {
            Some(format) => sources.push(Source::new(
                shown.clone(),
                format,
                fs::read(&file).map_err(failed)?,
            )),
            None => warnings.push(lictor_config::source::skipped_extension(&shown)),
        }
    }
    Ok(())
}
