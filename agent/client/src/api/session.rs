//! `/v1/session`.

use crate::client::{Client, Request};
use crate::error::Error;
use http::Method;
use serde::Deserialize;

impl Client {
    /// Makes a session and gives its id. `ttl` is a Go duration; `delete` makes its keys go with
    /// it instead of being released.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn create_session(
        &self,
        name: &str,
        ttl: &str,
        delete: bool,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "ID")]
            id: String,
        }
        let mut body = serde_json::json!({"Name": name, "TTL": ttl});
        if delete {
            body["Behavior"] = "delete".into();
        }
        let (created, _): (Created, _) = self
            .read(Request::new(Method::PUT, "/v1/session/create").json(&body))
            .await?;
        Ok(created.id)
    }

    /// Renews a session and gives its TTL, which servers may lengthen; nothing if it is gone.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn renew_session(&self, id: &str) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Renewed {
            #[serde(rename = "TTL", default)]
            ttl: String,
        }
        let response = self
            .send(Request::new(
                Method::PUT,
                &format!("/v1/session/renew/{id}"),
            ))
            .await?;
        if response.status == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let rows: Vec<Renewed> = response.ok()?.json()?;
        Ok(rows.into_iter().next().map(|r| r.ttl))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn destroy_session(&self, id: &str) -> Result<(), Error> {
        self.tell(Request::new(
            Method::PUT,
            &format!("/v1/session/destroy/{id}"),
        ))
        .await
    }
}
