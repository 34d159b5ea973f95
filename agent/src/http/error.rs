//! Errors of the API: the only place where a failure gets its status and its text.

use crate::store::WriteError;
use http::StatusCode;

/// An answer that is an error. The text goes to the client as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HttpError {
    /// The status.
    pub status: StatusCode,
    /// What the client reads.
    pub text: String,
}

impl HttpError {
    /// An error of this status.
    pub fn new(status: StatusCode, text: impl Into<String>) -> HttpError {
        HttpError {
            status,
            text: text.into(),
        }
    }

    /// 400: what was asked makes no sense.
    pub fn bad_request(text: impl Into<String>) -> HttpError {
        HttpError::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404: what was asked for is not there.
    pub fn not_found(text: impl Into<String>) -> HttpError {
        HttpError::new(StatusCode::NOT_FOUND, text)
    }

    /// 500: Consul's status for whatever a server refuses.
    pub fn internal(text: impl Into<String>) -> HttpError {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// 400 for a body that does not decode.
    pub fn decode(text: impl std::fmt::Display) -> HttpError {
        HttpError::bad_request(format!("Request decode failed: {text}"))
    }

    /// 413 for a body over the limit.
    pub fn too_large(limit: usize) -> HttpError {
        HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body too large, max size: {limit} bytes."),
        )
    }
}

impl From<WriteError> for HttpError {
    fn from(error: WriteError) -> HttpError {
        let text = error.to_string();
        HttpError::new(status(&text), text)
    }
}

/// Consul's status for an error of a server, which is told by its words: each agent on its way
/// puts some in front.
fn status(text: &str) -> StatusCode {
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&["Permission denied", "ACL not found"]) {
        StatusCode::FORBIDDEN
    } else if says(&["rate limit exceeded for operation that can only be performed by the leader"])
    {
        StatusCode::SERVICE_UNAVAILABLE
    } else if says(&[
        "RPC rate limit exceeded",
        "rate limit exceeded, try again later or against a different server",
    ]) {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_servers_decide_the_status() {
        let remote = |text: &str| HttpError::from(WriteError::Remote(text.to_owned()));
        for (error, status, text) in [
            (
                remote("rpc error making call: Permission denied: token lacks permission"),
                403,
                "rpc error making call: rpc error making call: Permission denied: token lacks permission",
            ),
            (
                remote("ACL not found"),
                403,
                "rpc error making call: ACL not found",
            ),
            (
                WriteError::RateLimited.into(),
                429,
                "RPC rate limit exceeded",
            ),
            (
                remote("rate limit exceeded, try again later or against a different server"),
                429,
                "rpc error making call: rate limit exceeded, try again later or against a different server",
            ),
            (
                remote(
                    "rate limit exceeded for operation that can only be performed by the leader, try again later",
                ),
                503,
                "rpc error making call: rate limit exceeded for operation that can only be performed by the leader, try again later",
            ),
            (
                remote("No cluster leader"),
                500,
                "rpc error making call: No cluster leader",
            ),
            (WriteError::NoServers.into(), 500, "No known Consul servers"),
        ] {
            assert_eq!((error.status.as_u16(), error.text.as_str()), (status, text));
        }
    }
}
