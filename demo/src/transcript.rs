//! What people see: a line for each thing that happens, with the time and who it happened to.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether lines have colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl std::str::FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Color, String> {
        match text {
            "auto" => Ok(Color::Auto),
            "always" => Ok(Color::Always),
            "never" => Ok(Color::Never),
            _ => Err(format!("{text:?} is not auto, always or never")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Color {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Color, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It happened.
    Plain,
    /// It went well.
    Good,
    /// It did not.
    Bad,
}

/// A line, without its end.
fn line(since_start: Duration, speaker: &str, tone: Tone, text: &str, color: bool) -> String {
    let seconds = since_start.as_secs_f64();
    if !color {
        return format!("{seconds:9.3}  {speaker:<9} {text}");
    }
    let hue = match speaker {
        "agent" => 35,
        "client" => 36,
        s if s.ends_with('2') => 33,
        _ => 34,
    };
    let (on, off) = match tone {
        Tone::Plain => ("", ""),
        Tone::Good => ("\x1b[32m", "\x1b[0m"),
        Tone::Bad => ("\x1b[1;31m", "\x1b[0m"),
    };
    format!("\x1b[2m{seconds:9.3}\x1b[0m  \x1b[{hue}m{speaker:<9}\x1b[0m {on}{text}{off}")
}

/// Where lines go.
pub struct Transcript {
    start: Instant,
    color: bool,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Transcript {
    /// To stdout.
    pub fn to_stdout(color: Color) -> Transcript {
        let out = std::io::stdout();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        };
        Transcript::new(Box::new(out), color)
    }

    /// To anywhere.
    pub fn new(out: Box<dyn Write + Send>, color: bool) -> Transcript {
        Transcript {
            start: Instant::now(),
            color,
            out: Mutex::new(out),
        }
    }

    /// Adds a line.
    pub fn say(&self, speaker: &str, tone: Tone, text: &str) {
        let line = line(self.start.elapsed(), speaker, tone, text, self.color);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever reads may be gone; the demo goes on.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// Adds a plain line.
    pub fn note(&self, speaker: &str, text: &str) {
        self.say(speaker, Tone::Plain, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_plain_unless_coloured() {
        let at = Duration::from_millis(1234);
        assert_eq!(
            line(at, "client", Tone::Bad, "no such host", false),
            "    1.234  client    no such host"
        );
        let coloured = line(at, "server-2", Tone::Good, "x", true);
        assert!(
            coloured.contains("\x1b[33mserver-2 ") && coloured.ends_with("\x1b[32mx\x1b[0m"),
            "{coloured:?}"
        );
        assert_eq!("never".parse(), Ok(Color::Never));
    }
}
