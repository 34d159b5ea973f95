//! Why a configuration is refused.

use std::fmt;

/// Why a configuration is refused. The text (`Display`) is what Consul's `validate` prints behind
/// `Config validation failed: `, with hints and places added at the ends of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Errors {
    /// A source is not in the syntax of its format. Reading stopped there.
    Syntax {
        /// Name of the source.
        source: String,
        /// What is wrong, usually with its place.
        text: String,
    },
    /// Values of a source have the wrong type; all of that source.
    Types {
        /// Name of the source.
        source: String,
        /// One text for each.
        texts: Vec<String>,
    },
    /// A source has unknown keys; all of that source.
    UnknownKeys {
        /// Name of the source.
        source: String,
        /// One text for each.
        texts: Vec<String>,
    },
    /// Variables of the environment that name no key or hold no fitting value.
    Environment(Vec<String>),
    /// An error after which nothing further was looked at.
    One(String),
    /// Errors of the merged configuration, collected.
    Many(Vec<String>),
}

impl Errors {
    /// One line of text for each error, each naming its source where there is one.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Errors::Syntax { source, text } => vec![format!("{source}: {text}")],
            Errors::Types { source, texts } | Errors::UnknownKeys { source, texts } => texts
                .iter()
                .map(|text| format!("{source}: {text}"))
                .collect(),
            Errors::Environment(texts) | Errors::Many(texts) => texts.clone(),
            Errors::One(text) => vec![text.clone()],
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Errors::Syntax { source, text } => write!(f, "failed to parse {source}: {text}"),
            Errors::Types { source, texts } => {
                write!(
                    f,
                    "failed to parse {source}: {} error(s) decoding:\n\n",
                    texts.len()
                )?;
                for (i, text) in texts.iter().enumerate() {
                    let line_feed = if i == 0 { "" } else { "\n" };
                    write!(f, "{line_feed}* {text}")?;
                }
                Ok(())
            }
            Errors::UnknownKeys { source, texts } => {
                write!(f, "failed to parse {source}: ")?;
                list(f, texts)
            }
            Errors::Environment(texts) => {
                f.write_str("failed to read the environment: ")?;
                list(f, texts)
            }
            Errors::One(text) => f.write_str(text),
            Errors::Many(texts) => list(f, texts),
        }
    }
}

/// The form in which Consul prints errors that it collected.
fn list(f: &mut fmt::Formatter<'_>, texts: &[String]) -> fmt::Result {
    match texts.len() {
        1 => f.write_str("1 error occurred:\n")?,
        n => writeln!(f, "{n} errors occurred:")?,
    }
    for text in texts {
        writeln!(f, "\t* {text}")?;
    }
    writeln!(f)
}

impl std::error::Error for Errors {}
