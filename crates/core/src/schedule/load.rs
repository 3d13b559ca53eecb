//! What one Node holds, and when its slots will be free of it. Time is an argument, counted from any fixed moment.

use super::{Class, Memory};
use recode_types::AttemptToken;
use std::collections::BTreeMap;
use std::time::Duration;

/// Progress is believed after this long: encoders look ahead, and the first frames come in a burst.
const BELIEVED: Duration = Duration::from_secs(2);

/// A Lease as the scheduler counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// Fills a slot with an encoder.
    pub heavy: bool,
    /// Predicted work.
    pub cost: u64,
    /// What kind of work.
    pub class: Class,
    /// Memory that it is likely to need, in bytes.
    pub memory_bytes: u64,
    /// Granted again to a Node that may have had it already: when it ends says nothing of the Node.
    pub again: bool,
}

/// One thing a Node holds.
#[derive(Clone, Debug)]
struct Piece {
    held: Held,
    /// In the order of granting: a Node starts heavy ones in turn.
    turn: u64,
    /// When it got a slot.
    begun: Option<Duration>,
    /// The first and the last progress that was heard: when, frames done.
    first: Option<(Duration, u64)>,
    last: Option<(Duration, u64)>,
    frames: u64,
}

impl Piece {
    /// Work per second, as its progress shows.
    fn pace(&self) -> Option<f64> {
        let ((from, before), (until, done)) = (self.first?, self.last?);
        let time = until.saturating_sub(from);
        let worth = time >= BELIEVED && done > before && self.frames > 0;
        worth.then(|| {
            let share = (done - before) as f64 / self.frames as f64;
            share * self.held.cost as f64 / time.as_secs_f64()
        })
    }

    /// Its encoder has ended: it is checked and stored without a slot.
    fn is_encoded(&self) -> bool {
        let done = self.last.map_or(0, |(_, done)| done);
        self.frames > 0 && done >= self.frames
    }

    /// Seconds it will still take at `speed`, unless its own progress knows better.
    fn left(&self, now: Duration, speed: f64) -> f64 {
        let speed = self.pace().unwrap_or(speed);
        let all = self.held.cost as f64 / speed;
        if let Some((at, done)) = self.last
            && self.frames > 0
        {
            if self.is_encoded() {
                return 0.0;
            }
            let todo = 1.0 - done as f64 / self.frames as f64;
            let since = now.saturating_sub(at).as_secs_f64();
            return overdue(all * todo, since, all);
        }
        let begun = self.begun.unwrap_or(now);
        overdue(all, now.saturating_sub(begun).as_secs_f64(), all)
    }
}

/// What is left of `expected` seconds after `gone` ones. What is late is expected to take as long again as it is late already:
/// a Node that hangs must not seem to be free in a moment for ever.
fn overdue(expected: f64, gone: f64, all: f64) -> f64 {
    (expected - gone).max((gone - expected) + all * 0.02)
}

/// All that one Node holds.
#[derive(Clone, Debug, Default)]
pub struct Load {
    slots: u32,
    /// What its runs may have; `None`: it does not say.
    memory_bytes: Option<u64>,
    pieces: BTreeMap<AttemptToken, Piece>,
    turns: u64,
}

