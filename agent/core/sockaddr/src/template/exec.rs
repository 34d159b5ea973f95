//! Walking the tree.

use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipe};
use super::function::{Function, Param};
use super::value::Value;
use crate::interface::{IfAddr, Interface, all};
use crate::limits;

/// Executes a parsed template. An error starts with the line and the column it
/// is at.
pub(super) fn execute(text: &str, tree: &[Node<'_>], interfaces: &[Interface]) -> Result<String> {
    let dot = Value::list(all(interfaces));
    let mut machine = Machine {
        text,
        interfaces,
        addresses: dot.weight(),
        variables: vec![("$", dot.clone())],
        at: At::Start,
        steps: limits::STEPS,
        out: String::new(),
    };
    machine.walk(&dot, tree)?;
    Ok(machine.out)
}

struct Machine<'n, 't, 'a> {
    text: &'n str,
    interfaces: &'a [Interface],
    /// How many addresses those have.
    addresses: u64,
    variables: Vec<(&'t str, Value<'a>)>,
    /// What is being evaluated, for errors.
    at: At<'n, 't>,
    /// Steps left.
    steps: u64,
    out: String,
}

#[derive(Clone, Copy)]
enum At<'n, 't> {
    Start,
    Pipe(&'n Pipe<'t>),
    Command(&'n Command<'t>),
    Operand(&'n Operand<'t>),
}

type Result<T> = std::result::Result<T, String>;

