//! Cutting a template into tokens.

use crate::quote::{name_char, quote};

/// What opens an action.
pub(super) const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const COMMENT_START: &str = "/*";
const COMMENT_END: &str = "*/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Left,
    Right,
    Space,
    /// A word that names a function.
    Identifier,
    /// `.name`
    Field,
    /// `$name`
    Variable,
    Bool,
    Number,
    Character,
    Quoted,
    RawText,
    Pipe,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    /// Any other ASCII character.
    Other,
    Keyword(Keyword),
    End,
    /// The text could not be read further.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token: its kind, where it is, and its text. The last token of a template
/// is of the kind [`Kind::End`] or [`Kind::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) pos: usize,
    pub(super) line: usize,
    pub(super) text: &'t str,
    /// What is wrong, for an error.
    pub(super) message: String,
}

impl Token<'_> {
    /// The token as messages show it.
    pub(super) fn describe(&self) -> String {
        match self.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.message.clone(),
            Kind::Keyword(_) => format!("<{}>", self.text),
            _ => match self.text.char_indices().nth(10) {
                // Go counts bytes when deciding and characters when cutting.
                Some((cut, _)) => format!("{}...", quote(&self.text[..cut])),
                None if self.text.len() > 10 => format!("{}...", quote(self.text)),
                None => quote(self.text),
            },
        }
    }
}

/// Cuts a whole template.
pub(super) fn lex(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        start: 0,
        pos: 0,
        line: 1,
        tokens: Vec::new(),
    };
    match lexer.template() {
        Ok(()) => lexer.push(Kind::End),
        Err(message) => lexer.tokens.push(Token {
            kind: Kind::Error,
            pos: lexer.start,
            line: lexer.line,
            text: "",
            message,
        }),
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    /// Where the current token starts.
    start: usize,
    pos: usize,
    /// The line `start` is in.
    line: usize,
    tokens: Vec<Token<'t>>,
}

type Result<T = ()> = std::result::Result<T, String>;

