//! The log file and its rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::FileSettings;
use crate::pipe::Sink;

/// Name of the file if only a directory is given.
const NAME: &str = "consul.log";

/// Time after which a file is rotated if none is given.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A file that is renamed once it is too large or too old, and begun anew.
///
/// Unlike Consul, which empties the file at its start, this one goes on with
/// what is there: the last lines before a crash are the ones that matter.
pub(crate) struct RotatingFile {
    directory: PathBuf,
    /// Names of rotated files are `stem-<nanoseconds>extension`.
    stem: String,
    extension: String,
    path: PathBuf,
    settings: FileSettings,
    file: File,
    written: u64,
    since: SystemTime,
}

impl RotatingFile {
    pub(crate) fn open(settings: FileSettings, now: SystemTime) -> io::Result<RotatingFile> {
        let given = Path::new(&settings.path);
        let path = if settings.path.ends_with('/') || given.is_dir() {
            given.join(NAME)
        } else {
            given.to_owned()
        };
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (stem, extension) = match name.rfind('.') {
            Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
            None => (name, ".log".to_owned()),
        };
        let (file, written) = append(&path)?;
        let mut rotating = RotatingFile {
            directory,
            stem,
            extension,
            path,
            settings,
            file,
            written,
            since: now,
        };
        if rotating.settings.rotate_duration.is_zero() {
            rotating.settings.rotate_duration = DAY;
        }
        // The number to keep may be another one than it was.
        rotating.prune()?;
        Ok(rotating)
    }

    fn due(&self, now: SystemTime) -> bool {
        let full = self.settings.rotate_bytes > 0 && self.written >= self.settings.rotate_bytes;
        full || now.duration_since(self.since).unwrap_or_default() >= self.settings.rotate_duration
    }

    /// Renames the file and begins a new one. If that fails, the present one is
    /// written on, until it is due once more.
    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        self.since = now;
        let full = std::mem::take(&mut self.written);
        let mut nanos = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let old = loop {
            let old = self
                .directory
                .join(format!("{}-{nanos}{}", self.stem, self.extension));
            // Only a clock that was set back can have used that name.
            if !old.exists() {
                break old;
            }
            nanos += 1;
        };
        // Something else may have taken the file away.
        match fs::rename(&self.path, old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match append(&self.path) {
            Ok((file, written)) => (self.file, self.written) = (file, written),
            Err(error) => {
                self.written = full;
                return Err(error);
            }
        }
        self.prune()
    }

    /// Removes the oldest rotated files above the number to keep.
    fn prune(&self) -> io::Result<()> {
        let keep = match self.settings.rotate_max_files {
            0 => return Ok(()),
            most => usize::try_from(most).unwrap_or(0),
        };
        let directory = if self.directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.directory
        };
        let mut old = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Some(nanos) = entry
                .file_name()
                .to_str()
                .and_then(|name| self.rotated_at(name))
            {
                old.push((nanos, entry.path()));
            }
        }
        old.sort();
        let surplus = old.len().saturating_sub(keep);
        for (_, path) in &old[..surplus] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// When the file of this name was rotated, in nanoseconds since 1970, if it
    /// is one of ours.
    fn rotated_at(&self, name: &str) -> Option<u128> {
        let nanos = name
            .strip_prefix(&self.stem)?
            .strip_prefix('-')?
            .strip_suffix(&self.extension)?;
        nanos
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| nanos.parse().ok())
            .flatten()
    }
}

/// Opens a file to write at its end and tells how long it is.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let written = file.metadata()?.len();
    Ok((file, written))
}

impl Sink for RotatingFile {
    fn write(&mut self, mut lines: &[u8], now: SystemTime) -> io::Result<()> {
        let mut result = Ok(());
        while !lines.is_empty() {
            if self.due(now) {
                result = self.rotate(now);
            }
            let room = match self.settings.rotate_bytes {
                0 => lines.len(),
                most => usize::try_from(most.saturating_sub(self.written)).unwrap_or(usize::MAX),
            };
            // The line that fills the file is the last one in it.
            let end = match lines.get(room.saturating_sub(1)..) {
                Some(rest) => rest
                    .iter()
                    .position(|&b| b == b'\n')
                    .map_or(lines.len(), |at| room.max(1) + at),
                None => lines.len(),
            };
            let (fits, rest) = lines.split_at(end);
            self.file.write_all(fits)?;
            self.written += fits.len() as u64;
            lines = rest;
        }
        result
    }

