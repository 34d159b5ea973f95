//! `kv get`, `kv put`, `kv delete`, `kv export`, `kv import`.

use crate::command::Command;
use crate::cx::Cx;
use crate::http_flags::ApiFlags;
use crate::table::aligned;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ArgAction;
use lictor_client::KvWrite;
use lictor_wire::KvEntry;
use lictor_wire::gojson;
use serde::{Deserialize, Serialize};

/// The one key or prefix of the words, without a slash in front: keys do not begin with one, but
/// people write it.
fn one_key(cx: &mut Cx<'_>, args: &[String]) -> Result<String, i32> {
    if args.len() > 1 {
        cx.complain(format_args!(
            "Too many arguments (expected 1, got {})",
            args.len()
        ));
        return Err(1);
    }
    let key = args.first().map(String::as_str).unwrap_or_default();
    Ok(key.strip_prefix('/').unwrap_or(key).to_owned())
}

fn missing_key(cx: &mut Cx<'_>) -> i32 {
    cx.complain("Error! Missing KEY argument");
    1
}

#[derive(clap::Args)]
pub(crate) struct Get {
    /// Write values in base64.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    base64: bool,
    /// Show indexes, flags and the session beside the value.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    detailed: bool,
    /// List only the keys below the prefix.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    keys: bool,
    /// List all keys below the prefix with their values.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    recurse: bool,
    /// With -keys, cut keys behind the next of these; empty lists them whole.
    #[arg(long, default_value = "/")]
    separator: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Get {
    fn value(&self, entry: &KvEntry) -> Vec<u8> {
        if self.base64 {
            STANDARD.encode(&entry.value).into_bytes()
        } else {
            entry.value.to_vec()
        }
    }

    fn print(&self, cx: &mut Cx<'_>, entry: &KvEntry) {
        if !self.detailed {
            cx.say_bytes(&self.value(entry));
            return;
        }
        let session = if entry.session.is_empty() {
            "-"
        } else {
            &entry.session
        };
        let rows = [
            ("CreateIndex", entry.create_index.to_string()),
            ("Flags", entry.flags.to_string()),
            ("Key", entry.key.to_string()),
            ("LockIndex", entry.lock_index.to_string()),
            ("ModifyIndex", entry.modify_index.to_string()),
            ("Session", session.to_owned()),
        ];
        cx.say(aligned(&rows.map(|(k, v)| vec![k.to_owned(), v]), 6));
        let mut last = b"Value            ".to_vec();
        last.extend(self.value(entry));
        cx.say_bytes(&last);
    }
}

impl Command for Get {
    const NAME: &'static str = "kv get";
    const USAGE: &'static str = "[options] [KEY_OR_PREFIX]";
    const ABOUT: &'static str = "Reads a key, or all below a prefix";
    const LONG: &'static str = "Prints the value of a key, or fails if there is no such key:

    $ {p} kv get app/limit

With everything that is known about it:

    $ {p} kv get -detailed app/limit

All keys below a prefix with their values, or only the keys:

