//! Learning what a Source is: its tracks by asking FFmpeg, its frames from its index, and where that fails from a scan
//! or from a decode of all of it.
//!
//! A remote Matroska Source is no more than looked into: its Cues name the key frames, and the frames between them are
//! estimated until the Segments are read. Where what is seen then is not what Cues promised, or a deep probe is asked for,
//! it is fetched whole and everything is as for a local one.
//!
//! ```text
//!   index of its own (MP4, Matroska)? ── yes ── agrees with the first decoded frame? ── yes ─► table from the index
//!        │ no                                        │ no
//!        ▼                                           ▼
//!   packets sane? ── yes ── rewrap ── agrees? yes ─► table from the rewrapped file
//!        │ no                           │ no
//!        ▼                              ▼
//!   deep: decode everything, list every frame with its signature ─► table; read by clips where packets allow, else linear
//! ```

use super::{Attempt, Loaded, failure, from_store, resources};
use crate::source::{Source, from_read};
use recode_media::bytes::FileSource;
use recode_media::index::{self, SourceIndex};
use recode_media::probe::{self, Picture, Prelude};
use recode_store::Take;
use recode_types::source::{ReadMode, Track, TrackKind};
use recode_types::task::{Failure, FailureClass, TaskResult};
use recode_types::{ArtifactRef, FrameTable, Rational, SourceFacts, VideoFacts};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MICRO: Rational = Rational::new(1, 1_000_000);
/// Media bytes fetched from a remote Source so that FFmpeg sees its first frames.
const FIRST_BYTES: u64 = 2 << 20;
/// Where key frames that Cues name are further apart on average, Segments could not be cut well between them.
const RAREST_KEYS_SECONDS: f64 = 20.0;

/// Makes the facts.
pub async fn run(attempt: &mut Attempt, url: &str, deep: bool) -> Result<TaskResult, Failure> {
    let source = attempt.context.sources.open(url, None).await?;
    if source.identity().size_bytes == 0 {
        return Err(bad_input(
            "the source is empty (0 bytes); check that it was written or uploaded completely",
        ));
    }
    let (index, prelude) = look(attempt, &source, deep).await?;
    attempt.used(&prelude.usage);
    let mut facts = facts_of(&source, &prelude, &attempt.ffmpeg);
    for (stream, trim) in index::trims(&*source).await.unwrap_or_default() {
        // Files may name tracks that FFmpeg does not.
        if let Some(track) = facts.tracks.iter_mut().find(|track| track.index == stream) {
            track.trim = trim;
        }
    }
    let mut found = Found {
        table: None,
        index: None,
        deep: false,
    };
    if let Some(picture) = prelude.picture.clone() {
        found = frames(attempt, &source, &mut facts, &picture, index, deep).await?;
        let table = found.table.as_ref().expect("a picture has frames");
        facts.video = Some(video_facts(&picture, table));
        facts.deep = found.deep;
        if probe::may_be_damaged(&facts.format, &facts.tracks) {
            let path = source.whole().await?;
            probe::mark_damage(&attempt.ffmpeg, &path, &facts.format, &mut facts.tracks)
                .await
                .map_err(|e| e.failure)?;
        }
        let main = found.index.as_ref().map(|index| index.track(picture.track));
        facts.rows_estimated = main.is_some_and(|track| track.is_ok_and(|track| !track.complete));
    }
    let table = match &found.table {
        Some(table) => {
            facts.table = Some(put(attempt, "table.bin", table.encode()).await?);
            table.clone()
        }
        None => FrameTable {
            time_base: MICRO,
            rows: Vec::new(),
            last_duration: 1,
        },
    };
    if let Some(index) = &found.index {
        facts.index_digest = Some(index.digest);
        facts.index = Some(put(attempt, "index.bin", index.encode()).await?);
    }
    attempt.usage.source_bytes_read = source.bytes_read();
    let json = serde_json::to_vec(&facts).map_err(|e| failure(FailureClass::Unknown, e))?;
    let artifact = put(attempt, "facts.json", json).await?;
    let loaded = Loaded {
        facts,
        table: Arc::new(table),
        index: found.index.map(Arc::new),
    };
    attempt.context.inputs.keep(artifact.digest, loaded).await;
    Ok(TaskResult::Probed { facts: artifact })
}

