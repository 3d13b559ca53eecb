//! How much of a Run is finished.

use super::Run;

/// How much is finished, so that nobody has to count a hundred thousand Segments to say so.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Encode tasks that lack no Chunk, over all groups.
    pub encoded: u32,
    /// Their source frames.
    pub frames: u64,
    /// Trial tasks that have a result, over all groups.
    pub tried: u32,
    /// Source frames of all Segments.
    pub all_frames: u64,
}

impl Run {
    /// Counts from the beginning.
    pub(super) fn counted(&self) -> Tally {
        let segments = &self.plan.segments;
        let mut tally = Tally {
            all_frames: segments.iter().map(|s| u64::from(s.rows)).sum(),
            ..Tally::default()
        };
        for group in 0..self.plan.groups.len() as u16 {
            let trial = !self.trial_outputs(group).is_empty();
            for segment in segments {
                if !self.is_missing(group, segment.index) {
                    tally.encoded += 1;
                    tally.frames += u64::from(segment.rows);
                }
                tally.tried += u32::from(trial && self.tried(group, segment.index));
            }
        }
        tally
    }

    /// What is counted as it comes is what there is. For tests of all that changes it.
    pub fn is_counted_right(&self) -> bool {
        self.tally == self.counted()
    }

    /// Tasks known and Tasks finished.
    pub(in crate::machine) fn count_tasks(&self) -> (u32, u32) {
        let segments = self.plan.segments.len() as u32;
        let groups = 0..self.plan.groups.len() as u16;
        let trials = groups.filter(|&group| !self.trial_outputs(group).is_empty());
        let mut tasks = segments * (self.plan.groups.len() + trials.count()) as u32;
        let mut done = self.tally.encoded + self.tally.tried;
        for key in self.single_tasks() {
            tasks += 1;
            done += u32::from(!self.lacks_result(key));
        }
        (tasks, done)
    }

    /// Source frames whose Chunks are all committed, and source frames to encode; over all groups.
    pub fn count_frames(&self) -> (u64, u64) {
        let groups = self.plan.groups.len() as u64;
        (self.tally.frames, self.tally.all_frames * groups)
    }
}