    $ {p} kv get -recurse app/
    $ {p} kv get -keys app/";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let key = match one_key(cx, &args) {
            Ok(key) => key,
            Err(code) => return code,
        };
        if key.is_empty() && !self.recurse && !self.keys {
            return missing_key(cx);
        }
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let options = self.api.options();
        if self.keys {
            return match client.kv_keys(&key, &self.separator, &options).await {
                Ok((keys, _)) => {
                    keys.iter().for_each(|k| cx.say(k));
                    0
                }
                Err(err) => cx.fail("Error querying Consul agent", &err),
            };
        }
        if self.recurse {
            return match client.kv_list(&key, &options).await {
                Ok((entries, _)) => {
                    for (at, entry) in entries.iter().enumerate() {
                        if self.detailed {
                            if at > 0 {
                                cx.say("");
                            }
                            self.print(cx, entry);
                        } else {
                            let mut line = format!("{}:", entry.key).into_bytes();
                            line.extend(self.value(entry));
                            cx.say_bytes(&line);
                        }
                    }
                    0
                }
                Err(err) => cx.fail("Error querying Consul agent", &err),
            };
        }
        match client.kv_get(&key, &options).await {
            Ok((Some(entry), _)) => {
                self.print(cx, &entry);
                0
            }
            Ok((None, _)) => {
                cx.complain(format_args!("Error! No key exists at: {key}"));
                1
            }
            Err(err) => cx.fail("Error querying Consul agent", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Put {
    /// Lock the key with the session; it is made if it is not there.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    acquire: bool,
    /// The data is base64.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    base64: bool,
    /// Write only if the key's modify index is still that of -modify-index.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    cas: bool,
    /// A number of your own to keep with the key.
    #[arg(long, default_value_t = 0)]
    flags: u64,
    /// The modify index for -cas; 0 writes only if there is no such key.
    #[arg(long, default_value_t = 0)]
    modify_index: u64,
    /// Give up the session's lock on the key.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    release: bool,
    /// The id of the session for -acquire and -release.
    #[arg(long, default_value = "")]
    session: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Put {
    fn data(&self, cx: &mut Cx<'_>, args: &[String]) -> Result<(String, Vec<u8>), String> {
        let (key, data) = match args {
            [] => return Err("Missing KEY argument".to_owned()),
            [key] => (key, Vec::new()),
            [key, data] => (key, cx.data(data)?),
            more => {
                return Err(format!(
                    "Too many arguments (expected 1 or 2, got {})",
                    more.len()
                ));
            }
        };
        if !self.base64 {
            return Ok((key.clone(), data));
        }
        let data = STANDARD
            .decode(data)
            .map_err(|err| format!("Cannot base 64 decode data: {err}"))?;
        Ok((key.clone(), data))
    }
}

impl Command for Put {
    const NAME: &'static str = "kv put";
    const USAGE: &'static str = "[options] KEY [DATA]";
    const ABOUT: &'static str = "Writes a key";
    const LONG: &'static str =
        "Writes a key. The data is the word behind it, a file (@file), the input (-), or nothing:

    $ {p} kv put app/limit 5
    $ {p} kv put app/licence @licence.txt
    $ date | {p} kv put app/started -

Only if nobody has written it since it was read (see \"{p} kv get -detailed\"):

    $ {p} kv put -cas -modify-index=844 app/limit 6";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let (key, data) = match self.data(cx, &args) {
            Ok(found) => found,
            Err(why) => {
                cx.complain(format_args!("Error! {why}"));
                return 1;
            }
        };
        if (self.acquire || self.release) && self.session.is_empty() {
            cx.complain("Error! Missing -session (required with -acquire and -release)");
            return 1;
        }
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let mut write = KvWrite {
            key: key.clone(),
            value: data.into(),
            flags: self.flags,
            ..KvWrite::default()
        };
        // As in Consul, the first of the three that is given counts.
        if self.cas {
            write.cas = Some(self.modify_index);
        } else if self.acquire {
            write.acquire = Some(self.session);
        } else if self.release {
            write.release = Some(self.session);
        }
        match client.kv_put(&write).await {
            Ok(true) => {
                if write.acquire.is_some() {
                    cx.say(format_args!("Success! Lock acquired on: {key}"));
                } else if write.release.is_some() {
                    cx.say(format_args!("Success! Lock released on: {key}"));
                } else {
                    cx.say(format_args!("Success! Data written to: {key}"));
                }
                0
            }
            Ok(false) => {
                if write.cas.is_some() {
                    cx.complain(format_args!("Error! Did not write to {key}: CAS failed"));
                } else if write.acquire.is_some() {
                    cx.complain("Error! Did not acquire lock");
                } else if write.release.is_some() {
                    cx.complain("Error! Did not release lock");
                } else {
                    cx.complain(format_args!("Error! Did not write to {key}"));
                }
                1
            }
            Err(err) if write.cas.is_some() => {
                cx.fail(format_args!("Error! Did not write to {key}"), &err)
            }
            Err(err) => cx.fail("Error! Failed writing data", &err),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Delete {
    /// Delete only if the key's modify index is still that of -modify-index.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    cas: bool,
    /// The modify index for -cas.
    #[arg(long, default_value_t = 0)]
    modify_index: u64,
    /// Delete all keys that begin with the prefix.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    recurse: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Delete {
    const NAME: &'static str = "kv delete";
    const USAGE: &'static str = "[options] KEY_OR_PREFIX";
    const ABOUT: &'static str = "Deletes a key, or all below a prefix";
    const LONG: &'static str =
        "Deletes a key; a key that is not there is no error. With -recurse, deletes every key \
that begins with the prefix, so \"app\" takes \"apple\" with it and \"app/\" does not:

    $ {p} kv delete app/limit
    $ {p} kv delete -recurse app/";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let key = match one_key(cx, &args) {
            Ok(key) => key,
            Err(code) => return code,
        };
        if key.is_empty() && !self.recurse {
            return missing_key(cx);
        }
        let wrong = if self.cas && self.modify_index == 0 {
            Some(
                "Cannot delete a key that does not exist. Provide a -modify-index greater than than 0.",
            )
        } else if self.modify_index != 0 && !self.cas {
            Some("Cannot specify -modify-index without -cas!")
        } else if self.recurse && self.cas {
            Some("Cannot specify both -cas and -recurse!")
        } else {
            None
        };
        if let Some(text) = wrong {
            cx.complain(text);
            return 1;
        }
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        if self.recurse {
            return match client.kv_delete_tree(&key).await {
                Ok(_) => {
                    cx.say(format_args!("Success! Deleted keys with prefix: {key}"));
                    0
                }
                Err(err) => cx.fail(format_args!("Error! Did not delete prefix {key}"), &err),
            };
        }
        match client
            .kv_delete(&key, self.cas.then_some(self.modify_index))
            .await
        {
            Ok(false) if self.cas => {
                cx.complain(format_args!("Error! Did not delete key {key}: CAS failed"));
                1
            }
            Ok(_) => {
                cx.say(format_args!("Success! Deleted key: {key}"));
                0
            }
            Err(err) if self.cas => cx.fail(format_args!("Error! Did not delete key {key}"), &err),
            Err(err) => cx.fail(format_args!("Error deleting key {key}"), &err),
        }
    }
}

/// A key as `export` writes it and `import` reads it.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Exported {
    key: String,
    flags: u64,
    value: String,
}

#[derive(clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    api: ApiFlags,
}

impl Command for Export {
    const NAME: &'static str = "kv export";
    const USAGE: &'static str = "[KEY_OR_PREFIX]";
    const ABOUT: &'static str = "Prints keys as JSON, for kv import";
    const LONG: &'static str =
        "Prints all keys that begin with a prefix as JSON, values in base64. \"{p} kv import\" \
reads it again, here or in another cluster:

    $ {p} kv export app/ > app.json";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let key = match one_key(cx, &args) {
            Ok(key) => key,
            Err(code) => return code,
        };
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let entries = match client.kv_list(&key, &self.api.options()).await {
            Ok((entries, _)) => entries,
            Err(err) => return cx.fail("Error querying Consul agent", &err),
        };
        let exported: Vec<Exported> = entries
            .iter()
            .map(|e| Exported {
                key: e.key.to_string(),
                flags: e.flags,
                value: STANDARD.encode(&e.value),
            })
            .collect();
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut json = serde_json::Serializer::with_formatter(&mut text, indent);
        if let Err(err) = exported.serialize(&mut json) {
            cx.complain(format_args!("Error exporting KV data: {err}"));
            return 1;
        }
        cx.say_bytes(&text);
        0
    }
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// Put this in front of every key, with a slash between.
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Import {
    fn data(&self, cx: &mut Cx<'_>, args: &[String]) -> Result<Vec<u8>, String> {
        match args {
            [] => Err("Missing DATA argument".to_owned()),
            [empty] if empty.is_empty() => Err("Empty DATA argument".to_owned()),
            [data] => cx.data(data),
            more => Err(format!(
                "Too many arguments (expected 1, got {})",
                more.len()
            )),
        }
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            return key.to_owned();
        }
        format!(
            "{}/{}",
            self.prefix.trim_end_matches('/'),
            key.trim_start_matches('/')
        )
    }
}

