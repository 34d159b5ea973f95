//! Writes the tables of keys in a document anew:
//! `cargo run -p lictor-config --example document < docs/configuration.md > new.md`
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a tool beside the core, not a part of it"
)]

fn main() -> std::io::Result<()> {
    let text = std::io::read_to_string(std::io::stdin())?;
    print!("{}", lictor_config::keys::document(&text));
    Ok(())
}
