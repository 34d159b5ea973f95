//! AWS's Signature Version 4 in the `Authorization` header.

use crate::Credentials;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, percent-encoded already.
    pub path: &'a str,
    /// The query, percent-encoded already; without its question mark.
    pub query: &'a str,
    /// All headers that are signed, `host` among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// For whom and when.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service's name in signatures.
    pub service: &'a str,
    /// The time in UTC, as `20150830T123600Z`.
    pub time: &'a str,
}

/// The headers that make a request a signed one: `x-amz-date`, `x-amz-security-token` where the
/// credentials have a session, and `authorization`.
pub fn sign(
    request: &Signable<'_>,
    scope: &Scope<'_>,
    credentials: &Credentials,
) -> Vec<(&'static str, String)> {
    let mut added = vec![("x-amz-date", scope.time.to_owned())];
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token", token.clone()));
    }
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(k, v)| (*k, *v))
        .chain(added.iter().map(|(k, v)| (*k, v.as_str())))
        .map(|(k, v)| (k.to_ascii_lowercase(), trimmed(v)))
        .collect();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(k, _)| k.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(k, v)| format!("{k}:{v}\n")).collect();
    let mut query: Vec<&str> = request.query.split('&').collect();
    query.sort_unstable();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        request.path,
        query.join("&"),
        hex(&Sha256::digest(request.body))
    );
    let day = scope.time.get(..8).unwrap_or_default();
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{place}\n{}",
        scope.time,
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let first = format!("AWS4{}", credentials.secret_access_key);
    let parts = [day, scope.region, scope.service, "aws4_request"];
    let key = parts
        .iter()
        .fold(first.into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let signature = hex(&mac(&key, text.as_bytes()));
    added.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
            credentials.access_key_id
        ),
    ));
    added
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length will do: only other algorithms than this one refuse some.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// A value as it is signed: blanks around it are gone, those within it are one.
fn trimmed(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials, place and time of AWS's published test suite.
    fn signature(request: &Signable<'_>) -> String {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        signature_of(request, "service", &credentials)
    }

    fn signature_of(request: &Signable<'_>, service: &str, credentials: &Credentials) -> String {
        let scope = Scope {
            region: "us-east-1",
            service,
            time: "20150830T123600Z",
        };
        let headers = sign(request, &scope, credentials);
        let (name, value) = headers.last().unwrap();
        assert_eq!(*name, "authorization");
        value.clone()
    }

    const HOST: (&str, &str) = ("Host", "example.amazonaws.com");

    /// `get-vanilla`, `post-vanilla` and others of the suite, by their names.
    #[test]
    fn the_published_vectors_hold() {
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let spaces: &[(&str, &str)] = &[
            HOST,
            ("My-Header1", " value1"),
            ("My-Header2", " \"a   b   c\""),
        ];
        type Row<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            &'a [u8],
            &'a str,
        );
        let rows: [Row; 6] = [
            (
                "get-vanilla",
                "GET",
                "",
                &[HOST],
                b"",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "Param2=value2&Param1=value1",
                &[HOST],
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-header-value-trim",
                "GET",
                "",
                spaces,
                b"",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "post-vanilla",
                "POST",
                "",
                &[HOST],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                "POST",
                "",
                &[HOST, ("My-Header1", "value1")],
                b"",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                "",
                &[HOST, form],
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (name, method, query, headers, body, wanted) in rows {
            let request = Signable {
                method,
                path: "/",
                query,
                headers,
                body,
            };
            let found = signature(&request);
            assert!(
                found.ends_with(&format!("Signature={wanted}")),
                "{name}: {found}"
            );
            assert!(found.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="));
        }
    }

    /// The worked example of the documentation of Signature Version 4, and `post-sts-header-before`.
    #[test]
    fn the_worked_example_and_the_session_hold() {
        let mut credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let headers = [
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
            ("host", "iam.amazonaws.com"),
        ];
        let list_users = Signable {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &headers,
            body: b"",
        };
        assert_eq!(
            signature_of(&list_users, "iam", &credentials),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        credentials.session_token = Some("AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==".into());
        let post = Signable {
            method: "POST",
            path: "/",
            query: "",
            headers: &[HOST],
            body: b"",
        };
        let found = signature_of(&post, "service", &credentials);
        assert!(
            found.ends_with("SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
            "{found}"
        );
    }
}
