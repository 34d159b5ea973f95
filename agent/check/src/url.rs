//! The URLs of HTTP checks: what a request needs of them, and where a redirect leads. RFC 3986 as
//! Go reads it, with Go's error texts.

use lictor_wire::duration::go_quote;

/// A URL over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// `user:password` as written.
    pub(crate) user: Option<String>,
    /// The host: a name or an address, without brackets.
    pub(crate) host: String,
    /// Host and port as written: the `Host` header.
    pub(crate) authority: String,
    /// The port as written; empty for the scheme's own.
    pub(crate) port: String,
    /// Path as sent, beginning with a slash unless empty.
    pub(crate) path: String,
    /// Query as sent, with its question mark; empty for none.
    pub(crate) query: String,
    /// The part after `#`, for messages only.
    fragment: String,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UrlError {
    /// It cannot be read: the whole message.
    Parse(String),
    /// It can be read, but not asked: the message that follows the method and the URL.
    Unusable(String),
}

impl Url {
    /// Reads an absolute URL.
    pub(crate) fn parse(text: &str) -> Result<Url, UrlError> {
        let broken = |why: &str| Err(UrlError::Parse(format!("parse {}: {why}", go_quote(text))));
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return broken("net/url: invalid control character in URL");
        }
        let (before, fragment) = text.split_once('#').map_or((text, ""), |(b, f)| (b, f));
        let (scheme, rest) = match split_scheme(before) {
            Ok(parts) => parts,
            Err(why) => return broken(why),
        };
        let scheme = scheme.to_ascii_lowercase();
        let Some(after) = rest.strip_prefix("//") else {
            if scheme.is_empty()
                && rest
                    .split('/')
                    .next()
                    .is_some_and(|first| first.contains(':'))
            {
                return broken("first path segment in URL cannot contain colon");
            }
            return match scheme.as_str() {
                "http" | "https" => Err(UrlError::Unusable(
                    "http: no Host in request URL".to_owned(),
                )),
                _ => Err(UrlError::Unusable(format!(
                    "unsupported protocol scheme {}",
                    go_quote(&scheme)
                ))),
            };
        };
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, target) = after.split_at(end);
        let (path, query) = split_query(target);
        for part in [path, fragment] {
            if let Some(escape) = bad_escape(part) {
                return broken(&format!("invalid URL escape {}", go_quote(escape)));
            }
        }
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = match split_authority(authority) {
            Ok(parts) => parts,
            Err(why) => return broken(&why),
        };
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(UrlError::Unusable(format!(
                "unsupported protocol scheme {}",
                go_quote(&scheme)
            )));
        }
        if authority.is_empty() {
            return Err(UrlError::Unusable(
                "http: no Host in request URL".to_owned(),
            ));
        }
        Ok(Url {
            tls: scheme == "https",
            user,
            host: host.to_owned(),
            authority: authority.to_owned(),
            port: port.to_owned(),
            path: encode(path, false),
            query: encode(query, true),
            fragment: fragment.to_owned(),
        })
    }

    /// Where `location` leads from here, and whether it names a place of its own (it is absolute).
    pub(crate) fn join(&self, location: &str) -> Result<(Url, bool), UrlError> {
        let scheme = if self.tls { "https" } else { "http" };
        if split_scheme(location).is_ok_and(|(s, _)| !s.is_empty()) {
            return Url::parse(location).map(|url| (url, true));
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}:{location}")).map(|url| (url, false));
        }
        let (before, fragment) = location
            .split_once('#')
            .map_or((location, ""), |(b, f)| (b, f));
        let (path, query) = split_query(before);
        if let Some(escape) = bad_escape(path) {
            let why = format!(
                "parse {}: invalid URL escape {}",
                go_quote(location),
                go_quote(escape)
            );
            return Err(UrlError::Parse(why));
        }
        let mut url = Url {
            fragment: fragment.to_owned(),
            ..self.clone()
        };
        if path.is_empty() {
            if !query.is_empty() {
                url.query = encode(query, true);
            }
        } else {
            let merged = match path.starts_with('/') {
                true => path.to_owned(),
                false => format!(
                    "{}/{path}",
                    self.path.rsplit_once('/').map_or("", |(dir, _)| dir)
                ),
            };
            url.path = encode(&remove_dots(&merged), false);
            url.query = encode(query, true);
        }
        Ok((url, false))
    }

    /// The port to connect to, as text.
    pub(crate) fn port_or_default(&self) -> &str {
        match (self.port.as_str(), self.tls) {
            ("", true) => "443",
            ("", false) => "80",
            (port, _) => port,
        }
    }

    /// Path and query as the request line has them.
    pub(crate) fn target(&self) -> String {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        format!("{path}{}", self.query)
    }

    /// The URL in messages: without the password.
    pub(crate) fn shown(&self) -> String {
        let user = match self.user.as_deref().map(|u| u.split_once(':')) {
            Some(Some((name, _))) => format!("{name}:***@"),
            Some(None) => format!("{}@", self.user.as_deref().unwrap_or_default()),
            None => String::new(),
        };
        let scheme = if self.tls { "https" } else { "http" };
        let hash = if self.fragment.is_empty() { "" } else { "#" };
        format!(
            "{scheme}://{user}{}{}{}{hash}{}",
            self.authority, self.path, self.query, self.fragment
        )
    }

    /// Name and password with their escapes resolved.
    pub(crate) fn credentials(&self) -> Option<Vec<u8>> {
        let (name, password) = self
            .user
            .as_deref()
            .map(|u| u.split_once(':').unwrap_or((u, "")))?;
        let mut out = decode(name);
        out.push(b':');
        out.extend(decode(password));
        Some(out)
    }
}

