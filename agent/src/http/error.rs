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
        HttpError::internal(error.to_string())
    }
}
