//! HCL version 1, as far as Consul's configuration files use it.
//!
//! Two steps: the [`lexer`](self) cuts the text into tokens, the parser builds a [`Tree`]. Errors
//! carry the position and the texts that Consul prints, because operators know them.
//!
//! One special case comes from the original reader: a file whose first character after blanks is
//! `{` is read as HCL's own JSON, which allows a comma before a closing bracket.

mod fold;
mod lexer;
mod parser;

use crate::tree::{Tree, Value};

/// Reads a file into an object.
///
/// # Errors
/// A syntax error in Consul's words, usually `At line:column: text`.
pub fn parse(bytes: &[u8]) -> Result<Tree, String> {
    // Windows line ends do not count as characters.
    let text = replace_crlf(bytes);
    let first = text.iter().copied().find(|b| !b.is_ascii_whitespace());
    if first == Some(b'{') {
        let tree = crate::json::parse_lenient(&text)?;
        return Ok(fold::blocks_of_json(tree));
    }
    let items = parser::parse(&text)?;
    let object = fold::fold(items, "root")?;
    Ok(Tree {
        value: Value::Object(object),
        pos: crate::tree::Pos { line: 1, column: 1 },
    })
}

fn replace_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (i, &byte) in bytes.iter().enumerate() {
        if byte == b'\r' && bytes.get(i + 1) == Some(&b'\n') {
            continue;
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests;
