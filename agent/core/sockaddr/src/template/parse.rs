//! From tokens to the tree.

use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipe};
use super::function::Function;
use super::lex::{Keyword, Kind, Token, lex};
use super::number::Number;
use crate::limits;
use crate::quote::{quote, unquote};

/// Parses a template. An error starts with the line it is in.
pub(super) fn parse(text: &str) -> Result<Vec<Node<'_>>> {
    let mut parser = Parser {
        tokens: lex(text),
        next: 0,
        furthest: 0,
        variables: vec!["$"],
        action_line: None,
        depth: 0,
        ranges: 0,
    };
    match parser.list()? {
        (nodes, Stop::End) => Ok(nodes),
        (_, stop) => Err(parser.error(&format!("unexpected {}", stop.describe()))),
    }
}

struct Parser<'t> {
    /// Never empty; the last one is an end or an error.
    tokens: Vec<Token<'t>>,
    /// The token to read next.
    next: usize,
    /// The furthest token looked at: its line is the one errors name.
    furthest: usize,
    /// Variables in scope, with their dollar.
    variables: Vec<&'t str>,
    /// Where the action being read starts.
    action_line: Option<usize>,
    depth: usize,
    ranges: usize,
}

type Result<T> = std::result::Result<T, String>;

/// What a list of nodes ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The end of the template.
    End,
    /// `{{end}}`
    EndAction,
    /// `{{else`; the rest of the action follows.
    Else,
}

impl Stop {
    const fn describe(self) -> &'static str {
        match self {
            Self::End => "EOF",
            Self::EndAction => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// The structures that hold a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl<'t> Parser<'t> {
    fn error(&self, message: &str) -> String {
        format!("{}: {message}", self.tokens[self.furthest].line)
    }

    /// The token at the reading position, which stays.
    fn peek(&mut self) -> &Token<'t> {
        // The last token is never passed.
        let at = self.next.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        &self.tokens[at]
    }

