//! The decisions of the block cache, without files or network: which bytes are there, who needs them, what may go.
//!
//! ```text
//!  absent --claim--> fetching --settle(true)--> present --evict--> absent
//!                        '-----settle(false)--> absent
//! ```
//!
//! A byte that somebody has pinned is never evicted. One that nobody pins any more lingers, because a neighbour may need
//! it: a Segment's first and last group of pictures belong to the clips of its neighbours too. Bytes that two have used
//! already go first, then the middle of what was released, then its edges; among equals the longest released.

use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Fetching,
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    end: u64,
    state: State,
    pins: u32,
    /// How often it was pinned while known.
    uses: u32,
    /// Whether it was near the end of a range when it was released.
    edge: bool,
    /// Number of its release; meaningful while nobody pins it.
    released: u64,
}

/// What is known about every byte; bytes in no span are absent and unpinned.
#[derive(Debug, Default)]
pub(super) struct Map {
    spans: BTreeMap<u64, Span>,
    releases: u64,
    held: u64,
    lingering: u64,
}

/// What an acquirer has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// All bytes are there.
    Ready,
    /// These were absent and are now the caller's to fetch.
    Fetch(Vec<Range<u64>>),
    /// Others are fetching the rest.
    Wait,
}

impl Map {
    /// Bytes that take space: there or on their way.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Notes that somebody needs `range` until [`Map::unpin`].
    pub(super) fn pin(&mut self, range: &Range<u64>) {
        self.cover(range);
        self.change(range, |span| {
            span.pins += 1;
            span.uses += 1;
        });
    }

    /// Takes back one [`Map::pin`] of exactly this range. Bytes within `edge` of its ends are kept longer than others.
    pub(super) fn unpin(&mut self, range: &Range<u64>, edge: u64) {
        self.releases += 1;
        let number = self.releases;
        self.split_at(range.start);
        self.split_at(range.end);
        let inner = range.start.saturating_add(edge)..range.end.saturating_sub(edge);
        if inner.start < inner.end {
            self.split_at(inner.start);
            self.split_at(inner.end);
        }
        for (start, span) in self.spans.range_mut(range.start..range.end) {
            debug_assert!(span.pins > 0, "what is unpinned was pinned");
            span.pins -= 1;
            span.released = number;
            span.edge = !(inner.contains(start) && span.end <= inner.end);
        }
        self.tidy(range);
    }

    /// What the holder of pins on `range` has to do next.
    pub(super) fn next(&mut self, range: &Range<u64>) -> Next {
        // Equal neighbours are one span, whoever pinned them.
        self.split_at(range.start);
        self.split_at(range.end);
        let mut absent = Vec::new();
        let mut ready = true;
        for (start, span) in self.spans.range_mut(range.start..range.end) {
            debug_assert!(span.pins > 0, "only pinned bytes are asked for");
            match span.state {
                State::Present => {}
                State::Fetching => ready = false,
                State::Absent => {
                    span.state = State::Fetching;
                    absent.push(*start..span.end);
                }
            }
        }
        if !absent.is_empty() {
            let claimed = super::coalesce(absent, 0);
            self.recount();
            return Next::Fetch(claimed);
        }
        match ready {
            true => Next::Ready,
            false => Next::Wait,
        }
    }

    /// The fetch of `range` came to an end.
    pub(super) fn settle(&mut self, range: &Range<u64>, arrived: bool) {
        self.change(range, |span| {
            debug_assert_eq!(span.state, State::Fetching, "only what is fetched arrives");
            span.state = match arrived {
                true => State::Present,
                false => State::Absent,
            };
        });
    }

    /// Frees lingering bytes until at most `keep` are left, and says which.
    pub(super) fn evict(&mut self, keep: u64) -> Vec<Range<u64>> {
        let mut freed = Vec::new();
        while self.lingering > keep {
            let Some((start, span)) = self
                .spans
                .iter()
                .filter(|(_, span)| span.lingers())
                .min_by_key(|(start, span)| (span.uses < 2, span.edge, span.released, **start))
                .map(|(start, span)| (*start, *span))
            else {
                break;
            };
            self.spans.remove(&start);
            freed.push(start..span.end);
            self.recount();
        }
        super::coalesce(freed, 0)
    }

