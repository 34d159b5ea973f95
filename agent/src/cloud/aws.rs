//! Instances and tasks of AWS, found by a tag.

use super::{metadata_service, path_of, socket};
use lictor_aws::{ADDRESSES_MAX, Credentials, Service, Wish, credentials, ec2, ecs, sigv4};
use lictor_client::{Client, ClientConfig, Method, Request, Response};
use lictor_docker::metadata::{self, Ec2};
use std::time::Duration;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long metadata services on the machine itself may take.
const NEAR: Duration = Duration::from_secs(2);
/// The largest answer in bytes.
const ANSWER_MAX: usize = 32 << 20;
/// Parts of one list that are fetched.
const PAGES_MAX: usize = 20;
/// Clusters of ECS that are looked through.
const CLUSTERS_MAX: usize = 100;

/// The addresses of those that the wish describes.
///
/// # Errors
/// What failed, in Consul's words where it has some.
pub async fn discover(wish: &Wish) -> Result<Vec<String>, String> {
    for note in &wish.notes {
        tracing::info!(target: "agent", "discover-aws: {note}");
    }
    let region = match &wish.region {
        Some(region) => region.clone(),
        None => {
            tracing::info!(target: "agent", "discover-aws: Region not provided. Looking up region in ec2 metadata...");
            region().await?
        }
    };
    tracing::info!(target: "agent", "discover-aws: Region is {region}");
    let endpoint = match &wish.endpoint {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => lictor_aws::endpoint(wish.service, &region)?,
    };
    let service = Api {
        client: client(&endpoint)?,
        service: wish.service,
        region,
        credentials: match &wish.credentials {
            Some(given) => given.clone(),
            None => find_credentials().await?,
        },
    };
    match wish.service {
        Service::Ec2 => instances(wish, &service).await,
        Service::Ecs => tasks(wish, &service).await,
    }
}

async fn instances(wish: &Wish, api: &Api) -> Result<Vec<String>, String> {
    let (key, value) = (&wish.tag_key, &wish.tag_value);
    tracing::info!(target: "agent", "discover-aws: Filter instances with {key}={value}");
    let failed = |why: String| format!("DescribeInstancesInput failed: {why}");
    let mut out = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let body = ec2::describe_instances(key, value, next.as_deref());
        let headers = [("content-type", ec2::CONTENT_TYPE)];
        let answer = api.call(&headers, body).await.map_err(failed)?;
        let status = answer.status.as_u16();
        if status != 200 {
            return Err(failed(ec2::refusal(status, &answer.text()).to_string()));
        }
        let found = ec2::instances(&answer.text(), wish.addr_type).map_err(failed)?;
        for instance in found.all {
            if instance.addresses.is_empty() {
                tracing::debug!(target: "agent", "discover-aws: Instance {} has no such address", instance.id);
            }
            for address in instance.addresses {
                tracing::info!(target: "agent", "discover-aws: Instance {} has address {address}", instance.id);
                out.push(address);
            }
        }
        next = found.next;
        if next.is_none() || out.len() >= ADDRESSES_MAX {
            break;
        }
    }
    out.truncate(ADDRESSES_MAX);
    Ok(out)
}

async fn tasks(wish: &Wish, api: &Api) -> Result<Vec<String>, String> {
    let clusters = match &wish.ecs_cluster {
        Some(cluster) => vec![cluster.clone()],
        None => api
            .list(ecs::Call::ListClusters, ecs::list_clusters)
            .await
            .map_err(|why| format!("Failed to get ECS clusters: {why}"))?,
    };
    let mut out = Vec::new();
    for cluster in clusters.iter().take(CLUSTERS_MAX) {
        let family = wish.ecs_family.as_deref();
        let tasks = api
            .list(ecs::Call::ListTasks, |next| {
                ecs::list_tasks(cluster, family, next)
            })
            .await
            .map_err(|why| format!("Failed to get ECS Tasks: {why}"))?;
        for some in tasks.chunks(ecs::DESCRIBE_MAX) {
            let body = ecs::describe_tasks(cluster, some);
            let found = api
                .json(ecs::Call::DescribeTasks, body)
                .await
                .and_then(|body| ecs::addresses(&body, &wish.tag_key, &wish.tag_value))
                .map_err(|why| {
                    format!("Failed to get ECS Task IPs: DescribeTasks failed: {why}")
                })?;
            out.extend(found);
            if out.len() >= ADDRESSES_MAX {
                out.truncate(ADDRESSES_MAX);
                return Ok(out);
            }
        }
    }
    Ok(out)
}

/// A service of AWS in a region, and who asks it.
struct Api {
    client: Client,
    service: Service,
    region: String,
    credentials: Credentials,
}

impl Api {
    /// One signed call.
    async fn call(&self, headers: &[(&str, &str)], body: String) -> Result<Response, String> {
        let base = self.client.base_url();
        let authority = base.split_once("://").map_or(base, |(_, rest)| rest);
        let host = authority.split('/').next().unwrap_or_default();
        let path = format!("{}/", path_of(base).trim_end_matches('/'));
        let mut all = vec![("host", host)];
        all.extend_from_slice(headers);
        let request = sigv4::Signable {
            method: "POST",
            path: &path,
            query: "",
            headers: &all,
            body: body.as_bytes(),
        };
        let now = crate::time::compact(crate::clock::unix_ms() / 1000);
        let scope = sigv4::Scope {
            region: &self.region,
            service: self.service.name(),
            time: &now,
        };
        let signed = sigv4::sign(&request, &scope, &self.credentials);
        let mut request = Request::encoded(Method::POST, "/").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in &signed {
            request = request.header(name, value);
        }
        self.client.send(request).await.map_err(|e| e.to_string())
    }

