//! Goes on where an earlier Attempt ended.

use super::super::chunk::{MadeChunk, check_chunk};
use super::super::process::{Made, Order};
use super::super::stitch::artifact_path;
use super::super::{Attempt, failure, from_store, resources};
use super::chain::{self, Asked, Offered};
use super::part::{self, Evidence};
use recode_media::mp4::{
    self, ChunkIndex, JoinError, Shown, check_units, closed_groups, read_chunk,
};
use recode_media::verify::{self, Depth};
use recode_store::key;
use recode_types::task::{EncodeRendition, EncodeWork, Failure, FailureClass};
use recode_types::{ArtifactRef, Digest, FrameTable, Segment};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first rows of a Segment as earlier Attempts have encoded them, in all Renditions of an order.
#[derive(Debug)]
pub(in super::super) struct Head {
    /// How many.
    pub rows: u32,
    /// One file for each Rendition.
    pieces: Vec<(PathBuf, ChunkIndex)>,
    before: Option<u32>,
    first: u32,
    last: u32,
    after: u32,
}

impl Head {
    /// What is left of a Segment.
    pub fn rest_of(&self, segment: &Segment, table: &FrameTable) -> Segment {
        let first_row = segment.first_row + self.rows;
        Segment {
            first_row,
            rows: segment.rows - self.rows,
            start_pts: table.rows[first_row as usize].pts,
            ..*segment
        }
    }

    /// What was made of the rest, as of the whole Segment: frames before it are those that the head saw.
    /// # Errors
    /// One sentence: they do not belong together.
    pub fn followed_by(&self, mut made: Made) -> Result<Made, String> {
        let matched = &mut made.matched;
        let before = matched.before;
        if matched.first != self.after || before.is_some_and(|before| before != self.last) {
            return Err("they saw other pictures where they meet".to_owned());
        }
        let mut pairs = self.pieces.iter().zip(&made.indexes);
        if pairs.any(|((_, head), rest)| head.sample_description != rest.sample_description) {
            return Err("they have other parameter sets".to_owned());
        }
        (matched.before, matched.first) = (self.before, self.first);
        Ok(made)
    }
}

/// What earlier Attempts have finished of the Chunks of an order, checked; `None`: nothing that can be used.
pub(in super::super) async fn find(attempt: &mut Attempt, order: Order<'_>) -> Option<Head> {
    if attempt.attempt == 1 {
        return None;
    }
    let found = look(attempt, order).await;
    found.unwrap_or_else(|failure| {
        let error = failure.message;
        tracing::warn!(
            error,
            "what earlier attempts have finished of a chunk is not used"
        );
        None
    })
}

/// A part that was found.
struct Stored {
    offered: Offered,
    index: ChunkIndex,
    path: PathBuf,
}

async fn look(attempt: &mut Attempt, order: Order<'_>) -> Result<Option<Head>, Failure> {
    let Some(parts) = order.parts else {
        return Ok(None);
    };
    let work = order.work;
    let mut runs: Vec<Vec<Stored>> = Vec::with_capacity(order.which.len());
    for &i in order.which {
        let asked = Asked {
            address: work.renditions[i].address,
            build: parts.build,
            rows: work.segment.rows,
            params: work.params.get(i).copied().flatten(),
        };
        let stored = stored(attempt, order, &work.renditions[i]).await?;
        let offered: Vec<Offered> = stored.iter().map(|part| part.offered.clone()).collect();
        let mut stored: Vec<Option<Stored>> = stored.into_iter().map(Some).collect();
        let run = chain::longest(&offered, asked);
        runs.push(run.iter().filter_map(|at| stored[*at].take()).collect());
    }
    let ends = |run: &Vec<Stored>| run.iter().map(|p| p.offered.evidence.end()).collect();
    let rows = chain::common(&runs.iter().map(ends).collect::<Vec<_>>());
    if rows == 0 {
        return Ok(None);
    }
    for run in &mut runs {
        run.retain(|part| part.offered.evidence.end() <= rows);
    }
    let evidence = |run: &[Stored]| -> Option<(Evidence, Evidence)> {
        let (first, last) = (run.first()?, run.last()?);
        Some((
            first.offered.evidence.clone(),
            last.offered.evidence.clone(),
        ))
    };
    let Some((first, last)) = evidence(&runs[0]) else {
        return Ok(None);
    };
    // All Renditions are of one decode.
    let agrees = |run: &Vec<Stored>| {
        evidence(run).is_some_and(|(one, other)| {
            (one.before, one.first, other.last, other.after)
                == (first.before, first.first, last.last, last.after)
        })
    };
    if !runs.iter().all(agrees) {
        return Ok(None);
    }
    let mut pieces = Vec::with_capacity(runs.len());
    for (run, i) in runs.iter().zip(order.which) {
        let path = attempt.room.file(&format!("head-{i}.mp4"));
        let parts = run
            .iter()
            .map(|part| (part.path.clone(), part.index.clone()));
        let table = &order.loaded.table;
        let index = join(parts.collect(), table, work.segment, rows, &path).await?;
        // Nobody has decoded what came out of an encoder that did not end well.
        let ffmpeg = Arc::clone(&attempt.ffmpeg);
        let decoded = verify::decode(&ffmpeg, &path, u64::from(rows), Depth::Full)
            .await
            .map_err(|e| e.failure())?;
        attempt.used(&decoded.usage);
        pieces.push((path, index));
    }
    tracing::info!(
        rows,
        of = work.segment.rows,
        "going on where another attempt ended"
    );
    Ok(Some(Head {
        rows,
        pieces,
        before: first.before,
        first: first.first,
        last: last.last,
        after: last.after,
    }))
}

