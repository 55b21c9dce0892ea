//! Whether an exporter goes on for ever or has to be done by some time.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// The shared word on how long there is. Cloning is cheap; all clones hear the same.
#[derive(Clone, Debug)]
pub struct Life {
    deadline: watch::Sender<Option<Instant>>,
}

impl Life {
    /// No end in sight.
    pub fn new() -> Self {
        Life { deadline: watch::Sender::new(None) }
    }

    /// Everything has to be done by `deadline`. A second word changes nothing.
    pub fn end_at(&self, deadline: Instant) {
        self.deadline.send_if_modified(|known| {
            let is_news = known.is_none();
            known.get_or_insert(deadline);
            is_news
        });
    }

    /// Completes when the time is over.
    pub async fn expired(&self) {
        let mut deadline = self.deadline.subscribe();
        // The sender lives as long as `self`: there is always a word to wait for.
        let Ok(Some(deadline)) = deadline.wait_for(Option::is_some).await.map(|d| *d) else {
            return std::future::pending().await;
        };
        sleep_until(deadline).await;
    }

    /// Waits before the next attempt; when the end is in sight not longer than a second, so that a backend that comes
    /// back in time gets everything.
    pub async fn pause(&self, wait: Duration) {
        let mut deadline = self.deadline.subscribe();
        let ending = async {
            let _ = deadline.wait_for(Option::is_some).await;
            sleep(LONGEST_PAUSE_AT_THE_END).await;
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = ending => {}
        }
    }
}

const LONGEST_PAUSE_AT_THE_END: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_is_cut_short_when_the_end_comes_in_sight() {
        let life = Life::new();
        let start = Instant::now();
        let pause = tokio::spawn({
            let life = life.clone();
            async move { life.pause(300 * SECOND).await }
        });
        sleep(10 * SECOND).await;
        life.end_at(Instant::now() + 25 * SECOND);
        pause.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 11);
        life.pause(300 * SECOND).await;
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn life_expires_at_the_first_deadline_that_it_was_given() {
        let life = Life::new();
        let start = Instant::now();
        let watcher = tokio::spawn({
            let life = life.clone();
            async move { life.expired().await }
        });
        sleep(SECOND).await;
        life.end_at(start + 5 * SECOND);
        life.end_at(start + 50 * SECOND);
        watcher.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
