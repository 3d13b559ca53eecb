//! `moov`: tracks and their sample tables. Parsing answers `None` for whatever contradicts itself.

use super::boxes::{Box, Cursor, child, children};

/// More samples than this in one track (38 days at 60 fps) is a damaged count.
const MOST_SAMPLES: u64 = 200_000_000;

/// What `moov` says.
pub(crate) struct Movie<'a> {
    /// Ticks per second of edit lists.
    pub(crate) timescale: u32,
    /// The nine matrix words of `mvhd`.
    pub(crate) matrix: &'a [u8],
    pub(crate) tracks: Vec<Trak<'a>>,
    pub(crate) defaults: Vec<FragmentDefaults>,
}

/// `trex`: what fragments leave out.
#[derive(Clone, Copy)]
pub(crate) struct FragmentDefaults {
    pub(crate) track: u32,
    pub(crate) description: u32,
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

/// One `trak`.
pub(crate) struct Trak<'a> {
    /// FFmpeg's stream index.
    pub(crate) stream: u32,
    pub(crate) id: u32,
    pub(crate) handler: [u8; 4],
    pub(crate) timescale: u32,
    pub(crate) edits: Vec<Edit>,
    pub(crate) stsd: &'a [u8],
    pub(crate) tkhd: &'a [u8],
    /// Media data lies in another file.
    pub(crate) external: bool,
    stbl: &'a [u8],
}

/// One entry of an edit list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// In the movie's ticks.
    pub(crate) duration: i64,
    /// In the track's ticks; -1 shows nothing.
    pub(crate) media_time: i64,
}

/// One sample as the tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) size: u32,
    /// Decode time, counted from 0.
    pub(crate) dts: i64,
    /// Presentation less decode time.
    pub(crate) shift: i32,
    pub(crate) key: bool,
    /// Which sample description, from 1.
    pub(crate) description: u32,
}

/// Samples of one track.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) samples: Vec<Sample>,
    /// Decode time after the last one.
    pub(crate) end: i64,
    /// There is a composition table.
    pub(crate) reordered: bool,
}

impl<'a> Movie<'a> {
    /// Parses the content of `moov`.
    pub(crate) fn parse(moov: &'a [u8]) -> Option<Self> {
        let mut movie = Self {
            timescale: 0,
            matrix: &[],
            tracks: Vec::new(),
            defaults: Vec::new(),
        };
        let mut stream = 0;
        for part in children(moov) {
            match &part.kind {
                b"mvhd" => {
                    let mut cursor = Cursor(part.body);
                    let (version, _) = cursor.full()?;
                    cursor.take(if version == 1 { 16 } else { 8 })?;
                    movie.timescale = cursor.u32()?;
                    cursor.take(if version == 1 { 8 } else { 4 })?;
                    // Rate, volume, reserved.
                    cursor.take(4 + 2 + 2 + 8)?;
                    movie.matrix = cursor.take(36)?;
                }
                b"trak" => {
                    if let Some(trak) = Trak::parse(part.body, stream) {
                        movie.tracks.push(trak);
                    }
                    // FFmpeg counts a stream as soon as it meets a `trak`, whatever is in it.
                    stream += 1;
                }
                b"mvex" => {
                    for trex in children(part.body).filter(|b| &b.kind == b"trex") {
                        let mut cursor = Cursor(trex.body);
                        cursor.full()?;
                        movie.defaults.push(FragmentDefaults {
                            track: cursor.u32()?,
                            description: cursor.u32()?,
                            duration: cursor.u32()?,
                            size: cursor.u32()?,
                            flags: cursor.u32()?,
                        });
                    }
                }
                b"udta" => stream += covers(part),
                // A compressed `moov`.
                b"cmov" => return None,
                _ => {}
            }
        }
        (!movie.tracks.is_empty()).then_some(movie)
    }
}