/// How the right delimiter was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    Plain,
    /// ` -}}`: drops the blanks that follow.
    Trim,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn take(&self) -> &'t str {
        &self.text[self.start..self.pos]
    }

    /// Passes over what was read.
    fn ignore(&mut self) {
        self.line += self.take().matches('\n').count();
        self.start = self.pos;
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token {
            kind,
            pos: self.start,
            line: self.line,
            text: self.take(),
            message: String::new(),
        });
        self.ignore();
    }

    fn template(&mut self) -> Result {
        loop {
            let Some(at) = self.rest().find(LEFT) else {
                self.pos = self.text.len();
                if self.pos > self.start {
                    self.push(Kind::Text);
                }
                return Ok(());
            };
            let delimiter = self.pos + at;
            let inside = delimiter + LEFT.len();
            let marker = left_marker(&self.text[inside..]);
            let before = &self.text[self.pos..delimiter];
            let kept = if marker > 0 {
                before.trim_end_matches(is_space)
            } else {
                before
            };
            self.pos += kept.len();
            if !kept.is_empty() {
                self.push(Kind::Text);
            }
            self.pos = delimiter;
            self.ignore();

            if self.text[inside + marker..].starts_with(COMMENT_START) {
                self.pos = inside + marker;
                self.ignore();
                self.comment()?;
            } else {
                self.pos = inside;
                self.push(Kind::Left);
                self.pos = inside + marker;
                self.ignore();
                self.action()?;
            }
        }
    }

    fn comment(&mut self) -> Result {
        let body = &self.rest()[COMMENT_START.len()..];
        let Some(length) = body.find(COMMENT_END) else {
            return Err("unclosed comment".to_owned());
        };
        self.pos += COMMENT_START.len() + length + COMMENT_END.len();
        let Some(delimiter) = self.at_right() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.skip_right(delimiter, None);
        Ok(())
    }

    fn at_right(&self) -> Option<Delimiter> {
        let rest = self.rest();
        if is_right_trim(rest) {
            Some(Delimiter::Trim)
        } else if rest.starts_with(RIGHT) {
            Some(Delimiter::Plain)
        } else {
            None
        }
    }

    fn skip_right(&mut self, delimiter: Delimiter, kind: Option<Kind>) {
        if delimiter == Delimiter::Trim {
            // A blank and the minus.
            self.pos += 2;
            self.ignore();
        }
        self.pos += RIGHT.len();
        match kind {
            Some(kind) => self.push(kind),
            None => self.ignore(),
        }
        if delimiter == Delimiter::Trim {
            let rest = self.rest();
            self.pos += rest.len() - rest.trim_start_matches(is_space).len();
            self.ignore();
        }
    }

    fn action(&mut self) -> Result {
        let mut parens = 0usize;
        loop {
            if let Some(delimiter) = self.at_right() {
                if parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.skip_right(delimiter, Some(Kind::Right));
                return Ok(());
            }
            let Some(c) = self.next() else {
                return Err("unclosed action".to_owned());
            };
            match c {
                c if is_space(c) => self.space(),
                '=' => self.push(Kind::Assign),
                ':' => {
                    if self.next() != Some('=') {
                        return Err("expected :=".to_owned());
                    }
                    self.push(Kind::Declare);
                }
                '|' => self.push(Kind::Pipe),
                '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
                '\'' => self.quoted('\'', Kind::Character, "unterminated character constant")?,
                '`' => {
                    let Some(length) = self.rest().find('`') else {
                        return Err("unterminated raw quoted string".to_owned());
                    };
                    self.pos += length + 1;
                    self.push(Kind::RawText);
                }
                '$' => self.name(Kind::Variable)?,
                // At the very end of the text Go takes a dot for a number.
                '.' if self.peek().is_some_and(|c| !c.is_ascii_digit()) => {
                    self.name(Kind::Field)?;
                }
                '.' | '+' | '-' | '0'..='9' => {
                    self.pos = self.start;
                    self.number()?;
                }
                c if is_alphanumeric(c) => self.identifier()?,
                '(' => {
                    self.push(Kind::LeftParen);
                    parens += 1;
                }
                ')' => {
                    let Some(fewer) = parens.checked_sub(1) else {
                        return Err("unexpected right paren".to_owned());
                    };
                    self.push(Kind::RightParen);
                    parens = fewer;
                }
                c if (' '..='~').contains(&c) => self.push(Kind::Other),
                c => {
                    return Err(format!(
                        "unrecognized character in action: {}",
                        name_char(c)
                    ));
                }
            }
        }
    }

    /// Reads blanks, of which the last may belong to a trimming delimiter.
    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.pos += 1;
        }
        if is_right_trim(&self.text[self.pos - 1..]) {
            self.pos -= 1;
        }
        if self.pos > self.start {
            self.push(Kind::Space);
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result {
        loop {
            match self.next() {
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.next();
                }
                Some('\n' | '\\') | None => return Err(unterminated.to_owned()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.push(kind);
        Ok(())
    }

    /// Reads the name after a dollar or a dot, if there is one.
    fn name(&mut self, kind: Kind) -> Result {
        if self.at_terminator() {
            self.push(match kind {
                Kind::Field => Kind::Keyword(Keyword::Dot),
                kind => kind,
            });
            return Ok(());
        }
        self.letters()?;
        self.push(kind);
        Ok(())
    }

    fn identifier(&mut self) -> Result {
        self.letters()?;
        self.push(match self.take() {
            "block" => Kind::Keyword(Keyword::Block),
            "break" => Kind::Keyword(Keyword::Break),
            "continue" => Kind::Keyword(Keyword::Continue),
            "define" => Kind::Keyword(Keyword::Define),
            "else" => Kind::Keyword(Keyword::Else),
            "end" => Kind::Keyword(Keyword::End),
            "if" => Kind::Keyword(Keyword::If),
            "nil" => Kind::Keyword(Keyword::Nil),
            "range" => Kind::Keyword(Keyword::Range),
            "template" => Kind::Keyword(Keyword::Template),
            "with" => Kind::Keyword(Keyword::With),
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        });
        Ok(())
    }

    /// Reads letters and digits up to what may follow a name.
    fn letters(&mut self) -> Result {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        match self.peek() {
            Some(c) if !self.at_terminator() => Err(format!("bad character {}", name_char(c))),
            _ => Ok(()),
        }
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) if is_space(c) || ".,|:()".contains(c) => true,
            _ => self.rest().starts_with(RIGHT),
        }
    }

    fn number(&mut self) -> Result {
        let mut well_formed = self.scan_number();
        // A sign would make it a complex number, of which there are none here.
        let is_complex = well_formed && matches!(self.peek(), Some('+' | '-'));
        if is_complex {
            well_formed = self.scan_number();
        }
        if !well_formed {
            self.next();
        }
        if !well_formed || is_complex {
            return Err(format!("bad number syntax: {}", quote(self.take())));
        }
        self.push(Kind::Number);
        Ok(())
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.accept(exponent) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        !self.peek().is_some_and(is_alphanumeric)
    }

    fn accept(&mut self, set: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| set.contains(c));
        if accepted {
            self.next();
        }
        accepted
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }
}

/// The length of the marker after a left delimiter that drops blanks before it:
/// a minus and a blank.
fn left_marker(inside: &str) -> usize {
    let mut chars = inside.chars();
    if chars.next() == Some('-') && chars.next().is_some_and(is_space) {
        2
    } else {
        0
    }
}

/// Whether the text starts with a blank, a minus and the right delimiter.
fn is_right_trim(text: &str) -> bool {
    text.strip_prefix(is_space)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.starts_with(RIGHT))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        lex(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn trimming() {
        let texts = |text| -> Vec<&str> {
            lex(text)
                .into_iter()
                .filter(|t| t.kind == Kind::Text)
                .map(|t| t.text)
                .collect()
        };
        assert_eq!(texts("a \n{{- 1 -}}\t b"), ["a", "b"]);
        assert_eq!(texts("a {{1}} b"), ["a ", " b"]);
        assert_eq!(texts(" {{- 1 -}} "), [""; 0]);
        assert_eq!(texts("a {{-1}} b"), ["a ", " b"], "a negative number");
        assert_eq!(texts("a {{- /* x */ -}} b"), ["a", "b"]);
    }

    #[test]
    fn lines_are_counted() {
        let tokens = lex("a\n\n{{- /*\n*/ -}}\n{{\nx `\n` y}}");
        let line = |text| tokens.iter().find(|t| t.text == text).unwrap().line;
        assert_eq!(line("x"), 6);
        assert_eq!(line("y"), 7);
    }

    #[test]
    fn every_ending_is_an_end_or_an_error() {
        let text = "a {{- \"\\\"b\" | 'c' `d` $e.f := (1.5e3 .g) -}} {{/* h */}} é {{é}} i";
        for (end, _) in text.char_indices() {
            let last = kinds(&text[..end]).pop();
            assert!(matches!(last, Some(Kind::End | Kind::Error)), "{end}");
        }
    }
}
