//! `provider=aws tag_key=a tag_value="b c"`: the form in which Consul takes the names of clouds.

/// Pairs of keys and values in the order given, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Vec<(String, String)>);

/// Why a text is none of these, in Consul's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("discover: {0}")]
pub struct TextError(String);

/// A text is a line of a configuration, not a file.
const LENGTH_MAX: usize = 16 << 10;

impl Text {
    /// Whether an address to join is such a text.
    pub fn is_one(address: &str) -> bool {
        address.contains("provider=")
    }

    /// Reads a text. Blanks separate; values with blanks, quotes, backslashes or `=` stand in
    /// double quotes, with Go's escapes.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn parse(text: &str) -> Result<Text, TextError> {
        let mut out = Text::default();
        if text.len() > LENGTH_MAX {
            return Err(TextError("text too long".to_owned()));
        }
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (key, after) = word(rest, "")?;
            let wrong = |what: &str| TextError(format!("{key}: {what}"));
            if out.get(&key).is_some() {
                return Err(wrong("duplicate key"));
            }
            let after = after.trim_start();
            let Some(after) = after.strip_prefix('=') else {
                return Err(wrong("missing '='"));
            };
            let after = after.trim_start();
            if after.is_empty() || after.starts_with('=') {
                return Err(wrong("missing value"));
            }
            let quoted = after.starts_with('"');
            let (value, after) = word(after, &key)?;
            if !quoted && after.starts_with('=') {
                return Err(TextError(format!(
                    "{key}: - equals in key's value, enclosing double-quote needed {key}=\"value-with-=-symbol\""
                )));
            }
            out.0.push((key, value));
            rest = after.trim_start();
        }
        Ok(out)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The provider.
    ///
    /// # Errors
    /// There is none.
    pub fn provider(&self) -> Result<&str, TextError> {
        self.get("provider")
            .filter(|p| !p.is_empty())
            .ok_or_else(|| TextError("no provider".to_owned()))
    }
}

impl TextError {
    /// The error for a provider that nobody knows.
    pub fn unknown_provider(name: &str) -> TextError {
        TextError(format!("unknown provider {name}"))
    }
}

/// The first word, and what follows it. `key` is the key whose value it is.
fn word<'a>(text: &'a str, key: &str) -> Result<(String, &'a str), TextError> {
    let wrong = |what: &str| TextError(format!("{key}: {what}"));
    let Some(inner) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut out = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &inner[at + 1..])),
            '\\' => {
                let Some((_, c)) = chars.next() else {
                    return Err(wrong("unterminated escape sequence"));
                };
                out.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '"' | '\\' => c,
                    _ => return Err(wrong("invalid syntax")),
                });
            }
            c => out.push(c),
        }
    }
    Err(wrong("unbalanced quotes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Vec<(String, String)> {
        Text::parse(text).unwrap().0
    }

    #[test]
    fn pairs_are_read() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            parse("  provider=aws   tag_key=lictor\ttag_value=server "),
            [
                pair("provider", "aws"),
                pair("tag_key", "lictor"),
                pair("tag_value", "server")
            ]
        );
        assert_eq!(
            parse(r#"provider="aws" tag_value="a b \"c\" \\ x=y" "tag key"=k"#),
            [
                pair("provider", "aws"),
                pair("tag_value", r#"a b "c" \ x=y"#),
                pair("tag key", "k")
            ]
        );
        assert_eq!(parse(r#"tag_value="""#), [pair("tag_value", "")]);
        assert_eq!(
            parse("endpoint=http://127.0.0.1:5000"),
            [pair("endpoint", "http://127.0.0.1:5000")]
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_consuls_words() {
        let wrong = |text: &str| Text::parse(text).unwrap_err().to_string();
        assert_eq!(wrong("provider"), "discover: provider: missing '='");
        assert_eq!(wrong("provider aws"), "discover: provider: missing '='");
        assert_eq!(wrong("provider="), "discover: provider: missing value");
        assert_eq!(wrong("a=b a=c"), "discover: a: duplicate key");
        assert_eq!(wrong("a=\"b"), "discover: a: unbalanced quotes");
        assert_eq!(
            wrong("a=\"b\\"),
            "discover: a: unterminated escape sequence"
        );
        assert_eq!(
            wrong("secret_access_key=abc="),
            "discover: secret_access_key: - equals in key's value, enclosing double-quote needed secret_access_key=\"value-with-=-symbol\""
        );
        let none = Text::parse("tag_key=a").unwrap();
        assert_eq!(
            none.provider().unwrap_err().to_string(),
            "discover: no provider"
        );
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in "[ a\"\\\\=\t]{0,40}") {
            let _ = Text::parse(&text);
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = Text::parse(&format!("provider=aws v=\"{quoted}\" z=1")).unwrap();
            prop_assert_eq!(text.get("v"), Some(value.as_str()));
            prop_assert_eq!(text.get("z"), Some("1"));
        }
    }
}