impl Command for Import {
    const NAME: &'static str = "kv import";
    const USAGE: &'static str = "[options] [DATA]";
    const ABOUT: &'static str = "Writes the keys that kv export printed";
    const LONG: &'static str =
        "Writes all keys of a JSON text that \"{p} kv export\" printed. The text is the word \
itself, a file (@file) or the input (-):

    $ {p} kv import @app.json
    $ {p} kv import -prefix=copy - < app.json";

    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32 {
        let data = match self.data(cx, &args) {
            Ok(data) => data,
            Err(why) => {
                cx.complain(format_args!("Error! {why}"));
                return 1;
            }
        };
        let client = match self.api.client(cx) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let entries: Vec<Exported> = match gojson::decode(&data, gojson::Mode::Lenient, "Entry") {
            Ok(entries) => entries,
            Err(why) => {
                cx.complain(format_args!("Cannot unmarshal data: {why}"));
                return 1;
            }
        };
        for entry in entries {
            let value = match STANDARD.decode(&entry.value) {
                Ok(value) => value,
                Err(err) => {
                    cx.complain(format_args!(
                        "Error base 64 decoding value for key {}: {err}",
                        entry.key
                    ));
                    return 1;
                }
            };
            let key = self.key(&entry.key);
            let write = KvWrite {
                key: key.clone(),
                value: value.into(),
                flags: entry.flags,
                ..KvWrite::default()
            };
            match client.kv_put(&write).await {
                Ok(_) => cx.say(format_args!("Imported: {key}")),
                Err(err) => {
                    return cx.fail(
                        format_args!("Error! Failed writing data for key {key}"),
                        &err,
                    );
                }
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::{Answer, Ran, ok};

    const A: &str = r#"[{"LockIndex": 0, "Key": "cli/a", "Flags": 0, "Value": "aGVsbG8=", "CreateIndex": 197, "ModifyIndex": 198}]"#;
    const TWO: &str = r#"[{"Key": "x/a", "Flags": 3, "Value": "ZXgvYQ=="}, {"Key": "x/b", "Flags": 0, "Value": null}]"#;

    #[test]
    fn a_value_is_printed_as_it_is_or_in_base64() {
        let ran = Ran::with(&["kv", "get", "/cli/a"], &[ok(A)]);
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.lines()),
            (0, "hello\n", vec!["GET /v1/kv/cli/a"])
        );
        assert_eq!(
            Ran::with(&["kv", "get", "-base64", "cli/a"], &[ok(A)]).out,
            "aGVsbG8=\n"
        );
        let ran = Ran::with(
            &["kv", "get", "-stale", "-datacenter=dc2", "x"],
            &[Answer(404, "", "")],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error! No key exists at: x\n")
        );
        assert_eq!(ran.lines(), ["GET /v1/kv/x?dc=dc2&stale="]);
    }

    #[test]
    fn details_are_a_table() {
        let want = "CreateIndex      197\nFlags            0\nKey              cli/a\nLockIndex        0\n\
                    ModifyIndex      198\nSession          -\nValue            hello\n";
        assert_eq!(
            Ran::with(&["kv", "get", "-detailed", "cli/a"], &[ok(A)]).out,
            want
        );
    }

    #[test]
    fn lists_of_keys_and_values() {
        let ran = Ran::with(&["kv", "get", "-recurse", "x/"], &[ok(TWO)]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            ("x/a:ex/a\nx/b:\n", vec!["GET /v1/kv/x/?recurse="])
        );
        let ran = Ran::with(&["kv", "get", "-keys", ""], &[ok(r#"["a/","b"]"#)]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            ("a/\nb\n", vec!["GET /v1/kv/?keys=&separator=%2F"])
        );
        let ran = Ran::with(
            &["kv", "get", "-keys", "-separator=", "none"],
            &[Answer(404, "", "")],
        );
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.lines()),
            (0, "", vec!["GET /v1/kv/none?keys="])
        );
    }

    #[test]
    fn words_are_counted() {
        assert_eq!(
            Ran::without_agent(&["kv", "get"]).err,
            "Error! Missing KEY argument\n"
        );
        assert_eq!(
            Ran::without_agent(&["kv", "get", "a", "b"]).err,
            "Too many arguments (expected 1, got 2)\n"
        );
        assert_eq!(
            Ran::without_agent(&["kv", "put"]).err,
            "Error! Missing KEY argument\n"
        );
        let ran = Ran::without_agent(&["kv", "put", "a", "b", "c"]);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error! Too many arguments (expected 1 or 2, got 3)\n")
        );
    }