    /// `range`, of which nothing is there, with up to `block` bytes on either side as far as nothing is there either.
    pub(super) fn with_absent(&self, range: &Range<u64>, block: u64) -> Range<u64> {
        let before = self.spans.range(..range.start).next_back();
        let before = before.map_or(0, |(_, span)| span.end);
        let after = self.spans.range(range.end..).next();
        let after = after.map_or(u64::MAX, |(start, _)| *start);
        let start = before.max(range.start.saturating_sub(block));
        let end = after.min(range.end.saturating_add(block));
        start.min(range.start)..end.max(range.end)
    }

    /// Makes spans for every byte of `range`, with borders at its ends.
    fn cover(&mut self, range: &Range<u64>) {
        self.split_at(range.start);
        self.split_at(range.end);
        let mut at = range.start;
        let known: Vec<_> = self
            .spans
            .range(range.start..range.end)
            .map(|(start, span)| *start..span.end)
            .collect();
        for gap_end in known.iter().map(|k| k.start).chain([range.end]) {
            if at < gap_end {
                let fresh = Span {
                    end: gap_end,
                    state: State::Absent,
                    pins: 0,
                    uses: 0,
                    edge: false,
                    released: 0,
                };
                self.spans.insert(at, fresh);
            }
            at = self
                .spans
                .range(gap_end..)
                .next()
                .map_or(
                    gap_end,
                    |(start, span)| {
                        if *start == gap_end { span.end } else { gap_end }
                    },
                );
        }
    }

    fn split_at(&mut self, at: u64) {
        if let Some((start, span)) = self.spans.range_mut(..at).next_back()
            && span.end > at
        {
            debug_assert!(*start < at);
            let right = *span;
            span.end = at;
            self.spans.insert(at, right);
        }
    }

    fn change(&mut self, range: &Range<u64>, mut change: impl FnMut(&mut Span)) {
        self.split_at(range.start);
        self.split_at(range.end);
        for (_, span) in self.spans.range_mut(range.start..range.end) {
            change(span);
        }
        self.tidy(range);
    }

    /// Forgets what is absent and unpinned, joins equal neighbours, and counts again.
    fn tidy(&mut self, range: &Range<u64>) {
        let from = self
            .spans
            .range(..range.start)
            .next_back()
            .map_or(range.start, |(start, _)| *start);
        let touched: Vec<u64> = self
            .spans
            .range(from..=range.end)
            .map(|(start, _)| *start)
            .collect();
        let mut previous: Option<u64> = None;
        for start in touched {
            let span = self.spans[&start];
            if span.state == State::Absent && span.pins == 0 {
                self.spans.remove(&start);
                continue;
            }
            let joins = previous.filter(|before| {
                let left = self.spans[before];
                left.end == start && Span { end: 0, ..left } == Span { end: 0, ..span }
            });
            match joins {
                Some(before) => {
                    self.spans.remove(&start);
                    self.spans
                        .entry(before)
                        .and_modify(|left| left.end = span.end);
                }
                None => previous = Some(start),
            }
        }
        self.recount();
    }

    /// The map holds tens of spans, so counting afresh is cheaper than being wrong.
    fn recount(&mut self) {
        let sum = |keep: &dyn Fn(&Span) -> bool| {
            self.spans
                .iter()
                .filter(|(_, span)| keep(span))
                .map(|(start, span)| span.end - start)
                .sum()
        };
        self.held = sum(&|span| span.state != State::Absent);
        self.lingering = sum(&Span::lingers);
    }
}

