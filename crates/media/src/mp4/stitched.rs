//! The stitched video track: all Chunks of a Rendition as one fast-start MP4, made as a stream.
//!
//! Only the header is built in memory; the payload is a list of spans to copy from the Chunks in order. FFmpeg reads
//! the result from a pipe (`-f mp4 -i pipe:0`) and muxes it with everything else.
//!
//! The k-th presented frame of the file gets the k-th time that was pushed, less the first one: **FFmpeg shows the first
//! frame at 0** (with negative decode times before it where frames are reordered, through an edit list, as in FFmpeg's own
//! files), and [`Stitched::first_pts`] says where that is on the Source's clock; give the difference to `-itsoffset`.
//!
//! Decode times are computed over the whole file: sample `i` is decoded when the frame `depth` places before it in
//! presentation order is shown, `depth` being the largest distance any frame travels by reordering. They grow strictly
//! and never exceed the presentation time, whatever the Chunks' encoders chose at their own beginnings. Muxers and players
//! take the distance to the next decode time for how long a frame stays, from its own presentation time on: where that would
//! make the file end later than its last frame, frames are decoded later.

use super::chunk::ChunkIndex;
use super::level::{level, without_level};
use super::write::{Description, NewSample, Tables};
use recode_types::time::TimeBase;
use std::ops::Range;

/// Chunks that cannot be joined.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StitchError {
    /// The number of frames is not the number of rows.
    #[error("chunk {chunk} has {found} frames where the plan has {wanted}")]
    Count {
        /// Which Chunk, from 0.
        chunk: u32,
        /// Frames in it.
        found: usize,
        /// Rows of its Segment.
        wanted: usize,
    },
    /// Timestamps have to grow.
    #[error("the frame times of chunk {0} do not follow those before it")]
    Order(u32),
    /// Two frames are further apart than the format can say.
    #[error("frames near number {0} are further apart than an MP4 file can express")]
    Gap(u64),
    /// Parameter sets differ.
    #[error("chunk {0} was made with other parameter sets than the first")]
    Parameters(u32),
    /// Ticks per second have to be a whole number of 32 bits.
    #[error("time base {0} cannot be expressed in an MP4 file")]
    TimeBase(TimeBase),
    /// No Chunk was given.
    #[error("there is no chunk to join")]
    Nothing,
}

/// Bytes to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which Chunk, by the order of [`Stitcher::push`].
    pub chunk: u32,
    /// Which bytes of it.
    pub range: Range<u64>,
}

/// A stitched file, ready to be streamed: `header`, then every span in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stitched {
    /// All boxes and the header of `mdat`.
    pub header: Vec<u8>,
    /// What follows.
    pub spans: Vec<Span>,
    /// Time of the first frame on the Source's clock, in the table's time base; FFmpeg shows it at 0.
    pub first_pts: i64,
    /// Frames.
    pub frames: u64,
    /// Bytes of all spans.
    pub payload_bytes: u64,
}

/// Collects Chunks in order. Needs about 30 bytes a frame, and half as much more while it finishes.
pub struct Stitcher {
    time_base: TimeBase,
    head: Option<Head>,
    chunks: u32,
    spans: Vec<Span>,
    /// Times in presentation order.
    pts: Vec<i64>,
    /// Per sample in decode order: size, and presentation rank less decode rank with the key flag in the lowest bit.
    samples: Vec<(u32, i32)>,
    /// Largest number of places a frame is decoded before its turn.
    depth: usize,
}

/// What is taken from the first Chunk.
struct Head {
    ftyp: Vec<u8>,
    stsd: Vec<u8>,
    tkhd: Vec<u8>,
}

impl Stitcher {
    /// Nothing yet. `time_base` is that of the frame table; all pushed times are in it.
    pub fn new(time_base: TimeBase) -> Self {
        Self {
            time_base,
            head: None,
            chunks: 0,
            spans: Vec::new(),
            pts: Vec::new(),
            samples: Vec::new(),
            depth: 0,
        }
    }

