//! Holds `expand` against answers recorded from go-sockaddr.

use lictor_sockaddr::{Flags, Interface, expand};

const RECORDED: &str = include_str!("recorded.txt");

#[test]
fn gives_what_go_sockaddr_gives() {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut template = String::new();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "" | "#" => {}
            "host" => interfaces.clear(),
            "if" => interfaces.push(interface(rest)),
            "default" => {
                for interface in &mut interfaces {
                    interface.is_default_route = interface.name == rest;
                }
            }
            ">" => template = unescape(rest),
            "=" | "!" => {
                let got = match expand(&template, &interfaces) {
                    Ok(text) => format!("= {}", escape(&text)),
                    Err(error) => format!("! {}", escape(&error.to_string())),
                };
                if got != line {
                    wrong.push(format!(
                        "> {}\n  recorded {line}\n  got      {got}",
                        escape(&template)
                    ));
                }
                compared += 1;
            }
            other => panic!("{other} is no kind of line"),
        }
    }
    assert!(compared > 350, "only {compared} answers");
    assert!(
        wrong.is_empty(),
        "{} of {compared} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// `INDEX NAME MTU HARDWARE FLAGS ADDRESSES...`
fn interface(line: &str) -> Interface {
    let mut fields = line.split(' ');
    let mut next = || fields.next().unwrap();
    let (index, name, mtu, hardware, flags) = (next(), next(), next(), next(), next());
    Interface {
        index: index.parse().unwrap(),
        name: name.into(),
        mtu: mtu.parse().unwrap(),
        hardware_address: hardware
            .split(':')
            .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect(),
        flags: flags
            .split(',')
            .map(flag)
            .fold(Flags::default(), |all, flag| all | flag),
        addresses: fields
            .map(|text| {
                let (ip, prefix) = text.split_once('/').unwrap();
                (ip.parse().unwrap(), prefix.parse().unwrap())
            })
            .collect(),
        is_default_route: false,
    }
}

fn flag(name: &str) -> Flags {
    match name {
        "up" => Flags::UP,
        "broadcast" => Flags::BROADCAST,
        "loopback" => Flags::LOOPBACK,
        "pointtopoint" => Flags::POINT_TO_POINT,
        "multicast" => Flags::MULTICAST,
        "running" => Flags::RUNNING,
        _ => panic!("{name} is no flag"),
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                other => panic!("{other:?} is no escape"),
            },
            c => c,
        });
    }
    out
}