async fn put(attempt: &mut Attempt, name: &str, bytes: Vec<u8>) -> Result<ArtifactRef, Failure> {
    let artifact = attempt
        .store
        .put(&attempt.key(name), bytes)
        .await
        .map_err(from_store)?;
    attempt.usage.bytes_written += artifact.size_bytes;
    Ok(artifact)
}

fn bad_input(message: &str) -> Failure {
    Failure {
        class: FailureClass::BadInput,
        message: message.to_owned(),
        stderr_tail: None,
    }
}

/// What the container's index and FFmpeg say, asked at the same time where the Source is local.
async fn look(
    attempt: &Attempt,
    source: &Arc<Source>,
    deep: bool,
) -> Result<(Option<SourceIndex>, Prelude), Failure> {
    let ffmpeg = &attempt.ffmpeg;
    if let Some(path) = source.local_path() {
        let (index, prelude) = tokio::join!(index::read(&**source), probe::prelude(ffmpeg, path));
        // FFmpeg's word on what it cannot open counts before ours.
        let prelude = prelude.map_err(|e| e.failure())?;
        // An index we cannot read is no reason to refuse what FFmpeg reads: the scan decides.
        let index = index.unwrap_or_else(|error| {
            tracing::info!(%error, "the index cannot be used");
            None
        });
        return Ok((index, prelude));
    }
    let index = match index::read(&**source).await {
        Ok(index) => index,
        Err(error) => {
            tracing::info!(%error, "the index cannot be used");
            None
        }
    };
    let (index, path) = match index {
        Some(index) if index.tracks.iter().all(|track| track.complete) => {
            let path = sparse_head(attempt, source, &index).await?;
            (Some(index), path)
        }
        Some(index) => {
            if !deep
                && has_many_keys(&index)
                && let Some(prelude) = look_at_cues(attempt, source, &index).await?
            {
                return Ok((Some(index), prelude));
            }
            let path = source.whole().await?;
            let copy = FileSource::open(&path).map_err(resources)?;
            let index = index::read(&copy).await.map_err(from_read)?;
            (index, path)
        }
        None => (None, source.whole().await?),
    };
    let prelude = probe::prelude(ffmpeg, &path)
        .await
        .map_err(|e| e.failure())?;
    Ok((index, prelude))
}

/// Whether Segments can be cut between the key frames that are known.
fn has_many_keys(index: &SourceIndex) -> bool {
    let mut tracks = index.tracks.iter().filter(|track| !track.complete);
    tracks.all(|track| {
        let keys = &track.packets;
        let (Some(first), Some(last)) = (keys.iter().next(), keys.iter().next_back()) else {
            return false;
        };
        let ticks = last.pts + last.duration - first.pts;
        let seconds = ticks as f64 * track.time_base.as_f64();
        keys.len() > 1 && seconds <= RAREST_KEYS_SECONDS * keys.len() as f64
    })
}

/// What FFmpeg sees in the first clusters, where that is what Cues promise.
async fn look_at_cues(
    attempt: &Attempt,
    source: &Arc<Source>,
    index: &SourceIndex,
) -> Result<Option<Prelude>, Failure> {
    let path = sparse_head(attempt, source, index).await?;
    let prelude = match probe::prelude(&attempt.ffmpeg, &path).await {
        Ok(prelude) => prelude,
        Err(error) => {
            tracing::info!(%error, "the first clusters do not do; fetching the whole source");
            return Ok(None);
        }
    };
    let Some(picture) = &prelude.picture else {
        return Ok(None);
    };
    let Ok(table) = index.estimated_table(picture.track, picture.frame_rate) else {
        return Ok(None);
    };
    // Where FFmpeg does not understand a cluster it looks for the next element, and finds the header again behind the hole.
    let in_header = |t: &&Track| !t.attached_pic && t.kind != TrackKind::Attachment;
    let seen = prelude.banner.tracks.iter().filter(in_header).count();
    let offset = MICRO.rescale(prelude.banner.start_us, table.time_base);
    let trusted = seen == index.tracks.len() && agrees(&table, picture, offset);
    if !trusted {
        tracing::info!(
            "the first clusters are not those that Cues name; fetching the whole source"
        );
    }
    Ok(trusted.then_some(prelude))
}

