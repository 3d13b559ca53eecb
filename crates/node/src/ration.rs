//! How much memory the runs of a node have been given: each waits in its slot until what it is likely to need is free.
//!
//! A Leader gives a node no more than fits. This holds where it does not know what a run needs, or is of an earlier build. It
//! limits nobody who has started: for that there are control groups.

use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// The memory of one node's runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rations {
    /// What all together may have.
    total_bytes: u64,
    given: Arc<Mutex<Given>>,
    /// For the one in front of the line: somebody has ended.
    freed: Arc<Notify>,
    line: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Given {
    bytes: u64,
    runs: usize,
}

impl Rations {
    /// So many bytes for all runs together.
    pub fn new(total_bytes: u64) -> Self {
        Self {
            total_bytes,
            given: Arc::default(),
            freed: Arc::default(),
            line: Arc::default(),
        }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().expect("no one panics while holding it")
    }

    /// Waits until `bytes` are free, or nobody else has any: one always runs. Whoever asked first is first, so that small ones do not
    /// keep a large one waiting for ever.
    /// # Cancel safety
    /// Dropping the future gives up the place in the line.
    pub async fn take(&self, bytes: u64) -> Ration {
        let _turn = self.line.lock().await;
        loop {
            // It is for the one in front, and remembered until that one waits.
            let freed = self.freed.notified();
            {
                let mut given = self.given();
                let all = given.bytes.saturating_add(bytes);
                if given.runs == 0 || all <= self.total_bytes {
                    given.bytes = all;
                    given.runs += 1;
                    let rations = self.clone();
                    return Ration { rations, bytes };
                }
            }
            freed.await;
        }
    }
}

/// Memory that one run may count on; free again when dropped.
#[derive(Debug)]
pub struct Ration {
    rations: Rations,
    bytes: u64,
}

impl Drop for Ration {
    fn drop(&mut self) {
        {
            let mut given = self.rations.given();
            given.bytes = given.bytes.saturating_sub(self.bytes);
            given.runs -= 1;
        }
        self.rations.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_wait_until_what_they_need_is_free_and_one_always_runs() {
        let rations = Rations::new(8);
        let huge = rations.take(20).await;
        let mut first = Box::pin(rations.take(5));
        assert!(futures::poll!(&mut first).is_pending());
        drop(huge);
        let first = first.await;
        let mut large = Box::pin(rations.take(4));
        assert!(futures::poll!(&mut large).is_pending());
        // It would fit, and yet is not its turn.
        let mut small = Box::pin(rations.take(1));
        assert!(futures::poll!(&mut small).is_pending());
        drop(first);
        let (large, small) = (large.await, small.await);
        drop((large, small));
        let given = rations.given();
        assert_eq!((given.bytes, given.runs), (0, 0));
    }

    #[tokio::test]
    async fn who_gives_up_its_place_lets_the_next_one_pass() {
        let rations = Rations::new(8);
        let _first = rations.take(5).await;
        let mut large = Box::pin(rations.take(4));
        assert!(futures::poll!(&mut large).is_pending());
        drop(large);
        rations.take(3).await;
    }
}
