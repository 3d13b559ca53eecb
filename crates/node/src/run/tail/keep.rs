//! Puts away what an encoder has finished while it goes on.

use super::super::frames::{Expected, Matched, Seen, match_frames};
use super::super::process::{Order, chunk_path, lock};
use super::super::{Attempt, from_store, resources};
use super::Parts;
use super::part::{self, Evidence};
use recode_media::clip::Clip;
use recode_media::mp4::{self, ChunkIndex, JoinError, Shown, closed_groups, read_grown};
use recode_store::{Take, WorkStore, key};
use recode_types::task::Failure;
use recode_types::{Digest, FrameTable, JobId, Segment};
use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the growing files are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Looks at the Chunks of one process as they grow.
#[derive(Clone)]
pub(in super::super) struct Keeper {
    store: WorkStore,
    job: JobId,
    room: PathBuf,
    parts: Parts,
    table: Arc<FrameTable>,
    segment: Segment,
    clip: Arc<Clip>,
    outputs: Vec<Growing>,
    /// Rows of the Segment that are put away.
    kept: usize,
    bytes_written: u64,
}

/// One Rendition.
#[derive(Clone)]
struct Growing {
    output: u16,
    address: Digest,
    path: PathBuf,
    /// Bytes at the last look.
    seen: u64,
}

impl Keeper {
    /// For the encode of `order` from `clip`.
    pub fn new(attempt: &Attempt, order: Order<'_>, parts: Parts, clip: &Clip) -> Self {
        let growing = |i: &usize| {
            let wanted = &order.work.renditions[*i];
            Growing {
                output: wanted.output,
                address: wanted.address,
                path: chunk_path(attempt, *i),
                seen: 0,
            }
        };
        Self {
            store: attempt.store.clone(),
            job: attempt.task.job,
            room: attempt.room.path().to_owned(),
            parts,
            table: Arc::clone(&order.loaded.table),
            segment: order.work.segment,
            clip: Arc::new(clip.clone()),
            outputs: order.which.iter().map(growing).collect(),
            kept: 0,
            bytes_written: 0,
        }
    }

    /// Bytes of all parts that were stored.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Goes on until it is dropped. `seen`: what was decoded so far.
    /// # Cancel safety
    /// A part that is being stored is there or not.
    pub async fn run(&mut self, seen: &Mutex<Vec<Seen>>) -> Infallible {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(failure) = self.look(seen).await {
                // The Attempt does not depend on it.
                tracing::warn!(
                    error = failure.message,
                    "what is finished of a chunk is not put away any more"
                );
                return std::future::pending().await;
            }
        }
    }

    async fn look(&mut self, seen: &Mutex<Vec<Seen>>) -> Result<(), Failure> {
        let Some((rows, indexes)) = self.finished() else {
            return Ok(());
        };
        let Some(matched) = self.matched(&lock(seen), rows.clone()) else {
            return Ok(());
        };
        for (number, index) in indexes.into_iter().enumerate() {
            self.put(number, index, rows.clone(), &matched).await?;
        }
        self.kept = rows.end;
        Ok(())
    }

    /// Rows that are finished in all Renditions and not put away, with where they are. Never all rows: whoever has all needs
    /// no part.
    fn finished(&mut self) -> Option<(Range<usize>, Vec<ChunkIndex>)> {
        let mut grown = false;
        for output in &mut self.outputs {
            let size = std::fs::metadata(&output.path).ok()?.len();
            grown |= size != output.seen;
            output.seen = size;
        }
        if !grown {
            return None;
        }
        let wanted = self.pts(0..self.segment.rows as usize);
        let mut indexes = Vec::with_capacity(self.outputs.len());
        let mut ends: Option<Vec<usize>> = None;
        for output in &self.outputs {
            // Of a file in an unusual state there will be more to see later, or at the end.
            let index = read_grown(&output.path).ok()??;
            let own = closed_groups(&index, &wanted, self.table.time_base);
            ends = Some(match ends {
                None => own,
                Some(ends) => ends.into_iter().filter(|end| own.contains(end)).collect(),
            });
            indexes.push(index);
        }
        let end = ends?
            .into_iter()
            .rfind(|end| *end > self.kept && *end < wanted.len())?;
        let rows = self.kept..end;
        for index in &mut indexes {
            index.samples = index.samples[rows.clone()].to_vec();
        }
        Some((rows, indexes))
    }

    /// Times of rows of the Segment.
    fn pts(&self, rows: Range<usize>) -> Vec<i64> {
        let all = &self.table.rows[self.segment.row_range()];
        all[rows].iter().map(|row| row.pts).collect()
    }

    /// What was decoded for these rows, when that was what they are, and the frame after has come out.
    fn matched(&self, seen: &[Seen], rows: Range<usize>) -> Option<Matched> {
        let clip = &self.clip;
        let expected = Expected {
            pts: clip.expected.get(rows.clone())?,
            rows: clip.rows.get(rows.clone())?,
            span: (
                *clip.expected.get(rows.start)?,
                *clip.expected.get(rows.end)?,
            ),
            before_is_good: rows.start > 0 || clip.before.is_some(),
        };
        match_frames(seen, expected).ok()
    }

    async fn put(
        &mut self,
        number: usize,
        index: ChunkIndex,
        rows: Range<usize>,
        matched: &Matched,
    ) -> Result<(), Failure> {
        let Growing {
            output,
            address,
            path: ref from,
            ..
        } = self.outputs[number];
        let row = |row: usize| self.parts.after + row as u32;
        let build = self.parts.build;
        let span = row(rows.start)..row(rows.end);
        let Some(evidence) = Evidence::of((address, build), span, matched) else {
            return Ok(());
        };
        let pts = self.pts(rows.start..rows.end + 1);
        let to = self.room.join(format!("part-{output}.mp4"));
        let (made, from, of) = (to.clone(), from.clone(), evidence.clone());
        let time_base = self.table.time_base;
        let written = tokio::task::spawn_blocking(move || {
            let last = pts.len() - 2;
            let shown = Shown {
                pts: &pts[..=last],
                last_duration: pts[last + 1] - pts[last],
                time_base,
            };
            write(&from, &index, shown, &of, &made)
        });
        let digest = match written.await {
            Ok(digest) => digest?,
            // The process is ending.
            Err(_) => return Ok(()),
        };
        let part = key::Part {
            output,
            first_row: evidence.first_row,
            rows: evidence.rows,
            digest,
        };
        let key = key::part(self.job, &address, &part);
        let stored = self.store.put_file(&key, &to, Take::Move).await;
        self.bytes_written += stored.map_err(from_store)?.size_bytes;
        tracing::debug!(output, row = part.first_row, rows = part.rows, "put away");
        Ok(())
    }
}

/// Writes a part; answers its digest.
fn write(
    from: &Path,
    index: &ChunkIndex,
    shown: Shown<'_>,
    evidence: &Evidence,
    to: &Path,
) -> Result<Digest, Failure> {
    mp4::join(&[(from, index)], shown, to).map_err(|error| match error {
        JoinError::Io(error) => resources(error),
        JoinError::Pieces(error) => resources(error),
    })?;
    part::write(to, evidence).map_err(resources)?;
    let (_, digest) = recode_store::digest_of_file(to).map_err(from_store)?;
    Ok(digest)
}
