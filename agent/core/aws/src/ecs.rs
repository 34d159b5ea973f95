//! ECS's JSON API: tasks by tag. And the region of a task.

use crate::{ADDRESSES_MAX, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The type of the body.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Tasks that one request may describe.
pub const DESCRIBE_MAX: usize = 100;

/// The calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Clusters of the account.
    ListClusters,
    /// Tasks of a cluster.
    ListTasks,
    /// Tasks in full.
    DescribeTasks,
}

impl Call {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Call::ListClusters => "ListClusters",
            Call::ListTasks => "ListTasks",
            Call::DescribeTasks => "DescribeTasks",
        }
    }

    /// The header `x-amz-target`.
    pub fn target(self) -> String {
        format!("AmazonEC2ContainerServiceV20141113.{}", self.name())
    }

    /// The permission that it takes.
    pub fn permission(self) -> &'static str {
        match self {
            Call::ListClusters => "ecs:ListClusters",
            Call::ListTasks => "ecs:ListTasks",
            Call::DescribeTasks => "ecs:DescribeTasks",
        }
    }
}

/// The body of [`Call::ListClusters`].
pub fn list_clusters(next: Option<&str>) -> String {
    with_next(json!({}), next)
}

/// The body of [`Call::ListTasks`]: those that should run.
pub fn list_tasks(cluster: &str, family: Option<&str>, next: Option<&str>) -> String {
    let mut body = json!({"cluster": cluster, "desiredStatus": "RUNNING"});
    if let Some(family) = family {
        body["family"] = json!(family);
    }
    with_next(body, next)
}

/// The body of [`Call::DescribeTasks`]; at most [`DESCRIBE_MAX`] tasks.
pub fn describe_tasks(cluster: &str, tasks: &[String]) -> String {
    json!({"cluster": cluster, "tasks": tasks, "include": ["TAGS"]}).to_string()
}

fn with_next(mut body: Value, next: Option<&str>) -> String {
    if let Some(next) = next {
        body["nextToken"] = json!(next);
    }
    body.to_string()
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    cluster_arns: Vec<String>,
    task_arns: Vec<String>,
    next_token: Option<String>,
}