    /// A call of ECS's.
    async fn json(&self, call: ecs::Call, body: String) -> Result<String, String> {
        let target = call.target();
        let headers = [
            ("content-type", ecs::CONTENT_TYPE),
            ("x-amz-target", target.as_str()),
        ];
        let answer = self.call(&headers, body).await?;
        let status = answer.status.as_u16();
        if status != 200 {
            return Err(ecs::refusal(call, status, &answer.text()).to_string());
        }
        Ok(answer.text())
    }

    /// All of a list that comes in parts.
    async fn list(
        &self,
        call: ecs::Call,
        body: impl Fn(Option<&str>) -> String,
    ) -> Result<Vec<String>, String> {
        let failed = |why: String| format!("{} failed: {why}", call.name());
        let mut out = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let answer = self.json(call, body(next.as_deref())).await;
            let read = answer.and_then(|answer| ecs::listed(&answer));
            let (mut names, mark) = read.map_err(failed)?;
            out.append(&mut names);
            next = mark;
            if next.is_none() {
                break;
            }
        }
        Ok(out)
    }
}

fn client(url: &str) -> Result<Client, String> {
    let config = ClientConfig {
        connect_timeout: CONNECT,
        timeout: Some(PATIENCE),
        max_answer: ANSWER_MAX,
        ..ClientConfig::at(url)
    };
    Client::new(config).map_err(|e| e.to_string())
}

/// The region of this task or instance.
async fn region() -> Result<String, String> {
    if let Some(uri) = super::var("ECS_CONTAINER_METADATA_URI_V4") {
        let at = socket(&uri).ok_or_else(|| format!("{uri} is no address"));
        let path = format!("{}/task", path_of(&uri).trim_end_matches('/'));
        let answer = metadata::ask(
            at.map_err(|why| format!("Failed retrieving ECS Task Metadata: {why}"))?,
            "GET",
            &path,
            &[],
            NEAR,
        )
        .await
        .map_err(|why| format!("Failed retrieving ECS Task Metadata: {why}"))?;
        return ecs::task_region(&answer.body)
            .map_err(|why| format!("Failed retrieving ECS Task Region: {why}"));
    }
    let ask = async {
        let mut session = Ec2::session(metadata_service()?).await?;
        let document = session.item("dynamic/instance-identity/document").await?;
        ecs::document_region(&document.unwrap_or_default())
    };
    ask.await
        .map_err(|why| format!("GetInstanceIdentityDocument failed: {why}"))
}

/// Credentials from the first place that has some, in Consul's order.
async fn find_credentials() -> Result<Credentials, String> {
    let env = |name: &str| std::env::var(name).ok();
    let mut tried: Vec<(&'static str, String)> = Vec::new();
    match credentials::from_env(&env) {
        Ok(found) => return Ok(found),
        Err(why) => tried.push(("environment", why)),
    }
    let file = match credentials::shared_file(&env) {
        None => Err("no home directory".to_owned()),
        Some((path, profile)) => match tokio::fs::read_to_string(&path).await {
            Err(error) => Err(format!("{path}: {error}")),
            Ok(text) => credentials::from_shared_file(&text, &profile)
                .map_err(|why| format!("{path}: {why}")),
        },
    };
    match file {
        Ok(found) => return Ok(found),
        Err(why) => tried.push(("shared credentials file", why)),
    }
    let role = match credentials::container_endpoint(&env) {
        // A task that has a role asks for nothing else: the instance's role is not its own.
        Ok(Some(endpoint)) => from_container(&endpoint)
            .await
            .map_err(|why| ("ECS task role", format!("{}: {why}", endpoint.from))),
        Err(why) => Err(("ECS task role", why)),
        Ok(None) => {
            let unset = "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set";
            tried.push(("ECS task role", unset.to_owned()));
            let found = from_instance().await;
            found.map_err(|why| ("EC2 instance role", why))
        }
    };
    role.map_err(|failed| {
        tried.push(failed);
        credentials::none(&tried)
    })
}

/// Those of the role of this task.
async fn from_container(endpoint: &credentials::Endpoint) -> Result<Credentials, String> {
    let token = match super::var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        // Read anew each time: the token is replaced while the task runs.
        Some(path) => {
            let read = tokio::fs::read_to_string(&path).await;
            Some(read.map_err(|e| format!("{path}: {e}"))?.trim().to_owned())
        }
        None => super::var("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let path = path_of(&endpoint.url);
    let base = endpoint.url.strip_suffix(path).unwrap_or(&endpoint.url);
    let mut request = Request::encoded(Method::GET, path).timeout(NEAR);
    if let Some(token) = token {
        request = request.header("authorization", &token);
    }
    let answer = client(base)?
        .send(request)
        .await
        .map_err(|e| e.to_string())?;
    let (status, text) = (answer.status.as_u16(), answer.text());
    if status != 200 {
        let shown: String = text.chars().take(200).collect();
        return Err(format!("status {status}: {shown}"));
    }
    credentials::from_answer(&text)
}

/// Those of the role of this instance.
async fn from_instance() -> Result<Credentials, String> {
    const ROLES: &str = "meta-data/iam/security-credentials/";
    let mut session = Ec2::session(metadata_service()?).await?;
    let roles = session.item(ROLES).await?.unwrap_or_default();
    let role = roles.lines().next().unwrap_or_default().trim();
    if role.is_empty() {
        return Err("the instance has no role (no instance profile)".to_owned());
    }
    let answer = session.item(&format!("{ROLES}{role}")).await?;
    let answer = answer.ok_or_else(|| format!("role {role} has no credentials"))?;
    credentials::from_answer(&answer).map_err(|why| format!("role {role}: {why}"))
}
