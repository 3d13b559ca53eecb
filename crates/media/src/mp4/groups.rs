//! Which groups of pictures of a Chunk stand for themselves. Pure.

use super::chunk::ChunkIndex;
use recode_types::time::TimeBase;

/// How many frames lie before the end of each closed group of pictures at the beginning of a Chunk. What comes after such an
/// end may come from another encode that begins there: in decode order nothing before it looks beyond, and in presentation
/// order nothing after it is shown earlier.
///
/// `index` holds whole groups; `wanted` are the times of the frames that were asked for, from the first one on, in ticks of
/// `base`.
/// # Shape
/// Rising. Ends at the first group that has not exactly the next frames.
pub fn closed_groups(index: &ChunkIndex, wanted: &[i64], base: TimeBase) -> Vec<usize> {
    let samples = &index.samples;
    let mut ends = Vec::new();
    let (Some(origin), Some(first)) = (samples.first(), wanted.first()) else {
        return ends;
    };
    let mut at = 0;
    while at < samples.len() && samples[at].key {
        let next = samples[at + 1..].iter().position(|sample| sample.key);
        let end = next.map_or(samples.len(), |next| at + 1 + next);
        let mut shown: Vec<i64> = samples[at..end].iter().map(|s| s.pts).collect();
        let key_is_first = shown.iter().min() == Some(&samples[at].pts);
        shown.sort_unstable();
        let in_place = wanted.get(at..end).is_some_and(|wanted| {
            shown.iter().zip(wanted).all(|(seen, wanted)| {
                let wanted = base.rescale(wanted - first, index.time_base);
                // Half a tick of either clock.
                (seen - origin.pts - wanted).abs() <= 1
            })
        });
        if !key_is_first || !in_place {
            break;
        }
        ends.push(end);
        at = end;
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::super::chunk::ChunkSample;
    use super::*;

    const BASE: TimeBase = TimeBase::new(1, 25);

    /// (time in frames, key), in decode order, on a clock that is 40 times finer and begins at 80.
    fn index(samples: &[(i64, bool)]) -> ChunkIndex {
        let sample = |(i, &(frame, key)): (usize, &(i64, bool))| ChunkSample {
            offset: 0,
            size: 1,
            dts: 40 * i as i64,
            pts: 80 + 40 * frame,
            key,
        };
        ChunkIndex {
            ftyp: vec![],
            sample_description: vec![],
            tkhd: vec![],
            time_base: TimeBase::new(1, 1000),
            samples: samples.iter().enumerate().map(sample).collect(),
        }
    }

    fn groups(samples: &[(i64, bool)], wanted: &[i64]) -> Vec<usize> {
        closed_groups(&index(samples), wanted, BASE)
    }

    const KEY: bool = true;
    const NO: bool = false;

    #[test]
    fn groups_that_hold_the_next_frames_and_no_others_are_closed() {
        let two = [(0, KEY), (2, NO), (1, NO), (3, KEY), (4, NO)];
        assert_eq!(groups(&two, &[7, 8, 9, 10, 11, 12]), [3, 5]);
        assert_eq!(groups(&two, &[7, 8, 9, 10, 11]), [3, 5]);
        // A frame fewer was asked for than there is.
        assert_eq!(groups(&two, &[7, 8, 9, 10]), [3]);
        assert_eq!(groups(&[], &[7]), [0; 0]);
        assert_eq!(groups(&two, &[]), [0; 0]);
    }

    #[test]
    fn a_group_some_of_which_is_shown_before_its_key_frame_is_not_closed() {
        // The second key frame has a leading picture, which the first group lacks.
        let open = [(0, KEY), (1, NO), (3, KEY), (2, NO), (4, NO)];
        assert_eq!(groups(&open, &[0, 1, 2, 3, 4, 5]), [2]);
    }

    #[test]
    fn a_frame_that_is_missing_or_late_ends_it() {
        let hole = [(0, KEY), (1, NO), (3, NO), (4, KEY), (5, NO)];
        assert_eq!(groups(&hole, &[0, 1, 2, 3, 4, 5]), [0; 0]);
        let late = [(0, KEY), (1, NO), (2, KEY), (4, NO)];
        assert_eq!(groups(&late, &[0, 1, 2, 3, 4, 5]), [2]);
        assert_eq!(groups(&[(0, NO), (1, KEY)], &[0, 1]), [0; 0]);
    }
}
