//! Tasks that wait, in the order in which they are handed out: one bit for each, since there may be a million of them and a
//! snapshot begins with a copy.

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Places, each the position of a Segment in the order of handing out and a group. Stored as a sorted list of pairs.
#[derive(Clone, Default)]
pub struct Open {
    /// One for each position and group, the groups of a position side by side.
    bits: Vec<u64>,
    groups: usize,
    /// No word before this one has a bit.
    first: usize,
}

impl Open {
    /// Nothing is open of `positions` in each of `groups`.
    pub fn none(positions: usize, groups: usize) -> Self {
        Self {
            bits: vec![0; (positions * groups).div_ceil(WORD)],
            groups,
            first: 0,
        }
    }

    fn place(&self, (position, group): (u32, u16)) -> (usize, u64) {
        let at = position as usize * self.groups + usize::from(group);
        (at / WORD, 1 << (at % WORD))
    }

    /// Opens a place.
    /// # Panics
    /// There is no such place.
    pub fn insert(&mut self, at: (u32, u16)) {
        assert!(usize::from(at.1) < self.groups, "there is no such group");
        let (word, bit) = self.place(at);
        self.bits[word] |= bit;
        self.first = self.first.min(word);
    }

    /// Closes a place.
    pub fn remove(&mut self, at: (u32, u16)) {
        if !self.contains(at) {
            return;
        }
        let (word, bit) = self.place(at);
        self.bits[word] &= !bit;
        while self.bits.get(self.first) == Some(&0) {
            self.first += 1;
        }
    }

    /// Whether a place is open.
    pub fn contains(&self, at: (u32, u16)) -> bool {
        let (word, bit) = self.place(at);
        usize::from(at.1) < self.groups && self.bits.get(word).is_some_and(|w| w & bit != 0)
    }

    /// All open places in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16)> + '_ {
        let words = self.bits.iter().enumerate().skip(self.first);
        words
            .flat_map(|(number, word)| Ones(*word).map(move |bit| number * WORD + bit))
            .map(|at| {
                let position = (at / self.groups) as u32;
                (position, (at % self.groups) as u16)
            })
    }
}

/// The bits of a word that are set.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Open {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.iter().count()))?;
        for place in self.iter() {
            list.serialize_element(&place)?;
        }
        list.end()
    }
}

/// A stored list, before it is known how many places there are.
#[derive(Deserialize)]
pub struct Stored(Vec<(u32, u16)>);

impl Stored {
    /// The places, of `positions` in each of `groups`. `None`: one of them is none of these.
    pub fn among(self, positions: usize, groups: usize) -> Option<Open> {
        let mut open = Open::none(positions, groups);
        for (position, group) in self.0 {
            if position as usize >= positions || usize::from(group) >= groups {
                return None;
            }
            open.insert((position, group));
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_sorted_set_of_places() {
        for groups in [1usize, 2, 3, 7] {
            let mut turn = groups as u64;
            // Steps of a generator with a full period: each test run is the same.
            let mut below = |limit: u64| {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (turn >> 33) % limit
            };
            let mut open = Open::none(100, groups);
            let mut known = BTreeSet::new();
            for _ in 0..5000 {
                let at = (below(100) as u32, below(groups as u64) as u16);
                assert_eq!(open.contains(at), known.contains(&at));
                match below(2) == 0 {
                    true => {
                        open.insert(at);
                        known.insert(at);
                    }
                    false => {
                        open.remove(at);
                        known.remove(&at);
                    }
                }
                assert!(open.iter().eq(known.iter().copied()));
            }
            let bytes = postcard::to_stdvec(&open).expect("it serialises");
            assert_eq!(bytes, postcard::to_stdvec(&known).expect("it serialises"));
            let read = |bytes| postcard::from_bytes::<Stored>(bytes).expect("it reads");
            assert_eq!(read(&bytes).among(100, groups), Some(open.clone()));
            let last = known.last().expect("some are left").0;
            assert_eq!(read(&bytes).among(last as usize, groups), None);
            assert!(!open.contains((100, 0)) && !open.contains((0, groups as u16)));
        }
    }
}
