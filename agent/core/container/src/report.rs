//! What an operator is shown.

use crate::plan::Problem;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// A container, what is registered for it, and what is not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerReport {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// running, paused, exited, ...; `removed` if it is gone.
    pub state: String,
    /// healthy, unhealthy, starting; empty without a HEALTHCHECK.
    pub health: String,
    /// How it ended, if it does not run.
    pub exit_code: Option<i64>,
    /// The kernel ended it for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// What is registered for it.
    pub services: Vec<ServiceReport>,
    /// What is not as it may have been meant, a line each.
    pub problems: Vec<String>,
    /// Why it is left out on purpose, if it is.
    pub left_out: String,
}

/// A service of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceReport {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// The port inside the container.
    pub container_port: String,
    /// Address and port that are registered.
    pub address: String,
    /// The same in the other family, if there is one.
    pub other_address: String,
    /// The rule that chose them.
    pub rule: String,
    /// What keeps it out of answers, if anything does.
    pub out: String,
}

fn line(problem: &Problem) -> String {
    match &problem.port {
        Some(port) => format!("{port}: {}", problem.text),
        None => problem.text.clone(),
    }
}

impl World {
    /// All containers, then those that are gone.
    pub fn report(&self) -> Vec<ContainerReport> {
        let present = self.containers().values().map(|c| ContainerReport {
            id: c.id.clone(),
            name: c.short_name().to_owned(),
            image: c.config.image.clone(),
            state: c.state.status.clone(),
            health: c
                .state
                .health
                .as_ref()
                .map(|h| h.status.clone())
                .unwrap_or_default(),
            exit_code: (!c.is_up()).then_some(c.state.exit_code),
            oom_killed: c.state.oom_killed,
            started_at: c.state.started_at.clone(),
            finished_at: c.state.finished_at.clone(),
            services: self
                .applied_to(&c.id)
                .map(|w| ServiceReport {
                    id: w.id().to_string(),
                    name: w.request().name.to_string(),
                    container_port: w.registration.port.to_string(),
                    address: w.registration.endpoint.at.to_string(),
                    other_address: w
                        .registration
                        .endpoint
                        .other
                        .map(|at| at.to_string())
                        .unwrap_or_default(),
                    rule: w.registration.endpoint.rule.to_string(),
                    out: w.mark.as_ref().map(ToString::to_string).unwrap_or_default(),
                })
                .collect(),
            problems: self.problems_of(&c.id).iter().map(line).collect(),
            left_out: self
                .plan_of(&c.id)
                .and_then(|p| p.left_out)
                .unwrap_or_default()
                .to_owned(),
        });
        let gone = self.traces().map(|t| ContainerReport {
            id: t.id.clone(),
            name: t.name.clone(),
            image: t.image.clone(),
            state: "removed".to_owned(),
            exit_code: Some(t.exit_code),
            oom_killed: t.oom_killed,
            finished_at: t.finished_at.clone(),
            ..ContainerReport::default()
        });
        present.chain(gone).collect()
    }
}