    #[test]
    fn data_comes_from_the_word_the_input_or_a_file() {
        let ran = Ran::with(&["kv", "put", "-flags=5", "a b", "x"], &[ok("true")]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            (
                "Success! Data written to: a b\n",
                vec!["PUT /v1/kv/a%20b?flags=5"]
            )
        );
        assert_eq!(ran.seen[0].body, "x");
        let ran = Ran::with_input(&["kv", "put", "a", "-"], "from stdin", &[ok("true")]);
        assert_eq!(ran.seen[0].body, "from stdin");
        let ran = Ran::with(&["kv", "put", "a", "-5"], &[ok("true")]);
        assert_eq!(ran.seen[0].body, "-5");
        let ran = Ran::with(&["kv", "put", "-base64", "a", "aGVsbG8="], &[ok("true")]);
        assert_eq!(ran.seen[0].body, "hello");
        let ran = Ran::without_agent(&["kv", "put", "a", "@/nonexistent"]);
        assert_eq!(
            ran.err,
            "Error! Failed to read file: open /nonexistent: no such file or directory\n"
        );
    }

    #[test]
    fn conditions_that_do_not_hold_are_failures() {
        let ran = Ran::with(
            &["kv", "put", "-cas", "-modify-index=1", "a", "y"],
            &[ok("false")],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error! Did not write to a: CAS failed\n")
        );
        assert_eq!(ran.lines(), ["PUT /v1/kv/a?cas=1"]);
        let ran = Ran::with(&["kv", "put", "-acquire", "-session=s", "a"], &[ok("true")]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            (
                "Success! Lock acquired on: a\n",
                vec!["PUT /v1/kv/a?acquire=s"]
            )
        );
        let ran = Ran::with(
            &["kv", "put", "-release", "-session=s", "a"],
            &[ok("false")],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error! Did not release lock\n")
        );
        let ran = Ran::without_agent(&["kv", "put", "-acquire", "a"]);
        assert_eq!(
            ran.err,
            "Error! Missing -session (required with -acquire and -release)\n"
        );
    }

