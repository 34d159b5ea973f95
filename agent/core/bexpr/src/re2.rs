//! Regular expressions as Go's `regexp` takes them (RE2 syntax), with Go's error texts.
//!
//! The engine is the `regex` crate, which like RE2 works in linear time. Its syntax is close but not
//! the same: Go's `\d \w \s \b` are ASCII, `{` may be a literal, `[a&&b]` is no intersection, and
//! look-alike extensions of one are errors in the other. So a pattern is first read by Go's rules
//! and written anew in the engine's.

mod translate;

use std::fmt;

/// A compiled pattern, which may match anywhere in a text.
#[derive(Clone, Debug)]
pub struct Regex(regex::Regex);

impl Regex {
    /// Bytes that a compiled pattern may take at most. Time to match grows with it, too.
    pub const MAX_BYTES: usize = 2 << 20;

    /// Bytes of text that a pattern may have: reading one takes some hundred times its length.
    pub const MAX_PATTERN: usize = 64 << 10;

    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is not of the language, or longer than [`Regex::MAX_PATTERN`], or needs more than
    /// [`Regex::MAX_BYTES`]. Groups nested a hundred deep are an error, where Go allows a thousand.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::with_limit(pattern, Self::MAX_BYTES)
    }

    /// [`Regex::new`] with another limit of bytes.
    ///
    /// # Errors
    /// As [`Regex::new`].
    pub fn with_limit(pattern: &str, bytes: usize) -> Result<Self, RegexError> {
        if pattern.len() > Self::MAX_PATTERN {
            return Err(RegexError::new(TOO_LARGE, pattern));
        }
        let translated = translate::translate(pattern)?;
        match build(&translated, bytes) {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(RegexError::new(TOO_LARGE, pattern)),
            // The translation is of the engine's language; what it can still refuse is depth.
            Err(_) => Err(RegexError::new("expression nests too deeply", pattern)),
        }
    }

    /// Whether it matches somewhere in the text. Takes time linear in the text's length.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

const TOO_LARGE: &str = "expression too large";

fn build(pattern: &str, bytes: usize) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(bytes).build()
}

/// Why a pattern is refused. The text is that of Go's `regexp.Compile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexError {
    problem: &'static str,
    /// The part of the pattern that is to blame.
    part: String,
}

impl RegexError {
    pub(crate) fn new(problem: &'static str, part: &str) -> Self {
        Self {
            problem,
            part: part.to_owned(),
        }
    }

    /// For a pattern that is not even text: shows it from where it ceases to be.
    pub(crate) fn not_utf8(pattern: &[u8], error: std::str::Utf8Error) -> Self {
        let rest = pattern.get(error.valid_up_to()..).unwrap_or_default();
        Self::new("invalid UTF-8", &String::from_utf8_lossy(rest))
    }
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.problem, self.part)
    }
}

