//! Notices of the end of this instance or task: its services leave the answers, then the agent
//! leaves the cluster.

use super::{Signs, path_of, signs, socket};
use crate::agent::Shared;
use crate::clock::unix_ms;
use crate::registrar;
use lictor_aws::notice;
use lictor_docker::metadata::{self, Ec2};
use std::sync::Arc;
use std::time::Duration;

/// A leave takes no longer.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// How long before its announced end an instance has to be left.
const MARGIN: Duration = Duration::from_secs(20);
/// How long a task's metadata may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches for notices, where there may be some; the result is the task that does it.
pub fn start(shared: &Arc<Shared>) -> Option<impl Future<Output = ()> + Send + use<>> {
    if !shared.config().aws.leave_on_notice {
        return None;
    }
    let signs = signs();
    if signs.ec2.is_none() && signs.task.is_none() {
        return None;
    }
    Some(run(shared.clone(), signs))
}

async fn run(shared: Arc<Shared>, signs: Signs) {
    let settings = shared.config().aws.clone();
    tracing::info!(target: "agent.aws", ec2 = signs.ec2.is_some(), ecs = signs.task.is_some(), interval = %settings.notice_interval, "watching for notices of the end of this instance or task");
    let mut watch = Watch::new(signs);
    let mut first = true;
    let notice = loop {
        if let Some(notice) = watch.look().await {
            break notice;
        }
        first = false;
        tokio::time::sleep(settings.notice_interval.to_std()).await;
    };
    let why = &notice.why;
    tracing::warn!(target: "agent.aws", notice = %why, "the end is announced: services leave the answers");
    registrar::drain_node(&shared, why);
    let config = shared.config();
    if first {
        // Restarted after its leave: who has left would only come back again and again.
        tracing::warn!(target: "agent.aws", "the notice is older than this start: the agent stays, out of answers, until it is stopped");
        return;
    }
    if config.server && !config.leave_on_terminate {
        tracing::warn!(target: "agent.aws", rule = "leave_on_terminate is false", "a server stays a member until it is stopped or removed");
        return;
    }
    let wait = until_leave(settings.drain_time.to_std(), notice.end_ms, unix_ms());
    tracing::info!(target: "agent.aws", after = ?wait, "the agent leaves");
    tokio::time::sleep(wait).await;
    match tokio::time::timeout(LEAVE_MAX, shared.leave()).await {
        Ok(Ok(())) => tracing::info!(target: "agent.aws", "Graceful exit completed"),
        Ok(Err(error)) => tracing::error!(target: "agent.aws", error = %error, "Error on leave"),
        Err(_) => tracing::warn!(target: "agent.aws", "Timeout on graceful leave. Exiting"),
    }
    shared.end_after_leave();
}

/// How long services stay out of answers before the leave: as configured, but done before the end.
fn until_leave(drain: Duration, end_ms: Option<u64>, now_ms: u64) -> Duration {
    match end_ms {
        Some(end) => {
            drain.min(Duration::from_millis(end.saturating_sub(now_ms)).saturating_sub(MARGIN))
        }
        None => drain,
    }
}

struct Notice {
    why: String,
    end_ms: Option<u64>,
}

/// The places that are looked at, and whether they answered last time.
struct Watch {
    signs: Signs,
    session: Option<Ec2>,
    silent: Option<String>,
}

impl Watch {
    fn new(signs: Signs) -> Watch {
        Watch {
            signs,
            session: None,
            silent: None,
        }
    }

    async fn look(&mut self) -> Option<Notice> {
        let task = self.task().await;
        let ec2 = self.ec2().await;
        let mut found = None;
        let mut failed = Vec::new();
        for look in [task, ec2] {
            match look {
                Ok(notice) => found = found.or(notice),
                Err(why) => failed.push(why),
            }
        }
        let failed = (!failed.is_empty()).then(|| failed.join("; "));
        // Once for each change: an endpoint that stays away is no news.
        match (&failed, &self.silent) {
            (Some(why), None) => {
                tracing::warn!(target: "agent.aws", error = %why, "cannot look for notices");
            }
            (None, Some(_)) => {
                tracing::info!(target: "agent.aws", "notices can be looked for again")
            }
            _ => {}
        }
        self.silent = failed;
        found
    }

    async fn task(&self) -> Result<Option<Notice>, String> {
        let Some(uri) = &self.signs.task else {
            return Ok(None);
        };
        let at = socket(uri).ok_or_else(|| format!("{uri} is no address"))?;
        let path = format!("{}/task", path_of(uri).trim_end_matches('/'));
        let answer = metadata::ask(at, "GET", &path, &[], PATIENCE).await?;
        if answer.status != 200 {
            return Err(format!("{uri}/task: status {}", answer.status));
        }
        Ok(notice::task(&answer.body).map(|why| Notice { why, end_ms: None }))
    }

    async fn ec2(&mut self) -> Result<Option<Notice>, String> {
        let Some(at) = self.signs.ec2 else {
            return Ok(None);
        };
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(match Ec2::session(at).await {
                Ok(session) => session,
                Err(why) => {
                    if self.signs.task.is_some() {
                        // On Fargate there is none; the task's own metadata tells.
                        tracing::info!(target: "agent.aws", why = %why, "EC2's metadata is not looked at");
                        self.signs.ec2 = None;
                        return Ok(None);
                    }
                    return Err(why);
                }
            }),
        };
        if let Some(body) = session.item(notice::SPOT).await?
            && let Some((why, time)) = notice::spot(&body)
        {
            let end_ms = time
                .and_then(|t| lictor_container::nanos(&t))
                .map(|n| n / 1_000_000);
            return Ok(Some(Notice { why, end_ms }));
        }
        let state = session.item(notice::LIFECYCLE).await?;
        let why = state.and_then(|body| notice::lifecycle(&body));
        Ok(why.map(|why| Notice { why, end_ms: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leave_is_over_before_the_end() {
        let s = Duration::from_secs;
        assert_eq!(until_leave(s(60), None, 0), s(60));
        assert_eq!(until_leave(s(60), Some(120_000), 0), s(60));
        assert_eq!(until_leave(s(60), Some(50_000), 0), s(30));
        assert_eq!(until_leave(s(60), Some(10_000), 0), s(0));
        assert_eq!(until_leave(s(60), Some(10_000), 20_000), s(0));
    }
}
