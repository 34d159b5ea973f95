//! What the caller read: texts with their names and formats.

/// Format of a configuration text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// HCL version 1.
    Hcl,
    /// JSON.
    Json,
}

impl Format {
    /// The format of that name, as `-config-format` gives it.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "hcl" => Some(Format::Hcl),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    /// The format that a file's name says, by its ending.
    pub fn of_path(path: &str) -> Option<Format> {
        let (_, ending) = path.rsplit_once('.')?;
        Format::named(ending)
    }
}

/// One configuration text. Sources are given in the order in which they were named, the files of
/// a directory by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name for error texts, usually the path as it was given.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Its bytes.
    pub text: Vec<u8>,
}

impl Source {
    /// A source.
    pub fn new(name: impl Into<String>, format: Format, text: impl Into<Vec<u8>>) -> Source {
        Source {
            name: name.into(),
            format,
            text: text.into(),
        }
    }
}

/// Consul's text for a file whose name says no format, given by `-config-file`: an error.
pub fn unknown_extension(path: &str) -> String {
    format!(
        "file {path} has unknown extension; must be .hcl or .json, or config format must be set"
    )
}

/// Consul's text for such a file in a directory: a warning.
pub fn skipped_extension(path: &str) -> String {
    format!("skipping file {path}, extension must be .hcl or .json, or config format must be set")
}

/// Consul's text for a path that cannot be opened; `reason` is the system's text, such as
/// `no such file or directory`.
pub fn open_failed(path: &str, reason: &str) -> String {
    format!("config: Open failed on {path}. open {path}: {reason}")
}
