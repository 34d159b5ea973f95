//! Cuts HCL text into tokens.

use crate::tree::Pos;

/// Sorts of tokens; the names are those of error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Illegal,
    Eof,
    Ident,
    Number,
    Float,
    Bool,
    String,
    Heredoc,
    LBrack,
    LBrace,
    Comma,
    Period,
    RBrack,
    RBrace,
    Assign,
    Add,
    Sub,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Illegal => "ILLEGAL",
            Kind::Eof => "EOF",
            Kind::Ident => "IDENT",
            Kind::Number => "NUMBER",
            Kind::Float => "FLOAT",
            Kind::Bool => "BOOL",
            Kind::String => "STRING",
            Kind::Heredoc => "HEREDOC",
            Kind::LBrack => "LBRACK",
            Kind::LBrace => "LBRACE",
            Kind::Comma => "COMMA",
            Kind::Period => "PERIOD",
            Kind::RBrack => "RBRACK",
            Kind::RBrace => "RBRACE",
            Kind::Assign => "ASSIGN",
            Kind::Add => "ADD",
            Kind::Sub => "SUB",
        }
    }
}

/// A token as written, with its quotes or anchors.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub pos: Pos,
    pub text: String,
}

/// Reads tokens one after the other.
///
/// The columns follow the original reader in one oddity: each look past the end of the file counts
/// as a character, so an error at the end may stand one or two columns behind it.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    /// Offset of the next character.
    offset: usize,
    /// Where the character read last stands.
    line: u32,
    column: u32,
    /// State before the last character, to take it back.
    before: (usize, u32, u32, bool),
    /// The character read last was a line feed.
    broke: bool,
    /// The last error; scanning goes on until the parser stops.
    error: Option<(Pos, String)>,
    /// The rest of the text is no longer looked at.
    stopped: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Lexer {
            bytes,
            offset: 0,
            line: 1,
            column: 0,
            before: (0, 1, 0, false),
            broke: false,
            error: None,
            stopped: false,
        }
    }

    /// The error found last, if any. It outranks what the parser has to say.
    pub fn take_error(&mut self) -> Option<(Pos, String)> {
        self.error.take()
    }

    fn pos(&self) -> Pos {
        Pos {
            line: self.line,
            column: self.column,
        }
    }

    fn fail(&mut self, text: &str) {
        if !self.stopped {
            self.error = Some((self.pos(), text.to_string()));
        }
    }

    /// An error behind which nothing is read any more: what follows from it is not told.
    fn stop(&mut self, text: &str) -> Option<char> {
        self.fail(text);
        self.stopped = true;
        self.offset = self.bytes.len();
        None
    }

    /// The next character; `None` at the end and after bytes that are no text.
    fn next(&mut self) -> Option<char> {
        self.before = (self.offset, self.line, self.column, self.broke);
        if self.broke {
            self.line = self.line.saturating_add(1);
            self.column = 0;
            self.broke = false;
        }
        self.column = self.column.saturating_add(1);
        let c = self.char_at(self.offset)?;
        match c {
            Ok((c, len)) => {
                self.offset += len;
                self.broke = c == '\n';
                match c {
                    '\0' => self.stop("unexpected null character (0x00)"),
                    // Kept from use by the original reader.
                    '\u{e123}' => self.stop("unicode code point U+E123 reserved for internal use"),
                    c => Some(c),
                }
            }
            Err(()) => self.stop("illegal UTF-8 encoding"),
        }
    }

    /// The character at an offset; `Err` for a sequence that is not UTF-8.
    fn char_at(&self, offset: usize) -> Option<Result<(char, usize), ()>> {
        let rest = self.bytes.get(offset..)?;
        let &first = rest.first()?;
        if first < 0x80 {
            return Some(Ok((first as char, 1)));
        }
        let window = &rest[..rest.len().min(4)];
        let valid = match std::str::from_utf8(window) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&window[..e.valid_up_to()]).unwrap_or(""),
        };
        Some(valid.chars().next().map(|c| (c, c.len_utf8())).ok_or(()))
    }

    fn peek(&self) -> Option<char> {
        self.char_at(self.offset)?.ok().map(|(c, _)| c)
    }

    /// Takes the last character back. Never called at the end of the file.
    fn unread(&mut self) {
        (self.offset, self.line, self.column, self.broke) = self.before;
    }

    /// The next token. Comments and blanks are passed over.
    pub fn token(&mut self) -> Token {
        loop {
            let mut c = self.next();
            while matches!(c, Some(' ' | '\t' | '\n' | '\r')) {
                c = self.next();
            }
            let pos = self.pos();
            let Some(c) = c else {
                return Token {
                    kind: Kind::Eof,
                    pos,
                    text: String::new(),
                };
            };
            let start = self.offset - c.len_utf8();
            if c == '#' || c == '/' {
                self.comment(c);
                continue;
            }
            let kind = self.kind_of(c);
            let raw = self.bytes.get(start..self.offset).unwrap_or_default();
            let text = String::from_utf8_lossy(raw).into_owned();
            let kind = match (kind, text.as_str()) {
                (Kind::Ident, "true" | "false") => Kind::Bool,
                (kind, _) => kind,
            };
            return Token { kind, pos, text };
        }
    }

    fn kind_of(&mut self, c: char) -> Kind {
        match c {
            c if is_letter(c) => {
                self.skip_while(|c| is_letter(c) || c.is_numeric() || c == '-' || c == '.');
                Kind::Ident
            }
            '0'..='9' => self.number(c),
            '"' => {
                self.string();
                Kind::String
            }
            '<' => {
                self.heredoc();
                Kind::Heredoc
            }
            '-' if self.peek().is_some_and(|c| c.is_ascii_digit()) => match self.next() {
                Some(c) => self.number(c),
                None => Kind::Sub,
            },
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.skip_while(|c| c.is_ascii_digit());
                self.exponent();
                Kind::Float
            }
            '-' => Kind::Sub,
            '+' => Kind::Add,
            '.' => Kind::Period,
            '[' => Kind::LBrack,
            ']' => Kind::RBrack,
            '{' => Kind::LBrace,
            '}' => Kind::RBrace,
            ',' => Kind::Comma,
            '=' => Kind::Assign,
            _ => {
                self.fail("illegal char");
                Kind::Illegal
            }
        }
    }

    /// Reads on while the characters fit; the first that does not stays unread.
    fn skip_while(&mut self, fits: impl Fn(char) -> bool) -> Option<char> {
        loop {
            match self.next() {
                Some(c) if fits(c) => {}
                Some(c) => {
                    self.unread();
                    return Some(c);
                }
                None => return None,
            }
        }
    }

    fn comment(&mut self, first: char) {
        if first == '#' || self.peek() != Some('*') {
            if first == '/' && self.peek() != Some('/') {
                self.fail("expected '/' for comment");
                return;
            }
            self.skip_while(|c| c != '\n');
            return;
        }
        self.next(); // the `*`
        let mut last = ' ';
        loop {
            match self.next() {
                None => {
                    self.fail("comment not terminated");
                    return;
                }
                Some('/') if last == '*' => return,
                Some(c) => last = c,
            }
        }
    }

    /// A number whose first digit has been read. A leading zero means octal, so `08` is caught
    /// later, when the text is turned into a value.
    fn number(&mut self, first: char) -> Kind {
        if first == '0' && matches!(self.peek(), Some('x' | 'X')) {
            self.next();
            let start = self.offset;
            let after = self.skip_while(|c| c.is_ascii_hexdigit());
            if self.offset == start {
                self.fail_at(after, "illegal hexadecimal number");
            }
            return Kind::Number;
        }
        let start = self.offset;
        let after = self.skip_while(|c| c.is_ascii_digit());
        match after {
            None if first != '0' => {
                // Here the original reader looks past the end twice.
                self.next();
                Kind::Number
            }
            Some('.') => {
                self.next();
                if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.skip_while(|c| c.is_ascii_digit());
                }
                self.exponent();
                Kind::Float
            }
            Some('e' | 'E') => {
                self.exponent();
                Kind::Float
            }
            _ => {
                // Octal; of its digits the original reader does not look at the first here.
                let digits = self.bytes.get(start..self.offset).unwrap_or_default();
                if first == '0' && digits.iter().skip(1).any(|digit| *digit >= b'8') {
                    self.fail_at(after, "illegal octal number");
                }
                Kind::Number
            }
        }
    }

    /// An error at the place of the character that [`Self::skip_while`] stopped at.
    fn fail_at(&mut self, after: Option<char>, text: &str) {
        if after.is_some() {
            self.next();
        }
        self.fail(text);
        if after.is_some() {
            self.unread();
        }
    }

    /// An exponent, if there is one. What stands in the place of its first digit belongs to it.
    fn exponent(&mut self) {
        if matches!(self.peek(), Some('e' | 'E')) {
            self.next();
            if matches!(self.peek(), Some('+' | '-')) {
                self.next();
            }
            if self.next().is_some_and(|c| c.is_ascii_digit()) {
                self.skip_while(|c| c.is_ascii_digit());
            }
        }
    }

    /// Reads a string to its end. `${` opens a passage in which quotes do not end it.
    fn string(&mut self) {
        let mut braces = 0u32;
        loop {
            let c = self.next();
            match c {
                Some('"') if braces == 0 => return,
                None => {
                    self.fail("literal not terminated");
                    return;
                }
                Some('\n') if braces == 0 => {
                    self.fail("literal not terminated");
                    return;
                }
                Some('$') if braces == 0 && self.peek() == Some('{') => {
                    braces = 1;
                    self.next();
                }
                Some('{') if braces > 0 => braces = braces.saturating_add(1),
                Some('}') if braces > 0 => braces -= 1,
                Some('\\') => self.escape(),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) {
        match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"') => {}
            Some('0'..='7') => self.digits(8, 2),
            Some('x') => self.digits(16, 2),
            Some('u') => self.digits(16, 4),
            Some('U') => self.digits(16, 8),
            _ => self.fail("illegal char escape"),
        }
    }

    fn digits(&mut self, base: u32, count: usize) {
        for _ in 0..count {
            match self.peek() {
                Some(c) if c.is_digit(base) => {
                    self.next();
                }
                _ => {
                    self.next();
                    self.fail("illegal char escape");
                    return;
                }
            }
        }
    }

    fn heredoc(&mut self) {
        if self.next() != Some('<') {
            self.fail("heredoc expected second '<', didn't see it");
            return;
        }
        if self.peek() == Some('-') {
            self.next();
        }
        let start = self.offset;
        let after = self.skip_while(|c| is_letter(c) || c.is_numeric());
        let word = self.bytes.get(start..self.offset).unwrap_or_default();
        match after {
            None => return self.fail("heredoc not terminated"),
            Some('\n') => {
                self.next();
            }
            Some(_) => {
                self.next();
                return self.fail("invalid characters in heredoc anchor");
            }
        }
        if word.is_empty() {
            return self.fail("zero-length heredoc anchor");
        }
        let mut line_start = self.offset;
        loop {
            match self.next() {
                None => return self.fail("heredoc not terminated"),
                Some('\n') => {
                    let line = &self.bytes[line_start..self.offset - 1];
                    if line.trim_ascii_start() == word {
                        return;
                    }
                    line_start = self.offset;
                }
                Some(_) => {}
            }
        }
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}
