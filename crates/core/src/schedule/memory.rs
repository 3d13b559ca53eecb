//! What the heavy Attempts of one Node are likely to need of its memory, and what fits beside them.

/// What the runs of a Node may have of its memory, and what those that it holds are likely to need. Clones are apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What all runs together may have, in bytes.
    bytes: u64,
    /// So many run at once: the others wait in the Node and take nothing yet.
    slots: usize,
    /// Needs of the heavy Attempts that it holds, largest first.
    needs: Vec<u64>,
}

impl Memory {
    /// Of a Node of so many heavy slots whose runs may have `bytes`, and which holds heavy Attempts with these `needs`.
    pub fn new(bytes: u64, slots: u32, needs: impl IntoIterator<Item = u64>) -> Self {
        let mut needs: Vec<u64> = needs.into_iter().collect();
        needs.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            bytes,
            slots: slots.max(1) as usize,
            needs,
        }
    }

    /// Whether an Attempt that needs so much fits beside those that are held, whichever of all of them run at once. Any fits where
    /// nothing is held: what is larger than every Node would else wait for ever.
    pub fn fits(&self, need: u64) -> bool {
        let beside = self.needs.iter().take(self.slots - 1);
        let most = match self.needs.get(self.slots - 1) {
            // The smallest of those that may run makes room for it, or keeps it waiting.
            Some(smallest) => need.max(*smallest),
            None => need,
        };
        let all = beside.fold(most, |all, need| all.saturating_add(*need));
        self.needs.is_empty() || all <= self.bytes
    }

    /// Bytes that nothing which is held is likely to need.
    pub fn left(&self) -> u64 {
        let held = self.needs.iter().take(self.slots);
        let held = held.fold(0u64, |all, need| all.saturating_add(*need));
        self.bytes.saturating_sub(held)
    }

    /// One more is held.
    pub fn take(&mut self, need: u64) {
        let at = self.needs.partition_point(|held| *held >= need);
        self.needs.insert(at, need);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many that need so much are taken, beyond those that are held already.
    fn taken(mut memory: Memory, need: u64) -> usize {
        let before = memory.needs.len();
        while memory.fits(need) && memory.needs.len() < 100 {
            memory.take(need);
        }
        memory.needs.len() - before
    }

    #[test]
    fn as_many_are_taken_as_fit_and_one_in_any_case() {
        assert_eq!(taken(Memory::new(8, 8, []), 3), 2);
        assert_eq!(taken(Memory::new(9, 8, []), 3), 3);
        assert_eq!(taken(Memory::new(9, 8, [4]), 3), 1);
        assert_eq!(taken(Memory::new(9, 8, []), 10), 1);
        assert_eq!(taken(Memory::new(9, 8, [1]), 10), 0);
        assert_eq!(taken(Memory::new(9, 8, []), u64::MAX), 1);
    }

    #[test]
    fn what_waits_for_a_slot_takes_nothing_yet() {
        // As many as are asked for, since no more than eight run.
        assert_eq!(taken(Memory::new(8, 8, []), 1), 100);
        // The largest of those that are held count, as any of them may be next.
        let full = Memory::new(10, 2, [4, 4, 1]);
        assert!(full.fits(4) && full.fits(6) && !full.fits(7));
    }
}