    fn reopen(&mut self, now: SystemTime) -> io::Result<()> {
        (self.file, self.written) = append(&self.path)?;
        self.since = now;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// An empty directory of this process; tests leave little in it.
    pub(crate) fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lictor-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn settings(path: &Path, bytes: u64, secs: u64, files: i64) -> FileSettings {
        FileSettings {
            path: path.to_str().unwrap().to_owned(),
            rotate_bytes: bytes,
            rotate_duration: Duration::from_secs(secs),
            rotate_max_files: files,
        }
    }

    /// Names and contents in order of the names.
    fn listing(dir: &Path) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|e| {
                (
                    e.file_name().into_string().unwrap(),
                    fs::read_to_string(e.path()).unwrap(),
                )
            })
            .collect();
        all.sort();
        all
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn rotates_by_bytes_between_lines() {
        let dir = scratch("bytes");
        let mut file = RotatingFile::open(settings(&dir, 8, 0, 0), at(1)).unwrap();
        // A batch is split after the line that reaches the limit.
        file.write(b"one\ntwo\nthree\nfour\nfive\n", at(2)).unwrap();
        file.write(b"six\n", at(3)).unwrap();
        assert_eq!(
            listing(&dir),
            pairs(&[
                ("consul-2000000000.log", "one\ntwo\n"),
                ("consul-2000000001.log", "three\nfour\n"),
                ("consul.log", "five\nsix\n"),
            ])
        );
        let mode = fs::metadata(dir.join("consul.log"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        file.write(b"a line longer than the limit\nx\n", at(4))
            .unwrap();
        let names: Vec<_> = listing(&dir).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            names,
            [
                "one\ntwo\n",
                "three\nfour\n",
                "five\nsix\n",
                "a line longer than the limit\n",
                "x\n"
            ]
        );
    }

    #[test]
    fn rotates_by_time() {
        let dir = scratch("time");
        let mut file =
            RotatingFile::open(settings(&dir.join("x.y.txt"), 0, 60, 0), at(100)).unwrap();
        file.write(b"a\n", at(159)).unwrap();
        file.write(b"b\n", at(160)).unwrap();
        file.write(b"c\n", at(219)).unwrap();
        // A clock set back rotates nothing.
        file.write(b"d\n", at(5)).unwrap();
        assert_eq!(
            listing(&dir),
            pairs(&[("x.y-160000000000.txt", "a\n"), ("x.y.txt", "b\nc\nd\n")])
        );
    }

    #[test]
    fn a_day_is_the_time_if_none_is_given() {
        let dir = scratch("day");
        let mut file = RotatingFile::open(settings(&dir.join("agent"), 0, 0, 0), at(0)).unwrap();
        file.write(b"a\n", at(86_399)).unwrap();
        file.write(b"b\n", at(86_400)).unwrap();
        assert_eq!(
            listing(&dir),
            pairs(&[("agent", "b\n"), ("agent-86400000000000.log", "a\n")])
        );
    }

    #[test]
    fn keeps_so_many_and_touches_no_other_file() {
        let dir = scratch("keep");
        for other in [
            "consul-audit.log",
            "consul-.log",
            "consul-1.log.gz",
            "other-1.log",
        ] {
            fs::write(dir.join(other), "").unwrap();
        }
        let mut file = RotatingFile::open(settings(&dir, 1, 0, 2), at(1)).unwrap();
        for n in 2..7 {
            file.write(b"x\n", at(n)).unwrap();
        }
        let names: Vec<_> = listing(&dir).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "consul-.log",
                "consul-1.log.gz",
                "consul-5000000000.log",
                "consul-6000000000.log",
                "consul-audit.log",
                "consul.log",
                "other-1.log"
            ]
        );
        drop(file);
        // None are kept, from the start on; the current one is written on.
        let mut file = RotatingFile::open(settings(&dir, 100, 60, -1), at(8)).unwrap();
        file.write(b"y\n", at(9)).unwrap();
        let after: Vec<_> = listing(&dir)
            .into_iter()
            .filter(|(name, _)| name.contains("consul-"))
            .collect();
        assert_eq!(
            after,
            pairs(&[
                ("consul-.log", ""),
                ("consul-1.log.gz", ""),
                ("consul-audit.log", "")
            ])
        );
        assert_eq!(
            fs::read_to_string(dir.join("consul.log")).unwrap(),
            "x\ny\n"
        );
        file.write(b"z\n", at(100)).unwrap();
        assert_eq!(fs::read_to_string(dir.join("consul.log")).unwrap(), "z\n");
    }

    #[test]
    fn a_file_taken_away_is_opened_anew() {
        let dir = scratch("away");
        let mut file = RotatingFile::open(settings(&dir, 0, 60, 0), at(1)).unwrap();
        file.write(b"a\n", at(2)).unwrap();
        fs::rename(dir.join("consul.log"), dir.join("taken")).unwrap();
        file.write(b"b\n", at(3)).unwrap();
        file.reopen(at(4)).unwrap();
        file.write(b"c\n", at(5)).unwrap();
        assert_eq!(
            listing(&dir),
            pairs(&[("consul.log", "c\n"), ("taken", "a\nb\n")])
        );
        fs::remove_file(dir.join("consul.log")).unwrap();
        file.write(b"d\n", at(70)).unwrap();
        assert_eq!(
            listing(&dir),
            pairs(&[("consul.log", "d\n"), ("taken", "a\nb\n")])
        );
    }
}
