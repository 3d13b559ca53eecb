//! How many bytes of scratch a node may use: claimed before they are written, so that the limit holds whatever comes out.
//!
//! An Attempt claims what it is likely to need and waits until that is free; one that turns out to need more gets more if there
//! is any, and else gives its work back. What Attempts share (blocks of remote Sources, copies of them) is claimed as it grows.

use recode_types::{JobId, TaskKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// What is claimed at a time.
const UNIT_BYTES: u64 = 64 * 1024;

/// The part of a budget that is held back for what is written between two looks: a twentieth.
const HELD_BACK: u64 = 20;

/// Kinds of work whose need is remembered.
const MOST_KINDS: usize = 256;

/// What makes work alike in need: the Job, the kind of Task, and its group or Output.
pub type Likeness = (JobId, u8, u16);

/// What a Task is like.
pub fn likeness(job: JobId, key: TaskKey) -> Likeness {
    let (kind, which) = match key {
        TaskKey::Encode { group, .. } => (0, group),
        TaskKey::Trial { group, .. } => (1, group),
        TaskKey::Probe { deep } => (2, u16::from(deep)),
        TaskKey::Audio { output } => (3, output),
        TaskKey::Whole { output, .. } => (4, output),
        TaskKey::Stitch { output } => (5, output),
        TaskKey::Command { output } => (6, output),
        TaskKey::Score { .. } => (7, 0),
    };
    (job, kind, which)
}

/// The bytes of one node's scratch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    total_units: u32,
    ledger: Arc<Mutex<Ledger>>,
    /// For the one in front of the line: there is more, or less to wait for.
    freed: Arc<Notify>,
    line: Arc<tokio::sync::Mutex<()>>,
    learned: Arc<Mutex<BTreeMap<Likeness, f64>>>,
}

/// In units.
#[derive(Debug)]
struct Ledger {
    free: u32,
    /// Claimed for what Attempts share.
    shared: u32,
}

impl Ledger {
    fn take(&mut self, units: u32) -> bool {
        let left = self.free.checked_sub(units);
        self.free = left.unwrap_or(self.free);
        left.is_some()
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .max(1)
}

impl Budget {
    /// One of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let usable = (bytes - bytes / HELD_BACK) / UNIT_BYTES;
        let total_units = u32::try_from(usable).unwrap_or(u32::MAX).max(1);
        let ledger = Ledger {
            free: total_units,
            shared: 0,
        };
        Self {
            total_units,
            ledger: Arc::new(Mutex::new(ledger)),
            freed: Arc::default(),
            line: Arc::default(),
            learned: Arc::default(),
        }
    }

    /// All bytes that may be claimed.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.total_units) * UNIT_BYTES
    }

    /// Bytes that nobody has claimed.
    pub fn free_bytes(&self) -> u64 {
        u64::from(self.ledger().free) * UNIT_BYTES
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no one panics while holding it")
    }

    /// The most that one Attempt can have now.
    fn most_units(&self, ledger: &Ledger) -> u32 {
        self.total_units.saturating_sub(ledger.shared).max(1)
    }

    /// Waits until `bytes` are free, or all that can be had where that is less. Whoever asked first is first; one that waits takes
    /// nothing from those that grow meanwhile.
    /// # Cancel safety
    /// Dropping the future gives up the claim.
    pub async fn claim(&self, bytes: u64) -> Claim {
        let _turn = self.line.lock().await;
        loop {
            // It is for the one in front, and remembered until that one waits.
            let freed = self.freed.notified();
            {
                let mut ledger = self.ledger();
                let units = units(bytes).min(self.most_units(&ledger));
                if ledger.take(units) {
                    let budget = self.clone();
                    return Claim { budget, units };
                }
            }
            freed.await;
        }
    }

    /// Claims what Attempts share, which is so much now. What is not free is claimed as soon as it is.
    pub fn share(&self, bytes: u64) {
        let wanted = match bytes {
            0 => 0,
            bytes => units(bytes),
        };
        let mut ledger = self.ledger();
        let open = ledger.free + ledger.shared;
        ledger.shared = wanted.min(open);
        ledger.free = open - ledger.shared;
        // There is more, or less to wait for.
        self.freed.notify_one();
    }

    /// What work like this is likely to need for so many frames; `guess` before any was done.
    pub fn need(&self, like: Likeness, frames: u64, guess: u64) -> u64 {
        let learned = self.learned.lock().expect("no one panics while holding it");
        match learned.get(&like) {
            Some(each) => (each * frames.max(1) as f64) as u64,
            None => guess,
        }
    }

    /// Work like this needed so much.
    pub fn learn(&self, like: Likeness, frames: u64, bytes: u64) {
        let each = bytes as f64 / frames.max(1) as f64;
        let mut learned = self.learned.lock().expect("no one panics while holding it");
        if learned.len() >= MOST_KINDS && !learned.contains_key(&like) {
            // The oldest Job: ids are by time.
            learned.pop_first();
        }
        let most = learned.entry(like).or_insert(each);
        *most = most.max(each);
    }
}

