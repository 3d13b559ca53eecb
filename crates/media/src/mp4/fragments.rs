//! `moof`: samples of fragmented files.

use super::boxes::{Cursor, children};
use super::moov::{FragmentDefaults, Sample};

/// Samples of one track as fragments bring them.
pub(super) struct Fragments {
    track: u32,
    defaults: FragmentDefaults,
    pub(super) samples: Vec<Sample>,
    /// Decode time after the last one.
    pub(super) end: i64,
    /// The most negative composition offset so far: FFmpeg moves all times by it.
    pub(super) lowest: i32,
}

impl Fragments {
    pub(super) fn new(track: u32, defaults: FragmentDefaults) -> Self {
        Self {
            track,
            defaults,
            samples: Vec::new(),
            end: 0,
            lowest: 0,
        }
    }

    /// Adds the samples of one `moof`, whose content is `moof` and which starts at byte `at`. `None`: not as simple as
    /// this module knows.
    pub(super) fn add(&mut self, moof: &[u8], at: u64) -> Option<()> {
        let mut implicit = at;
        for traf in children(moof).filter(|b| &b.kind == b"traf") {
            let mut head = None;
            let mut time = None;
            for part in children(traf.body) {
                match &part.kind {
                    b"tfhd" => head = Some(Head::parse(part.body, &self.defaults, at, implicit)?),
                    b"tfdt" => {
                        let mut cursor = Cursor(part.body);
                        let (version, _) = cursor.full()?;
                        time = Some(if version == 1 {
                            cursor.i64()?
                        } else {
                            i64::from(cursor.u32()?)
                        });
                    }
                    b"trun" => {
                        let head = head.as_ref()?;
                        if head.track == self.track {
                            implicit = self.run(part.body, head, time.take())?;
                        } else {
                            implicit = other_run(part.body, head)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn run(&mut self, trun: &[u8], head: &Head, time: Option<i64>) -> Option<u64> {
        let mut run = Run::parse(trun, head)?;
        if let Some(time) = time {
            self.end = time;
        }
        for i in 0..run.count {
            let entry = run.entry(i, head)?;
            if entry.shift < self.lowest {
                if !self.samples.is_empty() && self.samples.len() as u64 != i {
                    // FFmpeg would move the timeline in the middle of the track.
                    return None;
                }
                self.lowest = entry.shift;
            }
            let overlaps = self
                .samples
                .last()
                .is_some_and(|before| before.dts >= self.end);
            if overlaps || entry.size == 0 {
                return None;
            }
            self.samples.push(Sample {
                offset: run.offset,
                size: entry.size,
                dts: self.end,
                shift: entry.shift,
                // Neither "is not a sync sample" nor "depends on others".
                key: entry.flags & 0x0101_0000 == 0,
                description: head.description,
            });
            run.offset = run.offset.checked_add(u64::from(entry.size))?;
            self.end = self.end.checked_add(i64::from(entry.duration))?;
        }
        Some(run.offset)
    }
}

/// Where the data after another track's run begins.
fn other_run(trun: &[u8], head: &Head) -> Option<u64> {
    let mut run = Run::parse(trun, head)?;
    for i in 0..run.count {
        let size = run.entry(i, head)?.size;
        run.offset = run.offset.checked_add(u64::from(size))?;
    }
    Some(run.offset)
}

/// `tfhd` with the defaults of `trex` filled in.
struct Head {
    track: u32,
    base: u64,
    description: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

impl Head {
    fn parse(tfhd: &[u8], defaults: &FragmentDefaults, moof: u64, implicit: u64) -> Option<Self> {
        let mut cursor = Cursor(tfhd);
        let (_, flags) = cursor.full()?;
        let track = cursor.u32()?;
        let base = if flags & 1 != 0 {
            cursor.u64()?
        } else if flags & 0x2_0000 != 0 {
            moof
        } else {
            implicit
        };
        let mut or = |bit: u32, default: u32| {
            if flags & bit != 0 {
                cursor.u32()
            } else {
                Some(default)
            }
        };
        Some(Self {
            track,
            base,
            description: or(2, defaults.description)?,
            duration: or(8, defaults.duration)?,
            size: or(0x10, defaults.size)?,
            flags: or(0x20, defaults.flags)?,
        })
    }
}

/// `trun`.
struct Run<'a> {
    count: u64,
    flags: u32,
    first_flags: Option<u32>,
    offset: u64,
    cursor: Cursor<'a>,
}

struct RunEntry {
    duration: u32,
    size: u32,
    flags: u32,
    shift: i32,
}

impl<'a> Run<'a> {
    fn parse(trun: &'a [u8], head: &Head) -> Option<Self> {
        let mut cursor = Cursor(trun);
        let (_, flags) = cursor.full()?;
        let count = u64::from(cursor.u32()?);
        let offset = if flags & 1 != 0 { cursor.i32()? } else { 0 };
        let first_flags = if flags & 4 != 0 {
            Some(cursor.u32()?)
        } else {
            None
        };
        let entry = u64::from((flags & 0xf00).count_ones()) * 4;
        // A run without entries of its own is all defaults: its count is then only bounded by sanity.
        let most = (cursor.0.len() as u64)
            .checked_div(entry)
            .unwrap_or(1 << 20);
        if count > most {
            return None;
        }
        Some(Self {
            count,
            flags,
            first_flags,
            offset: head.base.checked_add_signed(i64::from(offset))?,
            cursor,
        })
    }

    fn entry(&mut self, i: u64, head: &Head) -> Option<RunEntry> {
        let flags = self.flags;
        let mut or = |bit: u32, default: u32| {
            if flags & bit != 0 {
                self.cursor.u32()
            } else {
                Some(default)
            }
        };
        let default_flags = match self.first_flags {
            Some(first) if i == 0 => first,
            _ => head.flags,
        };
        Some(RunEntry {
            duration: or(0x100, head.duration)?,
            size: or(0x200, head.size)?,
            flags: or(0x400, default_flags)?,
            shift: or(0x800, 0)? as i32,
        })
    }
}