/// Cover pictures in `udta`: FFmpeg makes a stream of each where it meets it.
fn covers(udta: Box<'_>) -> u32 {
    let pictures = || {
        let meta = child(udta.body, b"meta")?;
        // `meta` is a full box in MP4 and a plain one in QuickTime.
        let list = child(meta.body.get(4..)?, b"ilst").or_else(|| child(meta.body, b"ilst"))?;
        let covers = children(list.body).filter(|b| &b.kind == b"covr");
        let pictures = covers
            .flat_map(|cover| children(cover.body))
            .filter(|data| {
                &data.kind == b"data"
                    && data
                        .body
                        .first_chunk::<4>()
                        .is_some_and(|kind| matches!(u32::from_be_bytes(*kind), 13 | 14 | 27))
            });
        Some(pictures.count() as u32)
    };
    pictures().unwrap_or(0)
}

impl<'a> Trak<'a> {
    fn parse(trak: &'a [u8], stream: u32) -> Option<Self> {
        let tkhd = child(trak, b"tkhd")?;
        let mut cursor = Cursor(tkhd.body);
        let (version, _) = cursor.full()?;
        cursor.take(if version == 1 { 16 } else { 8 })?;
        let id = cursor.u32()?;
        let mdia = child(trak, b"mdia")?;
        let mut cursor = Cursor(child(mdia.body, b"mdhd")?.body);
        let (version, _) = cursor.full()?;
        cursor.take(if version == 1 { 16 } else { 8 })?;
        let timescale = cursor.u32()?;
        let handler = *child(mdia.body, b"hdlr")?.body.get(8..12)?.first_chunk()?;
        let minf = child(mdia.body, b"minf")?;
        let stbl = child(minf.body, b"stbl")?;
        let stsd = child(stbl.body, b"stsd")?;
        let external = child(minf.body, b"dinf")
            .and_then(|dinf| child(dinf.body, b"dref"))
            .is_some_and(|dref| is_external(dref.body));
        let edits = child(trak, b"edts")
            .and_then(|edts| child(edts.body, b"elst"))
            .map_or(Some(Vec::new()), |elst| edits(elst.body))?;
        Some(Self {
            stream,
            id,
            handler,
            timescale,
            edits,
            stsd: stsd.whole,
            tkhd: tkhd.whole,
            external,
            stbl: stbl.body,
        })
    }

    /// Four-character codes of all sample descriptions.
    pub(crate) fn codecs(&self) -> Vec<[u8; 4]> {
        let body = self.stsd.get(16..).unwrap_or_default();
        children(body).map(|entry| entry.kind).collect()
    }

    /// Whether the track has any sample of its own in `moov`, by FFmpeg's test: a time table with entries.
    pub(crate) fn has_times(&self) -> bool {
        self.table(b"stts", 8).is_some_and(|(count, _)| count > 0)
    }

    /// A full box with a count of entries.
    fn table(&self, kind: &[u8; 4], size: usize) -> Option<(usize, Cursor<'a>)> {
        let mut cursor = Cursor(child(self.stbl, kind)?.body);
        cursor.full()?;
        let count = cursor.count(size)?;
        Some((count, cursor))
    }

    fn offsets(&self) -> Option<Vec<u64>> {
        if let Some((count, mut cursor)) = self.table(b"stco", 4) {
            return (0..count).map(|_| cursor.u32().map(u64::from)).collect();
        }
        let (count, mut cursor) = self.table(b"co64", 8)?;
        (0..count).map(|_| cursor.u64()).collect()
    }