/// A sparse file of the Source's size that holds its index and its first frames, each at its own offset.
async fn sparse_head(
    attempt: &Attempt,
    source: &Arc<Source>,
    index: &SourceIndex,
) -> Result<PathBuf, Failure> {
    use recode_media::bytes::ByteSource as _;
    use std::os::unix::fs::FileExt as _;
    let path = attempt.room.file("head");
    let file = std::fs::File::create(&path).map_err(resources)?;
    file.set_len(source.size()).map_err(resources)?;
    let opening = index.opening(FIRST_BYTES);
    source.hold_first(&opening.ranges).await?;
    for range in opening.ranges {
        let at = range.start;
        let bytes = source.read(range).await.map_err(from_read)?;
        file.write_all_at(&bytes, at).map_err(resources)?;
    }
    if let Some((at, bytes)) = opening.patch {
        file.write_all_at(&bytes, at).map_err(resources)?;
    }
    Ok(path)
}

/// Facts without the video's.
pub(super) fn facts_of(
    source: &Source,
    prelude: &Prelude,
    ffmpeg: &recode_media::toolchain::Ffmpeg,
) -> SourceFacts {
    let banner = &prelude.banner;
    SourceFacts {
        identity: source.identity().clone(),
        format: banner.format.clone(),
        start_us: banner.start_us,
        duration_us: banner.duration_us,
        tracks: banner.tracks.clone(),
        chapters: banner.chapters,
        tags: banner.tags.clone(),
        video: None,
        read_mode: ReadMode::Clip,
        deep: false,
        decode_threads: 1,
        rows_estimated: false,
        table: None,
        index: None,
        rewrapped: None,
        index_digest: None,
        ffmpeg: ffmpeg.version_line().to_owned(),
        warnings: Vec::new(),
    }
}

fn video_facts(picture: &Picture, table: &FrameTable) -> VideoFacts {
    VideoFacts {
        track: picture.track,
        codec: picture.codec.clone(),
        time_base: table.time_base,
        frames: table.rows.len() as u64,
        start_pts: table.rows.first().map_or(0, |row| row.pts),
        end_pts: table.end_pts(),
        width: picture.width,
        height: picture.height,
        pix_fmt: picture.pix_fmt.clone(),
        sample_aspect: picture.sample_aspect,
        frame_rate: picture.frame_rate,
        interlaced_top_first: picture.interlaced_top_first,
        dolby_vision_profile: picture.dolby_vision_profile,
        hdr10_plus: picture.hdr10_plus,
        hdr10_static: picture.hdr10_static,
        captions: picture.captions,
        alpha: picture.alpha,
        color: picture.color.clone(),
    }
}

/// Where the frames are.
struct Found {
    table: Option<FrameTable>,
    index: Option<SourceIndex>,
    deep: bool,
}

async fn frames(
    attempt: &mut Attempt,
    source: &Arc<Source>,
    facts: &mut SourceFacts,
    picture: &Picture,
    index: Option<SourceIndex>,
    deep: bool,
) -> Result<Found, Failure> {
    let own = index.and_then(|index| match table_of(&index, picture) {
        Ok(table) => Some((index, table)),
        Err(error) => {
            tracing::info!(%error, "the index has no usable frame table");
            None
        }
    });
    let (indexed, offset) = match own {
        Some((index, table)) => {
            let offset = MICRO.rescale(facts.start_us, table.time_base);
            (Some((index, table)), offset)
        }
        None => {
            // The rewrapped file is on the plain timeline already.
            facts.start_us = 0;
            (rewrapped(attempt, source, facts, picture).await?, 0)
        }
    };
    if let Some((index, table)) = &indexed
        && !deep
        && agrees(table, picture, offset)
        && !contradicts(table, facts.duration_us)
    {
        return Ok(Found {
            table: Some(table.clone()),
            index: Some(index.clone()),
            deep: false,
        });
    }
    let path = source.whole().await?;
    if indexed.is_none() {
        // It will be read by counting: as many frames as a plain process gets.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        facts.decode_threads = probe::plain_threads(cores, picture.height);
    }
    let scan = probe::deep(
        &attempt.ffmpeg,
        &path,
        picture.track,
        picture.time_base,
        facts.decode_threads,
        attempt.on_progress(),
    )
    .await
    .map_err(|e| e.failure())?;
    attempt.used(&scan.usage);
    let mut table = scan.table;
    match indexed {
        Some((index, promised)) if promised.time_base == table.time_base => {
            for row in &mut table.rows {
                row.pts += offset;
            }
            mark_keys(&mut table, &promised);
            Ok(Found {
                table: Some(table),
                index: Some(index),
                deep: true,
            })
        }
        _ => {
            facts.start_us = 0;
            facts.rewrapped = None;
            facts.read_mode = ReadMode::Linear;
            Ok(Found {
                table: Some(table),
                index: None,
                deep: true,
            })
        }
    }
}