/// All parts of a Chunk that are as their evidence says. One that cannot be read, or is damaged, is left out.
async fn stored(
    attempt: &Attempt,
    order: Order<'_>,
    wanted: &EncodeRendition,
) -> Result<Vec<Stored>, Failure> {
    let prefix = key::parts(attempt.task.job, &wanted.address);
    let listed = attempt.store.list(&prefix).await.map_err(from_store)?;
    let mut found = Vec::new();
    for listed in listed {
        let Some(named) = key::part_of(&listed.key, &prefix) else {
            continue;
        };
        if named.output != wanted.output {
            continue;
        }
        let artifact = ArtifactRef {
            key: listed.key,
            size_bytes: listed.size_bytes,
            digest: named.digest,
        };
        let name = format!("found-{}-{}.mp4", named.output, found.len());
        let path = match artifact_path(attempt, &artifact, &name).await {
            Ok(path) => path,
            Err(failure) => {
                tracing::warn!(
                    key = artifact.key,
                    error = failure.message,
                    "a part of a chunk is ignored"
                );
                continue;
            }
        };
        if let Some((evidence, index)) = part::read(&path)
            && is_closed(&evidence, &index, order)
        {
            found.push(Stored {
                offered: Offered {
                    evidence,
                    params: Digest::of(&index.sample_description),
                },
                index,
                path,
            });
        }
    }
    Ok(found)
}

/// Whether a part is made of closed groups that hold exactly the rows it claims.
fn is_closed(evidence: &Evidence, index: &ChunkIndex, order: Order<'_>) -> bool {
    let table = &order.loaded.table;
    let rows = table.rows[order.work.segment.row_range()]
        .get(evidence.first_row as usize..evidence.end() as usize);
    rows.is_some_and(|rows| {
        let wanted: Vec<i64> = rows.iter().map(|row| row.pts).collect();
        let ends = closed_groups(index, &wanted, table.time_base);
        ends.last() == Some(&wanted.len())
    })
}

/// The Chunk of one Rendition, number `n` of an order, from what was found and what was made.
pub(in super::super) async fn whole(
    attempt: &Attempt,
    (work, table): (&EncodeWork, &Arc<FrameTable>),
    head: Option<&Head>,
    n: usize,
    made: MadeChunk,
) -> Result<MadeChunk, Failure> {
    let mut pieces: Vec<(PathBuf, ChunkIndex)> = Vec::new();
    pieces.extend(head.map(|head| head.pieces[n].clone()));
    pieces.push((made.path.clone(), made.index.clone()));
    let path = attempt.room.file(&format!("whole-{n}.mp4"));
    let rows = work.segment.rows;
    let used: Vec<PathBuf> = pieces.iter().map(|(path, _)| path.clone()).collect();
    let index = join(pieces, table, work.segment, rows, &path).await?;
    check_chunk(&index, rows as usize)?;
    check_units(&path, &index).map_err(|e| failure(FailureClass::Unknown, e))?;
    // They have served; scratch is for the Segments to come.
    for path in used {
        let _ = std::fs::remove_file(path);
    }
    Ok(MadeChunk {
        path,
        index,
        check: None,
        ..made
    })
}

/// Writes pieces that hold the first `rows` of a Segment as one file.
async fn join(
    pieces: Vec<(PathBuf, ChunkIndex)>,
    table: &Arc<FrameTable>,
    segment: Segment,
    rows: u32,
    out: &Path,
) -> Result<ChunkIndex, Failure> {
    let (table, out) = (Arc::clone(table), out.to_owned());
    let joined = tokio::task::spawn_blocking(move || {
        let all = &table.rows[segment.row_range()];
        let pts: Vec<i64> = all[..rows as usize].iter().map(|row| row.pts).collect();
        let end = all
            .get(rows as usize)
            .map_or(segment.end_pts, |row| row.pts);
        let shown = Shown {
            pts: &pts,
            last_duration: (end - pts[pts.len() - 1]).max(1),
            time_base: table.time_base,
        };
        let pieces: Vec<(&Path, &ChunkIndex)> = pieces
            .iter()
            .map(|(path, index)| (&**path, index))
            .collect();
        mp4::join(&pieces, shown, &out).map_err(|error| match error {
            JoinError::Io(error) => resources(error),
            JoinError::Pieces(error) => failure(FailureClass::Unknown, error),
        })?;
        read_chunk(&out).map_err(|e| failure(FailureClass::Unknown, e))
    });
    joined.await.unwrap_or_else(|ended| Err(resources(ended)))
}
