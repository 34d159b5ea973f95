//! Events as lines, in the forms of Consul's log.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

use tracing::Event;
use tracing::field::{Field, Visit};

use crate::level::Level;
use crate::subscriber::subsystem;
use crate::time::rfc3339;

/// Longest text of one value, in bytes; the rest is cut off.
const LONGEST_VALUE: usize = 64 * 1024;

/// The buffers that events are written into. Used again and again, so that an
/// event allocates nothing once they have grown.
#[derive(Default)]
pub(crate) struct Formatter {
    line: Vec<u8>,
    fields: Vec<u8>,
    scratch: Scratch,
}

impl Formatter {
    /// The event as a line of text, with its newline. Gives the line and where
    /// in it the subsystem begins, that is, what follows time and level.
    pub(crate) fn text(&mut self, at: SystemTime, event: &Event<'_>) -> (&[u8], usize) {
        let metadata = event.metadata();
        self.clear();
        rfc3339(&mut self.line, at, 3);
        self.line.push(b' ');
        self.line
            .extend_from_slice(Level::of(metadata.level()).bracket().as_bytes());
        let start = self.line.len();
        let (prefix, name) = subsystem(metadata.target());
        self.line.extend_from_slice(prefix.as_bytes());
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b": ");
        let own_line = {
            let mut visitor = Text {
                line: &mut self.line,
                fields: &mut self.fields,
                scratch: &mut self.scratch,
                own_line: false,
            };
            event.record(&mut visitor);
            visitor.own_line
        };
        if !self.fields.is_empty() {
            self.line.push(b':');
            self.line.extend_from_slice(&self.fields);
        }
        // A value on lines of its own has ended its last line already.
        if !own_line {
            self.line.push(b'\n');
        }
        (&self.line, start)
    }

    /// The event as a JSON object, with a newline.
    pub(crate) fn json(&mut self, at: SystemTime, event: &Event<'_>) -> &[u8] {
        let metadata = event.metadata();
        self.clear();
        self.line.extend_from_slice(b"{\"@level\":\"");
        self.line
            .extend_from_slice(Level::of(metadata.level()).word().as_bytes());
        self.line.extend_from_slice(b"\",\"@message\":");
        let message = {
            let mut visitor = Json {
                line: &mut self.line,
                fields: &mut self.fields,
                scratch: &mut self.scratch,
                message: false,
            };
            event.record(&mut visitor);
            visitor.message
        };
        if !message {
            self.line.extend_from_slice(b"\"\"");
        }
        self.line.extend_from_slice(b",\"@module\":\"");
        let (prefix, name) = subsystem(metadata.target());
        self.line.extend_from_slice(prefix.as_bytes());
        json_inner(&mut self.line, name);
        self.line.extend_from_slice(b"\",\"@timestamp\":\"");
        rfc3339(&mut self.line, at, 6);
        self.line.push(b'"');
        self.line.extend_from_slice(&self.fields);
        self.line.extend_from_slice(b"}\n");
        &self.line
    }

    fn clear(&mut self) {
        // One huge line must not keep its memory for good.
        const KEPT: usize = 64 * 1024;
        for buffer in [&mut self.line, &mut self.fields] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        self.scratch.0.shrink_to(KEPT);
    }
}

/// A text of bounded length.
#[derive(Default)]
struct Scratch(String);

impl Scratch {
    /// What `value` shows, as far as it fits.
    fn show(&mut self, value: &dyn fmt::Debug) -> &str {
        self.0.clear();
        // Fails once the text is full, or by a fault of the value; what was
        // written until then is shown.
        let _ = fmt::write(self, format_args!("{value:?}"));
        &self.0
    }
}

