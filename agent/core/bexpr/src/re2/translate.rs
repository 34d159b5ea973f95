//! Go's syntax read, the engine's written.
//!
//! Only whether a pattern matches is of interest, so what cannot change that (capturing, greed) is
//! checked and then left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{RegexError, build};

/// Matches nothing, in the engine's syntax.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";
const ANYTHING: &str = r"[\x00-\x{10FFFF}]";

/// `\B` by ASCII words. Alone it would also fit within a character, and the engine, which rightly
/// refuses such a match, then misses a real one that began before. The second half is true just
/// between characters.
const NO_BOUNDARY: &str = r"(?:(?-u:\B)(?:\b|\B))";

/// How deep groups may be nested. Go has 1000; the engine is recursive and counts more than groups.
const MAX_DEPTH: usize = 100;

const MAX_REPEAT: u32 = 1000;

/// How many Unicode properties a pattern may name: each is hundreds of ranges to the engine.
const MAX_PROPERTIES: usize = 500;

type Result<T> = std::result::Result<T, RegexError>;

pub(super) fn translate(pattern: &str) -> Result<String> {
    let mut translator = Translator {
        whole: pattern,
        rest: pattern,
        out: String::with_capacity(pattern.len() * 2),
        outer: Vec::new(),
        group: Group::default(),
        properties: BTreeSet::new(),
        named: 0,
    };
    translator.run()?;
    Ok(translator.out)
}

/// A group being read.
#[derive(Default)]
struct Group {
    /// What a repetition would apply to.
    last: Option<Atom>,
    /// The largest weight in it so far.
    weight: u32,
}

#[derive(Clone, Copy)]
struct Atom {
    /// Product of the counted repetitions nested in it, on the heaviest path.
    weight: u32,
    /// Where it ends in the output: flags may have been written since.
    end: usize,
    /// Repetitions of it so far. Flags between them make more than one legal.
    repeated: usize,
}

struct Translator<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    outer: Vec<Group>,
    group: Group,
    /// Unicode properties that the engine is known to have.
    properties: BTreeSet<&'p str>,
    /// How many have been named, the same one again included.
    named: usize,
}

/// `from` up to where `rest`, its tail, begins.
fn up_to<'p>(from: &'p str, rest: &str) -> &'p str {
    from.get(..from.len() - rest.len()).unwrap_or(from)
}

