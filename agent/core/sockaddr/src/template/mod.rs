//! The template language: as much of Go's `text/template` as addresses need.
//!
//! A text passes through [`lex`] and [`parse`] into the tree of [`ast`], which
//! [`exec`] walks with the functions of [`function`] over the values of
//! [`value`].

mod ast;
mod exec;
mod function;
mod lex;
mod number;
mod parse;
mod printf;
mod value;

use std::fmt;

use crate::interface::Interface;
use crate::quote::quote_ascii;

/// The name go-sockaddr gives its templates; it shows in messages.
const NAME: &str = "sockaddr.Parse";

/// Why a template cannot be expanded.
///
/// The text is the one Consul shows, template included; the agent puts the
/// name of the configuration key before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The text is no template.
    Parse {
        /// The whole text.
        template: String,
        /// What is wrong with it, and in which line.
        reason: String,
    },
    /// The template asks for what cannot be done.
    Execute {
        /// The whole text.
        template: String,
        /// What failed, and where.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, template, reason) = match self {
            Self::Parse { template, reason } => ("parse template", template, reason),
            Self::Execute { template, reason } => ("execute sockaddr input", template, reason),
        };
        write!(
            f,
            "unable to {what} {}: template: {NAME}:{reason}",
            quote_ascii(template)
        )
    }
}

impl std::error::Error for Error {}

/// Replaces the actions `{{ ... }}` of `template` by what they give for a
/// machine with these interfaces. Text without any is returned as it is.
///
/// # Errors
///
/// If the template is malformed, names an unknown function, hands a function
/// what it does not take, or exceeds one of the [`limits`](crate::limits).
pub fn expand(template: &str, interfaces: &[Interface]) -> Result<String, Error> {
    if !template.contains(lex::LEFT) {
        return Ok(template.to_owned());
    }
    let tree = parse::parse(template).map_err(|reason| Error::Parse {
        template: template.to_owned(),
        reason,
    })?;
    exec::execute(template, &tree, interfaces).map_err(|reason| Error::Execute {
        template: template.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::limits;

    fn interfaces(count: u16) -> [Interface; 1] {
        let address = |i: u16| {
            let [high, low] = i.to_be_bytes();
            (IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 8)
        };
        [Interface {
            name: "eth0".into(),
            addresses: (0..count).map(address).collect(),
            ..Interface::default()
        }]
    }

    fn reason(template: &str, interfaces: &[Interface]) -> String {
        match expand(template, interfaces) {
            Ok(text) => panic!("{template} gives {} bytes", text.len()),
            Err(Error::Parse { reason, .. } | Error::Execute { reason, .. }) => reason,
        }
    }

    #[test]
    fn text_without_actions_is_returned_as_it_is() {
        for text in ["", "10.0.0.5", "  }} { x ", "unix:///var/run/x.sock"] {
            assert_eq!(expand(text, &[]).as_deref(), Ok(text));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{{{{ {}1{} }}}}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(expand(&nested(limits::NESTING), &[]).unwrap(), "1");
        for depth in [limits::NESTING + 1, 100_000] {
            let reason = reason(&nested(depth), &[]);
            assert_eq!(reason, "1: nested more than 64 levels deep");
        }

        let nested = |depth| "{{ if 1 }}".repeat(depth) + "x" + &"{{ end }}".repeat(depth);
        assert_eq!(expand(&nested(limits::NESTING), &[]).unwrap(), "x");
        let reason_of = reason(&nested(100_000), &[]);
        assert_eq!(reason_of, "1: nested more than 64 levels deep");

        let chained = "{{ if 0 }}".to_owned() + &"{{ else if 0 }}".repeat(100_000);
        let reason = reason(&chained, &[]);
        assert_eq!(reason, "1: nested more than 64 levels deep");
    }

    #[test]
    fn work_is_bounded() {
        let template = "{{ range $ }}".repeat(8) + &"{{ end }}".repeat(8);
        assert_eq!(expand(&template, &interfaces(2)).unwrap(), "");
        let reason_of = reason(&template, &interfaces(1000));
        assert!(reason_of.ends_with("too many steps"), "{reason_of}");

        let template = "{{ range . }}{{ range $ }}{{ $x := sort \"private\" $ }}{{ end }}{{ end }}";
        let reason_of = reason(template, &interfaces(1000));
        assert!(reason_of.ends_with("too many steps"), "{reason_of}");
    }

    #[test]
    fn text_is_bounded() {
        let doubling = "{{ $x := \"x\" }}{{ range . }}{{ $x = print $x $x }}{{ end }}{{ $x }}";
        assert_eq!(expand(doubling, &interfaces(4)).unwrap().len(), 16);
        let reason_of = reason(doubling, &interfaces(64));
        assert!(reason_of.contains("a text may be at most"), "{reason_of}");

        let printing = "{{ range . }}{{ range $ }}0123456789{{ end }}{{ end }}";
        let reason_of = reason(printing, &interfaces(1000));
        assert!(reason_of.contains("a text may be at most"), "{reason_of}");
    }

    #[test]
    fn lists_are_bounded() {
        let template = "{{ . | include \"type\" \"ip|ip|ip|ip|ip|ip|ip|ip\" | len }}";
        assert_eq!(expand(template, &interfaces(1000)).unwrap(), "8000");
        let reason_of = reason(template, &interfaces(10_000));
        assert!(reason_of.contains("a list may hold at most"), "{reason_of}");
    }

    #[test]
    fn no_prefix_of_a_template_panics() {
        let template = "a {{- /* c */ -}} {{ $x, $y := . }}{{ range $i, $e := . -}} \
            {{ if and (eq $i 0) `r` }}{{ (index . 0).Attr \"name\" | printf \"%-5s\" }} \
            {{- else if lt 1.5e3 'c' }}{{ break }}{{ else }}{{ .Name }}{{ end }}{{ end }} \
            {{ GetAllInterfaces | include \"network\" \"10.0.0.0/8\" | math \"mask\" \"4\" }}";
        for end in 0..=template.len() {
            let _ = expand(&template[..end], &interfaces(2));
            let _ = expand(&template[end..], &interfaces(2));
        }
    }
}