impl Load {
    /// Nothing yet, on a Node of so many heavy slots.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            ..Self::default()
        }
    }

    /// Its runs may have so much of its memory; `None`: nobody knows.
    #[must_use]
    pub fn within(self, memory_bytes: Option<u64>) -> Self {
        Self {
            memory_bytes,
            ..self
        }
    }

    /// What its runs may have, and what those it holds are likely to need; `None`: it does not say.
    pub fn memory(&self) -> Option<Memory> {
        let pieces = self.pieces.values();
        let heavy = pieces.filter(|p| p.held.heavy && !p.is_encoded());
        let needs = heavy.map(|p| p.held.memory_bytes);
        Some(Memory::new(self.memory_bytes?, self.slots, needs))
    }

    /// An Attempt was granted, or the Node says that it holds it.
    pub fn add(&mut self, token: AttemptToken, held: Held, now: Duration) {
        self.turns += 1;
        let piece = Piece {
            held,
            turn: self.turns,
            begun: None,
            first: None,
            last: None,
            frames: 0,
        };
        self.pieces.insert(token, piece);
        self.begin(now);
    }

    /// It has ended, or was lost.
    pub fn remove(&mut self, token: &AttemptToken, now: Duration) -> Option<Held> {
        let piece = self.pieces.remove(token)?;
        self.begin(now);
        Some(piece.held)
    }

    /// The Node has said how far an Attempt is.
    pub fn seen(&mut self, token: &AttemptToken, frames: u64, total: u64, now: Duration) {
        let Some(piece) = self.pieces.get_mut(token) else {
            return;
        };
        if frames == 0 || total == 0 {
            return;
        }
        piece.frames = total;
        piece.begun.get_or_insert(now);
        piece.first.get_or_insert((now, frames));
        if piece.last.is_none_or(|(_, known)| known != frames) {
            piece.last = Some((now, frames));
        }
    }

    /// Whether it holds this Attempt.
    pub fn holds(&self, token: &AttemptToken) -> bool {
        self.pieces.contains_key(token)
    }

    /// How this Attempt counts; `None`: it does not hold it.
    pub fn held(&self, token: &AttemptToken) -> Option<Held> {
        Some(self.pieces.get(token)?.held)
    }

    /// How many of a kind it holds.
    pub fn count(&self, heavy: bool) -> usize {
        self.pieces
            .values()
            .filter(|p| p.held.heavy == heavy)
            .count()
    }

    /// The next ones in turn get the slots that are free.
    fn begin(&mut self, now: Duration) {
        let heavy = self.pieces.values_mut().filter(|p| p.held.heavy);
        let (running, mut waiting): (Vec<_>, Vec<_>) = heavy.partition(|p| p.begun.is_some());
        let room = (self.slots.max(1) as usize).saturating_sub(running.len());
        waiting.sort_by_key(|p| p.turn);
        for piece in waiting.into_iter().take(room) {
            piece.begun = Some(now);
        }
    }

    /// How fast what runs goes now, of the Class that most of it is of.
    pub fn pace(&self) -> Option<(Class, f64)> {
        let paces = self.pieces.values().filter(|p| p.held.heavy);
        let paces: Vec<(Class, f64)> = paces
            .filter_map(|p| Some((p.held.class, p.pace()?)))
            .collect();
        let (class, _) = *paces.first()?;
        let same: Vec<f64> = paces
            .iter()
            .filter(|(c, _)| *c == class)
            .map(|(_, s)| *s)
            .collect();
        Some((class, same.iter().sum::<f64>() / same.len() as f64))
    }

    /// Seconds until each slot is free of all that is held, shortest first, when work of a Class goes at `speed`.
    pub fn busy(&self, now: Duration, speed: impl Fn(Class) -> f64) -> Vec<f64> {
        let mut busy = self.ends(now, speed).0;
        busy.sort_by(f64::total_cmp);
        busy
    }

    /// All heavy Attempts that it holds, and in how many seconds each will have ended.
    pub fn pending(&self, now: Duration, speed: impl Fn(Class) -> f64) -> Vec<Pending> {
        self.ends(now, speed).1
    }

    fn ends(&self, now: Duration, speed: impl Fn(Class) -> f64) -> (Vec<f64>, Vec<Pending>) {
        let slots = self.slots.max(1) as usize;
        let heavy = self.pieces.iter().filter(|(_, p)| p.held.heavy);
        let (running, mut waiting): (Vec<_>, Vec<_>) = heavy.partition(|(_, p)| p.begun.is_some());
        let pending = |token: &AttemptToken, piece: &Piece, ends: f64| Pending {
            token: *token,
            held: piece.held,
            waits: piece.begun.is_none(),
            ends,
        };
        let mut all: Vec<Pending> = running
            .iter()
            .map(|(token, p)| pending(token, p, p.left(now, speed(p.held.class))))
            .collect();
        let mut busy: Vec<f64> = all.iter().map(|p| p.ends).collect();
        // More may run than there are slots: an encoder that has ended gives its slot away before its Chunk is stored.
        busy.sort_by(|a, b| b.total_cmp(a));
        busy.resize(slots, 0.0);
        waiting.sort_by_key(|(_, p)| p.turn);
        for (token, piece) in waiting {
            let least = busy.iter_mut().min_by(|a, b| a.total_cmp(b));
            let least = least.expect("a node has a slot");
            *least += piece.held.cost as f64 / speed(piece.held.class);
            all.push(pending(token, piece, *least));
        }
        (busy, all)
    }

    /// How fast an Attempt goes, as its progress shows.
    pub fn pace_of(&self, token: &AttemptToken) -> Option<f64> {
        self.pieces.get(token)?.pace()
    }
}

/// An Attempt that a Node holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pending {
    /// Which.
    pub token: AttemptToken,
    /// What it is.
    pub held: Held,
    /// It waits for a slot: nothing is lost if another Node has it.
    pub waits: bool,
    /// In how many seconds it will have ended.
    pub ends: f64,
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, held, token};
    use super::*;

    #[test]
    fn what_waits_comes_after_what_runs() {
        let mut load = Load::new(2);
        for (segment, cost) in [(0, 100), (1, 40), (2, 30)] {
            load.add(token(segment), held(cost), at(0));
        }
        assert_eq!(load.busy(at(0), |_| 10.0), [7.0, 10.0]);
        assert_eq!(load.busy(at(2), |_| 10.0), [5.0, 8.0]);
        load.remove(&token(1), at(4));
        assert_eq!(load.busy(at(4), |_| 10.0), [3.0, 6.0]);
        assert_eq!(load.busy(at(5), |_| 10.0), [2.0, 5.0], "the third runs now");
        load.add(token(3), held(10), at(5));
        let waits = load.pending(at(5), |_| 10.0).into_iter();
        let waits: Vec<_> = waits.filter(|p| p.waits).map(|p| p.token).collect();
        assert_eq!(waits, [token(3)]);
    }

    #[test]
    fn progress_knows_better_than_the_prediction() {
        let mut load = Load::new(1);
        load.add(token(0), held(100), at(0));
        load.seen(&token(0), 10, 100, at(10));
        load.seen(&token(0), 20, 100, at(20));
        assert_eq!(load.busy(at(20), |_| 10.0), [80.0]);
        assert_eq!(load.pace(), Some((Class::default(), 1.0)));
        assert_eq!(load.busy(at(30), |_| 10.0), [70.0]);
    }

    #[test]
    fn what_is_late_is_expected_later_and_later() {
        let mut load = Load::new(1);
        load.add(token(0), held(100), at(0));
        let after = |s| load.busy(at(s), |_| 10.0)[0];
        assert!(after(9) < 2.0);
        assert!(after(30) >= 20.0, "{}", after(30));
    }

    #[test]
    fn an_encoder_that_has_ended_gives_its_slot_away_before_its_chunk_is_stored() {
        let mut load = Load::new(1);
        load.add(token(0), held(100), at(0));
        load.add(token(1), held(100), at(0));
        load.seen(&token(0), 100, 100, at(10));
        load.seen(&token(1), 50, 100, at(15));
        let busy = load.busy(at(15), |_| 10.0);
        assert_eq!(busy.len(), 1);
        assert!((busy[0] - 5.0).abs() < 1e-9, "{busy:?}");
    }
}