impl fmt::Write for Scratch {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let cut = floor(text, LONGEST_VALUE - self.0.len().min(LONGEST_VALUE));
        self.0.push_str(cut);
        if cut.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// The first `most` bytes of `text`, fewer if that would split a character.
fn floor(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// What a value written by `Debug` is.
enum Shown<'a> {
    /// A list of texts and numbers; shown as it is.
    List(&'a str),
    /// A text, without the quotes that `Debug` puts around it.
    Text(std::borrow::Cow<'a, str>),
}

/// Tells lists and quoted texts from other values. Both `?value` and `%value`
/// come here, so it goes by what the text looks like.
fn classify(text: &str) -> Shown<'_> {
    if text.starts_with('[') && text.ends_with(']') {
        let simple = |v: &serde_json::Value| !v.is_array() && !v.is_object();
        if serde_json::from_str::<Vec<serde_json::Value>>(text)
            .is_ok_and(|list| list.iter().all(simple))
        {
            return Shown::List(text);
        }
    } else if text.starts_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(text)
    {
        return Shown::Text(inner.into());
    }
    Shown::Text(text.into())
}

/// The name of a field as it is shown; `None` for those that are not.
fn key(field: &Field) -> Option<&'static str> {
    let name = field.name();
    // Fields that the bridge from the `log` crate adds about the source.
    if name.starts_with("log.") {
        return None;
    }
    Some(name.strip_prefix("r#").unwrap_or(name))
}

struct Text<'a> {
    line: &'a mut Vec<u8>,
    fields: &'a mut Vec<u8>,
    scratch: &'a mut Scratch,
    /// The last value ended its line.
    own_line: bool,
}

impl Text<'_> {
    fn start(&mut self, key: &str) {
        if std::mem::take(&mut self.own_line) {
            self.fields.extend_from_slice(b"  ");
        }
        self.fields.push(b' ');
        self.fields.extend_from_slice(key.as_bytes());
        self.fields.push(b'=');
    }

    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if let Some(key) = key(field) {
            self.start(key);
            let _ = self.fields.write_fmt(value);
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        if value.contains('\n') {
            self.fields
                .extend_from_slice(if self.own_line { b"  " } else { b"\n  " });
            self.fields.extend_from_slice(key.as_bytes());
            self.fields.extend_from_slice(b"=\n");
            for line in value.lines() {
                self.fields.extend_from_slice(b"  | ");
                escaped(self.fields, line, false);
                self.fields.push(b'\n');
            }
            self.own_line = true;
            return;
        }
        self.start(key);
        if value.is_empty() || value.chars().any(needs_quotes) {
            self.fields.push(b'"');
            escaped(self.fields, value, true);
            self.fields.push(b'"');
        } else {
            self.fields.extend_from_slice(value.as_bytes());
        }
    }
}

fn needs_quotes(c: char) -> bool {
    matches!(c, '=' | '"') || c.is_whitespace() || c.is_control()
}

/// Appends `text` with what would harm a terminal or forge a line written as
/// Go's `strconv.Quote` does; with `quotes` also `"` and `\`.
fn escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let mut rest = 0;
    for (at, c) in text.char_indices() {
        let short: &[u8] = match c {
            '"' if quotes => b"\\\"",
            '\\' if quotes => b"\\\\",
            '\t' if !quotes => continue,
            '\x07' => b"\\a",
            '\x08' => b"\\b",
            '\x0b' => b"\\v",
            '\x0c' => b"\\f",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            c if c.is_control() => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[rest..at]);
        rest = at + c.len_utf8();
        if short.is_empty() {
            let code = u32::from(c);
            let _ = if c.is_ascii() {
                write!(out, "\\x{code:02x}")
            } else {
                write!(out, "\\u{code:04x}")
            };
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(&text.as_bytes()[rest..]);
}

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = floor(value, LONGEST_VALUE);
        if field.name() == "message" {
            escaped(self.line, value, false);
        } else if let Some(key) = key(field) {
            self.text(key, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Some(key) = key(field) else { return };
        let mut scratch = std::mem::take(self.scratch);
        let text = scratch.show(value);
        if key == "message" {
            escaped(self.line, text, false);
        } else {
            match classify(text) {
                Shown::List(list) if !list.contains('\n') => {
                    self.plain(field, format_args!("{list}"))
                }
                Shown::List(text) => self.text(key, text),
                Shown::Text(text) => self.text(key, &text),
            }
        }
        *self.scratch = scratch;
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }
}

struct Json<'a> {
    line: &'a mut Vec<u8>,
    fields: &'a mut Vec<u8>,
    scratch: &'a mut Scratch,
    /// The message was written.
    message: bool,
}

impl Json<'_> {
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if let Some(key) = key(field) {
            self.start(key);
            let _ = self.fields.write_fmt(value);
        }
    }

    fn start(&mut self, key: &str) {
        self.fields.push(b',');
        json_text(self.fields, key);
        self.fields.push(b':');
    }

    fn message(&mut self, text: &str) {
        if !std::mem::replace(&mut self.message, true) {
            json_text(self.line, text);
        }
    }
}

