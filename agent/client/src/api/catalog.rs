//! `/v1/catalog`, `/v1/health` and `/v1/coordinate`.

use crate::client::{Client, QueryMeta, Request};
use crate::error::Error;
use crate::query::QueryOptions;
use crate::types::{CatalogService, HealthEntry, NodeEntry, NodeServices};
use http::Method;
use lictor_wire::rows::CoordinateRow;
use std::collections::BTreeMap;

impl Client {
    /// The known datacenters, nearest first.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn datacenters(&self) -> Result<Vec<String>, Error> {
        self.get("/v1/catalog/datacenters", &QueryOptions::default())
            .await
            .map(|(v, _)| v)
    }

    /// The nodes of the catalog.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn nodes(
        &self,
        options: &QueryOptions,
    ) -> Result<(Vec<NodeEntry>, QueryMeta), Error> {
        self.get("/v1/catalog/nodes", options).await
    }

    /// The names of all services with the tags of their instances.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn services(
        &self,
        options: &QueryOptions,
    ) -> Result<(BTreeMap<String, Vec<String>>, QueryMeta), Error> {
        self.get("/v1/catalog/services", options).await
    }

    /// The instances of a service, whatever their health.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn catalog_service(
        &self,
        name: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<CatalogService>, QueryMeta), Error> {
        self.get(&format!("/v1/catalog/service/{name}"), options)
            .await
    }

    /// A node and its services; nothing if there is no such node.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn node(
        &self,
        name: &str,
        options: &QueryOptions,
    ) -> Result<(Option<NodeServices>, QueryMeta), Error> {
        self.get(&format!("/v1/catalog/node/{name}"), options).await
    }

    /// The instances of a service with their checks; only those with all `tags`, and with
    /// `passing` only those whose checks all pass.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn health_service(
        &self,
        name: &str,
        tags: &[&str],
        passing: bool,
        options: &QueryOptions,
    ) -> Result<(Vec<HealthEntry>, QueryMeta), Error> {
        let mut request =
            Request::new(Method::GET, &format!("/v1/health/service/{name}")).options(options);
        for tag in tags {
            request = request.param("tag", *tag);
        }
        if passing {
            request = request.param("passing", "1");
        }
        self.read(request).await
    }

    /// The network coordinates of the nodes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn coordinates(
        &self,
        options: &QueryOptions,
    ) -> Result<(Vec<CoordinateRow>, QueryMeta), Error> {
        self.get("/v1/coordinate/nodes", options).await
    }
}