/// Bytes of a [`Budget`] that somebody may write; free again when dropped.
#[derive(Debug)]
pub struct Claim {
    budget: Budget,
    units: u32,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.ledger().free += self.units;
        self.budget.freed.notify_one();
    }
}

/// A claim that cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Others have the rest.
    Crowded,
    /// There is no more, with nobody else there.
    TooSmall,
}

impl Claim {
    /// How much it is.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT_BYTES
    }

    /// Makes it at least `bytes`, and a quarter more if there is so much.
    /// # Errors
    /// [`Full`]; it is as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let mut ledger = self.budget.ledger();
        for wanted in [bytes + bytes / 4, bytes] {
            let more = units(wanted).saturating_sub(self.units);
            if ledger.take(more) {
                self.units += more;
                return Ok(());
            }
        }
        match units(bytes) > self.budget.most_units(&ledger) {
            true => Err(Full::TooSmall),
            false => Err(Full::Crowded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[tokio::test]
    async fn what_is_claimed_is_never_more_than_there_is_and_who_asks_for_too_much_gets_all() {
        let budget = Budget::new(20 * MB);
        assert_eq!(budget.free_bytes(), 19 * MB, "a twentieth is held back");
        let mut one = budget.claim(10 * MB).await;
        let mut two = Box::pin(budget.claim(12 * MB));
        assert!(futures::poll!(&mut two).is_pending());
        assert_eq!(one.grow(20 * MB), Err(Full::TooSmall));
        assert_eq!(one.grow(14 * MB), Ok(()), "who waits has nothing yet");
        assert!(one.bytes() >= 14 * MB);
        assert!(futures::poll!(&mut two).is_pending());
        // Less is free at once, and yet not their turn.
        let mut three = Box::pin(budget.claim(MB));
        assert!(futures::poll!(&mut three).is_pending());
        drop(one);
        let two = two.await;
        assert_eq!((two.bytes(), three.await.bytes()), (12 * MB, MB));
        drop(two);
        let two = budget.claim(100 * MB).await;
        assert_eq!((two.bytes(), budget.free_bytes()), (19 * MB, 0));
        drop(two);
        assert_eq!(budget.free_bytes(), 19 * MB);
    }

    #[tokio::test]
    async fn one_that_cannot_grow_says_whether_others_are_in_the_way() {
        let budget = Budget::new(20 * MB);
        let _other = budget.claim(10 * MB).await;
        let mut one = budget.claim(5 * MB).await;
        assert_eq!(one.grow(12 * MB), Err(Full::Crowded));
        assert_eq!(one.bytes(), 5 * MB);
        assert_eq!(one.grow(9 * MB), Ok(()), "without the quarter");
        assert_eq!(budget.free_bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_shared_takes_from_what_is_free_and_nobody_waits_for_it_for_ever() {
        let budget = Budget::new(20 * MB);
        budget.share(4 * MB);
        assert_eq!(budget.free_bytes(), 15 * MB);
        budget.share(MB);
        assert_eq!(budget.free_bytes(), 18 * MB);
        let first = budget.claim(10 * MB).await;
        budget.share(30 * MB);
        assert_eq!(budget.free_bytes(), 0, "as much as there was");
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.claim(19 * MB).await.bytes() }
        });
        drop(first);
        // All that is not shared.
        assert_eq!(waiting.await.unwrap(), 10 * MB);
        budget.share(0);
        assert_eq!(budget.free_bytes(), 19 * MB);
    }

    #[test]
    fn needs_are_learned_by_the_frame_and_the_greatest_counts() {
        let budget = Budget::new(MB);
        let like = |job| {
            likeness(
                JobId(job),
                TaskKey::Encode {
                    group: 0,
                    segment: 1,
                },
            )
        };
        assert_eq!(budget.need(like(1), 10, 77), 77);
        budget.learn(like(1), 10, 1000);
        budget.learn(like(1), 10, 500);
        assert_eq!(budget.need(like(1), 20, 77), 2000);
        assert_eq!(budget.need(like(2), 20, 77), 77);
        for job in 2..1000 {
            budget.learn(like(job), 1, 1);
        }
        assert_eq!(budget.need(like(1), 20, 77), 77, "forgotten");
    }
}
