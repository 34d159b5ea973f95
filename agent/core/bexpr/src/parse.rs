//! The grammar.
//!
//! ```text
//! input    = [ws] or [ws] EOF
//! or       = and { ws "or" ws and }
//! and      = not { ws "and" ws not }
//! not      = "not" ws not | group
//! group    = "(" [ws] or [ws] ")" | match
//! match    = selector ( [ws] ("==" | "!=") [ws] | ws ["not" ws] ("contains" | "matches") ws ) value
//!          | selector ws "is" ws ["not" ws] "empty"
//!          | value ws ["not" ws] "in" ws selector
//! selector = ident { "." ident | "[" [ws] string [ws] "]" }
//! value    = selector | number | string
//! ```
//!
//! Consul's parser is a parsing expression grammar: at each `|` the first alternative that fits is
//! taken, and words are not reserved (`not in Tags` asks for the text "not"). Its error is the set of
//! literals and character classes that failed at the furthest place any alternative reached. This one
//! is written by hand, so that its work is linear and its depth bounded, and it keeps the same books:
//! every literal that is tried notes its failure through [`Parser::fail`]. Where the original tries
//! an alternative that would repeat what has just been done, nothing new could be noted, so it is
//! left out here.
//!
//! A few rules state their error at once ("Unmatched parentheses"). Parsing goes on for as long as
//! another alternative fits, but then the findings are the result, whatever else comes.

use crate::ast::{Expression, Match, Node, Operator};
use crate::error::Error;
use crate::quote::{quote, unquote};

/// What can be wanted at a place. The order is not that of the report, which sorts the texts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Literal(&'static str),
    /// A character class, as it is printed.
    Class(&'static str),
    End,
}

const BLANK: &str = r"[ \t\r\n]";
const LETTER: &str = "[a-zA-Z]";
const IDENT: &str = "[a-zA-Z0-9_]";
const DIGIT: &str = "[0-9]";
const NONZERO: &str = "[1-9]";

/// Reads a whole expression.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        stopped: false,
        furthest: 0,
        expected: Vec::new(),
        findings: Vec::new(),
    };
    match parser.input() {
        Some(root) if parser.findings.is_empty() => Ok(root),
        _ => Err(Error::Syntax(parser.report())),
    }
}

/// Whether `text` can follow a dot.
pub(crate) fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.iter().all(|b| is_ident(*b))
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A rule's own error.
struct Finding {
    offset: usize,
    rule: &'static str,
    text: &'static str,
}

struct Parser<'t> {
    text: &'t str,
    /// Byte offset; always on a character boundary, for only whole characters are consumed.
    at: usize,
    /// Open parentheses and `not`s.
    depth: usize,
    /// Nested too deeply: no further alternative is tried.
    stopped: bool,
    /// Where `expected` belongs.
    furthest: usize,
    /// What failed there, each once: the grammar has some twenty of them.
    expected: Vec<Wanted>,
    findings: Vec<Finding>,
}

impl<'t> Parser<'t> {
    // Books.

    fn fail(&mut self, offset: usize, wanted: Wanted) {
        if offset < self.furthest {
            return;
        }
        if offset > self.furthest {
            self.furthest = offset;
            self.expected.clear();
        }
        if !self.expected.contains(&wanted) {
            self.expected.push(wanted);
        }
    }

    fn find(&mut self, offset: usize, rule: &'static str, text: &'static str) {
        self.findings.push(Finding { offset, rule, text });
    }

    /// All findings, each once and on a line of its own, or else what was expected.
    fn report(&self) -> String {
        if !self.findings.is_empty() {
            let mut lines: Vec<String> = Vec::new();
            for finding in &self.findings {
                let line = format!(
                    "{}: rule \"{}\": {}",
                    self.place(finding.offset),
                    finding.rule,
                    finding.text
                );
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            return lines.join("\n");
        }
        let mut wanted: Vec<String> = Vec::new();
        for item in &self.expected {
            match item {
                Wanted::Literal(word) => wanted.push(quote(word.as_bytes())),
                Wanted::Class(class) => wanted.push((*class).to_owned()),
                Wanted::End => {}
            }
        }
        wanted.sort_unstable();
        if self.expected.contains(&Wanted::End) {
            wanted.push("EOF".to_owned());
        }
        let list = match wanted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        };
        format!(
            "{}: no match found, expected: {list}",
            self.place(self.furthest)
        )
    }

    /// `line:column (byte offset)`, columns counted in characters. A newline counts as column 0 of
    /// the line it begins.
    fn place(&self, offset: usize) -> String {
        let (mut line, mut column) = (1usize, 0usize);
        for (at, c) in self.text.char_indices() {
            if at > offset {
                break;
            }
            column += 1;
            if c == '\n' {
                line += 1;
                column = 0;
            }
        }
        if offset >= self.text.len() {
            column += 1;
        }
        format!("{line}:{column} ({offset})")
    }