    fn advance(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len());
        token
    }

    fn peek_non_space(&mut self) -> &Token<'t> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn advance_non_space(&mut self) -> Token<'t> {
        self.peek_non_space();
        self.advance()
    }

    fn unexpected(&self, token: &Token<'_>, context: &str) -> String {
        if token.kind != Kind::Error {
            return self.error(&format!("unexpected {} in {context}", token.describe()));
        }
        match self.action_line {
            Some(line) if line != token.line => {
                let message = token.message.trim_end_matches(" action");
                let kind = if message.len() < token.message.len() {
                    " action"
                } else {
                    " in action"
                };
                self.error(&format!(
                    "{message}{kind} started at {}:{line}",
                    super::NAME
                ))
            }
            _ => self.error(&token.message),
        }
    }

    fn expect_right(&mut self, context: &str) -> Result<()> {
        let token = self.advance_non_space();
        if token.kind == Kind::Right {
            Ok(())
        } else {
            Err(self.unexpected(&token, context))
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > limits::NESTING {
            let message = format!("nested more than {} levels deep", limits::NESTING);
            return Err(self.error(&message));
        }
        Ok(())
    }

    /// Reads nodes up to the end of the list, the stopping action's first word
    /// included.
    fn list(&mut self) -> Result<(Vec<Node<'t>>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.advance_non_space();
            match token.kind {
                Kind::End => return Ok((nodes, Stop::End)),
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Left => {
                    self.action_line = Some(token.line);
                    match self.action()? {
                        Ok(node) => nodes.push(node),
                        Err(stop) => return Ok((nodes, stop)),
                    }
                    self.action_line = None;
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn action(&mut self) -> Result<std::result::Result<Node<'t>, Stop>> {
        let Kind::Keyword(keyword) = self.peek_non_space().kind else {
            return self.plain_action();
        };
        match keyword {
            Keyword::Dot | Keyword::Nil => return self.plain_action(),
            _ => self.next += 1,
        }
        Ok(Ok(match keyword {
            Keyword::If => Node::If(self.control(Control::If)?),
            Keyword::With => Node::With(self.control(Control::With)?),
            Keyword::Range => Node::Range(self.control(Control::Range)?),
            Keyword::Break => self.jump("{{break}}", Node::Break)?,
            Keyword::Continue => self.jump("{{continue}}", Node::Continue)?,
            Keyword::End => {
                self.expect_right("end")?;
                return Ok(Err(Stop::EndAction));
            }
            Keyword::Else => {
                let next = self.peek_non_space().kind;
                let chained = [Keyword::If, Keyword::With].map(Kind::Keyword);
                if !chained.contains(&next) {
                    self.expect_right("else")?;
                }
                return Ok(Err(Stop::Else));
            }
            _ => return Err(self.error("templates within templates are not supported")),
        }))
    }

    fn plain_action(&mut self) -> Result<std::result::Result<Node<'t>, Stop>> {
        Ok(Ok(Node::Action(self.pipeline("command", Kind::Right)?)))
    }

    fn jump(&mut self, name: &str, node: Node<'t>) -> Result<Node<'t>> {
        let token = self.advance_non_space();
        if token.kind != Kind::Right {
            return Err(self.unexpected(&token, name));
        }
        if self.ranges == 0 {
            return Err(self.error(&format!("{name} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    fn control(&mut self, control: Control) -> Result<Branch<'t>> {
        self.enter()?;
        let scope = self.variables.len();
        let context = match control {
            Control::If => "if",
            Control::With => "with",
            Control::Range => "range",
        };
        let pipe = self.pipeline(context, Kind::Right)?;
        self.action_line = None;
        self.ranges += usize::from(control == Control::Range);
        let (list, stop) = self.list()?;
        self.ranges -= usize::from(control == Control::Range);

        let otherwise = match stop {
            Stop::EndAction => Vec::new(),
            Stop::Else => self.otherwise(control)?,
            Stop::End => return Err(self.error("unexpected EOF")),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    /// Reads what follows `{{else`, up to the structure's end. `else if` and
    /// `else with` share that end.
    fn otherwise(&mut self, control: Control) -> Result<Vec<Node<'t>>> {
        let next = self.peek().kind;
        if next == Kind::Keyword(Keyword::If) && control == Control::If {
            self.next += 1;
            return Ok(vec![Node::If(self.control(Control::If)?)]);
        }
        if next == Kind::Keyword(Keyword::With) && control == Control::With {
            self.next += 1;
            return Ok(vec![Node::With(self.control(Control::With)?)]);
        }
        if let Kind::Keyword(Keyword::If | Keyword::With) = next {
            // Chained where it cannot be.
            let token = self.advance();
            return Err(self.unexpected(&token, "input"));
        }
        self.action_line = None;
        match self.list()? {
            (nodes, Stop::EndAction) => Ok(nodes),
            (_, Stop::Else) => Err(self.error("expected end; found {{else}}")),
            (_, Stop::End) => Err(self.error("unexpected EOF")),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe<'t>> {
        let mut pipe = Pipe {
            pos: self.peek_non_space().pos,
            variables: Vec::new(),
            is_assign: false,
            commands: Vec::new(),
        };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.peek_non_space().clone();
            match token.kind {
                kind if kind == end => {
                    self.next += 1;
                    self.check(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::Character
                | Kind::Field
                | Kind::Identifier
                | Kind::Keyword(Keyword::Dot | Keyword::Nil)
                | Kind::Number
                | Kind::Quoted
                | Kind::RawText
                | Kind::Variable
                | Kind::LeftParen => pipe.commands.push(self.command()?),
                _ => {
                    self.next += 1;
                    return Err(self.unexpected(&token, context));
                }
            }
        }
    }

    /// Reads `$x :=`, `$x =`, or for a range `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe<'t>) -> Result<()> {
        while self.peek_non_space().kind == Kind::Variable {
            let before = self.next;
            let variable = self.advance().text;
            let next = self.peek_non_space().clone();
            match next.kind {
                Kind::Declare | Kind::Assign => {
                    self.next += 1;
                    pipe.is_assign = next.kind == Kind::Assign;
                    self.declare(variable, pipe);
                    return Ok(());
                }
                Kind::Other if next.text == "," => {
                    self.next += 1;
                    self.declare(variable, pipe);
                    if context != "range" || pipe.variables.len() > 1 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                    match self.peek_non_space().kind {
                        Kind::Variable | Kind::Right | Kind::RightParen => {}
                        _ => return Err(self.error("range can only initialize variables")),
                    }
                }
                // A use of the variable.
                _ => {
                    self.next = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, variable: &'t str, pipe: &mut Pipe<'t>) {
        pipe.variables.push(variable);
        self.variables.push(variable);
    }

    fn check(&self, pipe: &Pipe<'_>, context: &str) -> Result<()> {
        if pipe.commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if let OperandKind::Bool(_)
            | OperandKind::Dot
            | OperandKind::Nil
            | OperandKind::Number { .. }
            | OperandKind::Text { .. } = command.first.kind
            {
                let stage = i + 1;
                let message = format!("non executable command in pipeline stage {stage}");
                return Err(self.error(&message));
            }
        }
        Ok(())
    }

    /// Reads operands up to a `|`, which is consumed, or the pipeline's end,
    /// which is not.
    fn command(&mut self) -> Result<Command<'t>> {
        let pos = self.peek_non_space().pos;
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            operands.extend(self.operand()?);
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => self.next += 1,
                Kind::Right | Kind::RightParen => break,
                Kind::Pipe => {
                    self.next += 1;
                    break;
                }
                _ => {
                    self.next += 1;
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            Some(first) => Ok(Command {
                pos,
                first,
                arguments: operands.collect(),
            }),
            None => Err(self.error("empty command")),
        }
    }

    /// Reads a term and the fields after it, if a term comes next.
    fn operand(&mut self) -> Result<Option<Operand<'t>>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        // Go places a value with fields at the first of those.
        let pos = self.peek().pos;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(field_name(self.advance().text));
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand.kind {
            OperandKind::Fields(own) | OperandKind::Variable(_, own) => {
                own.extend(fields);
                operand.pos = pos;
            }
            OperandKind::Bool(_)
            | OperandKind::Text { .. }
            | OperandKind::Number { .. }
            | OperandKind::Nil
            | OperandKind::Dot => {
                let term = quote(&operand.to_string());
                return Err(self.error(&format!("unexpected . after term {term}")));
            }
            OperandKind::Function { .. } | OperandKind::Pipe(_) | OperandKind::Chain(..) => {
                operand = Operand {
                    pos,
                    kind: OperandKind::Chain(Box::new(operand), fields),
                };
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand<'t>>> {
        let token = self.advance_non_space();
        let text = token.text;
        let kind = match token.kind {
            Kind::Identifier => match Function::find(text) {
                Some(function) => OperandKind::Function {
                    name: text,
                    function,
                },
                None => {
                    let name = quote(text);
                    return Err(self.error(&format!("function {name} not defined")));
                }
            },
            Kind::Keyword(Keyword::Dot) => OperandKind::Dot,
            Kind::Keyword(Keyword::Nil) => OperandKind::Nil,
            Kind::Bool => OperandKind::Bool(text == "true"),
            Kind::Variable => {
                if !self.variables.contains(&text) {
                    let name = quote(text);
                    return Err(self.error(&format!("undefined variable {name}")));
                }
                OperandKind::Variable(text, Vec::new())
            }
            Kind::Field => OperandKind::Fields(vec![field_name(text)]),
            Kind::Number | Kind::Character => OperandKind::Number {
                text,
                value: Number::parse(text).map_err(|e| self.error(&e))?,
            },
            Kind::Quoted | Kind::RawText => OperandKind::Text {
                quoted: text,
                value: unquote(text).ok_or_else(|| self.error("invalid syntax"))?,
            },
            Kind::LeftParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                // Go places a pipeline at its first word.
                return Ok(Some(Operand {
                    pos: pipe.pos,
                    kind: OperandKind::Pipe(pipe),
                }));
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand {
            pos: token.pos,
            kind,
        }))
    }
}

fn field_name(text: &str) -> &str {
    text.strip_prefix('.').unwrap_or(text)
}