/// Reads the answer to [`list_clusters`] or [`list_tasks`]: names, and the mark for more.
///
/// # Errors
/// It is none.
pub fn listed(body: &str) -> Result<(Vec<String>, Option<String>), String> {
    let mut read: Listed =
        serde_json::from_str(body).map_err(|e| format!("the answer is no list: {e}"))?;
    read.cluster_arns.append(&mut read.task_arns);
    Ok((read.cluster_arns, read.next_token.filter(|t| !t.is_empty())))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Described {
    tasks: Vec<Task>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Task {
    desired_status: String,
    tags: Vec<Tag>,
    attachments: Vec<Attachment>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attachment {
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    name: String,
    value: String,
}

/// Reads the answer to [`describe_tasks`]: the private address of each task that should run and has
/// the tag.
///
/// # Errors
/// It is none.
pub fn addresses(body: &str, tag_key: &str, tag_value: &str) -> Result<Vec<String>, String> {
    let read: Described =
        serde_json::from_str(body).map_err(|e| format!("the answer holds no tasks: {e}"))?;
    let tasks = read.tasks.into_iter().filter(|task| {
        let tagged = |t: &Tag| t.key == tag_key && t.value == tag_value;
        task.desired_status == "RUNNING" && task.tags.iter().any(tagged)
    });
    let first = |task: Task| {
        let mut details = task.attachments.into_iter().flat_map(|a| a.details);
        let found = details.find(|d| d.name == "privateIPv4Address")?.value;
        found.parse::<IpAddr>().is_ok().then_some(found)
    };
    Ok(tasks.filter_map(first).take(ADDRESSES_MAX).collect())
}

/// Reads an answer that is a refusal.
pub fn refusal(call: Call, status: u16, body: &str) -> Refusal {
    let read: Value = serde_json::from_str(body).unwrap_or_default();
    let word = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| read.get(*name)?.as_str());
        found.map(String::from)
    };
    let code = word(["__type", "code"]).map(|c| match c.rsplit_once('#') {
        Some((_, code)) => code.to_owned(),
        None => c,
    });
    Refusal {
        status,
        code: code.unwrap_or_else(|| "unexpected answer".to_owned()),
        message: word(["message", "Message"]).unwrap_or_else(|| body.chars().take(200).collect()),
        permission: call.permission(),
    }
}

/// The region of the task whose metadata (`${ECS_CONTAINER_METADATA_URI_V4}/task`) this is.
///
/// # Errors
/// In Consul's words.
pub fn task_region(metadata: &str) -> Result<String, String> {
    let read: Value = serde_json::from_str(metadata).unwrap_or_default();
    let arn = read
        .get("TaskARN")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let region = arn.split(':').nth(3).filter(|r| !r.is_empty());
    region
        .map(String::from)
        .ok_or_else(|| format!("unable to determine AWS region from ECS Task ARN: {arn:?}"))
}

/// The region in the identity document of an instance.
///
/// # Errors
/// There is none in it.
pub fn document_region(document: &str) -> Result<String, String> {
    let read: Value = serde_json::from_str(document).unwrap_or_default();
    let region = read.get("region").and_then(Value::as_str);
    region
        .filter(|r| !r.is_empty())
        .map(String::from)
        .ok_or_else(|| "the identity document of the instance names no region".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_with_the_tag_have_an_address() {
        let body = r#"{"tasks":[
            {"taskArn":"1","desiredStatus":"RUNNING","tags":[{"key":"a","value":"b"}],"attachments":[{"details":[{"name":"subnetId","value":"s"},{"name":"privateIPv4Address","value":"10.0.0.1"}]}]},
            {"taskArn":"2","desiredStatus":"STOPPED","tags":[{"key":"a","value":"b"}],"attachments":[{"details":[{"name":"privateIPv4Address","value":"10.0.0.2"}]}]},
            {"taskArn":"3","desiredStatus":"RUNNING","tags":[{"key":"a","value":"c"}],"attachments":[{"details":[{"name":"privateIPv4Address","value":"10.0.0.3"}]}]},
            {"taskArn":"4","desiredStatus":"RUNNING","tags":[{"key":"a","value":"b"}]}],"failures":[]}"#;
        assert_eq!(addresses(body, "a", "b").unwrap(), ["10.0.0.1"]);
        assert!(addresses("[", "a", "b").is_err());
    }

    #[test]
    fn requests_and_lists() {
        assert_eq!(
            list_tasks("c", Some("f"), Some("n")),
            r#"{"cluster":"c","desiredStatus":"RUNNING","family":"f","nextToken":"n"}"#
        );
        assert_eq!(list_clusters(None), "{}");
        let (names, next) = listed(r#"{"clusterArns":["x"],"nextToken":"n"}"#).unwrap();
        assert_eq!((names, next), (vec!["x".to_owned()], Some("n".to_owned())));
        assert_eq!(listed(r#"{"taskArns":[]}"#).unwrap(), (vec![], None));
    }

    #[test]
    fn refusals_and_regions() {
        let body = r#"{"__type":"com.amazonaws.ecs#AccessDeniedException","Message":"not you"}"#;
        let text = refusal(Call::ListTasks, 400, body).to_string();
        assert_eq!(
            text,
            "AccessDeniedException: not you (status code: 400): the role or user lacks the permission ecs:ListTasks"
        );
        let arn = r#"{"TaskARN":"arn:aws:ecs:us-west-2:111122223333:task/default/4c1e"}"#;
        assert_eq!(task_region(arn).unwrap(), "us-west-2");
        assert_eq!(
            task_region(r#"{"TaskARN":"x"}"#).unwrap_err(),
            "unable to determine AWS region from ECS Task ARN: \"x\""
        );
        assert_eq!(
            document_region(r#"{"region":"eu-west-1"}"#).unwrap(),
            "eu-west-1"
        );
        assert!(document_region("").is_err());
    }
}
