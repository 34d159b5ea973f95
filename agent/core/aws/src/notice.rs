//! What announces the end of an instance or task.

use serde_json::Value;

/// Where EC2 tells of an interruption, below `/latest/`. Absent unless there is one.
pub const SPOT: &str = "meta-data/spot/instance-action";

/// Where EC2 tells what a scaling group wants of the instance.
pub const LIFECYCLE: &str = "meta-data/autoscaling/target-lifecycle-state";

/// The notice in an answer at [`SPOT`], and the time of the end as RFC 3339. Any action ends what runs here: a stopped or hibernated
/// instance serves no more than one that is terminated.
pub fn spot(body: &str) -> Option<(String, Option<String>)> {
    let read: Value = serde_json::from_str(body).ok()?;
    let action = read.get("action")?.as_str()?;
    let time = read.get("time").and_then(Value::as_str);
    let why = format!(
        "the spot instance will {action} at {}",
        time.unwrap_or("a time that is not said")
    );
    Some((why, time.map(String::from)))
}

/// The notice in an answer at [`LIFECYCLE`].
pub fn lifecycle(body: &str) -> Option<String> {
    let state = body.trim();
    // `Warmed:Terminated` ends an instance of a warm pool.
    let ends = state == "Terminated" || state == "Warmed:Terminated";
    ends.then(|| format!("the scaling group's target for the instance is {state}"))
}

/// The notice in a task's own metadata (`${ECS_CONTAINER_METADATA_URI_V4}/task`): it is wanted no
/// more while it runs.
pub fn task(body: &str) -> Option<String> {
    let read: Value = serde_json::from_str(body).ok()?;
    let is = |key: &str, state: &str| read.get(key).and_then(Value::as_str) == Some(state);
    (is("DesiredStatus", "STOPPED") && !is("KnownStatus", "STOPPED"))
        .then(|| "ECS stops the task".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_read() {
        assert_eq!(
            spot(r#"{"action": "terminate", "time": "2026-09-18T08:22:00Z"}"#).unwrap(),
            (
                "the spot instance will terminate at 2026-09-18T08:22:00Z".to_owned(),
                Some("2026-09-18T08:22:00Z".to_owned())
            )
        );
        assert!(spot(r#"{"action": "stop"}"#).is_some());
        assert_eq!(spot("{}"), None);
        assert_eq!(spot("<html>404</html>"), None);
        assert!(lifecycle("Terminated\n").is_some());
        assert!(lifecycle("Warmed:Terminated").is_some());
        for other in ["InService", "Standby", "", "Detached", "Warmed:Stopped"] {
            assert_eq!(lifecycle(other), None, "{other}");
        }
        assert!(task(r#"{"DesiredStatus":"STOPPED","KnownStatus":"RUNNING"}"#).is_some());
        assert_eq!(
            task(r#"{"DesiredStatus":"RUNNING","KnownStatus":"RUNNING"}"#),
            None
        );
        assert_eq!(
            task(r#"{"DesiredStatus":"STOPPED","KnownStatus":"STOPPED"}"#),
            None
        );
    }
}