/// The scheme (empty if none) and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn split_query(target: &str) -> (&str, &str) {
    target
        .find('?')
        .map_or((target, ""), |at| target.split_at(at))
}

/// Host without brackets, and port.
fn split_authority(authority: &str) -> Result<(&str, &str), String> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or("missing ']' in host")?,
        None => authority
            .find(':')
            .map_or((authority, ""), |at| authority.split_at(at)),
    };
    if let Some(bad) = host
        .chars()
        .find(|c| c.is_ascii() && !(c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%".contains(*c)))
    {
        return Err(format!(
            "invalid character {} in host name",
            go_quote(&bad.to_string())
        ));
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, "")),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, port)),
        _ => Err(format!("invalid port {} after host", go_quote(rest))),
    }
}

fn bad_escape(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|b| *b == b'%') {
        let start = at + offset;
        if !bytes
            .get(start + 1..start + 3)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        {
            return Some(&text[start..text.ceil_char_boundary((start + 3).min(text.len()))]);
        }
        at = start + 3;
    }
    None
}

/// Escapes what may not stand in a request line.
fn encode(text: &str, query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            0x21..=0x7e if !b"\"<>\\^`{|}".contains(&b) => out.push(b as char),
            b'^' | b'|' | b'{' | b'}' | b'\\' if query => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// RFC 3986 section 5.2.4.
fn remove_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            _ => out.push(segment),
        }
    }
    format!("/{}", out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url() {
        let url = Url::parse("HTTP://u:p%40@Host.test:8080/a b/%2f?q=1 2#frag").unwrap();
        assert_eq!(
            (url.tls, url.host.as_str(), url.port_or_default()),
            (false, "Host.test", "8080")
        );
        assert_eq!(
            (url.authority.as_str(), url.target().as_str()),
            ("Host.test:8080", "/a%20b/%2f?q=1%202")
        );
        assert_eq!(
            url.shown(),
            "http://u:***@Host.test:8080/a%20b/%2f?q=1%202#frag"
        );
        assert_eq!(url.credentials().unwrap(), b"u:p@");
        let url = Url::parse("https://[::1]").unwrap();
        assert_eq!(
            (
                url.host.as_str(),
                url.port_or_default(),
                url.target().as_str()
            ),
            ("::1", "443", "/")
        );
        assert_eq!(
            (url.authority.as_str(), url.shown().as_str()),
            ("[::1]", "https://[::1]")
        );
        assert_eq!(Url::parse("http://x?q").unwrap().target(), "/?q");
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        let why = |text| match Url::parse(text).unwrap_err() {
            UrlError::Parse(why) | UrlError::Unusable(why) => why,
        };
        for (text, want) in [
            ("ftp://x/", r#"unsupported protocol scheme "ftp""#),
            ("foo/bar", r#"unsupported protocol scheme """#),
            ("", r#"unsupported protocol scheme """#),
            (
                "localhost:8080/",
                r#"unsupported protocol scheme "localhost""#,
            ),
            (
                "127.0.0.1:80/",
                r#"parse "127.0.0.1:80/": first path segment in URL cannot contain colon"#,
            ),
            (":80", r#"parse ":80": missing protocol scheme"#),
            ("http:///x", "http: no Host in request URL"),
            (
                "http://[::1/",
                r#"parse "http://[::1/": missing ']' in host"#,
            ),
            (
                "http://a b/",
                r#"parse "http://a b/": invalid character " " in host name"#,
            ),
            (
                "http://127.0.0.1:abc/",
                r#"parse "http://127.0.0.1:abc/": invalid port ":abc" after host"#,
            ),
            (
                "http://x/%zz",
                r#"parse "http://x/%zz": invalid URL escape "%zz""#,
            ),
            (
                "http://x/%e\u{20ac}",
                "parse \"http://x/%e\u{20ac}\": invalid URL escape \"%e\u{20ac}\"",
            ),
            (
                "http://x/\n",
                r#"parse "http://x/\n": net/url: invalid control character in URL"#,
            ),
        ] {
            assert_eq!(why(text), want, "{text}");
        }
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        let base = Url::parse("http://h:1/a/b?x").unwrap();
        for (location, want, absolute) in [
            ("https://o/p", "https://o/p", true),
            ("//o/p", "http://o/p", false),
            ("/p?y", "http://h:1/p?y", false),
            ("c", "http://h:1/a/c", false),
            ("../c/./d/..", "http://h:1/c/", false),
            ("../../../c", "http://h:1/c", false),
            ("?z", "http://h:1/a/b?z", false),
            ("#f", "http://h:1/a/b?x#f", false),
        ] {
            let (url, is_absolute) = base.join(location).unwrap();
            assert_eq!(
                (url.shown().as_str(), is_absolute),
                (want, absolute),
                "{location}"
            );
        }
        assert!(base.join("ftp://x").is_err());
        assert!(base.join("/%zz").is_err());
    }

    #[test]
    fn no_text_is_too_strange() {
        const PARTS: [&str; 16] = [
            "http", ":", "//", "/", "[", "]", "@", "%", "%4", "%41", "\u{e9}", "?", "#", "..", " ",
            "a",
        ];
        let base = Url::parse("http://h/a").unwrap();
        for n in 0..PARTS.len().pow(4) {
            let text: String = (0..4)
                .map(|at| PARTS[n / PARTS.len().pow(at) % PARTS.len()])
                .collect();
            for text in [format!("http://{text}"), text] {
                for url in [Url::parse(&text), base.join(&text).map(|(url, _)| url)]
                    .into_iter()
                    .flatten()
                {
                    let target = url.target();
                    assert!(
                        target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()),
                        "{text}: {target}"
                    );
                    assert!(
                        url.credentials().is_some() == url.user.is_some()
                            && !url.shown().is_empty()
                    );
                }
            }
        }
    }
}