/// The frame table an index gives, with what it does not know filled in.
fn table_of(index: &SourceIndex, picture: &Picture) -> Result<FrameTable, index::Error> {
    match index.track(picture.track)?.complete {
        true => index.frame_table(picture.track),
        false => index.estimated_table(picture.track, picture.frame_rate),
    }
}

/// The first decoded frame is where the table says. What a decoder really gives for every other frame is checked when
/// it is encoded.
fn agrees(table: &FrameTable, picture: &Picture, offset: i64) -> bool {
    let first = table.rows.first().map(|row| row.pts - offset);
    table.time_base == picture.time_base && first.is_some() && first == picture.first_pts
}

/// The container claims far more than its index holds, as pieces cut out of a live stream do. Such pieces often begin and
/// end in the middle of things, so what a decoder gives is looked at rather than promised.
fn contradicts(table: &FrameTable, declared_us: Option<i64>) -> bool {
    let first = table.rows.first().map_or(0, |row| row.pts);
    let held_us = table.time_base.rescale(table.end_pts() - first, MICRO);
    declared_us.is_some_and(|declared| declared > 2 * held_us + 1_000_000)
}

/// Key frames of the index, on the rows a decode has shown.
fn mark_keys(table: &mut FrameTable, promised: &FrameTable) {
    for row in &mut table.rows {
        let found = promised.rows.binary_search_by_key(&row.pts, |p| p.pts);
        row.key |= found.is_ok_and(|i| promised.rows[i].key);
    }
}

/// Rewraps the main video into an indexed file where its packets allow that.
async fn rewrapped(
    attempt: &mut Attempt,
    source: &Arc<Source>,
    facts: &mut SourceFacts,
    picture: &Picture,
) -> Result<Option<(SourceIndex, FrameTable)>, Failure> {
    let path = source.whole().await?;
    let ffmpeg = Arc::clone(&attempt.ffmpeg);
    let scanned = probe::scan_packets(&ffmpeg, &path, picture.track, attempt.on_progress()).await;
    let (_, packets, usage) = scanned.map_err(|e| e.failure())?;
    attempt.used(&usage);
    if !probe::are_sane(&packets) {
        return Ok(None);
    }
    let out = attempt.room.file(&format!(
        "rewrapped.{}",
        probe::rewrap_ending(&picture.codec)
    ));
    match probe::rewrap(&ffmpeg, &path, picture.track, &out, attempt.on_progress()).await {
        Ok(usage) => attempt.used(&usage),
        Err(error) => {
            tracing::info!(%error, "the video cannot be rewrapped; it will be read from its start");
            return Ok(None);
        }
    }
    let Some((index, table)) = read_rewrapped(&out).await else {
        return Ok(None);
    };
    if table.rows.len() != packets.len() {
        return Ok(None);
    }
    let key = attempt.key("rewrapped");
    let artifact = attempt
        .store
        .put_file(&key, &out, Take::Move)
        .await
        .map_err(from_store)?;
    attempt.usage.bytes_written += artifact.size_bytes;
    facts.rewrapped = Some(artifact);
    Ok(Some((index, table)))
}

async fn read_rewrapped(path: &Path) -> Option<(SourceIndex, FrameTable)> {
    let file = FileSource::open(path).ok()?;
    let index = index::read(&file).await.ok()??;
    let table = index.frame_table(0).ok()?;
    Some((index, table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::FrameRow;

    #[test]
    fn key_frames_of_the_index_are_found_again_among_decoded_frames() {
        let row = |pts, key| FrameRow {
            pts,
            key,
            signature: None,
        };
        let table = |rows| FrameTable {
            time_base: MICRO,
            rows,
            last_duration: 1,
        };
        let promised = table(vec![
            row(0, true),
            row(10, false),
            row(20, true),
            row(30, true),
        ]);
        let mut decoded = table(vec![row(0, true), row(10, false), row(30, false)]);
        mark_keys(&mut decoded, &promised);
        let keys: Vec<bool> = decoded.rows.iter().map(|r| r.key).collect();
        assert_eq!(keys, [true, false, true]);
    }
}