    fn sizes(&self) -> Option<Sizes<'a>> {
        if let Some(stsz) = child(self.stbl, b"stsz") {
            let mut cursor = Cursor(stsz.body);
            cursor.full()?;
            let size = cursor.u32()?;
            if size != 0 {
                return Some(Sizes::Same(size, u64::from(cursor.u32()?)));
            }
            let count = cursor.count(4)?;
            return Some(Sizes::Table(32, cursor.0.get(..count * 4)?, count));
        }
        let mut cursor = Cursor(child(self.stbl, b"stz2")?.body);
        cursor.full()?;
        let bits = cursor.u32()? & 0xff;
        let count = cursor.u32()? as usize;
        let fits = matches!(bits, 4 | 8 | 16) && count * bits as usize <= cursor.0.len() * 8;
        fits.then_some(Sizes::Table(bits, cursor.0, count))
    }

    /// Every sample, as FFmpeg lists them. `None`: the tables are missing or contradict themselves.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let offsets = self.offsets()?;
        let sizes = self.sizes()?;
        if offsets.is_empty() && sizes.count() == 0 {
            return Some(Samples::default());
        }
        if sizes.count() > MOST_SAMPLES {
            return None;
        }
        let mut times = Runs::new(self.table(b"stts", 8)?)?;
        if times.deltas_are_odd() {
            return None;
        }
        let mut shifts = match self.table(b"ctts", 8) {
            Some(table) => Some(Runs::new(table)?).filter(|runs| !runs.is_empty()),
            None => None,
        };
        let reordered = shifts.is_some();
        let (count, mut cursor) = self.table(b"stsc", 12)?;
        let layout: Vec<[u32; 3]> = (0..count)
            .map(|_| Some([cursor.u32()?, cursor.u32()?, cursor.u32()?]))
            .collect::<Option<_>>()?;
        let grows = layout.windows(2).all(|pair| pair[0][0] < pair[1][0]);
        if layout.first()?[0] != 1 || !grows || layout.last()?[0] as usize > offsets.len() {
            return None;
        }
        let mut keys = Keys::new(self)?;
        let mut samples = Vec::with_capacity(sizes.count() as usize);
        let (mut dts, mut row) = (0i64, 0);
        'chunks: for (chunk, &start) in offsets.iter().enumerate() {
            if layout
                .get(row + 1)
                .is_some_and(|next| next[0] as usize == chunk + 1)
            {
                row += 1;
            }
            let [_, per_chunk, description] = layout[row];
            let mut offset = start;
            for _ in 0..per_chunk {
                let number = samples.len() as u64;
                if number >= sizes.count() {
                    break 'chunks;
                }
                let size = sizes.get(number)?;
                samples.push(Sample {
                    offset,
                    size,
                    dts,
                    shift: match &mut shifts {
                        // FFmpeg takes 0 for samples that the composition table does not reach.
                        Some(shifts) => shifts.next_or(0) as i32,
                        None => 0,
                    },
                    key: keys.next(number as u32),
                    description,
                });
                offset = offset.checked_add(u64::from(size))?;
                dts += i64::from(times.next_or_last());
            }
        }
        let samples = Samples {
            samples,
            end: dts,
            reordered,
        };
        (!samples.shifts_are_odd()).then_some(samples)
    }
}

impl Samples {
    /// FFmpeg drops a composition table with such values.
    fn shifts_are_odd(&self) -> bool {
        self.samples
            .iter()
            .any(|sample| sample.shift.unsigned_abs() > 1 << 28)
    }
}

fn edits(elst: &[u8]) -> Option<Vec<Edit>> {
    let mut cursor = Cursor(elst);
    let (version, _) = cursor.full()?;
    let entry = if version == 1 { 20 } else { 12 };
    // FFmpeg believes the size of the box rather than the count.
    cursor.u32()?;
    (0..cursor.0.len() / entry)
        .map(|_| {
            let (duration, media_time) = if version == 1 {
                (cursor.i64()?, cursor.i64()?)
            } else {
                (i64::from(cursor.u32()?), i64::from(cursor.i32()?))
            };
            cursor.u32()?;
            Some(Edit {
                duration,
                media_time,
            })
        })
        .collect()
}

fn is_external(dref: &[u8]) -> bool {
    // A data reference with flag 1 means "in this file".
    children(dref.get(8..).unwrap_or_default())
        .any(|entry| entry.body.get(3).is_some_and(|flags| flags & 1 == 0))
}

enum Sizes<'a> {
    Same(u32, u64),
    Table(u32, &'a [u8], usize),
}

