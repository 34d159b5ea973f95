//! The parsed template.

use std::fmt;

use super::function::Function;
use super::number::Number;

/// One part of a template.
#[derive(Debug)]
pub(super) enum Node<'t> {
    /// Text to copy.
    Text(&'t str),
    /// A pipeline to evaluate and print, unless it declares variables.
    Action(Pipe<'t>),
    /// `if`
    If(Branch<'t>),
    /// `with`
    With(Branch<'t>),
    /// `range`
    Range(Branch<'t>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// A control structure: a pipeline and what depends on it.
#[derive(Debug)]
pub(super) struct Branch<'t> {
    pub(super) pipe: Pipe<'t>,
    pub(super) list: Vec<Node<'t>>,
    pub(super) otherwise: Vec<Node<'t>>,
}

/// Commands, each of which gets the value of the one before as its last
/// argument.
#[derive(Debug)]
pub(super) struct Pipe<'t> {
    /// Where it starts, in bytes.
    pub(super) pos: usize,
    /// Variables that get the final value, with their dollar.
    pub(super) variables: Vec<&'t str>,
    /// Whether the variables exist already.
    pub(super) is_assign: bool,
    pub(super) commands: Vec<Command<'t>>,
}

/// A function or value, with arguments. There is at least one operand.
#[derive(Debug)]
pub(super) struct Command<'t> {
    pub(super) pos: usize,
    pub(super) first: Operand<'t>,
    pub(super) arguments: Vec<Operand<'t>>,
}

#[derive(Debug)]
pub(super) struct Operand<'t> {
    pub(super) pos: usize,
    pub(super) kind: OperandKind<'t>,
}

#[derive(Debug)]
pub(super) enum OperandKind<'t> {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: &'t str,
        value: Number,
    },
    Text {
        quoted: &'t str,
        value: String,
    },
    Function {
        name: &'t str,
        function: Function,
    },
    /// `$x` and fields of it.
    Variable(&'t str, Vec<&'t str>),
    /// Fields of the dot; at least one.
    Fields(Vec<&'t str>),
    /// A pipeline in parentheses.
    Pipe(Pipe<'t>),
    /// Fields of another operand's value; at least one.
    Chain(Box<Operand<'t>>, Vec<&'t str>),
}

impl fmt::Display for Pipe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, variable) in self.variables.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{variable}")?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.is_assign { " = " } else { " := " })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            let separator = if i == 0 { "" } else { " | " };
            write!(f, "{separator}{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_parens(f, &self.first)?;
        for argument in &self.arguments {
            f.write_str(" ")?;
            write_in_parens(f, argument)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Number { text, .. } => f.write_str(text),
            OperandKind::Text { quoted, .. } => f.write_str(quoted),
            OperandKind::Function { name, .. } => f.write_str(name),
            OperandKind::Variable(name, fields) => {
                f.write_str(name)?;
                write_fields(f, fields)
            }
            OperandKind::Fields(fields) => write_fields(f, fields),
            OperandKind::Pipe(pipe) => write!(f, "{pipe}"),
            OperandKind::Chain(operand, fields) => {
                write_in_parens(f, operand)?;
                write_fields(f, fields)
            }
        }
    }
}

/// Writes an operand as part of something larger.
fn write_in_parens(f: &mut fmt::Formatter<'_>, operand: &Operand<'_>) -> fmt::Result {
    match operand.kind {
        OperandKind::Pipe(_) => write!(f, "({operand})"),
        _ => write!(f, "{operand}"),
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[&str]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}
