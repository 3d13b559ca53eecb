//! Index and clips against FFmpeg itself, on a set of difficult files.
//!
//! `RECODE_MEDIA` names the folder, `RECODE_FFMPEG` the build (else `ffmpeg` on PATH). Without the folder the tests
//! say so and pass.

use crate::common::{decoded, ffmpeg, frames, media};
use recode_media::bytes::FileSource;
use recode_media::clip::{self, ClipContext};
use recode_media::index;
use recode_types::{FrameTable, Segment};
use std::collections::BTreeMap;

/// Files whose container announces frames that a decoder does not give, or gives otherwise: these need a deep probe.
const LIARS: [&str; 4] = [
    // Decode times that FFmpeg makes up overtake the stored ones: it shows 146 where 133 is stored.
    "cover_art_png.mkv",
    // Damaged: the first frames after the cut, or frames with broken slices, do not decode.
    "corrupt_nal.mp4",
    "fragmented_13h_timestamps.mp4",
    // B-frames without a composition table: FFmpeg shows decode order's times in presentation order.
    "resolution_change_mid_stream.mp4",
];

#[tokio::test]
async fn frame_tables_are_what_ffmpeg_shows() {
    let Some(files) = media() else { return };
    let mut wrong = Vec::new();
    let mut checked = 0;
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source = FileSource::open(&path).unwrap();
        let index = match index::read(&source).await {
            Ok(Some(index)) => index,
            Ok(None) => {
                println!("{name}: scan class");
                continue;
            }
            Err(e) => {
                println!("{name}: {e}");
                continue;
            }
        };
        for track in index.tracks.iter().filter(|t| !t.packets.is_empty()) {
            let table = index.frame_table(track.stream).unwrap();
            let mine: Vec<i64> = table.rows.iter().map(|row| row.pts).collect();
            let (time_base, theirs) = decoded(&ffmpeg(), &path, track.stream);
            checked += 1;
            let same = mine == theirs && time_base == table.time_base;
            println!(
                "{name} #{}: {} rows, {} keys, {} bytes read of {}: {}",
                track.stream,
                mine.len(),
                table.rows.iter().filter(|row| row.key).count(),
                source.bytes_read(),
                index.size_bytes,
                if same { "same" } else { "DIFFERENT" }
            );
            if !same && !LIARS.contains(&name.as_str()) {
                let at = mine.iter().zip(&theirs).position(|(a, b)| a != b);
                wrong.push(format!(
                    "{name} #{}: {} rows against {}, base {} against {time_base}, first difference {at:?}: {:?} {:?}",
                    track.stream,
                    mine.len(),
                    theirs.len(),
                    table.time_base,
                    at.map(|i| mine[i]),
                    at.map(|i| theirs[i]),
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 0);
}

/// Segments of about two seconds: on key rows where there are any, else inside GOPs; plus one odd cut inside a GOP.
fn cuts(table: &FrameTable, offset: usize) -> Vec<Segment> {
    let ticks = (2.0 / table.time_base.as_f64()) as i64;
    let mut bounds = vec![0];
    for (i, row) in table.rows.iter().enumerate() {
        let since = row.pts - table.rows[*bounds.last().unwrap()].pts;
        if (since >= ticks && row.key) || since >= 2 * ticks || i == offset && i > 0 {
            bounds.push(i);
        }
    }
    bounds.dedup();
    let ends = bounds[1..].iter().copied().chain([table.rows.len()]);
    bounds
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(index, (&from, to))| Segment {
            index: index as u32,
            first_row: from as u32,
            rows: (to - from) as u32,
            start_pts: table.rows[from].pts,
            end_pts: table.rows.get(to).map_or(table.end_pts(), |row| row.pts),
        })
        .collect()
}

#[tokio::test]
async fn clips_decode_to_the_frames_of_the_whole() {
    let Some(files) = media() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("clip");
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source = FileSource::open(&path).unwrap();
        let Ok(Some(index)) = index::read(&source).await else {
            continue;
        };
        if LIARS.contains(&name.as_str()) {
            continue;
        }
        let index = index::SourceIndex::decode(&index.encode()).unwrap();
        for track in index.tracks.iter().filter(|t| !t.packets.is_empty()) {
            let table = index.frame_table(track.stream).unwrap();
            let map = format!("0:{}", track.stream);
            let whole = frames(&ffmpeg(), &["-i", path.to_str().unwrap()], &map, "");
            let by_pts: BTreeMap<i64, String> = whole.into_iter().collect();
            // Without context too, where decoding is quick.
            let contexts: &[(u32, u32)] = if index.size_bytes > 1 << 20 {
                &[(1, 1)]
            } else {
                &[(0, 0), (1, 1)]
            };
            for context in contexts {
                let context = ClipContext {
                    gops_before: context.0,
                    frames_after: context.1,
                };
                let mut read = 0;
                let mut decoded = 0;
                let segments = cuts(&table, 17);
                for segment in &segments {
                    let clip = clip::build(
                        &index,
                        track.stream,
                        &table,
                        segment,
                        context,
                        &source,
                        &out,
                    )
                    .await
                    .unwrap();
                    read += clip.bytes_read;
                    decoded += clip.decode_frames;
                    let input = ["-f", clip.demuxer, "-i", out.to_str().unwrap()];
                    let trim = format!(
                        "trim=start_pts={}:end_pts={}",
                        clip.trim_start, clip.trim_end
                    );
                    let got = frames(&ffmpeg(), &input, "0:0", &trim);
                    let want: Vec<(i64, String)> = table.rows[segment.row_range()]
                        .iter()
                        .zip(&clip.expected)
                        .map(|(row, pts)| (*pts, by_pts.get(&row.pts).cloned().unwrap_or_default()))
                        .collect();
                    if got != want {
                        let at = got.iter().zip(&want).position(|(a, b)| a != b);
                        wrong.push(format!(
                            "{name} #{} {context:?} segment {} of {}: {} frames for {}, first difference {at:?} {:?} {:?}",
                            track.stream, segment.index, segments.len(), got.len(), want.len(),
                            at.map(|i| &got[i]), at.map(|i| &want[i]),
                        ));
                    }
                }
                println!(
                    "{name} #{}: {} segments, {decoded} packets for {} frames, {read} bytes of {}",
                    track.stream,
                    segments.len(),
                    table.rows.len(),
                    index.size_bytes
                );
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What FFmpeg prints of a frame besides its time: size, shape, colours, side data.
fn shape(log: &str) -> Vec<String> {
    let wanted = [
        "side data",
        "sar:",
        "color_range",
        "Display Matrix",
        "DOVI",
        "Mastering",
        "Content Light",
    ];
    let mut out: Vec<String> = log
        .lines()
        .filter(|line| wanted.iter().any(|word| line.contains(word)))
        .map(|line| {
            // Numbers of frames, places in the file, times.
            let line = line.split_once("] ").map_or(line, |(_, rest)| rest);
            match (line.find("fmt:"), line.find("mean:")) {
                (Some(from), Some(to)) if from < to => line[from..to].to_owned(),
                (Some(from), None) => line[from..].to_owned(),
                _ => line.trim().to_owned(),
            }
        })
        .map(|line| {
            line.split(" checksum")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    out.sort();
    out.dedup();
    out
}

#[tokio::test]
async fn clips_keep_side_data_of_stream_and_frames() {
    let Some(files) = media() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("clip");
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source = FileSource::open(&path).unwrap();
        let Ok(Some(index)) = index::read(&source).await else {
            continue;
        };
        if LIARS.contains(&name.as_str()) {
            continue;
        }
        for track in index.tracks.iter().filter(|t| !t.packets.is_empty()) {
            let table = index.frame_table(track.stream).unwrap();
            let rows = table.rows.len().min(8);
            let segment = Segment {
                index: 0,
                first_row: 0,
                rows: rows as u32,
                start_pts: table.rows[0].pts,
                end_pts: table.rows.get(rows).map_or(table.end_pts(), |row| row.pts),
            };
            let clip = clip::build(
                &index,
                track.stream,
                &table,
                &segment,
                ClipContext::default(),
                &source,
                &out,
            )
            .await
            .unwrap();
            let show = |input: &str, demuxer: &str, map: &str, trim: String| {
                let mut args = vec!["-copyts"];
                if !demuxer.is_empty() {
                    args.extend_from_slice(&["-f", demuxer]);
                }
                let filter = format!("{trim},showinfo=checksum=0");
                args.extend_from_slice(&[
                    "-i",
                    input,
                    "-map",
                    map,
                    "-fps_mode",
                    "passthrough",
                    "-vf",
                    &filter,
                    "-f",
                    "null",
                    "-",
                ]);
                let (_, log) = crate::common::run(&ffmpeg(), &args);
                // The stream's own lines stand among those of others; frames say it all.
                shape(
                    &log.lines()
                        .filter(|l| l.contains("showinfo"))
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            };
            let map = format!("0:{}", track.stream);
            let of_clip = show(
                out.to_str().unwrap(),
                clip.demuxer,
                "0:0",
                format!(
                    "trim=start_pts={}:end_pts={}",
                    clip.trim_start, clip.trim_end
                ),
            );
            let of_whole = show(
                path.to_str().unwrap(),
                "",
                &map,
                format!(
                    "trim=start_pts={}:end_pts={}",
                    segment.start_pts,
                    clip.trim_end + clip.base
                ),
            );
            println!("{name} #{}: {} kinds of lines", track.stream, of_clip.len());
            if of_clip != of_whole {
                wrong.push(format!(
                    "{name} #{}:\n{of_clip:#?}\n{of_whole:#?}",
                    track.stream
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