impl Span {
    fn lingers(&self) -> bool {
        self.pins == 0 && self.state == State::Present
    }
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some of one"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fetch_all(map: &mut Map, range: Range<u64>) -> u64 {
        map.pin(&range);
        match map.next(&range) {
            Next::Fetch(parts) => {
                parts.iter().for_each(|part| map.settle(part, true));
                assert_eq!(map.next(&range), Next::Ready);
                super::super::total(&parts)
            }
            other => {
                assert_eq!(other, Next::Ready);
                0
            }
        }
    }

    #[test]
    fn overlapping_acquirers_fetch_each_byte_once() {
        let mut map = Map::default();
        map.pin(&(0..10));
        assert_eq!(map.next(&(0..10)), Next::Fetch(vec![0..10]));
        map.pin(&(5..20));
        assert_eq!(map.next(&(5..20)), Next::Fetch(vec![10..20]));
        map.settle(&(10..20), true);
        assert_eq!(map.next(&(5..20)), Next::Wait);
        map.settle(&(0..10), false);
        assert_eq!(map.next(&(5..20)), Next::Fetch(vec![5..10]));
    }

    #[test]
    fn used_bytes_go_first_then_the_middle_then_the_edges() {
        let mut map = Map::default();
        assert_eq!(fetch_all(&mut map, 0..100), 100);
        map.unpin(&(0..100), 10);
        assert_eq!(map.evict(30), std::slice::from_ref(&(10..90)));
        assert_eq!(
            fetch_all(&mut map, 90..200),
            100,
            "the edge was still there"
        );
        map.unpin(&(90..200), 10);
        assert_eq!(map.evict(100), std::slice::from_ref(&(90..190)));
        assert_eq!(map.evict(0), [0..10, 190..200]);
        assert_eq!((map.held(), map.spans.len()), (0, 0));
    }

    #[test]
    fn what_is_freed_reaches_over_absent_bytes_only() {
        let mut map = Map::default();
        fetch_all(&mut map, 10..20);
        assert_eq!(map.with_absent(&(22..25), 100), 20..125);
        assert_eq!(map.with_absent(&(5..8), 2), 3..10);
        assert_eq!(map.with_absent(&(20..21), 2), 20..23);
    }

    #[test]
    fn pinned_bytes_stay() {
        let mut map = Map::default();
        fetch_all(&mut map, 0..100);
        map.pin(&(20..30));
        map.unpin(&(0..100), 0);
        assert_eq!(map.evict(0), [0..20, 30..100]);
        assert_eq!(map.held(), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pin(u64, u64),
        Unpin(usize),
        Next(usize),
        Settle(usize, bool),
        Evict(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..60, 1u64..20).prop_map(|(s, n)| Step::Pin(s, s + n)),
            (0usize..8).prop_map(Step::Unpin),
            (0usize..8).prop_map(Step::Next),
            (0usize..8, any::<bool>()).prop_map(|(i, b)| Step::Settle(i, b)),
            (0u64..40).prop_map(Step::Evict),
        ]
    }

    proptest! {
        /// Against a model that keeps one record per byte.
        #[test]
        fn the_map_agrees_with_a_byte_by_byte_model(steps in prop::collection::vec(step(), 1..80)) {
            let mut map = Map::default();
            let mut pins: Vec<Range<u64>> = Vec::new();
            let mut flights: Vec<Range<u64>> = Vec::new();
            // 0 absent, 1 fetching, 2 present
            let mut model = [0u8; 100];
            let pinned = |pins: &[Range<u64>], b: u64| pins.iter().any(|p| p.contains(&b));
            for step in steps {
                match step {
                    Step::Pin(start, end) => {
                        map.pin(&(start..end));
                        pins.push(start..end);
                    }
                    Step::Unpin(i) if !pins.is_empty() => {
                        let range = pins.remove(i % pins.len());
                        map.unpin(&range, 3);
                    }
                    Step::Next(i) if !pins.is_empty() => {
                        let range = pins[i % pins.len()].clone();
                        let bytes = || range.clone().map(|b| model[b as usize]);
                        let absent: Vec<_> = range.clone().filter(|b| model[*b as usize] == 0).collect();
                        match map.next(&range) {
                            Next::Ready => prop_assert!(bytes().all(|s| s == 2)),
                            Next::Wait => prop_assert!(absent.is_empty() && bytes().any(|s| s == 1)),
                            Next::Fetch(parts) => {
                                let claimed: Vec<u64> = parts.iter().cloned().flatten().collect();
                                prop_assert_eq!(&claimed, &absent);
                                claimed.iter().for_each(|b| model[*b as usize] = 1);
                                flights.extend(parts);
                            }
                        }
                    }
                    Step::Settle(i, arrived) if !flights.is_empty() => {
                        let range = flights.remove(i % flights.len());
                        map.settle(&range, arrived);
                        range.for_each(|b| model[b as usize] = if arrived { 2 } else { 0 });
                    }
                    Step::Evict(keep) => {
                        for byte in map.evict(keep).into_iter().flatten() {
                            prop_assert!(!pinned(&pins, byte) && model[byte as usize] == 2);
                            model[byte as usize] = 0;
                        }
                        let lingering = (0..100).filter(|b| model[*b as usize] == 2 && !pinned(&pins, *b)).count();
                        prop_assert!(lingering as u64 <= keep);
                    }
                    _ => {}
                }
                prop_assert_eq!(map.held(), model.iter().filter(|s| **s != 0).count() as u64);
            }
        }
    }
}
