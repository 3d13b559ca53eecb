//! The real rows of a Source whose table is an estimate (`SourceFacts::rows_estimated`). Pure.
//!
//! Who reads a Segment finds its rows in the bytes and sends them along with each Chunk; the stitch puts them together
//! and goes on as if the table had been known from the beginning.

use recode_media::clip::Clip;
use recode_types::{FrameTable, Segment};

/// Parts that make no table: the Cues of the Source do not say the truth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A Chunk came without its rows, or with those of another Segment.
    #[error("the frames of segment {0} are not known")]
    Missing(u32),
    /// Frames are missing or doubled between two Segments.
    #[error("segment {0} does not end where the next one begins")]
    Joint(u32),
    /// Key frames of the Output would not be at the fixed distance that was asked for.
    #[error("segment {segment} has {rows} frames, no multiple of {gop}")]
    Gop {
        /// The Segment.
        segment: u32,
        /// Its rows.
        rows: usize,
        /// Asked distance of key frames.
        gop: u32,
    },
}

/// What a clip shows of its Segment: a table of its rows alone, and the Segment in that table.
pub fn of_clip(clip: &Clip, planned: Segment) -> (FrameTable, Segment) {
    let table = FrameTable {
        time_base: clip.time_base,
        rows: clip.rows.clone(),
        last_duration: clip.last_duration,
    };
    let segment = whole(&table, planned.index, 0);
    (table, segment)
}

/// The Segment that has all rows of `part`, which is not empty.
fn whole(part: &FrameTable, index: u32, first_row: u32) -> Segment {
    Segment {
        index,
        first_row,
        rows: part.rows.len() as u32,
        start_pts: part.rows[0].pts,
        end_pts: part.end_pts().max(part.rows[part.rows.len() - 1].pts + 1),
    }
}

/// Puts the rows of all Segments together: the table of the wanted part of the Source, and the Segments in it.
/// # Shape
/// One part per planned Segment, in order. `gop`: a fixed distance of key frames, in rows, that every Segment but the last
/// has to keep.
/// # Errors
/// [`Broken`]: probe again, by the exact path.
pub fn assemble(
    parts: Vec<Option<FrameTable>>,
    planned: &[Segment],
    gop: Option<u32>,
) -> Result<(FrameTable, Vec<Segment>), Broken> {
    let mut table: Option<FrameTable> = None;
    let mut segments: Vec<Segment> = Vec::with_capacity(planned.len());
    let mut parts = parts.into_iter();
    for (i, wanted) in planned.iter().enumerate() {
        let missing = || Broken::Missing(wanted.index);
        let part = parts.next().flatten().ok_or_else(missing)?;
        let sorted = part.rows.windows(2).all(|pair| pair[0].pts < pair[1].pts);
        let first = part.rows.first().ok_or_else(missing)?.pts;
        let fits = match i {
            // Where the wanted part begins between two frames, its first one comes later.
            0 => first >= wanted.start_pts,
            _ => first == wanted.start_pts,
        };
        if !sorted || !fits {
            return Err(missing());
        }
        let rows = part.rows.len();
        let last = i + 1 == planned.len();
        if let Some(gop) = gop.filter(|gop| !last && *gop > 0 && rows % *gop as usize != 0) {
            return Err(Broken::Gop {
                segment: wanted.index,
                rows,
                gop,
            });
        }
        if !last && part.end_pts() != planned[i + 1].start_pts {
            return Err(Broken::Joint(wanted.index));
        }
        let all = table.get_or_insert_with(|| FrameTable {
            time_base: part.time_base,
            rows: Vec::new(),
            last_duration: 1,
        });
        if all.time_base != part.time_base {
            return Err(missing());
        }
        segments.push(whole(&part, wanted.index, all.rows.len() as u32));
        all.rows.extend_from_slice(&part.rows);
        all.last_duration = match (part.last_duration, all.rows.as_slice()) {
            // Neither the index nor a frame after it says how long the last one stays.
            (0, [.., one, two]) => two.pts - one.pts,
            (known, _) => known.max(1),
        };
        if let (true, Some(segment)) = (last, segments.last_mut()) {
            segment.end_pts = all.end_pts();
        }
    }
    table
        .map(|table| (table, segments))
        .ok_or(Broken::Missing(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{FrameRow, TimeBase};

    fn part(pts: &[i64], last_duration: i64) -> Option<FrameTable> {
        let row = |(i, &pts): (usize, &i64)| FrameRow {
            pts,
            key: i == 0,
            signature: None,
        };
        Some(FrameTable {
            time_base: TimeBase::new(1, 1000),
            rows: pts.iter().enumerate().map(row).collect(),
            last_duration,
        })
    }

    /// As planned: two rows each, whatever there really is.
    fn planned(bounds: &[i64]) -> Vec<Segment> {
        let pairs = bounds.windows(2).enumerate();
        pairs
            .map(|(i, pair)| Segment {
                index: i as u32,
                first_row: 2 * i as u32 + 7,
                rows: 2,
                start_pts: pair[0],
                end_pts: pair[1],
            })
            .collect()
    }

    #[test]
    fn parts_become_one_table_and_segments_that_cover_it() {
        let parts = vec![
            part(&[0, 33, 66], 34),
            part(&[100, 140], 60),
            part(&[200, 240], 41),
        ];
        let (table, segments) = assemble(parts, &planned(&[0, 100, 200, 999]), None).unwrap();
        let pts: Vec<i64> = table.rows.iter().map(|row| row.pts).collect();
        assert_eq!(pts, [0, 33, 66, 100, 140, 200, 240]);
        assert_eq!(table.end_pts(), 281);
        let spans: Vec<_> = segments
            .iter()
            .map(|s| (s.index, s.row_range(), s.start_pts, s.end_pts))
            .collect();
        assert_eq!(
            spans,
            [(0, 0..3, 0, 100), (1, 3..5, 100, 200), (2, 5..7, 200, 281)]
        );
    }

    #[test]
    fn a_part_that_begins_inside_a_gop_has_its_first_frame_later() {
        let parts = vec![part(&[66], 34), part(&[100], 0)];
        let (table, segments) = assemble(parts, &planned(&[50, 100, 120]), None).unwrap();
        assert_eq!(segments[0].start_pts, 66);
        // A last frame of unknown length stays as long as the one before it.
        assert_eq!(table.end_pts(), 134);
        assert_eq!(segments[1].end_pts, 134);
    }

    #[test]
    fn rows_that_do_not_meet_are_refused() {
        let check = |parts: Vec<Option<FrameTable>>, gop| {
            assemble(parts, &planned(&[0, 100, 200]), gop).unwrap_err()
        };
        let good = || vec![part(&[0, 50], 50), part(&[100, 150], 50)];
        assert!(assemble(good(), &planned(&[0, 100, 200]), Some(2)).is_ok());
        let with = |i: usize, part| {
            let mut parts = good();
            parts[i] = part;
            parts
        };
        assert_eq!(check(with(0, None), None), Broken::Missing(0));
        assert_eq!(check(good()[..1].to_vec(), None), Broken::Missing(1));
        assert_eq!(check(with(1, part(&[], 1)), None), Broken::Missing(1));
        assert_eq!(check(with(1, part(&[101], 1)), None), Broken::Missing(1));
        assert_eq!(check(with(0, part(&[0, 0], 100)), None), Broken::Missing(0));
        assert_eq!(check(with(0, part(&[0, 50], 49)), None), Broken::Joint(0));
        let gop = Broken::Gop {
            segment: 0,
            rows: 2,
            gop: 4,
        };
        assert_eq!(check(good(), Some(4)), gop);
    }
}
