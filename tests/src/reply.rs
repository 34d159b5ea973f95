//! Bodies that are sent, and answers.

use lictor_client::Response;
use serde_json::Value;

/// What a request carries.
pub struct Body(pub(crate) Vec<u8>);

impl From<Value> for Body {
    fn from(value: Value) -> Body {
        Body(value.to_string().into_bytes())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body(text.as_bytes().to_vec())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body(text.into_bytes())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(bytes)
    }
}

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body(Vec::new())
    }
}

/// An answer of the HTTP API.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The body as text.
    pub text: String,
    /// The body as JSON; null if it is none.
    pub json: Value,
    headers: Vec<(String, String)>,
    asked: String,
}

impl Reply {
    pub(crate) fn new(asked: String, response: &Response) -> Reply {
        let headers = response.headers.iter();
        let asked = shortened(asked);
        Reply {
            status: response.status.as_u16(),
            body: response.body.to_vec(),
            text: response.text(),
            json: serde_json::from_slice(&response.body).unwrap_or(Value::Null),
            headers: headers
                .map(|(k, v)| {
                    (
                        k.to_string(),
                        String::from_utf8_lossy(v.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            asked,
        }
    }

    /// This answer, if it is a 200.
    #[track_caller]
    pub fn ok(self) -> Reply {
        self.expect(200)
    }

    /// This answer, if it has that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(
            self.status, status,
            "{} answered: {}",
            self.asked, self.text
        );
        self
    }

    /// Fails unless the status and the whole text are these.
    #[track_caller]
    pub fn refused(self, status: u16, text: &str) {
        assert_eq!(
            (self.status, self.text.trim_end()),
            (status, text),
            "{}",
            self.asked
        );
    }

    /// The value at a JSON pointer; null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The text at a JSON pointer; empty if there is none.
    pub fn str(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// The number at a JSON pointer.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> u64 {
        let number = self.at(pointer).as_u64();
        number.unwrap_or_else(|| panic!("no number at {pointer} of {}: {}", self.asked, self.text))
    }

    /// The rows of a list.
    #[track_caller]
    pub fn rows(&self) -> &[Value] {
        let rows = self.json.as_array();
        rows.unwrap_or_else(|| panic!("{} gave no list: {} {}", self.asked, self.status, self.text))
    }

    /// The texts at a JSON pointer in each row.
    #[track_caller]
    pub fn column(&self, pointer: &str) -> Vec<String> {
        let text = |row: &Value| {
            row.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        self.rows()
            .iter()
            .map(|row| text(row).unwrap_or_default())
            .collect()
    }

    /// The keys of an object, sorted.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let object = self.json.as_object();
        let object =
            object.unwrap_or_else(|| panic!("{} gave no object: {}", self.asked, self.text));
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// A header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(k, _)| k == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The index of the result.
    #[track_caller]
    pub fn index(&self) -> u64 {
        let index = self.header("x-consul-index").and_then(|v| v.parse().ok());
        index.unwrap_or_else(|| panic!("{} has no X-Consul-Index", self.asked))
    }
}

/// A path short enough for a message.
pub(crate) fn shortened(mut path: String) -> String {
    if path.len() > 300 {
        let end = (0..=300)
            .rev()
            .find(|i| path.is_char_boundary(*i))
            .unwrap_or(0);
        path.truncate(end);
        path.push_str("...");
    }
    path
}
