//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long a condition may take. Far more than any should need: a busy machine is no defect.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// Looks until there is a value. Panics after [`DEADLINE`], naming what was waited for.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_for(DEADLINE, what, look).await
}

/// As [`until`], with a deadline of its own.
pub async fn until_for<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