    // Terminals. Each either moves on, or stays where it was and notes what it wanted.

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn literal(&mut self, word: &'static str) -> Option<()> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            return Some(());
        }
        self.fail(self.at, Wanted::Literal(word));
        None
    }

    /// One ASCII character.
    fn class(&mut self, fits: impl Fn(u8) -> bool, name: &'static str) -> Option<()> {
        if self.peek().is_some_and(fits) {
            self.at += 1;
            return Some(());
        }
        self.fail(self.at, Wanted::Class(name));
        None
    }

    fn blanks(&mut self) -> Option<()> {
        self.class(is_blank, BLANK)?;
        self.maybe_blanks();
        Some(())
    }

    fn maybe_blanks(&mut self) {
        while self.class(is_blank, BLANK).is_some() {}
    }

    fn end(&mut self) -> Option<()> {
        if self.peek().is_none() {
            return Some(());
        }
        self.fail(self.at, Wanted::End);
        None
    }

    /// Runs `rule`; goes back to where it began if it does not fit.
    fn attempt<T>(&mut self, rule: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.stopped {
            return None;
        }
        let start = self.at;
        let result = rule(self);
        if result.is_none() {
            self.at = start;
        }
        result
    }

    fn words(&mut self, words: &[&'static str]) -> Option<()> {
        for word in words {
            self.blanks()?;
            self.literal(word)?;
        }
        Some(())
    }

    // Rules.

    fn input(&mut self) -> Option<Node> {
        self.maybe_blanks();
        let root = self.or()?;
        self.maybe_blanks();
        self.end()?;
        Some(root)
    }

    fn or(&mut self) -> Option<Node> {
        let first = self.and()?;
        let mut parts = vec![first];
        while let Some(next) = self.attempt(|p| {
            p.words(&["or"])?;
            p.blanks()?;
            p.and()
        }) {
            parts.push(next);
        }
        Some(single(parts, Node::Or))
    }

    fn and(&mut self) -> Option<Node> {
        let first = self.not()?;
        let mut parts = vec![first];
        while let Some(next) = self.attempt(|p| {
            p.words(&["and"])?;
            p.blanks()?;
            p.not()
        }) {
            parts.push(next);
        }
        Some(single(parts, Node::And))
    }

    fn not(&mut self) -> Option<Node> {
        let negated = self.attempt(|p| {
            p.literal("not")?;
            p.blanks()?;
            p.deeper(Self::not)
        });
        match negated {
            // Twice not is nothing.
            Some(Node::Not(part)) => Some(*part),
            Some(part) => Some(Node::Not(Box::new(part))),
            None => self.group(),
        }
    }

    fn group(&mut self) -> Option<Node> {
        let group = self.attempt(|p| {
            p.literal("(")?;
            p.maybe_blanks();
            let inner = p.deeper(Self::or)?;
            p.maybe_blanks();
            if p.literal(")").is_none() {
                p.find(p.at, "grouping", "Unmatched parentheses");
                return None;
            }
            Some(inner)
        });
        match group {
            Some(inner) => Some(inner),
            None => self.attempt(Self::comparison),
        }
    }

    fn deeper(&mut self, rule: fn(&mut Self) -> Option<Node>) -> Option<Node> {
        if self.depth >= Expression::MAX_DEPTH {
            self.find(self.at, "grouping", "Expression is nested too deeply");
            self.stopped = true;
            return None;
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    fn comparison(&mut self) -> Option<Node> {
        if let Some(selector) = self.attempt(Self::selector) {
            if let Some((operator, value)) = self.attempt(|p| {
                let operator = p.value_operator()?;
                Some((operator, p.value()?))
            }) {
                return Some(matching(selector, operator, value));
            }
            if let Some(operator) = self.attempt(Self::empty_operator) {
                return Some(matching(selector, operator, Vec::new()));
            }
            let value = selector.join(".").into_bytes();
            return self.membership(value);
        }
        let value = match self.attempt(Self::number) {
            Some(number) => number,
            None => self.attempt(Self::string)?,
        };
        self.membership(value)
    }

    /// What follows the value in `value in selector`.
    fn membership(&mut self, value: Vec<u8>) -> Option<Node> {
        let operator = self
            .attempt(|p| {
                p.words(&["in"])?;
                p.blanks()?;
                Some(Operator::In)
            })
            .or_else(|| {
                self.attempt(|p| {
                    p.words(&["not", "in"])?;
                    p.blanks()?;
                    Some(Operator::NotIn)
                })
            })?;
        match self.attempt(Self::selector) {
            Some(selector) => Some(matching(selector, operator, value)),
            None => {
                self.find(self.at, "match", "Invalid selector");
                None
            }
        }
    }

    fn value_operator(&mut self) -> Option<Operator> {
        const SYMBOLS: [(&str, Operator); 2] =
            [("==", Operator::Equal), ("!=", Operator::NotEqual)];
        const WORDS: [(&[&str], Operator); 4] = [
            (&["contains"], Operator::In),
            (&["not", "contains"], Operator::NotIn),
            (&["matches"], Operator::Matches),
            (&["not", "matches"], Operator::NotMatches),
        ];
        for (symbol, operator) in SYMBOLS {
            let found = self.attempt(|p| {
                p.maybe_blanks();
                p.literal(symbol)?;
                p.maybe_blanks();
                Some(operator)
            });
            if found.is_some() {
                return found;
            }
        }
        for (words, operator) in WORDS {
            let found = self.attempt(|p| {
                p.words(words)?;
                p.blanks()?;
                Some(operator)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn empty_operator(&mut self) -> Option<Operator> {
        self.attempt(|p| p.words(&["is", "empty"]).map(|()| Operator::IsEmpty))
            .or_else(|| {
                self.attempt(|p| {
                    p.words(&["is", "not", "empty"])
                        .map(|()| Operator::IsNotEmpty)
                })
            })
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        if let Some(path) = self.attempt(Self::selector) {
            return Some(path.join(".").into_bytes());
        }
        self.attempt(Self::number)
            .or_else(|| self.attempt(Self::string))
    }

    fn selector(&mut self) -> Option<Vec<String>> {
        let mut path = vec![self.identifier()?];
        loop {
            let part = self
                .attempt(|p| {
                    p.literal(".")?;
                    p.identifier()
                })
                .or_else(|| self.attempt(Self::index));
            match part {
                Some(part) => path.push(part),
                None => return Some(path),
            }
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let start = self.at;
        self.class(|b| b.is_ascii_alphabetic(), LETTER)?;
        while self.class(is_ident, IDENT).is_some() {}
        self.text.get(start..self.at).map(str::to_owned)
    }

    fn index(&mut self) -> Option<String> {
        self.literal("[")?;
        self.maybe_blanks();
        let Some(key) = self.attempt(Self::string) else {
            self.find(self.at, "index", "Invalid index");
            return None;
        };
        self.maybe_blanks();
        if self.literal("]").is_none() {
            self.find(self.at, "index", "Unclosed index expression");
            return None;
        }
        Some(String::from_utf8_lossy(&key).into_owned())
    }

    fn number(&mut self) -> Option<Vec<u8>> {
        let start = self.at;
        let _ = self.literal("-");
        if self.literal("0").is_none() {
            self.class(|b| (b'1'..=b'9').contains(&b), NONZERO)?;
            while self.class(|b| b.is_ascii_digit(), DIGIT).is_some() {}
        }
        let _fraction = self.attempt(|p| {
            p.literal(".")?;
            p.class(|b| b.is_ascii_digit(), DIGIT)?;
            while p.class(|b| b.is_ascii_digit(), DIGIT).is_some() {}
            Some(())
        });
        // Looking ahead notes failures, too.
        let after = self.at;
        let ended = self.class(is_blank, BLANK).is_some()
            || self.end().is_some()
            || self.literal(")").is_some();
        self.at = after;
        if !ended {
            self.find(self.at, "number", "Invalid number literal");
            return None;
        }
        self.text
            .get(start..self.at)
            .map(|digits| digits.as_bytes().to_vec())
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let start = self.at;
        let mark = match self.peek() {
            Some(mark @ (b'`' | b'"')) => mark,
            _ => {
                self.fail(start, Wanted::Literal("`"));
                self.fail(start, Wanted::Literal("\""));
                return None;
            }
        };
        let content = self.text.get(start + 1..).unwrap_or_default();
        let Some(length) = content.bytes().position(|b| b == mark) else {
            self.find(self.text.len(), "string", "Unterminated string literal");
            return None;
        };
        let content = content.get(..length).unwrap_or_default();
        self.at = start + 1 + length + 1;
        if mark == b'`' {
            // Raw, but for carriage returns, as in Go's source code.
            return Some(content.bytes().filter(|b| *b != b'\r').collect());
        }
        let value = unquote(content);
        if value.is_none() {
            self.find(start, "string", "invalid syntax");
        }
        // The literal has its shape, so parsing goes on; the finding makes it fail in the end.
        Some(value.unwrap_or_default())
    }
}

fn single(mut parts: Vec<Node>, wrap: fn(Vec<Node>) -> Node) -> Node {
    if parts.len() > 1 {
        return wrap(parts);
    }
    match parts.pop() {
        Some(only) => only,
        None => wrap(parts),
    }
}

fn matching(selector: Vec<String>, operator: Operator, value: Vec<u8>) -> Node {
    Node::Match(Match {
        selector,
        operator,
        value,
    })
}