/// How to go on after a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'n, 't, 'a> Machine<'n, 't, 'a> {
    fn error(&self, message: &str) -> String {
        let (pos, context) = match self.at {
            At::Start => (0, String::new()),
            At::Pipe(pipe) => (pipe.pos, pipe.to_string()),
            At::Command(command) => (command.pos, command.to_string()),
            At::Operand(operand) => (operand.pos, operand.to_string()),
        };
        let before = self.text.get(..pos).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(pos, |end| pos - end - 1);
        let name = super::NAME;
        format!("{line}:{column}: executing \"{name}\" at <{context}>: {message}")
    }

    fn spend(&mut self, steps: u64) -> Result<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(self.error("the template takes too many steps")),
        }
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > limits::TEXT {
            return Err(self.error(&limits::too_much_text()));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn walk(&mut self, dot: &Value<'a>, nodes: &'n [Node<'t>]) -> Result<Flow> {
        for node in nodes {
            self.spend(1)?;
            let flow = match node {
                Node::Text(text) => {
                    self.print(text)?;
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        match value {
                            Value::Nil => self.print("<no value>")?,
                            value => {
                                self.spend(value.weight())?;
                                self.print(&value.to_string())?;
                            }
                        }
                    }
                    Flow::Next
                }
                Node::If(branch) => self.choose(dot, branch, false)?,
                Node::With(branch) => self.choose(dot, branch, true)?,
                Node::Range(branch) => self.range(dot, branch)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// `if` and `with`, which makes the value the dot.
    fn choose(&mut self, dot: &Value<'a>, branch: &'n Branch<'t>, is_with: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if !value.is_true() {
            self.walk(dot, &branch.otherwise)?
        } else if is_with {
            self.walk(&value, &branch.list)?
        } else {
            self.walk(dot, &branch.list)?
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value<'a>, branch: &'n Branch<'t>) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let list = match &value {
            Value::List(list) => &list[..],
            Value::Nil => &[],
            other => return Err(self.error(&format!("range can't iterate over {other}"))),
        };
        let mut flow = Flow::Next;
        if list.is_empty() {
            flow = self.walk(dot, &branch.otherwise)?;
        }
        let inner = self.variables.len();
        for (i, item) in list.iter().enumerate() {
            self.spend(1)?;
            self.set_range_variables(&branch.pipe, scope, i, *item)?;
            let flow = self.walk(&Value::Address(*item), &branch.list)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    /// Gives the variables of a range, which the pipeline has set to the whole
    /// list, the values of one turn: the item, or the number and the item.
    fn set_range_variables(
        &mut self,
        pipe: &'n Pipe<'t>,
        scope: usize,
        number: usize,
        item: IfAddr<'a>,
    ) -> Result<()> {
        let number = Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let item = Value::Address(item);
        let values = match pipe.variables.len() {
            0 => return Ok(()),
            1 => vec![item],
            _ => vec![number, item],
        };
        for (i, (name, value)) in pipe.variables.iter().zip(values).enumerate() {
            if pipe.is_assign {
                self.assign(name, value)?;
            } else if let Some(variable) = self.variables.get_mut(scope + i) {
                variable.1 = value;
            }
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value<'a>) -> Result<()> {
        let known = self.variables.iter_mut().rev().find(|(n, _)| *n == name);
        match known {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => Err(self.error(&format!("undefined variable: {name}"))),
        }
    }

    fn variable(&self, name: &str) -> Result<Value<'a>> {
        let known = self.variables.iter().rev().find(|(n, _)| *n == name);
        match known {
            Some((_, value)) => Ok(value.clone()),
            None => Err(self.error(&format!("undefined variable: {name}"))),
        }
    }

    fn pipe(&mut self, dot: &Value<'a>, pipe: &'n Pipe<'t>) -> Result<Value<'a>> {
        self.at = At::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.is_assign {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// Evaluates a command; `last` is the value of the one before.
    fn command(
        &mut self,
        dot: &Value<'a>,
        command: &'n Command<'t>,
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>> {
        self.spend(1)?;
        let first = &command.first;
        let arguments = &command.arguments[..];
        let has_arguments = !arguments.is_empty() || last.is_some();
        match &first.kind {
            OperandKind::Function { name, function } => {
                self.at = At::Operand(first);
                let call = Call {
                    name,
                    at: At::Command(command),
                    arguments,
                    last,
                };
                self.call(dot, *function, call)
            }
            OperandKind::Fields(fields) => {
                self.at = At::Operand(first);
                self.fields(dot, dot.clone(), fields, command, last)
            }
            OperandKind::Chain(operand, fields) => {
                self.at = At::Operand(first);
                let receiver = self.argument(dot, Param::Any, operand)?;
                self.fields(dot, receiver, fields, command, last)
            }
            OperandKind::Variable(name, fields) if !fields.is_empty() => {
                self.at = At::Operand(first);
                let receiver = self.variable(name)?;
                self.fields(dot, receiver, fields, command, last)
            }
            OperandKind::Pipe(pipe) => {
                self.refuse_arguments(first, has_arguments)?;
                self.pipe(dot, pipe)
            }
            kind => {
                self.at = At::Operand(first);
                self.refuse_arguments(first, has_arguments)?;
                match kind {
                    OperandKind::Variable(name, _) => self.variable(name),
                    OperandKind::Nil => Err(self.error("nil is not a command")),
                    _ => self.argument(dot, Param::Any, first),
                }
            }
        }
    }

    fn refuse_arguments(&self, operand: &Operand<'_>, has_arguments: bool) -> Result<()> {
        if has_arguments {
            let message = format!("can't give argument to non-function {operand}");
            return Err(self.error(&message));
        }
        Ok(())
    }

    fn call(
        &mut self,
        dot: &Value<'a>,
        function: Function,
        call: Call<'n, 't, 'a>,
    ) -> Result<Value<'a>> {
        let signature = function.signature();
        let count = call.count();
        self.check_count(&call, signature.fixed.len(), signature.is_variadic)?;

        let mut values = Vec::new();
        for (i, argument) in call.arguments.iter().enumerate() {
            let value = self.argument(dot, signature.param(i), argument)?;
            // These two stop at the first argument that decides.
            let decides = match function {
                Function::And => !value.is_true(),
                Function::Or => value.is_true(),
                _ => false,
            };
            values.push(value);
            if decides {
                return function.call(&values, self.interfaces);
            }
        }
        if let Some(last) = call.last {
            values.push(self.check_type(last, signature.param(count - 1))?);
        }
        self.spend(function.cost(&values, self.addresses))?;
        let result = function.call(&values, self.interfaces);
        let value = self.called(call.name, call.at, result)?;
        self.spend(value.weight())?;
        Ok(value)
    }

    fn check_count(&self, call: &Call<'n, 't, 'a>, fixed: usize, is_variadic: bool) -> Result<()> {
        let count = call.count();
        let wanted = if is_variadic && count < fixed {
            format!("at least {fixed}")
        } else if !is_variadic && count != fixed {
            fixed.to_string()
        } else {
            return Ok(());
        };
        let name = call.name;
        let message = format!("wrong number of args for {name}: want {wanted} got {count}");
        Err(self.error(&message))
    }

    fn called(
        &mut self,
        name: &str,
        at: At<'n, 't>,
        result: Result<Value<'a>>,
    ) -> Result<Value<'a>> {
        result.map_err(|error| {
            self.at = at;
            self.error(&format!("error calling {name}: {error}"))
        })
    }

    /// Evaluates an operand that a function takes as `param`.
    fn argument(
        &mut self,
        dot: &Value<'a>,
        param: Param,
        operand: &'n Operand<'t>,
    ) -> Result<Value<'a>> {
        self.spend(1)?;
        self.at = At::Operand(operand);
        let value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil if matches!(param, Param::List | Param::Any) => Value::Nil,
            OperandKind::Nil => {
                let message = format!("cannot assign nil to {}", param.type_name());
                return Err(self.error(&message));
            }
            OperandKind::Variable(name, fields) => {
                let value = self.variable(name)?;
                self.plain_fields(dot, value, fields)?
            }
            OperandKind::Fields(fields) => self.plain_fields(dot, dot.clone(), fields)?,
            OperandKind::Chain(inner, fields) => {
                let value = self.argument(dot, Param::Any, inner)?;
                self.plain_fields(dot, value, fields)?
            }
            OperandKind::Pipe(pipe) => self.pipe(dot, pipe)?,
            OperandKind::Function { name, function } => {
                let call = Call {
                    name,
                    at: self.at,
                    arguments: &[],
                    last: None,
                };
                self.call(dot, *function, call)?
            }
            OperandKind::Bool(_) | OperandKind::Number { .. } | OperandKind::Text { .. } => {
                return self.constant(param, operand);
            }
        };
        self.check_type(value, param)
    }

    /// A literal, as what the function takes.
    fn constant(&self, param: Param, operand: &Operand<'_>) -> Result<Value<'a>> {
        let fits = match (param, &operand.kind) {
            (Param::Text | Param::Attribute | Param::Any, OperandKind::Text { value, .. }) => {
                Some(Value::text(value.as_str()))
            }
            (Param::Any, OperandKind::Bool(value)) => Some(Value::Bool(*value)),
            (Param::Any, OperandKind::Number { text, value }) => {
                let ideal = Value::ideal(*value);
                return ideal.ok_or_else(|| self.error(&format!("{text} overflows int")));
            }
            (Param::Signed, OperandKind::Number { value, .. }) => {
                value.whole.and_then(|n| n.signed()).map(Value::Int)
            }
            (Param::Unsigned, OperandKind::Number { value, .. }) => {
                value.whole.and_then(|n| n.unsigned()).map(Value::Uint)
            }
            _ => None,
        };
        fits.ok_or_else(|| {
            self.error(&match param {
                Param::Text | Param::Attribute => format!("expected string; found {operand}"),
                Param::Signed => format!("expected integer; found {operand}"),
                Param::Unsigned => format!("expected unsigned integer; found {operand}"),
                Param::List | Param::Any => {
                    format!(
                        "can't handle {operand} for arg of type {}",
                        param.type_name()
                    )
                }
            })
        })
    }

    /// Checks that a value is what a function takes. No list is an empty list.
    fn check_type(&self, value: Value<'a>, param: Param) -> Result<Value<'a>> {
        match (param, value) {
            (Param::Any, value) => Ok(value),
            (Param::Text, value @ Value::Text(_)) => Ok(value),
            (Param::Signed, value @ Value::Int(_)) => Ok(value),
            (Param::Unsigned, value @ Value::Uint(_)) => Ok(value),
            (Param::List, value @ Value::List(_)) => Ok(value),
            (Param::List, Value::Nil) => Ok(Value::list(Vec::new())),
            (_, Value::Nil) => {
                let wanted = param.type_name();
                Err(self.error(&format!("invalid value; expected {wanted}")))
            }
            (_, value) => {
                let (wanted, got) = (param.type_name(), value.type_name());
                let message = format!("wrong type for value; expected {wanted}; got {got}");
                Err(self.error(&message))
            }
        }
    }

    /// Follows fields; the last one gets the arguments of `command`.
    fn fields(
        &mut self,
        dot: &Value<'a>,
        receiver: Value<'a>,
        fields: &'n [&'t str],
        command: &'n Command<'t>,
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>> {
        let Some((name, path)) = fields.split_last() else {
            return Ok(receiver);
        };
        let receiver = self.plain_fields(dot, receiver, path)?;
        let call = Call {
            name,
            at: At::Operand(&command.first),
            arguments: &command.arguments,
            last,
        };
        self.field(dot, &receiver, call)
    }

    /// Follows fields without arguments.
    fn plain_fields(
        &mut self,
        dot: &Value<'a>,
        mut value: Value<'a>,
        fields: &'n [&'t str],
    ) -> Result<Value<'a>> {
        for name in fields {
            let call = Call {
                name,
                at: self.at,
                arguments: &[],
                last: None,
            };
            value = self.field(dot, &value, call)?;
        }
        Ok(value)
    }

    /// A field or method of a value.
    fn field(
        &mut self,
        dot: &Value<'a>,
        receiver: &Value<'a>,
        mut call: Call<'n, 't, 'a>,
    ) -> Result<Value<'a>> {
        self.spend(1)?;
        let name = call.name;
        match (receiver, name) {
            (Value::Address(item), "Attr") => {
                self.check_count(&call, 1, false)?;
                let attribute = match (call.arguments.first(), call.last.take()) {
                    (Some(argument), _) => self.argument(dot, Param::Attribute, argument)?,
                    (None, last) => {
                        self.check_type(last.unwrap_or(Value::Nil), Param::Attribute)?
                    }
                };
                let result = item.attribute(&attribute.to_string()).map(Value::text);
                return self.called(name, call.at, result);
            }
            (Value::Address(item), "String" | "Type") => {
                self.check_count(&call, 0, false)?;
                return Ok(match name {
                    "String" => Value::text(item.to_string()),
                    _ => Value::text(item.address.family.name()),
                });
            }
            (Value::List(list), "Len") => {
                self.check_count(&call, 0, false)?;
                return Ok(Value::Int(i64::try_from(list.len()).unwrap_or(i64::MAX)));
            }
            (Value::Nil, _) => {
                let key = crate::quote::quote(name);
                return Err(self.error(&format!("nil data; no entry for key {key}")));
            }
            _ => {}
        }
        let value = match receiver {
            Value::Address(item) => match name {
                "Name" => Some(Value::text(item.interface.name.as_str())),
                "Index" => Some(Value::Int(i64::from(item.interface.index))),
                "MTU" => Some(Value::Int(i64::from(item.interface.mtu))),
                "Flags" => Some(Value::text(item.interface.flags.to_string())),
                "SockAddr" => Some(Value::text(item.address.to_string())),
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(_) if call.count() > 0 => {
                let message = format!("{name} has arguments but cannot be invoked as function");
                Err(self.error(&message))
            }
            Some(value) => Ok(value),
            None => {
                let owner = receiver.type_name();
                Err(self.error(&format!("can't evaluate field {name} in type {owner}")))
            }
        }
    }
}

/// A call as the template writes it.
struct Call<'n, 't, 'a> {
    name: &'t str,
    /// What to name if the function fails.
    at: At<'n, 't>,
    arguments: &'n [Operand<'t>],
    /// The value of the command before.
    last: Option<Value<'a>>,
}

impl Call<'_, '_, '_> {
    fn count(&self) -> usize {
        self.arguments.len() + usize::from(self.last.is_some())
    }
}
