//! Checks that run a command in a container. Who talks to the container engine is the agent's
//! affair; here are the rules around it.

use crate::job::{Outcome, status_of_exit};
use crate::script::timeout_text;
use crate::tail::Tail;
use lictor_wire::base::Str;
use lictor_wire::checktype::CheckType;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// What [`Exec::exec`] returns: the exit code, or why there is none.
pub type ExecFuture<'a> = Pin<Box<dyn Future<Output = Result<i64, String>> + Send + 'a>>;

/// Runs commands in containers.
pub trait Exec: Send + Sync + 'static {
    /// Runs `argv` in `container` until it ends and writes what it prints to `output`, while it
    /// prints it. The error is the text for the check's output. Dropping the future must end the
    /// command: that is what happens when the time limit is over.
    fn exec<'a>(
        &'a self,
        container: &'a str,
        argv: &'a [Str],
        output: &'a mut Tail,
    ) -> ExecFuture<'a>;
}

/// A check in a container.
pub(crate) struct ContainerCheck {
    container: Str,
    argv: Vec<Str>,
    timeout: Duration,
    limit: usize,
}

impl ContainerCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration, limit: usize) -> ContainerCheck {
        ContainerCheck {
            container: check.docker_container_id.clone(),
            argv: check.script_args.clone(),
            timeout,
            limit,
        }
    }

    pub(crate) async fn run(&self, exec: Option<&dyn Exec>) -> Outcome {
        let Some(exec) = exec else {
            return Outcome::critical("This agent cannot run commands in containers");
        };
        let mut tail = Tail::new(self.limit);
        match timeout(
            self.timeout,
            exec.exec(&self.container, &self.argv, &mut tail),
        )
        .await
        {
            Ok(Ok(code)) => Outcome::new(status_of_exit(Some(code)), tail.text_with_note()),
            Ok(Err(why)) => Outcome::critical(why),
            Err(_) => Outcome::critical_at_once(timeout_text(self.timeout, &tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_wire::catalog::Status;

    /// A container whose commands are words: a number is an exit code, `hang` hangs.
    struct Fake;

    impl Exec for Fake {
        fn exec<'a>(
            &'a self,
            container: &'a str,
            argv: &'a [Str],
            output: &'a mut Tail,
        ) -> ExecFuture<'a> {
            Box::pin(async move {
                output.write(container.as_bytes());
                match argv[0].as_str() {
                    "hang" => std::future::pending().await,
                    word => word.parse().map_err(|_| format!("no such command: {word}")),
                }
            })
        }
    }

    async fn run(word: &str, exec: Option<&dyn Exec>) -> (Status, String, bool) {
        let check = ContainerCheck {
            container: "c1".into(),
            argv: vec![word.into()],
            timeout: Duration::from_millis(50),
            limit: 4096,
        };
        let out = check.run(exec).await;
        (out.status, out.output, out.at_once)
    }

    #[tokio::test]
    async fn a_command_in_a_container_has_the_rules_of_a_script() {
        let c1 = "c1".to_owned();
        assert_eq!(
            run("0", Some(&Fake)).await,
            (Status::Passing, c1.clone(), false)
        );
        assert_eq!(
            run("1", Some(&Fake)).await,
            (Status::Warning, c1.clone(), false)
        );
        assert_eq!(run("126", Some(&Fake)).await, (Status::Critical, c1, false));
        assert_eq!(
            run("x", Some(&Fake)).await,
            (Status::Critical, "no such command: x".to_owned(), false)
        );
        let text = "Timed out (50ms) running check\n\nc1".to_owned();
        assert_eq!(
            run("hang", Some(&Fake)).await,
            (Status::Critical, text, true)
        );
        let text = "This agent cannot run commands in containers".to_owned();
        assert_eq!(run("0", None).await, (Status::Critical, text, false));
    }
}
