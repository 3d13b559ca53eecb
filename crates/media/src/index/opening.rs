//! The part of a remote Source with which FFmpeg opens it and decodes its first frames.

use super::{Preamble, SourceIndex};
use crate::matroska::void;
use std::ops::Range;

/// What a scratch file of the Source's size needs to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Bytes of the Source, to be put at their own offsets.
    pub ranges: Vec<Range<u64>>,
    /// Bytes to be written over it afterwards, at this offset.
    pub patch: Option<(u64, Vec<u8>)>,
}

impl SourceIndex {
    /// The index and about `bytes` of the first packets.
    pub fn opening(&self, bytes: u64) -> Opening {
        let mut ranges = self.head.clone();
        ranges.extend(self.boxes.iter().cloned());
        let packets = || self.tracks.iter().flat_map(|track| track.packets.iter());
        let Some(first) = packets().map(|packet| packet.offset).min() else {
            return Opening {
                ranges,
                patch: None,
            };
        };
        let near = (first + bytes).min(self.size_bytes);
        let &Preamble::Matroska { clusters_end, .. } = &self.preamble else {
            ranges.push(first..near);
            return Opening {
                ranges,
                patch: None,
            };
        };
        // Whole clusters, as FFmpeg would search all of a hole inside one for its next element.
        let offsets = packets().map(|packet| packet.offset);
        let mut later: Vec<u64> = offsets.filter(|offset| *offset > first).collect();
        later.sort_unstable();
        let at = later.partition_point(|offset| *offset <= near).max(1) - 1;
        let end = later.get(at).copied().unwrap_or(clusters_end);
        let after = ranges.iter().map(|range| range.start);
        let next = after.filter(|start| *start >= end).min();
        let next = next.unwrap_or(clusters_end);
        ranges.push(first..end);
        Opening {
            ranges,
            patch: void(next.saturating_sub(end)).map(|void| (end, void)),
        }
    }
}
