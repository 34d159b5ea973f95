//! Keys, and the places they may come from.

use serde::Deserialize;

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// The session that temporary keys belong to.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The host of the endpoint that gives credentials to tasks of ECS.
pub const ECS_HOST: &str = "169.254.170.2";

/// The same of EKS, which takes a full URL.
const EKS_HOSTS: [&str; 2] = ["169.254.170.23", "[fd00:ec2::23]"];

fn find(env: &dyn Fn(&str) -> Option<String>, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| env(name).filter(|v| !v.is_empty()))
}

/// Those of the environment.
///
/// # Errors
/// What is not set.
pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    let id = find(env, &["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
    let secret = find(env, &["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]);
    match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token: find(env, &["AWS_SESSION_TOKEN"]),
        }),
        (Some(_), None) => Err("AWS_SECRET_ACCESS_KEY is not set".to_owned()),
        (None, _) => Err("AWS_ACCESS_KEY_ID is not set".to_owned()),
    }
}

/// Where the file of shared credentials is, and which of its profiles counts.
pub fn shared_file(env: &dyn Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let path = find(env, &["AWS_SHARED_CREDENTIALS_FILE"])
        .or_else(|| find(env, &["HOME"]).map(|home| format!("{home}/.aws/credentials")))?;
    let profile = find(env, &["AWS_PROFILE"]).unwrap_or_else(|| "default".to_owned());
    Some((path, profile))
}

/// Those of a profile in the text of such a file.
///
/// # Errors
/// The profile or one of its keys is not there.
pub fn from_shared_file(text: &str, profile: &str) -> Result<Credentials, String> {
    let mut inside = false;
    let mut seen = false;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = name.trim() == profile;
            seen |= inside;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            let value = Some(value.trim().to_owned()).filter(|v| !v.is_empty());
            match key.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token: token,
        }),
        _ if seen => Err(format!("profile {profile} holds no keys")),
        _ => Err(format!("no profile {profile}")),
    }
}

/// Where a container's role is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL.
    pub url: String,
    /// The variable that names it.
    pub from: &'static str,
}

/// The endpoint that ECS names for the task role, if it does.
///
/// # Errors
/// A URL that keys must not come from: plain HTTP to another machine.
pub fn container_endpoint(
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Endpoint>, String> {
    if let Some(path) = find(env, &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]) {
        if !path.starts_with('/') {
            return Err(format!(
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: {path:?} is no path"
            ));
        }
        return Ok(Some(Endpoint {
            url: format!("http://{ECS_HOST}{path}"),
            from: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        }));
    }
    let Some(url) = find(env, &["AWS_CONTAINER_CREDENTIALS_FULL_URI"]) else {
        return Ok(None);
    };
    let local = url.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
            _ => host,
        };
        let loopback = bare
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
        loopback || bare == "localhost" || bare == ECS_HOST || EKS_HOSTS.contains(&bare)
    });
    if !local && !url.starts_with("https://") {
        return Err(format!(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI: {url}: keys come by https, or from this machine or task"
        ));
    }
    Ok(Some(Endpoint {
        url,
        from: "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    }))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    code: String,
    message: String,
}

/// Those in the answer of a role's endpoint: ECS's or EC2's.
///
/// # Errors
/// The answer is none, or says why there are none.
pub fn from_answer(body: &str) -> Result<Credentials, String> {
    let answer: Answer =
        serde_json::from_str(body).map_err(|e| format!("the answer holds no credentials: {e}"))?;
    if !answer.code.is_empty() && answer.code != "Success" {
        return Err(format!("{}: {}", answer.code, answer.message));
    }
    if answer.access_key_id.is_empty() || answer.secret_access_key.is_empty() {
        return Err("the answer holds no credentials".to_owned());
    }
    Ok(Credentials {
        access_key_id: answer.access_key_id,
        secret_access_key: answer.secret_access_key,
        session_token: Some(answer.token).filter(|t| !t.is_empty()),
    })
}

/// The error when no place had any.
pub fn none(tried: &[(&'static str, String)]) -> String {
    let places: Vec<String> = tried.iter().map(|(p, why)| format!("{p}: {why}")).collect();
    format!("no credentials, tried {}", places.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let found = pairs.iter().find(|(k, _)| *k == name);
            found.map(|(_, v)| (*v).to_owned())
        }
    }

    #[test]
    fn the_environment_has_two_names_for_each() {
        let both = [("AWS_ACCESS_KEY", "a"), ("AWS_SECRET_KEY", "b")];
        let got = from_env(&env(&both)).unwrap();
        assert_eq!((got.access_key_id.as_str(), got.session_token), ("a", None));
        assert_eq!(
            from_env(&env(&[("AWS_ACCESS_KEY_ID", "a")])).unwrap_err(),
            "AWS_SECRET_ACCESS_KEY is not set"
        );
        assert_eq!(
            from_env(&env(&[("AWS_ACCESS_KEY_ID", "")])).unwrap_err(),
            "AWS_ACCESS_KEY_ID is not set"
        );
    }

    #[test]
    fn the_file_has_profiles() {
        let text = "# mine\n[default]\naws_access_key_id = a\naws_secret_access_key=b==\n\n[ other ]\naws_access_key_id=c\n";
        let got = from_shared_file(text, "default").unwrap();
        assert_eq!(got.secret_access_key, "b==");
        assert_eq!(
            from_shared_file(text, "other").unwrap_err(),
            "profile other holds no keys"
        );
        assert_eq!(
            from_shared_file(text, "third").unwrap_err(),
            "no profile third"
        );
        let at = shared_file(&env(&[("HOME", "/root"), ("AWS_PROFILE", "p")]));
        assert_eq!(at, Some(("/root/.aws/credentials".into(), "p".into())));
        assert_eq!(shared_file(&env(&[])), None);
    }

    #[test]
    fn the_task_role_has_an_endpoint() {
        let url = |name: &str, value: &str| {
            container_endpoint(&env(&[(name, value)])).map(|e| e.unwrap().url)
        };
        assert_eq!(
            url(
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "/v2/credentials/x"
            )
            .unwrap(),
            "http://169.254.170.2/v2/credentials/x"
        );
        assert_eq!(container_endpoint(&env(&[])), Ok(None));
        let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        for good in [
            "http://127.0.0.1:5000/x",
            "http://[::1]:80/x",
            "http://169.254.170.2/x",
            "http://169.254.170.23/v1/credentials",
            "https://keys.example/x",
        ] {
            assert_eq!(url(full, good).unwrap(), good);
        }
        for bad in [
            "http://keys.example/x",
            "http://127.0.0.1.example/x",
            "http://127.0.0.1@example/",
            "ftp://127.0.0.1/",
        ] {
            assert!(url(full, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_hold_keys_or_say_why_not() {
        let got = from_answer(r#"{"Code":"Success","AccessKeyId":"a","SecretAccessKey":"b","Token":"t","Expiration":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(got.session_token.as_deref(), Some("t"));
        assert!(!format!("{got:?}").contains("\"b\""));
        assert_eq!(
            from_answer(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no"}"#).unwrap_err(),
            "AssumeRoleUnauthorizedAccess: no"
        );
        assert!(from_answer("{}").is_err() && from_answer("<html>").is_err());
        assert_eq!(
            none(&[("a", "b".into()), ("c", "d".into())]),
            "no credentials, tried a: b; c: d"
        );
    }
}
