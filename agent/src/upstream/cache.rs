//! Answers that are kept fresh in the background, for `?cached`: Consul's agent cache.
//!
//! The first read of a query waits for its answer. From then on a blocking query of ours follows
//! it, and reads are answered at once with the newest that is known.

use super::Upstream;
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::store::{Answered, CacheNote, WriteError};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// An entry that nobody read for so long is forgotten.
const IDLE: Duration = Duration::from_secs(72 * 3600);
/// Most entries; the one that was not read for the longest time goes first.
const MOST: usize = 512;
/// How long a blocking query of ours waits.
const WAIT: Duration = Duration::from_secs(600);
/// After so many failures in a row the next try waits, twice as long each time, up to the most.
const FAILURES_FREE: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);

/// The answers kept.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Query, Kept>>,
}

#[derive(Debug)]
struct Kept {
    news: watch::Receiver<News>,
    used: Instant,
    task: AbortHandle,
}

/// The newest of a query.
#[derive(Clone, Debug, Default)]
struct News {
    answer: Option<Answered>,
    /// Why the last try failed, and since when none succeeded.
    lost: Option<(WriteError, Instant)>,
}

/// Whether answers of this kind are kept; all others are read as always.
pub(super) fn holds(what: &What) -> bool {
    matches!(
        what,
        What::Services | What::Instances { .. } | What::Health { .. }
    )
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, HashMap<Query, Kept>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The news of a query; who asks first starts them.
    fn follow(&self, upstream: &Upstream, query: &Query) -> watch::Receiver<News> {
        let now = Instant::now();
        let mut entries = self.lock();
        if let Some(kept) = entries.get_mut(query) {
            kept.used = now;
            return kept.news.clone();
        }
        entries.retain(|_, kept| now.duration_since(kept.used) < IDLE);
        if entries.len() >= MOST
            && let Some(oldest) = entries
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(query, _)| query.clone())
        {
            entries.remove(&oldest);
        }
        let (tell, news) = watch::channel(News::default());
        let task = tokio::spawn(refresh(upstream.clone(), query.clone(), tell));
        let kept = Kept {
            news: news.clone(),
            used: now,
            task: task.abort_handle(),
        };
        entries.insert(query.clone(), kept);
        news
    }

    /// Reads.
    pub(super) async fn read(
        &self,
        upstream: &Upstream,
        query: &Query,
        options: &ReadOptions,
    ) -> Result<Answered, WriteError> {
        let mut news = self.follow(upstream, query);
        let deadline = tokio::time::Instant::now() + options.wait;
        let mut hit = true;
        loop {
            let now = news.borrow_and_update().clone();
            let age = now
                .lost
                .as_ref()
                .map_or(Duration::ZERO, |(_, since)| since.elapsed());
            match (now.answer, now.lost) {
                (Some(answer), lost) if answer.index > options.index || options.index == 0 => {
                    let too_old = options.max_age.is_some_and(|most| age > most);
                    let Some((error, _)) = lost.filter(|_| too_old) else {
                        return Ok(noted(answer, hit, age));
                    };
                    // It cannot be made fresh now. An old answer may do.
                    return match upstream
                        .fetch(query, &super::Ask::now(Freshness::Default))
                        .await
                    {
                        Ok(fresh) => Ok(noted(fresh, false, Duration::ZERO)),
                        Err(_) if age <= options.stale_if_error => Ok(noted(answer, hit, age)),
                        Err(_) => Err(error),
                    };
                }
                (None, Some((error, _))) => {
                    // Nothing to keep: the next one asks again.
                    self.lock().remove(query);
                    return Err(error);
                }
                (answer, _) => {
                    hit = false;
                    let waits = answer.is_some();
                    tokio::select! {
                        changed = news.changed() => {
                            if changed.is_err() {
                                // Forgotten to make room for another.
                                news = self.follow(upstream, query);
                            }
                        }
                        () = tokio::time::sleep_until(deadline), if waits => {
                            let answer = answer.ok_or(WriteError::Stopped)?;
                            return Ok(noted(answer, false, age));
                        }
                    }
                }
            }
        }
    }
}

fn noted(mut answer: Answered, hit: bool, age: Duration) -> Answered {
    answer.cache = Some(CacheNote { hit, age });
    answer
}

/// Follows a query until it is forgotten.
async fn refresh(upstream: Upstream, query: Query, tell: watch::Sender<News>) {
    let mut index = 0;
    let mut failures = 0u32;
    loop {
        let begun = Instant::now();
        let ask = super::Ask {
            index,
            wait: if index == 0 { Duration::ZERO } else { WAIT },
            freshness: Freshness::Default,
        };
        match upstream.fetch(&query, &ask).await {
            Ok(answer) => {
                failures = 0;
                let (before, now) = (index, answer.index);
                // An index that goes back means that the state was replaced: begin anew.
                index = if now < before { 0 } else { now };
                tell.send_replace(News {
                    answer: Some(answer),
                    lost: None,
                });
                if before != 0 && now <= before && begun.elapsed() < PAUSE {
                    // A server that does not wait must not be asked without end.
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tell.send_modify(|news| {
                    let since = news.lost.as_ref().map_or_else(Instant::now, |(_, s)| *s);
                    news.lost = Some((error, since));
                });
                if failures >= FAILURES_FREE || tell.borrow().answer.is_none() {
                    let doubled = failures.saturating_sub(FAILURES_FREE).min(6);
                    tokio::time::sleep((PAUSE * (1 << doubled)).min(PAUSE_MOST)).await;
                } else {
                    tokio::time::sleep(PAUSE / 4).await;
                }
                index = 0;
            }
        }
    }
}