impl<'p> Translator<'p> {
    fn run(&mut self) -> Result<()> {
        // Where the repetition that has just been read began, if one has.
        let mut repeated: Option<&'p str> = None;
        while let Some(c) = self.rest.chars().next() {
            let start = self.rest;
            let previous = repeated.take();
            match c {
                '(' if self.rest.starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.skip(1);
                    self.open("(?:")?;
                }
                ')' => {
                    self.skip(1);
                    self.close()?;
                }
                '|' => {
                    self.skip(1);
                    self.out.push('|');
                    self.group.last = None;
                }
                '^' | '$' | '.' => {
                    self.skip(1);
                    self.out.push(c);
                    self.atom(1);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.skip(1);
                    let sign = up_to(start, self.rest);
                    self.repeat(start, previous, sign, None)?;
                    repeated = Some(start);
                }
                '{' => match count(self.rest) {
                    Some((min, max, after)) => {
                        self.rest = after;
                        let sign = up_to(start, after);
                        let too_many = min > MAX_REPEAT
                            || max.is_some_and(|max| max > MAX_REPEAT || min > max);
                        if too_many {
                            return Err(RegexError::new("invalid repeat count", sign));
                        }
                        self.repeat(start, previous, sign, Some((min, max)))?;
                        repeated = Some(start);
                    }
                    None => {
                        self.skip(1);
                        self.literal('{');
                    }
                },
                '\\' => self.backslash()?,
                other => {
                    self.skip(other.len_utf8());
                    self.literal(other);
                }
            }
        }
        if self.outer.is_empty() {
            Ok(())
        } else {
            Err(RegexError::new("missing closing )", self.whole))
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    /// Notes that something repeatable has been written.
    fn atom(&mut self, weight: u32) {
        self.group.last = Some(Atom {
            weight,
            end: self.out.len(),
            repeated: 0,
        });
        self.group.weight = self.group.weight.max(weight);
    }

    fn literal(&mut self, c: char) {
        write_char(&mut self.out, c);
        self.atom(1);
    }

    fn open(&mut self, text: &str) -> Result<()> {
        if self.outer.len() >= MAX_DEPTH {
            return Err(RegexError::new("expression nests too deeply", self.whole));
        }
        self.out.push_str(text);
        self.outer.push(std::mem::take(&mut self.group));
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(outer) = self.outer.pop() else {
            return Err(RegexError::new("unexpected )", self.whole));
        };
        let inner = std::mem::replace(&mut self.group, outer);
        self.out.push(')');
        self.atom(inner.weight.max(1));
        Ok(())
    }

    /// `sign` has been read from `start`; `previous` is where a repetition directly before began.
    fn repeat(
        &mut self,
        start: &'p str,
        previous: Option<&'p str>,
        sign: &str,
        bounds: Option<(u32, Option<u32>)>,
    ) -> Result<()> {
        if self.rest.starts_with('?') {
            self.skip(1);
        }
        if let Some(previous) = previous {
            return Err(RegexError::new(
                "invalid nested repetition operator",
                up_to(previous, self.rest),
            ));
        }
        let Some(mut atom) = self.group.last else {
            return Err(RegexError::new(
                "missing argument to repetition operator",
                up_to(start, self.rest),
            ));
        };
        if let Some((min, max)) = bounds {
            let times = match max {
                Some(max) => max,
                None => min.max(1),
            };
            atom.weight = atom.weight.saturating_mul(times);
            if times >= 2 && atom.weight > MAX_REPEAT {
                return Err(RegexError::new(
                    "invalid repeat count",
                    up_to(start, self.rest),
                ));
            }
        }
        if atom.repeated >= MAX_DEPTH {
            return Err(RegexError::new("expression nests too deeply", self.whole));
        }
        // A question mark after a repetition would speak of greed.
        let sign = match sign {
            "?" if atom.repeated > 0 => "{0,1}",
            other => other,
        };
        self.out.insert_str(atom.end, sign);
        atom.end += sign.len();
        atom.repeated += 1;
        self.group.weight = self.group.weight.max(atom.weight);
        self.group.last = Some(atom);
        Ok(())
    }

    /// `(?…`: a group with a name or flags, or flags for the rest of this one.
    fn perl_group(&mut self) -> Result<()> {
        let start = self.rest;
        for opening in ["(?P<", "(?<"] {
            if let Some(named) = start.strip_prefix(opening)
                && !named.is_empty()
            {
                let Some((name, after)) = named.split_once('>') else {
                    return Err(RegexError::new("invalid named capture", start));
                };
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(word) {
                    let part = up_to(start, after);
                    return Err(RegexError::new("invalid named capture", part));
                }
                self.rest = after;
                return self.open("(?:");
            }
        }
        self.skip("(?".len());
        // Last mention wins, as in Go; the engine refuses a flag that is named twice.
        let mut flags: [(char, Option<bool>); 3] = [('i', None), ('m', None), ('s', None)];
        let mut on = true;
        let mut seen = false;
        loop {
            let c = self.take();
            match c.unwrap_or_default() {
                c @ ('i' | 'm' | 's' | 'U') => {
                    for flag in flags.iter_mut().filter(|flag| flag.0 == c) {
                        flag.1 = Some(on);
                    }
                    seen = true;
                }
                '-' if on => {
                    on = false;
                    seen = false;
                }
                c @ (':' | ')') if on || seen => {
                    let text = flag_group(&flags, c);
                    if c == ':' {
                        return self.open(&text);
                    }
                    self.out.push_str(&text);
                    return Ok(());
                }
                _ => {
                    return Err(RegexError::new(
                        "invalid or unsupported Perl syntax",
                        up_to(start, self.rest),
                    ));
                }
            }
        }
    }

    /// An escape outside of a class.
    fn backslash(&mut self) -> Result<()> {
        let start = self.rest;
        let mut chars = start.chars();
        chars.next();
        let known = match chars.next() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => NO_BOUNDARY,
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\f\r ]",
            Some('S') => r"[^\t\n\f\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some('Q') => {
                self.skip(2);
                let (quoted, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = after;
                for c in quoted.chars() {
                    self.literal(c);
                }
                return Ok(());
            }
            Some('p' | 'P') => {
                let text = self.property()?;
                self.out.push_str(&text);
                self.atom(1);
                return Ok(());
            }
            _ => {
                let code = self.escape()?;
                match char::from_u32(code) {
                    Some(c) => self.literal(c),
                    None => {
                        self.out.push_str(NOTHING);
                        self.atom(1);
                    }
                }
                return Ok(());
            }
        };
        self.skip(2);
        self.out.push_str(known);
        self.atom(1);
        Ok(())
    }

    /// An escape that stands for one character; surrogates are possible.
    fn escape(&mut self) -> Result<u32> {
        let start = self.rest;
        self.skip(1);
        let Some(c) = self.take() else {
            let problem = "trailing backslash at end of expression";
            return Err(RegexError::new(problem, ""));
        };
        let value = match c {
            '1'..='7' if !self.rest.starts_with(|c: char| ('0'..='7').contains(&c)) => None,
            '0'..='7' => {
                let mut value = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    self.skip(1);
                }
                Some(value)
            }
            'x' => self.hex(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        value.ok_or_else(|| RegexError::new("invalid escape sequence", up_to(start, self.rest)))
    }

    fn hex(&mut self) -> Option<u32> {
        let first = self.take()?;
        if first != '{' {
            let second = self.take()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut value = 0u32;
        let mut digits = 0;
        loop {
            match self.take()? {
                '}' if digits > 0 => return Some(value),
                c => {
                    value = value * 16 + c.to_digit(16)?;
                    if value > u32::from(char::MAX) {
                        return None;
                    }
                    digits += 1;
                }
            }
        }
    }

    /// `\pL`, `\p{Greek}`, `\P…`, `\p{^…}`, in the engine's form.
    fn property(&mut self) -> Result<String> {
        let start = self.rest;
        let mut negated = start.starts_with(r"\P");
        self.skip(2);
        let (name, after) = match self.rest.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some(split) => split,
                None => return Err(RegexError::new("invalid character class range", start)),
            },
            None => {
                let length = self.rest.chars().next().map_or(0, char::len_utf8);
                self.rest.split_at(length)
            }
        };
        self.rest = after;
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negated = !negated;
                name
            }
            None => name,
        };
        if !self.has_property(name) {
            return Err(RegexError::new(
                "invalid character class range",
                up_to(start, self.rest),
            ));
        }
        self.named += 1;
        if self.named > MAX_PROPERTIES {
            return Err(RegexError::new(super::TOO_LARGE, self.whole));
        }
        let letter = if negated { 'P' } else { 'p' };
        Ok(format!("\\{letter}{{{name}}}"))
    }

    /// The engine is asked once for each name.
    fn has_property(&mut self, name: &'p str) -> bool {
        let plausible = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plausible {
            return false;
        }
        if self.properties.contains(name) {
            return true;
        }
        let known = build(&format!("\\p{{{name}}}"), super::Regex::MAX_BYTES).is_ok();
        if known {
            self.properties.insert(name);
        }
        known
    }

    fn class(&mut self) -> Result<()> {
        let start = self.rest;
        self.skip(1);
        let negated = self.rest.starts_with('^');
        if negated {
            self.skip(1);
        }
        let mut items = String::new();
        let mut first = true;
        while self.rest.is_empty() || !self.rest.starts_with(']') || first {
            first = false;
            if self.posix(&mut items)? {
                continue;
            }
            if self.rest.starts_with(r"\p") || self.rest.starts_with(r"\P") {
                items.push_str(&self.property()?);
                continue;
            }
            if let Some(perl) = perl_class(self.rest) {
                self.skip(2);
                items.push_str(perl);
                continue;
            }
            let begin = self.rest;
            let low = self.class_char(start)?;
            let mut high = low;
            if let Some(end) = self.rest.strip_prefix('-')
                && !end.is_empty()
                && !end.starts_with(']')
            {
                self.rest = end;
                high = self.class_char(start)?;
                if high < low {
                    let part = up_to(begin, self.rest);
                    return Err(RegexError::new("invalid character class range", part));
                }
            }
            write_range(&mut items, low, high);
        }
        self.skip(1);
        match (items.is_empty(), negated) {
            (true, false) => self.out.push_str(NOTHING),
            (true, true) => self.out.push_str(ANYTHING),
            (false, false) => self.out.extend(["[", &items, "]"]),
            (false, true) => self.out.extend(["[^", &items, "]"]),
        }
        self.atom(1);
        Ok(())
    }

    /// `[:name:]`, if there is one here.
    fn posix(&mut self, items: &mut String) -> Result<bool> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let start = self.rest;
        let Some((name, after)) = start
            .strip_prefix("[:")
            .and_then(|inner| inner.split_once(":]"))
        else {
            return Ok(false);
        };
        let part = up_to(start, after);
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(RegexError::new("invalid character class range", part));
        }
        items.push_str(part);
        self.rest = after;
        Ok(true)
    }

    fn class_char(&mut self, class: &str) -> Result<u32> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        match self.take() {
            Some(c) => Ok(u32::from(c)),
            None => Err(RegexError::new("missing closing ]", class)),
        }
    }
}