    #[test]
    fn keys_are_deleted() {
        let ran = Ran::with(&["kv", "delete", "a"], &[ok("true")]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            ("Success! Deleted key: a\n", vec!["DELETE /v1/kv/a"])
        );
        let ran = Ran::with(&["kv", "delete", "-recurse", "a/"], &[ok("true")]);
        assert_eq!(
            (ran.out.as_str(), ran.lines()),
            (
                "Success! Deleted keys with prefix: a/\n",
                vec!["DELETE /v1/kv/a/?recurse="]
            )
        );
        let ran = Ran::with(
            &["kv", "delete", "-cas", "-modify-index=7", "a"],
            &[ok("false")],
        );
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (1, "Error! Did not delete key a: CAS failed\n")
        );
        assert_eq!(Ran::without_agent(&["kv", "delete", "-cas", "a"]).code, 1);
        assert_eq!(
            Ran::without_agent(&["kv", "delete", "-modify-index=7", "a"]).code,
            1
        );
    }

    #[test]
    fn what_is_exported_can_be_imported() {
        let exported = Ran::with(&["kv", "export", "x/"], &[ok(TWO)]).out;
        assert!(exported.starts_with("[\n\t{\n\t\t\"key\": \"x/a\",\n\t\t\"flags\": 3,\n\t\t\"value\": \"ZXgvYQ==\"\n\t},\n"), "{exported}");
        let ran = Ran::with_input(
            &["kv", "import", "-prefix=copy", "-"],
            &exported,
            &[ok("true"), ok("true")],
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Imported: copy/x/a\nImported: copy/x/b\n")
        );
        assert_eq!(
            ran.lines(),
            ["PUT /v1/kv/copy/x/a?flags=3", "PUT /v1/kv/copy/x/b"]
        );
        assert_eq!(ran.seen[0].body, "ex/a");
        let ran = Ran::without_agent(&["kv", "import", "{broken"]);
        assert_eq!(
            ran.err,
            "Cannot unmarshal data: invalid character 'b' looking for beginning of object key string\n"
        );
        assert_eq!(
            Ran::without_agent(&["kv", "import"]).err,
            "Error! Missing DATA argument\n"
        );
    }
}
