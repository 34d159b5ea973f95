//! Builds items from tokens. Nothing is merged or interpreted here: see [`super::fold`].

use super::lexer::{Kind, Lexer, Token};
use crate::tree::{MAX_DEPTH, Pos};

/// `keys... = value` or `keys... { }`.
#[derive(Debug)]
pub struct Item {
    /// At least one; further ones are labels.
    pub keys: Vec<Token>,
    /// The value.
    pub node: Node,
    /// Where the value begins.
    pub pos: Pos,
}

/// A value as written.
#[derive(Debug)]
pub enum Node {
    /// Number, float, boolean, string or heredoc.
    Literal(Token),
    /// `[ ... ]`, each element with its place.
    List(Vec<(Node, Pos)>),
    /// `{ ... }`
    Object(Vec<Item>),
}

/// Why parsing stopped.
enum Stop {
    /// The file ended where an item or value would begin. Not always an error.
    End,
    /// An error at a place.
    Error(Pos, String),
}

fn error<T>(pos: Pos, text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(pos, text.into()))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    again: bool,
    depth: usize,
    /// A value was expected where a `}` stands.
    missing_value: bool,
}

/// Reads a whole file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let mut parser = Parser {
        lexer: Lexer::new(bytes),
        token: Token {
            kind: Kind::Eof,
            pos: Pos::default(),
            text: String::new(),
        },
        again: false,
        depth: 0,
        missing_value: false,
    };
    let mut items = Vec::new();
    let result = parser.items(false, &mut items);
    if let Some((pos, text)) = parser.lexer.take_error() {
        return Err(format!("At {pos}: {text}"));
    }
    match result {
        Ok(()) | Err(Stop::End) => Ok(items),
        Err(Stop::Error(pos, text)) => Err(format!("At {pos}: {text}")),
    }
}