impl Visit for Json<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = floor(value, LONGEST_VALUE);
        if field.name() == "message" {
            self.message(value);
        } else if let Some(key) = key(field) {
            self.start(key);
            json_text(self.fields, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Some(key) = key(field) else { return };
        let mut scratch = std::mem::take(self.scratch);
        let text = scratch.show(value);
        if key == "message" {
            self.message(text);
        } else {
            self.start(key);
            match classify(text) {
                // Lists of JSON may hold newlines between their values.
                Shown::List(list) if !list.contains('\n') => {
                    self.fields.extend_from_slice(list.as_bytes())
                }
                Shown::List(text) => json_text(self.fields, text),
                Shown::Text(text) => json_text(self.fields, &text),
            }
        }
        *self.scratch = scratch;
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, format_args!("{value}"));
        } else {
            self.plain(field, format_args!("\"{value}\""));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }
}

fn json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    json_inner(out, text);
    out.push(b'"');
}

fn json_inner(out: &mut Vec<u8>, text: &str) {
    let mut rest = 0;
    for (at, c) in text.bytes().enumerate() {
        let short: &[u8] = match c {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[rest..at]);
        rest = at + 1;
        if short.is_empty() {
            let _ = write!(out, "\\u{c:04x}");
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(&text.as_bytes()[rest..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, UNIX_EPOCH};
    use tracing::span;

    #[derive(Clone, Default)]
    struct Both(Arc<Mutex<(String, String)>>);

    impl tracing::Subscriber for Both {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let at = UNIX_EPOCH + Duration::from_micros(1_795_260_156_134_978);
            let mut formatter = Formatter::default();
            let (text, start) = formatter.text(at, event);
            assert_eq!(text[start - 1], b' ');
            let text = String::from_utf8(text.to_vec()).unwrap();
            let json = String::from_utf8(formatter.json(at, event).to_vec()).unwrap();
            assert!(json.ends_with("}\n") && json.matches('\n').count() == 1);
            *self.0.lock().unwrap() = (text, json.trim_end().to_owned());
        }
    }

    macro_rules! lines {
        ($macro:ident, $($event:tt)*) => {{
            let both = Both::default();
            crate::subscriber::tests::with(both.clone(), || tracing::$macro!($($event)*));
            let lines = both.0.lock().unwrap().clone();
            lines
        }};
    }

    /// The line without time, level and subsystem.
    macro_rules! text {
        ($($event:tt)*) => {{
            let (line, _) = lines!(info, target: "agent", $($event)*);
            line.strip_prefix("2026-11-21T11:22:36.134Z [INFO]  agent: ").unwrap().to_owned()
        }};
    }

    /// The fields of the line of JSON.
    macro_rules! json {
        ($($event:tt)*) => {{
            let (_, line) = lines!(info, target: "agent", $($event)*);
            serde_json::from_str::<serde_json::Value>(&line).unwrap()
        }};
    }

    #[test]
    fn levels_are_aligned() {
        let rest = "agent.server: message\n";
        for ((line, json), level, word) in [
            (
                lines!(error, target: "agent.server", "message"),
                "[ERROR] ",
                "error",
            ),
            (
                lines!(warn, target: "agent.server", "message"),
                "[WARN]  ",
                "warn",
            ),
            (
                lines!(info, target: "agent.server", "message"),
                "[INFO]  ",
                "info",
            ),
            (
                lines!(debug, target: "agent.server", "message"),
                "[DEBUG] ",
                "debug",
            ),
            (
                lines!(trace, target: "agent.server", "message"),
                "[TRACE] ",
                "trace",
            ),
        ] {
            assert_eq!(line, format!("2026-11-21T11:22:36.134Z {level}{rest}"));
            assert_eq!(
                json,
                format!(
                    r#"{{"@level":"{word}","@message":"message","@module":"agent.server","@timestamp":"2026-11-21T11:22:36.134978Z"}}"#
                )
            );
        }
    }

    #[test]
    fn values_are_quoted_as_needed() {
        assert_eq!(text!("m"), "m\n");
        assert_eq!(
            text!(key = "value", other = 5, "m"),
            "m: key=value other=5\n"
        );
        assert_eq!(text!(key = "two words", "m"), "m: key=\"two words\"\n");
        assert_eq!(text!(key = "a=b", "m"), "m: key=\"a=b\"\n");
        assert_eq!(text!(key = "say \"x\"", "m"), "m: key=\"say \\\"x\\\"\"\n");
        assert_eq!(text!(key = "", "m"), "m: key=\"\"\n");
        assert_eq!(
            text!(key = "\x1b[2J\t\u{85}", "m"),
            "m: key=\"\\x1b[2J\\t\\u0085\"\n"
        );
        assert_eq!(text!(key = "größe", "m"), "m: key=größe\n");
        assert_eq!(text!(key = r"C:\x", "m"), "m: key=C:\\x\n");
        assert_eq!(
            text!(a = -1, b = true, c = 1.5, d = u64::MAX, "m"),
            "m: a=-1 b=true c=1.5 d=18446744073709551615\n"
        );
        assert_eq!(text!(r#type = "x", "m"), "m: type=x\n");
        assert_eq!(text!(key = %7, "m"), "m: key=7\n");
    }

    #[test]
    fn values_of_debug_and_display() {
        let error = std::io::Error::other("no route");
        assert_eq!(text!(error = %error, "m"), "m: error=\"no route\"\n");
        assert_eq!(
            text!(error = &error as &dyn std::error::Error, "m"),
            "m: error=\"no route\"\n"
        );
        assert_eq!(text!(name = ?"two words", "m"), "m: name=\"two words\"\n");
        assert_eq!(
            text!(after = ?Duration::from_millis(1500), "m"),
            "m: after=1.5s\n"
        );
        assert_eq!(
            text!(lan_addresses = ?["10.0.0.1:8301", "b"], "(LAN) joining"),
            "(LAN) joining: lan_addresses=[\"10.0.0.1:8301\", \"b\"]\n"
        );
        assert_eq!(text!(address = %"[::1]", "m"), "m: address=[::1]\n");
        assert_eq!(text!(forged = %"[a b=c]", "m"), "m: forged=\"[a b=c]\"\n");
    }

    #[test]
    fn many_lines_are_set_apart() {
        assert_eq!(
            text!(output = "one\ntwo\n", "m"),
            "m:\n  output=\n  | one\n  | two\n"
        );
        assert_eq!(
            text!(a = 1, output = "one\ntwo", b = 2, "m"),
            "m: a=1\n  output=\n  | one\n  | two\n   b=2\n"
        );
        assert_eq!(
            text!(a = "1\n2", b = "3\n4", "m"),
            "m:\n  a=\n  | 1\n  | 2\n  b=\n  | 3\n  | 4\n"
        );
        assert_eq!(text!("one\ntwo {}", 3), "one\\ntwo 3\n");
    }

    #[test]
    fn the_message_comes_first_wherever_it_stands() {
        assert_eq!(text!(a = 1, message = "m"), "m: a=1\n");
        assert_eq!(text!(a = 1), ": a=1\n");
        assert_eq!(json!(a = 1)["@message"], "");
        assert_eq!(json!(a = 1, message = "m")["@message"], "m");
    }

    #[test]
    fn json_keeps_types() {
        let (_, line) = lines!(info, target: "agent", address = "127.0.0.1:28610", network = "udp", "Started DNS server");
        assert_eq!(
            line,
            r#"{"@level":"info","@message":"Started DNS server","@module":"agent","@timestamp":"2026-11-21T11:22:36.134978Z","address":"127.0.0.1:28610","network":"udp"}"#
        );
        let v = json!(a = -1, b = true, c = 1.5, d = u64::MAX, e = "x\n\"\x01\u{7f}", f = f64::NAN, list = ?["a", "b"], "m \x02");
        assert_eq!(v["@message"], "m \x02");
        assert_eq!(v["a"], -1);
        assert_eq!(v["b"], true);
        assert_eq!(v["c"], 1.5);
        assert_eq!(v["d"], u64::MAX);
        assert_eq!(v["e"], "x\n\"\x01\u{7f}");
        assert_eq!(v["f"], "NaN");
        assert_eq!(v["list"], serde_json::json!(["a", "b"]));
        assert_eq!(json!(x = ?Some("y"), "m")["x"], "Some(\"y\")");
    }

    #[test]
    fn values_are_bounded() {
        let long = "ä".repeat(LONGEST_VALUE);
        let (text, json) =
            lines!(info, target: "agent", a = long.as_str(), b = %long, c = ?long, "m");
        assert!(text.len() < 4 * LONGEST_VALUE && text.len() > 3 * LONGEST_VALUE);
        assert!(json.len() < 4 * LONGEST_VALUE);
    }
}