/// A class within a class.
fn perl_class(rest: &str) -> Option<&'static str> {
    Some(match rest.as_bytes() {
        [b'\\', b'd', ..] => "0-9",
        [b'\\', b'D', ..] => "[^0-9]",
        [b'\\', b's', ..] => r"\t\n\f\r\x20",
        [b'\\', b'S', ..] => r"[^\t\n\f\r\x20]",
        [b'\\', b'w', ..] => "0-9A-Za-z_",
        [b'\\', b'W', ..] => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Characters that are no letter or digit have a meaning to the engine, or may get one.
fn write_char(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    }
}

/// Surrogates are no characters: a range is cut at them, and may vanish.
fn write_range(out: &mut String, low: u32, high: u32) {
    let low = match low {
        0xD800..=0xDFFF => 0xE000,
        other => other,
    };
    let high = match high {
        0xD800..=0xDFFF => 0xD7FF,
        other => other,
    };
    if low <= high {
        let _ = write!(out, "\\x{{{low:X}}}-\\x{{{high:X}}}");
    }
}

/// `(?i-s:` or `(?i-s)`; nothing at all where no flag is left to set.
fn flag_group(flags: &[(char, Option<bool>)], end: char) -> String {
    let named = |value: bool| flags.iter().filter(move |flag| flag.1 == Some(value));
    let mut text = String::from("(?");
    text.extend(named(true).map(|flag| flag.0));
    if named(false).next().is_some() {
        text.push('-');
        text.extend(named(false).map(|flag| flag.0));
    }
    if end == ')' && text == "(?" {
        return String::new();
    }
    text.push(end);
    text
}

/// `{n}`, `{n,}` or `{n,m}`: least, most, and what follows. Anything else is a literal brace.
fn count(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = decimal(text.strip_prefix('{')?)?;
    let Some(rest) = rest.strip_prefix(',') else {
        return Some((min, Some(min), rest.strip_prefix('}')?));
    };
    if let Some(after) = rest.strip_prefix('}') {
        return Some((min, None, after));
    }
    let (max, rest) = decimal(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// No leading zeros. What is too large for a count is as good as any other.
fn decimal(text: &str) -> Option<(u32, &str)> {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
