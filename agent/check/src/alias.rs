//! Checks that follow the health of another service or node.

use lictor_wire::catalog::{HealthCheck, Status};
use lictor_wire::duration::go_quote;

/// What an alias follows.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// The node; empty for the agent's own.
    pub node: &'a str,
    /// The id of the service instance; empty to follow the node alone.
    pub service_id: &'a str,
    /// Whether that instance is registered.
    pub exists: bool,
}

/// The status of an alias, from all checks that are known of its node: the worst of the service's
/// and the node's own. Without any check it passes, unless the service is not there. Consul's
/// rules and texts.
pub fn alias_status<'a>(
    followed: Followed<'_>,
    checks: impl IntoIterator<Item = &'a HealthCheck>,
) -> (Status, String) {
    let (mut found, mut seen) = (false, false);
    let (mut warning, mut critical) = (None, None);
    for check in checks {
        let other_node = !followed.node.is_empty() && followed.node != check.node;
        let own = check.service_id == followed.service_id;
        if other_node || !(own || check.service_id.is_empty()) {
            continue;
        }
        seen = true;
        found |= own;
        match check.status {
            Status::Critical => _ = critical.get_or_insert(check),
            Status::Warning => _ = warning.get_or_insert(check),
            _ => {}
        }
    }
    if !found && !followed.exists {
        let text = format!(
            "Service {} could not be found on node {}",
            followed.service_id, followed.node
        );
        return (Status::Critical, text);
    }
    match critical.or(warning) {
        Some(worst) => {
            let text = format!(
                "Aliased check {} failing: {}",
                go_quote(&worst.name),
                worst.output
            );
            (worst.status.clone(), text)
        }
        None if seen => (Status::Passing, "All checks passing.".to_owned()),
        None => (Status::Passing, "No checks found.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(node: &str, service_id: &str, name: &str, status: Status) -> HealthCheck {
        HealthCheck {
            node: node.into(),
            service_id: service_id.into(),
            name: name.into(),
            output: format!("{name} says").into(),
            status,
            ..HealthCheck::default()
        }
    }

    #[test]
    fn the_worst_of_service_and_node_counts() {
        use Status::{Critical, Passing, Warning};
        let web = Followed {
            node: "",
            service_id: "web",
            exists: true,
        };
        let other = check("n", "db", "db", Critical);
        for (checks, status, text) in [
            (vec![], Passing, "No checks found."),
            (vec![other.clone()], Passing, "No checks found."),
            (
                vec![check("n", "web", "a", Passing)],
                Passing,
                "All checks passing.",
            ),
            (
                vec![check("n", "", "disk", Passing)],
                Passing,
                "All checks passing.",
            ),
            (
                vec![
                    check("n", "web", "a", Warning),
                    check("n", "web", "b", Passing),
                ],
                Warning,
                "Aliased check \"a\" failing: a says",
            ),
            (
                vec![
                    check("n", "web", "a", Warning),
                    check("n", "", "disk", Critical),
                    other,
                ],
                Critical,
                "Aliased check \"disk\" failing: disk says",
            ),
        ] {
            assert_eq!(alias_status(web, &checks), (status, text.to_owned()));
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_critical() {
        let gone = Followed {
            node: "n",
            service_id: "web",
            exists: false,
        };
        let text = "Service web could not be found on node n".to_owned();
        assert_eq!(alias_status(gone, &[]), (Status::Critical, text.clone()));
        assert_eq!(
            alias_status(gone, &[check("n", "", "disk", Status::Passing)]),
            (Status::Critical, text)
        );
    }

    #[test]
    fn checks_of_other_nodes_do_not_count() {
        let node = Followed {
            node: "n",
            service_id: "",
            exists: true,
        };
        let checks = [
            check("m", "", "disk", Status::Critical),
            check("n", "", "disk", Status::Passing),
        ];
        assert_eq!(alias_status(node, &checks).0, Status::Passing);
    }
}