impl Sizes<'_> {
    fn count(&self) -> u64 {
        match self {
            Self::Same(_, count) => *count,
            Self::Table(_, _, count) => *count as u64,
        }
    }
    fn get(&self, i: u64) -> Option<u32> {
        let i = i as usize;
        Some(match self {
            Self::Same(size, _) => *size,
            Self::Table(32, bytes, _) => u32::from_be_bytes(*bytes.get(4 * i..)?.first_chunk()?),
            Self::Table(16, bytes, _) => {
                u16::from_be_bytes(*bytes.get(2 * i..)?.first_chunk()?).into()
            }
            Self::Table(8, bytes, _) => u32::from(*bytes.get(i)?),
            Self::Table(_, bytes, _) => u32::from(*bytes.get(i / 2)? >> (4 * (1 - i % 2)) & 15),
        })
    }
}

/// A run-length coded table of (count, value).
struct Runs {
    runs: Vec<(u32, u32)>,
    at: usize,
    used: u32,
}

impl Runs {
    fn new((count, mut cursor): (usize, Cursor<'_>)) -> Option<Self> {
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let run = (cursor.u32()?, cursor.u32()?);
            if run.0 > 0 {
                runs.push(run);
            }
        }
        Some(Self {
            runs,
            at: 0,
            used: 0,
        })
    }
    fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
    /// Values FFmpeg takes for negative numbers and mends in its own way.
    fn deltas_are_odd(&self) -> bool {
        self.is_empty() || self.runs.iter().any(|(_, delta)| *delta > i32::MAX as u32)
    }
    fn next_or(&mut self, missing: u32) -> u32 {
        let Some(&(count, value)) = self.runs.get(self.at) else {
            return missing;
        };
        self.used += 1;
        if self.used == count {
            (self.at, self.used) = (self.at + 1, 0);
        }
        value
    }
    fn next_or_last(&mut self) -> u32 {
        let last = self.runs.last().map_or(0, |run| run.1);
        self.next_or(last)
    }
}

/// Which samples are key frames: `stss`, partial sync samples, and random access groups.
struct Keys {
    /// `None`: no table, every sample is one.
    sync: Option<Vec<u32>>,
    partial: Vec<u32>,
    groups: Option<Runs>,
    sync_at: usize,
    partial_at: usize,
    first: u32,
}

impl Keys {
    fn new(trak: &Trak<'_>) -> Option<Self> {
        let list = |kind| match trak.table(kind, 4) {
            Some((count, mut cursor)) => (0..count)
                .map(|_| cursor.u32())
                .collect::<Option<Vec<_>>>()
                .map(Some),
            None => Some(None),
        };
        let sync = list(b"stss")?;
        let partial = list(b"stps")?.unwrap_or_default();
        let first = |list: &[u32]| list.first().is_some_and(|number| *number > 0);
        let from_one = sync.as_deref().is_some_and(first) || first(&partial);
        Some(Self {
            groups: random_access(trak.stbl),
            first: u32::from(from_one),
            sync,
            partial,
            sync_at: 0,
            partial_at: 0,
        })
    }

    fn next(&mut self, number: u32) -> bool {
        let number = number + self.first;
        let hit = |list: &[u32], at: &mut usize| {
            let hit = list.get(*at) == Some(&number);
            *at += usize::from(hit && *at + 1 < list.len());
            hit
        };
        let grouped = self.groups.as_mut().map(|groups| groups.next_or(0) > 0);
        let key = match &self.sync {
            None => true,
            // An empty table: the first sample only, unless something else names key frames.
            Some(list) if list.is_empty() => {
                number == self.first && self.partial.is_empty() && grouped.is_none()
            }
            Some(list) => hit(list, &mut self.sync_at),
        };
        key || hit(&self.partial, &mut self.partial_at) || grouped == Some(true)
    }
}

fn random_access(stbl: &[u8]) -> Option<Runs> {
    children(stbl)
        .filter(|b| &b.kind == b"sbgp")
        .find_map(|sbgp| {
            let mut cursor = Cursor(sbgp.body);
            let (version, _) = cursor.full()?;
            if &cursor.fourcc()? != b"rap " {
                return None;
            }
            if version == 1 {
                cursor.u32()?;
            }
            let count = cursor.count(8)?;
            Runs::new((count, cursor))
        })
}