    /// Adds the next Chunk. `pts` are the presentation times of its frames, in order, on the Source's clock; the Chunk's own
    /// times only say in which order its frames are shown.
    /// # Errors
    /// [`StitchError`].
    pub fn push(&mut self, chunk: &ChunkIndex, pts: &[i64]) -> Result<(), StitchError> {
        let number = self.chunks;
        self.chunks += 1;
        if chunk.samples.len() != pts.len() {
            return Err(StitchError::Count {
                chunk: number,
                found: chunk.samples.len(),
                wanted: pts.len(),
            });
        }
        let follows = self.pts.last().is_none_or(|last| pts.first() > Some(last));
        if !follows || pts.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(StitchError::Order(number));
        }
        match &mut self.head {
            None => {
                self.head = Some(Head {
                    ftyp: chunk.ftyp.clone(),
                    stsd: chunk.sample_description.clone(),
                    tkhd: chunk.tkhd.clone(),
                });
            }
            Some(head) if head.stsd == chunk.sample_description => {}
            Some(head) if without_level(&head.stsd) == without_level(&chunk.sample_description) => {
                if level(&chunk.sample_description) > level(&head.stsd) {
                    head.stsd.clone_from(&chunk.sample_description);
                }
            }
            Some(_) => return Err(StitchError::Parameters(number)),
        }
        let mut order: Vec<usize> = (0..chunk.samples.len()).collect();
        order.sort_by_key(|i| chunk.samples[*i].pts);
        let mut ranks = vec![0; order.len()];
        for (rank, i) in order.into_iter().enumerate() {
            ranks[i] = rank;
        }
        for (i, sample) in chunk.samples.iter().enumerate() {
            self.depth = self.depth.max(i.saturating_sub(ranks[i]));
            let moved = ranks[i] as i32 - i as i32;
            self.samples
                .push((sample.size, moved * 2 + i32::from(sample.key)));
            let range = sample.offset..sample.offset + u64::from(sample.size);
            match self.spans.last_mut() {
                Some(span) if span.chunk == number && span.range.end == range.start => {
                    span.range.end = range.end;
                }
                _ => self.spans.push(Span {
                    chunk: number,
                    range,
                }),
            }
        }
        self.pts.extend_from_slice(pts);
        Ok(())
    }

    /// The stitched file. `last_duration`: how long the last frame stays.
    /// # Errors
    /// [`StitchError`].
    pub fn finish(self, last_duration: i64) -> Result<Stitched, StitchError> {
        let last_duration = last_duration.max(1);
        let head = self.head.as_ref().ok_or(StitchError::Nothing)?;
        let first_pts = *self.pts.first().ok_or(StitchError::Nothing)?;
        let (timescale, factor) = timescale(self.time_base)?;
        let count = self.samples.len();
        let shown = self.end(last_duration);
        let decoded = self.decoded(last_duration);
        let mut tables = Tables::default();
        for (i, (size, moved)) in self.samples.iter().enumerate() {
            let dts = decoded[i];
            let duration = decoded.get(i + 1).map_or(last_duration, |next| next - dts);
            let gap = |ticks: i64| ticks.checked_mul(factor).ok_or(StitchError::Gap(i as u64));
            let shift = self.shown_at(i) - dts;
            tables.push(NewSample {
                size: *size,
                // FFmpeg takes larger values for negative ones.
                duration: u32::try_from(gap(duration)?)
                    .ok()
                    .filter(|duration| *duration <= i32::MAX as u32)
                    .ok_or(StitchError::Gap(i as u64))?,
                shift: i32::try_from(gap(shift)?)
                    .ok()
                    .filter(|shift| *shift < 1 << 28)
                    .ok_or(StitchError::Gap(i as u64))?,
                key: moved & 1 == 1,
                description: 1,
            });
        }
        let description = Description {
            ftyp: &head.ftyp,
            matrix: &[],
            tkhd: &head.tkhd,
            stsd: &head.stsd,
            timescale,
            edit: Some((-decoded[0] * factor, (shown * factor) as u64)),
        };
        Ok(Stitched {
            header: tables.header(&description),
            spans: self.spans,
            first_pts,
            frames: count as u64,
            payload_bytes: tables.payload(),
        })
    }
}