impl std::error::Error for RegexError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        for (pattern, text, want) in [
            ("", "anything", true),
            ("^w.b$", "web", true),
            ("^w.b$", "w\nb", false),
            ("(?s)^w.b$", "w\nb", true),
            ("eb", "web", true),
            ("^b", "a\nb", false),
            ("(?m)^b", "a\nb", true),
            (r"a$", "a\n", false),
            (r"a\z", "a", true),
            (r"^\d$", "٣", false),
            (r"^\D$", "٣", true),
            (r"^\w+$", "é", false),
            (r"^\s$", "\u{a0}", false),
            (r"^\s$", "\x0b", false),
            (r"^[\s]$", "\x0c", true),
            (r"\bé", "aé", true),
            (r"a\B", "aé", false),
            (r"\B", "aéa", false),
            (r"α|\B", "_αa", true),
            (r"^[^\d]$", "x", true),
            (r"^[\D]$", "1", false),
            (r"^[^\D]$", "1", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{$", "a{", true),
            (r"^a{01}$", "a{01}", true),
            (r"^a{2}$", "aa", true),
            (r"^a{2,}$", "aaaa", true),
            (r"^a{2,3}?$", "aaaa", false),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[+--]$", ",", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]$", "]", false),
            (r"^[a-]$", "-", true),
            (r"^[[a]$", "[", true),
            (r"^[[:alpha:]_]+$", "a_", true),
            (r"^[[:^alpha:]]$", "1", true),
            (r"^\pL$", "é", true),
            (r"^\PL$", "é", false),
            (r"^\p{^L}$", "1", true),
            (r"^[\p{Greek}x]+$", "αx", true),
            (r"^\x41\x{1F600}\101$", "A\u{1F600}A", true),
            (r"^\Qa.b*\E+$", "a.b**", true),
            (r"^\Qa.b", "a.b", true),
            ("(?i)^ß$", "ẞ", true),
            ("(?i)k", "\u{212A}", true),
            (r"(?i)^\w$", "\u{212A}", true),
            ("(?i:a)b", "Ab", true),
            ("(?i:a)b", "AB", false),
            ("(?i-i)a", "A", false),
            ("^(?P<x>a)(?<y>b)$", "ab", true),
            ("^a(?i)*$", "aaa", true),
            ("^a*(?i)*$", "aaa", true),
            ("^a+(?i)??$", "", true),
            ("^(?P<n>a)(?P<n>b)$", "ab", true),
            ("^(?:)*$", "", true),
            (
                &format!("{}a{}", "(".repeat(100), ")*".repeat(100)),
                "a",
                true,
            ),
            ("a||b", "x", true),
            ("(|a)b", "b", true),
            (r"\x{D800}", "x", false),
            (r"^[\x{D7FF}-\x{E000}]$", "\u{E000}", true),
            (r"^[^\x{D800}]$", "x", true),
            (r"\a|\f|\v|\t|\n|\r", "\x07", true),
            (r"\.\-\_\<", ".-_<", true),
            ("#x y", "#x y", true),
            ("}", "}", true),
            ("]", "]", true),
        ] {
            let regex = Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), want, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn errors() {
        let thousand = format!("{}{}", "(a{10}".repeat(4), "){10}".repeat(4));
        let deep = "(".repeat(Regex::MAX_PATTERN);
        for (pattern, want) in [
            ("(", "missing closing ): `(`"),
            ("(a", "missing closing ): `(a`"),
            ("a)b", "unexpected ): `a)b`"),
            ("[", "missing closing ]: `[`"),
            ("x[ab", "missing closing ]: `[ab`"),
            ("[]", "missing closing ]: `[]`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
            (r"\p", r"invalid character class range: `\p`"),
            (r"\pé", r"invalid character class range: `\pé`"),
            (r"[a\p{x]", r"invalid character class range: `\p{x]`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|+?", "missing argument to repetition operator: `+?`"),
            ("({2}", "missing argument to repetition operator: `{2}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a*?+b", "invalid nested repetition operator: `*?+`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a{999999999}", "invalid repeat count: `{999999999}`"),
            ("(a{100}){11}", "invalid repeat count: `{11}`"),
            (&thousand, "invalid repeat count: `{10}`"),
            (r"a\", "trailing backslash at end of expression: ``"),
            (r"\y", r"invalid escape sequence: `\y`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\C", r"invalid escape sequence: `\C`"),
            (r"\Z", r"invalid escape sequence: `\Z`"),
            (r"\x", r"invalid escape sequence: `\x`"),
            (r"\xg0", r"invalid escape sequence: `\xg0`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)", "invalid or unsupported Perl syntax: `(?x`"),
            ("x(?i", "invalid or unsupported Perl syntax: `(?i`"),
            ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?<=a)", "invalid named capture: `(?<=a)`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<n!>a)", "invalid named capture: `(?P<n!>`"),
            ("(?P<", "invalid or unsupported Perl syntax: `(?P`"),
            ("(?<", "invalid or unsupported Perl syntax: `(?<`"),
            (&deep, "expression nests too deeply"),
        ] {
            let text = Regex::new(pattern).expect_err(pattern).to_string();
            let text = text.strip_prefix("error parsing regexp: ").expect("prefix");
            assert!(
                text == want || pattern.len() > 1000 && text.starts_with(want),
                "{text}"
            );
        }
    }

    #[test]
    fn size_is_bounded() {
        let error = Regex::with_limit(r"\pL{1000}", 64 << 10).expect_err("too large");
        assert_eq!(
            error.to_string(),
            r"error parsing regexp: expression too large: `\pL{1000}`"
        );
        assert!(Regex::with_limit("abc", 4 << 10).is_ok());
        for pattern in ["a".repeat(Regex::MAX_PATTERN + 1), r"\pL".repeat(1000)] {
            let error = Regex::new(&pattern).expect_err("too large").to_string();
            assert!(error.contains("expression too large"));
        }
    }
}
