//! How much a node runs at once.
//!
//! Heavy Attempts (an encoder fills a slot) wait here for a slot while their input is being fetched, so the next
//! Segment is ready when the present one ends, and then for the memory it is likely to need ([`crate::ration`]). The reporter announces one heavy Attempt more than there are slots, or as many
//! more as the node was told to hold: what it works on while no coordinator answers.

use crate::ration::{Ration, Rations};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What is free, as the reporter tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Heavy Attempts the node would take now.
    pub heavy: u32,
    /// Light Attempts the node would take now.
    pub light: u32,
}

/// The slots of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Slots {
    heavy: Arc<Semaphore>,
    memory: Option<Rations>,
    heavy_room: u32,
    light_room: u32,
    held_heavy: Arc<AtomicU32>,
    held_light: Arc<AtomicU32>,
    free: watch::Sender<Free>,
}

impl Slots {
    /// `heavy` encoders at once and `ahead` more prepared; `light` other Attempts beside them.
    pub fn new(heavy: u32, ahead: u32, light: u32) -> Self {
        let free = watch::Sender::new(Free {
            heavy: heavy + ahead,
            light,
        });
        Self {
            heavy: Arc::new(Semaphore::new(heavy as usize)),
            memory: None,
            heavy_room: heavy + ahead,
            light_room: light,
            held_heavy: Arc::default(),
            held_light: Arc::default(),
            free,
        }
    }

    /// Encoders start only as far as the memory lasts that all of them together may have; `None`: nobody knows how much that is.
    #[must_use]
    pub fn within(self, memory: Option<Rations>) -> Self {
        Self { memory, ..self }
    }

    /// Follows what is free.
    pub fn watch(&self) -> watch::Receiver<Free> {
        self.free.subscribe()
    }

    /// Counts a granted Attempt until the value is dropped or told to [`Held::release`].
    pub fn hold(&self, heavy: bool) -> Held {
        self.counter(heavy).fetch_add(1, Ordering::SeqCst);
        self.publish();
        Held {
            slots: self.clone(),
            heavy,
            counted: true,
            permit: None,
            ration: None,
            began: Arc::default(),
            waited: Duration::ZERO,
        }
    }

    /// Encoders at once.
    pub fn heavy(&self) -> usize {
        self.heavy_room as usize - 1
    }

    fn counter(&self, heavy: bool) -> &AtomicU32 {
        if heavy {
            &self.held_heavy
        } else {
            &self.held_light
        }
    }

    fn publish(&self) {
        let free = Free {
            heavy: self
                .heavy_room
                .saturating_sub(self.held_heavy.load(Ordering::SeqCst)),
            light: self
                .light_room
                .saturating_sub(self.held_light.load(Ordering::SeqCst)),
        };
        self.free
            .send_if_modified(|now| std::mem::replace(now, free) != free);
    }
}

/// A granted Attempt's claim on a slot.
#[derive(Debug)]
pub struct Held {
    slots: Slots,
    heavy: bool,
    counted: bool,
    permit: Option<OwnedSemaphorePermit>,
    ration: Option<Ration>,
    began: Arc<OnceLock<Instant>>,
    waited: Duration,
}

impl Held {
    /// Waits until the encoder may start, which is likely to need so much memory. Light Attempts never wait.
    pub async fn start(&mut self, memory_bytes: u64) {
        if self.heavy && self.permit.is_none() {
            let asked = Instant::now();
            let permit = Arc::clone(&self.slots.heavy).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            // Who gives up here has neither.
            if let Some(memory) = &self.slots.memory {
                self.ration = Some(memory.take(memory_bytes).await);
            }
            self.permit = Some(permit);
            self.waited += asked.elapsed();
            let _ = self.began.set(Instant::now());
        }
    }

    /// How long it has waited for a slot and its memory: no work, and no measure of the machine.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// When its encoder was first allowed to start, for those who look on.
    pub fn began(&self) -> Arc<OnceLock<Instant>> {
        Arc::clone(&self.began)
    }

    /// The encoder has ended: the slot is free although the Attempt still checks and stores its result.
    pub fn release(&mut self) {
        self.permit = None;
        self.ration = None;
        if std::mem::take(&mut self.counted) {
            self.slots
                .counter(self.heavy)
                .fetch_sub(1, Ordering::SeqCst);
            self.slots.publish();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_the_slots_is_taken_and_waits_for_its_turn() {
        let slots = Slots::new(1, 1, 2);
        let free = slots.watch();
        let mut running = slots.hold(true);
        running.start(0).await;
        let mut prepared = slots.hold(true);
        assert_eq!(*free.borrow(), Free { heavy: 0, light: 2 });
        {
            let waiting = std::pin::pin!(prepared.start(0));
            assert!(futures::poll!(waiting).is_pending());
        }
        running.release();
        assert_eq!(*free.borrow(), Free { heavy: 1, light: 2 });
        prepared.start(0).await;
        drop(running);
        assert_eq!(
            *free.borrow(),
            Free { heavy: 1, light: 2 },
            "released once, not twice"
        );
        drop(prepared);
        assert_eq!(*free.borrow(), Free { heavy: 2, light: 2 });
    }

    #[tokio::test]
    async fn more_is_held_ahead_where_it_was_asked_for_and_no_more_runs() {
        let slots = Slots::new(2, 5, 0);
        let free = slots.watch();
        assert_eq!(free.borrow().heavy, 7);
        let mut held: Vec<Held> = (0..7).map(|_| slots.hold(true)).collect();
        assert_eq!(free.borrow().heavy, 0);
        held[0].start(0).await;
        held[1].start(0).await;
        let third = std::pin::pin!(held[2].start(0));
        assert!(futures::poll!(third).is_pending());
    }

    #[tokio::test]
    async fn an_encoder_waits_in_its_slot_for_memory_and_that_is_no_work() {
        let slots = Slots::new(8, 1, 0).within(Some(Rations::new(7)));
        let mut held: Vec<Held> = (0..4).map(|_| slots.hold(true)).collect();
        let mut waits = held.pop().unwrap();
        for one in &mut held {
            one.start(2).await;
        }
        {
            let waiting = std::pin::pin!(waits.start(2));
            assert!(futures::poll!(waiting).is_pending());
        }
        assert!(waits.began().get().is_none());
        held[0].release();
        // It had given up on the way, and asks again for both.
        waits.start(2).await;
        assert!(waits.began().get().is_some());
    }

    #[tokio::test]
    async fn waiting_for_a_slot_is_told_apart_from_work() {
        let slots = Slots::new(1, 1, 0);
        let mut running = slots.hold(true);
        running.start(0).await;
        let mut prepared = slots.hold(true);
        let (work, began) = (Duration::from_millis(20), Instant::now());
        tokio::join!(prepared.start(0), async {
            tokio::time::sleep(work).await;
            running.release();
        });
        assert!((work..=began.elapsed()).contains(&prepared.waited()));
        assert!(running.waited() < work);
    }
}