impl Stitcher {
    /// Presentation rank of sample `i`.
    fn rank(&self, i: usize) -> usize {
        (i as i64 + i64::from(self.samples[i].1 >> 1)) as usize
    }

    /// When sample `i` is shown, from the first frame on.
    fn shown_at(&self, i: usize) -> i64 {
        self.pts[self.rank(i)] - self.pts[0]
    }

    /// When the last frame is gone, from the first frame on.
    fn end(&self, last_duration: i64) -> i64 {
        self.pts[self.pts.len() - 1] - self.pts[0] + last_duration
    }

    /// When each sample is decoded, from the time of the first frame on. At least one sample.
    fn decoded(&self, last_duration: i64) -> Vec<i64> {
        let (count, depth, first) = (self.samples.len(), self.depth, self.pts[0]);
        // How long frames are where nothing is odd: some are a tick apart because their times repeat, some stay longer.
        let mut frames: Vec<i64> = self.pts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let quarter = frames.len() / 4;
        let regular = match frames.is_empty() {
            true => last_duration,
            false => *frames.select_nth_unstable(quarter).1,
        };
        // As early as order alone asks for. Before the first frame times go back in steps of a frame, so that they keep growing.
        let mut decoded: Vec<i64> = (0..count)
            .map(|i| match i.checked_sub(depth) {
                Some(shown) => self.pts[shown] - first,
                None => -((depth - i) as i64) * regular,
            })
            .collect();
        // Behind a pause as at the start: else a frame would last as long as the pause, which muxers add to its own time, and
        // who seeks to a moment in the pause would be sent to a key frame behind it.
        let mut places = vec![0; count];
        for i in 0..count {
            places[self.rank(i)] = i;
        }
        // From here on, all samples are shown at `rank` or later.
        let mut sample = 0;
        for rank in 1..count {
            sample = sample.max(places[rank - 1] + 1);
            let late = |i: usize| self.pts[rank] - first - (rank + depth - i) as i64 * regular;
            let is_pause = self.pts[rank] - self.pts[rank - 1] > 2 * regular;
            if is_pause && sample < count && late(sample) > decoded[sample] {
                for (i, decoded) in decoded
                    .iter_mut()
                    .enumerate()
                    .take(rank + depth)
                    .skip(sample)
                {
                    *decoded = late(i).max(*decoded);
                }
            }
        }
        let end = self.end(last_duration);
        for i in (0..count - 1).rev() {
            decoded[i] = decoded[i].max(self.shown_at(i) + decoded[i + 1] - end);
        }
        decoded
    }
}

/// Ticks per second, and how many of them a tick of `base` is.
fn timescale(base: TimeBase) -> Result<(u32, i64), StitchError> {
    let base = base.reduced();
    u32::try_from(base.den)
        .map(|timescale| (timescale, base.num))
        .map_err(|_| StitchError::TimeBase(base))
}

#[cfg(test)]
mod tests {
    use super::super::chunk::ChunkSample;
    use super::*;
    use crate::index::Preamble;

    fn chunk(order: &[i64]) -> ChunkIndex {
        ChunkIndex {
            ftyp: b"\0\0\0\x10ftypisom\0\0\0\0".to_vec(),
            sample_description: description(),
            tkhd: tkhd(),
            time_base: TimeBase::new(1, 1000),
            samples: order
                .iter()
                .enumerate()
                .map(|(i, pts)| ChunkSample {
                    offset: 48 + 10 * i as u64,
                    size: 10,
                    dts: i as i64,
                    pts: *pts,
                    key: i == 0,
                })
                .collect(),
        }
    }

    fn description() -> Vec<u8> {
        let mut out = Vec::new();
        super::super::boxes::put_full(&mut out, b"stsd", 0, 0, |out| {
            super::super::boxes::put_u32(out, 1);
            super::super::boxes::put(out, b"avc1", |out| out.extend_from_slice(&[0; 78]));
        });
        out
    }

    fn tkhd() -> Vec<u8> {
        let mut out = Vec::new();
        super::super::boxes::put_full(&mut out, b"tkhd", 0, 3, |out| {
            out.extend_from_slice(&[0; 8]);
            super::super::boxes::put_u32(out, 1);
            out.extend_from_slice(&[0; 68]);
        });
        out
    }

