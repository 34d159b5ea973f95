//! `/v1/kv`.

use crate::client::{Client, QueryMeta, Request};
use crate::error::Error;
use crate::query::QueryOptions;
use crate::types::KvRow;
use bytes::Bytes;
use http::Method;

/// A write of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvWrite {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// An opaque number of the client's.
    pub flags: u64,
    /// Only if the key's modify index is this; zero: only if there is no such key.
    pub cas: Option<u64>,
    /// Only if this session can lock it, which it does then.
    pub acquire: Option<String>,
    /// Only if this session holds it, which it gives up then.
    pub release: Option<String>,
}

impl Client {
    /// A key and its value; nothing if there is no such key.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn kv_get(
        &self,
        key: &str,
        options: &QueryOptions,
    ) -> Result<(Option<KvRow>, QueryMeta), Error> {
        let (mut rows, meta) = self
            .kv_rows(Request::new(Method::GET, &path(key)).options(options))
            .await?;
        Ok((
            if rows.is_empty() {
                None
            } else {
                Some(rows.swap_remove(0))
            },
            meta,
        ))
    }

    /// All keys that begin with `prefix`, with their values.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn kv_list(
        &self,
        prefix: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<KvRow>, QueryMeta), Error> {
        self.kv_rows(
            Request::new(Method::GET, &path(prefix))
                .options(options)
                .param("recurse", ""),
        )
        .await
    }

    async fn kv_rows(&self, request: Request) -> Result<(Vec<KvRow>, QueryMeta), Error> {
        let response = self.send(request).await?;
        let meta = response.meta();
        // "Not there" is an answer with an index to wait on.
        if response.status == http::StatusCode::NOT_FOUND {
            return Ok((Vec::new(), meta));
        }
        Ok((response.ok()?.json()?, meta))
    }

    /// The keys that begin with `prefix`, cut after the next `separator` unless it is empty.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn kv_keys(
        &self,
        prefix: &str,
        separator: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<String>, QueryMeta), Error> {
        let mut request = Request::new(Method::GET, &path(prefix))
            .options(options)
            .param("keys", "");
        if !separator.is_empty() {
            request = request.param("separator", separator);
        }
        let response = self.send(request).await?;
        let meta = response.meta();
        if response.status == http::StatusCode::NOT_FOUND {
            return Ok((Vec::new(), meta));
        }
        Ok((response.ok()?.json()?, meta))
    }

    /// Writes a key; false if a condition did not hold.
    ///
    /// # Errors
    /// As [`Client::get`], and a key that begins with a slash.
    pub async fn kv_put(&self, write: &KvWrite) -> Result<bool, Error> {
        if write.key.starts_with('/') {
            return Err(Error::Config(format!(
                "Invalid key. Key must not begin with a '/': {}",
                write.key
            )));
        }
        let mut request = Request::new(Method::PUT, &path(&write.key))
            .header("content-type", "application/octet-stream")
            .body(write.value.clone());
        if write.flags != 0 {
            request = request.param("flags", write.flags.to_string());
        }
        if let Some(index) = write.cas {
            request = request.param("cas", index.to_string());
        }
        if let Some(session) = &write.acquire {
            request = request.param("acquire", session);
        }
        if let Some(session) = &write.release {
            request = request.param("release", session);
        }
        self.truth(request).await
    }

    /// Deletes a key; with `cas` only if its modify index is that. False if it is not.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn kv_delete(&self, key: &str, cas: Option<u64>) -> Result<bool, Error> {
        let mut request = Request::new(Method::DELETE, &path(key));
        if let Some(index) = cas {
            request = request.param("cas", index.to_string());
        }
        self.truth(request).await
    }

    /// Deletes all keys that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn kv_delete_tree(&self, prefix: &str) -> Result<bool, Error> {
        self.truth(Request::new(Method::DELETE, &path(prefix)).param("recurse", ""))
            .await
    }

    async fn truth(&self, request: Request) -> Result<bool, Error> {
        Ok(self.send(request).await?.ok()?.text().contains("true"))
    }
}

fn path(key: &str) -> String {
    format!("/v1/kv/{}", key.strip_prefix('/').unwrap_or(key))
}
