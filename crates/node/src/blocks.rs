//! The bytes of a remote Source on this node, every one fetched once.
//!
//! A Segment is read with its whole *region*: its pictures and what lies between them. The pictures go into the clip and
//! are forgotten; the rest (sound, subtitles, tables) is staged, and when the last Segment is encoded the staged parts
//! stand in for the Source ([`Blocks::rest`]), for every stream but the pictures. Bytes that two neighbours need (the first
//! frame after a Segment, a pre-roll) linger between them.

use crate::run::{from_store, resources};
use crate::source::from_read;
use bytes::Bytes;
use recode_media::bytes::{BoxFuture, ByteSource};
use recode_media::clip::{self, ClipContext};
use recode_media::index::SourceIndex;
use recode_media::rest::{self, Restored};
use recode_store::ranges::{self, Cache, Fetch, Guard, Options};
use recode_types::task::Failure;
use recode_types::{FrameTable, Segment};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// What lingers before the size of a Segment is known: an index and the first frames.
const AT_FIRST: Options = Options {
    keep_bytes: 4 << 20,
    edge_bytes: 4 << 20,
};

/// Room for a key frame and the frame after it, also where Segments are short.
const FIRST_FRAMES_BYTES: u64 = 256 << 10;

/// Regions that nobody read are fetched in pieces of about this size.
const PIECE_BYTES: u64 = 8 << 20;

/// Pictures between things that are wanted, when they are read along: as long as one more request takes, so many bytes come.
const GAP_BYTES: u64 = 512 << 10;

/// See the module.
pub struct Blocks {
    cache: Cache,
    dir: PathBuf,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// What is staged: sorted, apart.
    staged: Vec<Range<u64>>,
    parts: Vec<PathBuf>,
    /// What each part holds the rest of.
    regions: Vec<Range<u64>>,
    restored: Option<PathBuf>,
    /// What the probe read, as far as no region has taken it over.
    first: Option<Guard>,
}

/// A Segment's region and whatever else its clip needs, at hand until this is dropped. Reads elsewhere go to the Source.
pub struct Held {
    guard: Guard,
    /// What was read besides, a key frame beyond the region perhaps. Given back last, so that it is still there when the
    /// next Segment comes for it.
    more: std::sync::Mutex<Vec<Guard>>,
    region: Range<u64>,
    cache: Cache,
}