    /// Reads the stitched file back with this crate's own reader.
    fn read_back(stitched: &Stitched) -> Vec<(i64, i64, bool)> {
        let mut file = stitched.header.clone();
        file.resize(file.len() + stitched.payload_bytes as usize, 7);
        let index = crate::bytes::ready(super::super::read(&bytes::Bytes::from(file)))
            .unwrap()
            .unwrap();
        assert!(matches!(index.preamble, Preamble::Mp4 { .. }));
        let packets = &index.tracks[0].packets;
        assert!(packets.iter().all(|packet| packet.size == 10));
        packets.iter().map(|p| (p.dts, p.pts, p.key)).collect()
    }

    #[test]
    fn frames_get_the_times_of_the_table() {
        let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
        stitcher
            .push(&chunk(&[0, 4, 2, 1, 3]), &[100, 133, 167, 200, 233])
            .unwrap();
        stitcher.push(&chunk(&[0, 1, 2]), &[300, 301, 400]).unwrap();
        let stitched = stitcher.finish(33).unwrap();
        assert_eq!(stitched.first_pts, 100);
        let frames = read_back(&stitched);
        let pts: Vec<i64> = frames.iter().map(|f| f.1).collect();
        assert_eq!(pts, [0, 133, 67, 33, 100, 200, 201, 300]);
        assert!(frames.iter().all(|(dts, pts, _)| dts <= pts), "{frames:?}");
        assert!(frames.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let keys: Vec<usize> = (0..frames.len()).filter(|i| frames[*i].2).collect();
        assert_eq!(keys, [0, 5]);
        assert_eq!(stitched.spans.len(), 2);
        assert_eq!(
            stitched.spans[1],
            Span {
                chunk: 1,
                range: 48..78
            }
        );
    }

    #[test]
    fn a_pause_lengthens_no_frame_but_the_one_before_it() {
        // The pause lies between two Chunks, and inside one whose frames do not cross it.
        let order = [0, 4, 2, 1, 3];
        let across = [0, 4, 2, 1, 3, 5, 8, 7, 6];
        let pts = |start: i64, count: i64| (0..count).map(|i| start + 40 * i).collect::<Vec<_>>();
        let mut inside = pts(20_000, 5);
        inside.extend(pts(27_000, 4));
        for (chunk, second) in [(chunk(&order), pts(9_000, 5)), (chunk(&across), inside)] {
            let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
            stitcher.push(&self::chunk(&order), &pts(0, 5)).unwrap();
            stitcher.push(&chunk, &second).unwrap();
            let frames = read_back(&stitcher.finish(40).unwrap());
            let end = second.last().unwrap() + 40;
            for pair in frames.windows(2) {
                let [(dts, pts, _), (next, ..)] = pair else {
                    unreachable!()
                };
                assert!(dts < next && dts <= pts, "{frames:?}");
                assert!(
                    pts + next - dts <= end,
                    "lasts too long: {pair:?} of {frames:?}"
                );
            }
        }
    }

    #[test]
    fn no_frame_lasts_beyond_the_end_wherever_a_pause_is() {
        let order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 11, 9, 10];
        for pause in [30, 50, 200, 1_120, 30_000] {
            for at in 1..order.len() {
                let pts: Vec<i64> = (0..order.len())
                    .map(|rank| 40 * rank as i64 + if rank < at { 0 } else { pause })
                    .collect();
                let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
                stitcher.push(&chunk(&order), &pts).unwrap();
                let frames = read_back(&stitcher.finish(40).unwrap());
                let end = pts.last().unwrap() + 40;
                for (i, (dts, shown, _)) in frames.iter().enumerate() {
                    assert_eq!(*shown, pts[order[i] as usize]);
                    let next = frames.get(i + 1).map_or(dts + 40, |next| next.0);
                    assert!(*dts < next && dts <= shown, "{pause} at {at}: {frames:?}");
                    let last = shown + next - dts;
                    assert!(last <= end, "sample {i}, {pause} at {at}: {frames:?}");
                    // Nor, where the pause is long, far into what is shown behind it.
                    let behind = pts[at] + 4 * 40;
                    assert!(
                        *shown >= pts[at] || last <= behind,
                        "sample {i}, {pause} at {at}: {frames:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn frames_whose_times_repeat_leave_the_others_even() {
        let order = [0, 4, 2, 1, 3, 5, 9, 7, 6, 8];
        for repeated in 1..order.len() {
            // The frame comes a tick after the one before, and the next where this one should be.
            let pts: Vec<i64> = (0..order.len())
                .map(|rank| match rank < repeated {
                    true => 40 * rank as i64,
                    false => 40 * (rank as i64 - 1) + i64::from(rank == repeated),
                })
                .collect();
            let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
            stitcher.push(&chunk(&order), &pts).unwrap();
            let frames = read_back(&stitcher.finish(40).unwrap());
            let steps = frames.windows(2).map(|pair| pair[1].0 - pair[0].0);
            let odd = steps.filter(|step| *step != 40).count();
            assert!(odd <= 2, "{repeated}: {frames:?}");
        }
    }

    #[test]
    fn times_rounded_to_milliseconds_are_no_pauses() {
        let order = [0, 4, 2, 1, 3, 5, 9, 7, 6, 8];
        let pts: Vec<i64> = (0..10).map(|rank| rank * 1001 / 30).collect();
        let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
        stitcher.push(&chunk(&order), &pts).unwrap();
        let frames = read_back(&stitcher.finish(33).unwrap());
        let mut steps = frames.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(steps.all(|step| [33, 34].contains(&step)), "{frames:?}");
    }

    /// FFmpeg seeks by decode times, less the one of the first frame.
    #[test]
    fn a_key_frame_behind_a_pause_is_decoded_behind_what_is_shown_in_it() {
        let order = [0, 4, 2, 1, 3];
        let pts = |start: i64| (0..5).map(|i| start + 40 * i).collect::<Vec<_>>();
        for start in [200, 320, 400, 9_000] {
            let mut stitcher = Stitcher::new(TimeBase::new(1, 1000));
            stitcher.push(&chunk(&order), &pts(0)).unwrap();
            stitcher.push(&chunk(&order), &pts(start)).unwrap();
            let frames = read_back(&stitcher.finish(40).unwrap());
            assert_eq!(frames[5].1, start);
            assert_eq!(frames[5].0 - frames[0].0, start, "{frames:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let base = TimeBase::new(1, 1000);
        let push = |chunks: &[(&ChunkIndex, &[i64])]| {
            let mut stitcher = Stitcher::new(base);
            chunks
                .iter()
                .try_for_each(|(chunk, pts)| stitcher.push(chunk, pts))
        };
        let one = chunk(&[0, 1]);
        assert!(matches!(
            push(&[(&one, &[0])]),
            Err(StitchError::Count { .. })
        ));
        assert_eq!(push(&[(&one, &[5, 5])]), Err(StitchError::Order(0)));
        assert_eq!(
            push(&[(&one, &[0, 1]), (&one, &[1, 2])]),
            Err(StitchError::Order(1))
        );
        let mut other = chunk(&[0, 1]);
        other.sample_description.push(1);
        assert_eq!(
            push(&[(&one, &[0, 1]), (&other, &[2, 3])]),
            Err(StitchError::Parameters(1))
        );
        // A level is no difference.
        let of_level = |level| ChunkIndex {
            sample_description: super::super::level::tests::h264(level),
            ..chunk(&[0, 1])
        };
        let mut stitcher = Stitcher::new(base);
        for (number, level) in (0..).zip([12, 13, 12]) {
            let pts = [number * 2, number * 2 + 1];
            stitcher.push(&of_level(level), &pts).unwrap();
        }
        let header = stitcher.finish(1).unwrap().header;
        let highest = of_level(13).sample_description;
        assert!(header.windows(highest.len()).any(|part| part == highest));
        assert_eq!(
            Stitcher::new(base).finish(1).unwrap_err(),
            StitchError::Nothing
        );
        let mut stitcher = Stitcher::new(base);
        stitcher.push(&one, &[0, 1 << 40]).unwrap();
        assert_eq!(stitcher.finish(1).unwrap_err(), StitchError::Gap(0));
    }
}