impl Parser<'_> {
    fn scan(&mut self) -> Kind {
        if self.again {
            self.again = false;
        } else {
            self.token = self.lexer.token();
        }
        self.token.kind
    }

    /// The current token is read once more.
    fn unscan(&mut self) {
        self.again = true;
    }

    /// Items until the file or the enclosing object ends.
    fn items(&mut self, inner: bool, items: &mut Vec<Item>) -> Result<(), Stop> {
        loop {
            if inner {
                let kind = self.scan();
                self.unscan();
                if kind == Kind::RBrace {
                    return Ok(());
                }
            }
            match self.item() {
                Ok(item) => items.push(item),
                Err(Stop::End) => return Ok(()),
                Err(stop) => return Err(stop),
            }
            // A comma between items means nothing.
            if self.scan() != Kind::Comma {
                self.unscan();
            }
        }
    }

    fn item(&mut self) -> Result<Item, Stop> {
        let keys = self.keys()?;
        let pos = self.token.pos;
        match self.token.kind {
            Kind::Assign => {
                let (node, pos) = self.value()?;
                Ok(Item { keys, node, pos })
            }
            Kind::LBrace => {
                let node = self.object()?;
                Ok(Item { keys, node, pos })
            }
            _ => {
                let names: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
                error(
                    pos,
                    format!(
                        "key '{}' expected start of object ('{{') or assignment ('=')",
                        names.join(" ")
                    ),
                )
            }
        }
    }

    /// Keys up to `=`, `{`, or an end that [`Self::item`] complains about.
    fn keys(&mut self) -> Result<Vec<Token>, Stop> {
        let mut keys = Vec::new();
        loop {
            let kind = self.scan();
            let pos = self.token.pos;
            match kind {
                Kind::Eof if keys.is_empty() => return Err(Stop::End),
                Kind::Eof | Kind::RBrace if !keys.is_empty() => return Ok(keys),
                Kind::Assign if keys.len() > 1 => {
                    return error(pos, "nested object expected: LBRACE got: ASSIGN");
                }
                Kind::Assign if keys.is_empty() => return error(pos, "no object keys found!"),
                Kind::Assign => return Ok(keys),
                Kind::LBrace if keys.is_empty() => {
                    return error(pos, "expected: IDENT | STRING got: LBRACE");
                }
                Kind::LBrace => return Ok(keys),
                Kind::Ident | Kind::String => keys.push(self.token.clone()),
                Kind::Illegal => return error(pos, "illegal character"),
                other => {
                    return error(
                        pos,
                        format!(
                            "expected: IDENT | STRING | ASSIGN | LBRACE got: {}",
                            other.name()
                        ),
                    );
                }
            }
        }
    }

    fn value(&mut self) -> Result<(Node, Pos), Stop> {
        let kind = self.scan();
        let pos = self.token.pos;
        let node = match kind {
            Kind::Number | Kind::Float | Kind::Bool | Kind::String | Kind::Heredoc => {
                Node::Literal(self.token.clone())
            }
            Kind::LBrace => self.object()?,
            Kind::LBrack => self.list()?,
            Kind::Eof => return Err(Stop::End),
            other => {
                self.missing_value = other == Kind::RBrace;
                return error(
                    pos,
                    format!("Unknown token: {pos} {} {}", other.name(), self.token.text),
                );
            }
        };
        Ok((node, pos))
    }

    /// An object whose `{` has been read.
    fn object(&mut self) -> Result<Node, Stop> {
        self.deeper()?;
        let mut items = Vec::new();
        match self.items(true, &mut items) {
            // An oddity of the original: a `}` in the place of a value is passed over, and with it
            // the key.
            Err(Stop::Error(..)) if self.missing_value => self.missing_value = false,
            other => other?,
        }
        self.depth -= 1;
        let kind = self.scan();
        if kind != Kind::RBrace {
            return error(
                self.token.pos,
                format!("object expected closing RBRACE got: {}", kind.name()),
            );
        }
        Ok(Node::Object(items))
    }

    /// A list whose `[` has been read.
    fn list(&mut self) -> Result<Node, Stop> {
        self.deeper()?;
        let mut elements = Vec::new();
        let mut need_comma = false;
        loop {
            let kind = self.scan();
            let pos = self.token.pos;
            if need_comma && !matches!(kind, Kind::Comma | Kind::RBrack) {
                return error(
                    pos,
                    format!(
                        "error parsing list, expected comma or list end, got: {}",
                        kind.name()
                    ),
                );
            }
            let node = match kind {
                Kind::Number | Kind::Float | Kind::Bool | Kind::String | Kind::Heredoc => {
                    need_comma = true;
                    Node::Literal(self.token.clone())
                }
                Kind::Comma => {
                    need_comma = false;
                    continue;
                }
                Kind::LBrace => {
                    need_comma = true;
                    self.object().or_else(|stop| within(stop, pos, "object"))?
                }
                // After an inner list the comma may be absent.
                Kind::LBrack => self.list().or_else(|stop| within(stop, pos, "list"))?,
                Kind::RBrack => {
                    self.depth -= 1;
                    return Ok(Node::List(elements));
                }
                other => {
                    return error(
                        pos,
                        format!("unexpected token while parsing list: {}", other.name()),
                    );
                }
            };
            elements.push((node, pos));
        }
    }

    fn deeper(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return error(
                self.token.pos,
                format!("nested deeper than {MAX_DEPTH} levels"),
            );
        }
        Ok(())
    }
}

/// Says in which part of a list the error lies.
fn within(stop: Stop, pos: Pos, what: &str) -> Result<Node, Stop> {
    let inner = match stop {
        Stop::End => "EOF token found".to_string(),
        // Depth is told once, not once per level.
        Stop::Error(at, text) if text.starts_with("nested deeper") => return error(at, text),
        Stop::Error(at, text) => format!("At {at}: {text}"),
    };
    error(
        pos,
        format!("error while trying to parse {what} within list: {inner}"),
    )
}