impl ByteSource for Held {
    fn size(&self) -> u64 {
        self.cache.size()
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            if self.guard.holds(&range) {
                return self.guard.read(range).await.map_err(io::Error::other);
            }
            let guard = self.cache.acquire(std::slice::from_ref(&range)).await;
            let guard = guard.map_err(io::Error::other)?;
            let bytes = guard.read(range).await.map_err(io::Error::other)?;
            let mut more = self.more.lock().expect("no one panics while holding it");
            more.push(guard);
            Ok(bytes)
        })
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl Blocks {
    /// Blocks of a Source in a new directory below `scratch`.
    ///
    /// # Errors
    /// A failure of scratch.
    pub fn create(source: impl Fetch, scratch: &Path) -> Result<Self, Failure> {
        // A Source that is opened again, for a second probe, must not meet the blocks of the first.
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let dir = scratch.join(format!("blocks-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(resources)?;
        let cache = Cache::create(&dir.join("cache"), source, AT_FIRST).map_err(from_store)?;
        Ok(Self {
            cache,
            dir,
            rest: Mutex::default(),
        })
    }

    /// Keeps what the probe is about to read until the Segments there have been read.
    ///
    /// # Errors
    /// What fetching met.
    pub async fn hold_first(&self, wanted: &[Range<u64>]) -> Result<(), Failure> {
        let guard = self.cache.acquire(wanted).await.map_err(from_store)?;
        self.rest.lock().await.first = Some(guard);
        Ok(())
    }

    /// Fetches what the clip of a Segment needs together with the rest of its region.
    ///
    /// # Errors
    /// What fetching met.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what it held.
    pub async fn hold(
        &self,
        index: &SourceIndex,
        stream: u32,
        table: &FrameTable,
        segment: &Segment,
        context: ClipContext,
    ) -> Result<Held, Failure> {
        let region = region(index, stream, table, segment).map_err(from_read)?;
        let next = table.rows.get(segment.row_range().end);
        let alone = context.gops_before == 0 && next.is_none_or(|row| row.key);
        self.cache
            .linger(lingering(region.end - region.start, alone));
        // A clip that cannot be planned says so when it is built.
        let mut wanted = clip::ranges(index, stream, table, segment, context).unwrap_or_default();
        wanted.push(region.clone());
        self.take(&wanted, region).await
    }

    async fn take(&self, wanted: &[Range<u64>], region: Range<u64>) -> Result<Held, Failure> {
        let guard = self.cache.acquire(wanted).await.map_err(from_store)?;
        let cache = self.cache.clone();
        Ok(Held {
            guard,
            more: std::sync::Mutex::default(),
            region,
            cache,
        })
    }

    /// Stages what a held region has besides pictures.
    ///
    /// # Errors
    /// What reading or writing scratch met; a region that is not as its index says.
    pub async fn stage(
        &self,
        held: &Held,
        index: &SourceIndex,
        stream: u32,
    ) -> Result<(), Failure> {
        let mut rest = self.rest.lock().await;
        self.stage_held(&mut rest, held, index, stream).await
    }

    async fn stage_held(
        &self,
        rest: &mut Rest,
        held: &Held,
        index: &SourceIndex,
        stream: u32,
    ) -> Result<(), Failure> {
        for missing in ranges::without(held.region.clone(), &rest.staged) {
            let part = self.dir.join(format!("part-{}", rest.parts.len()));
            rest::stage(index, &[stream], missing.clone(), held, &part)
                .await
                .map_err(from_read)?;
            rest.parts.push(part);
            rest.regions.push(missing.clone());
            rest.staged.push(missing);
            rest.staged = ranges::coalesce(std::mem::take(&mut rest.staged), 0);
        }
        if let Some(first) = rest.first.take() {
            let left: Vec<_> = first
                .ranges()
                .iter()
                .flat_map(|range| ranges::without(range.clone(), &rest.staged))
                .collect();
            if !left.is_empty() {
                // All of it is there, so this waits for nothing.
                rest.first = Some(self.cache.acquire(&left).await.map_err(from_store)?);
            }
        }
        Ok(())
    }

    /// A file that FFmpeg opens in place of the Source, for every stream but `stream`. Regions that this node did not read
    /// are fetched now.
    ///
    /// # Errors
    /// As [`Blocks::stage`].
    pub async fn rest(
        &self,
        table: &FrameTable,
        index: &SourceIndex,
        stream: u32,
    ) -> Result<PathBuf, Failure> {
        let mut rest = self.rest.lock().await;
        if let Some(path) = &rest.restored {
            return Ok(path.clone());
        }
        for piece in pieces(index, stream, table).map_err(from_read)? {
            for missing in ranges::without(piece, &rest.staged.clone()) {
                let wanted = rest::wanted(index, &[stream], &missing);
                let wanted = ranges::coalesce(wanted, GAP_BYTES);
                let held = self.take(&wanted, missing.clone()).await?;
                self.stage_held(&mut rest, &held, index, stream).await?;
            }
        }
        self.cache.drain();
        let path = self.dir.join("rest");
        let mut restored = Restored::create(&path, self.size()).map_err(resources)?;
        for part in rest.parts.drain(..) {
            let file = std::fs::File::open(&part).map_err(resources)?;
            restored.add(io::BufReader::new(file)).map_err(resources)?;
            std::fs::remove_file(&part).map_err(resources)?;
        }
        let regions = rest.regions.iter();
        let mut moves: Vec<rest::Move> = regions
            .flat_map(|region| rest::moves(index, &[stream], region))
            .collect();
        moves.sort_by_key(|m| m.from.start);
        restored.relocate(index, &moves).map_err(resources)?;
        rest.restored = Some(path.clone());
        Ok(path)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // Best effort: the whole scratch directory is swept at the next start.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl ByteSource for Blocks {
    fn size(&self) -> u64 {
        self.cache.size()
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move { self.cache.read(range).await.map_err(io::Error::other) })
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// What lingers of a region of `size` bytes for the Segments beside it. `alone`: they begin with key frames and look at
/// nothing before, so that only the first frames after a Segment are wanted twice.
fn lingering(size: u64, alone: bool) -> Options {
    let edge_bytes = match alone {
        true => (size / 8).max(FIRST_FRAMES_BYTES).min(size / 2),
        false => size / 2,
    };
    Options {
        keep_bytes: 2 * edge_bytes,
        edge_bytes,
    }
}

/// The region of one Segment, as if it and what is before and after it were all Segments there are.
fn region(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segment: &Segment,
) -> Result<Range<u64>, recode_media::index::Error> {
    let rows = segment.row_range();
    let mut bounds = vec![rows.start];
    if rows.start > 0 {
        bounds.insert(0, 0);
    }
    if rows.end < table.rows.len() {
        bounds.push(rows.end);
    }
    let regions = rest::regions(index, stream, table, &between(table, &bounds))?;
    let at = usize::from(rows.start > 0);
    Ok(regions.get(at).cloned().unwrap_or(0..0))
}

/// The whole Source in pieces that begin with key frames.
fn pieces(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
) -> Result<Vec<Range<u64>>, recode_media::index::Error> {
    let keys = table.rows.iter().enumerate().filter(|(_, row)| row.key);
    let mut bounds = vec![0];
    bounds.extend(keys.map(|(i, _)| i).filter(|i| *i > 0));
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for region in rest::regions(index, stream, table, &between(table, &bounds))? {
        match pieces.last_mut() {
            Some(last) if region.end - last.start <= PIECE_BYTES => last.end = region.end,
            _ => pieces.push(region),
        }
    }
    Ok(pieces)
}

/// Segments that begin at these rows.
fn between(table: &FrameTable, bounds: &[usize]) -> Vec<Segment> {
    let pts = |row: usize| table.rows.get(row).map_or(table.end_pts(), |row| row.pts);
    let ends = bounds.iter().skip(1).copied().chain([table.rows.len()]);
    bounds
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(i, (&start, end))| Segment {
            index: i as u32,
            start_pts: pts(start),
            end_pts: pts(end),
            first_row: start as u32,
            rows: (end - start) as u32,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{FrameRow, TimeBase};

    #[test]
    fn segments_between_rows_cover_the_table() {
        let row = |pts| FrameRow {
            pts,
            key: true,
            signature: None,
        };
        let table = FrameTable {
            time_base: TimeBase::new(1, 25),
            rows: (0..10).map(|i| row(i * 2)).collect(),
            last_duration: 2,
        };
        let found = between(&table, &[0, 4, 7]);
        let spans: Vec<_> = found
            .iter()
            .map(|s| (s.row_range(), s.start_pts, s.end_pts))
            .collect();
        assert_eq!(spans, [(0..4, 0, 8), (4..7, 8, 14), (7..10, 14, 20)]);
    }
}
