//! The short table at the end.

use crate::place;
use crate::units::{show_bytes, show_rate, show_seconds};
use recode_types::ScoreSummary;
use recode_types::report::{JobReport, OutputReport};
use std::fmt::Write as _;
use std::path::Path;

/// A table of what was made and a line of what it cost.
pub fn table(report: &JobReport, cwd: &Path) -> String {
    let head = ["output", "size", "frames", "duration", "video"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(report.outputs.iter().map(|o| row(o, cwd)));
    let mut out = String::new();
    for line in columns(&rows) {
        let _ = writeln!(out, "{line}");
    }
    for (i, output) in report.outputs.iter().enumerate() {
        let name = if report.outputs.len() > 1 {
            format!("{}: ", rows[i + 1][0])
        } else {
            String::new()
        };
        for score in &output.scores {
            let _ = writeln!(out, "{name}{}", score_line(score));
        }
        if let Some(url) = &output.score_frames {
            let _ = writeln!(out, "{name}score of every frame: {}", place::show(url, cwd));
        }
    }
    let _ = writeln!(out, "{}", cost(report));
    out
}

fn row(output: &OutputReport, cwd: &Path) -> [String; 5] {
    let rate = if output.duration_seconds > 0.0 {
        show_rate(output.video_bytes as f64 * 8.0 / output.duration_seconds)
    } else {
        "-".into()
    };
    [
        match output.files {
            1 => place::show(&output.url, cwd),
            files => format!("{} ({files} files)", place::show(&output.url, cwd)),
        },
        show_bytes(output.bytes),
        output.frames.to_string(),
        show_seconds(output.duration_seconds),
        rate,
    ]
}

/// `vmaf 95.12 (harmonic mean 94.90, min 81.20, 5 % below 88.10)`
pub fn score_line(score: &ScoreSummary) -> String {
    // SSIM lives between 0 and 1 and needs its digits; the others are read to two.
    let digits = match score.metric {
        recode_types::Metric::Ssim | recode_types::Metric::MsSsim => 5,
        recode_types::Metric::Vmaf | recode_types::Metric::Psnr => 2,
    };
    format!(
        "{} {:.digits$} (harmonic mean {:.digits$}, min {:.digits$}, 5 % of frames up to {:.digits$})",
        score.metric.name(),
        score.mean,
        score.harmonic_mean,
        score.min,
        score.percentiles[1],
    )
}

fn cost(report: &JobReport) -> String {
    let frames: u64 = report.outputs.iter().map(|o| o.frames).sum();
    let media = report
        .outputs
        .iter()
        .map(|o| o.duration_seconds)
        .fold(0.0, f64::max);
    let segments = report.outputs.first().map_or(0, |o| o.segments.len());
    let mut out = format!("{} wall", show_seconds(report.wall_seconds));
    if report.wall_seconds > 0.0 && frames > 0 {
        let _ = write!(
            out,
            ", {:.1} frames/s, {:.2}x real time",
            frames as f64 / report.wall_seconds,
            media / report.wall_seconds
        );
    }
    let _ = write!(out, ", {:.1} CPU s", report.cpu_seconds);
    if segments > 0 {
        let _ = write!(
            out,
            ", {segments} segment{}",
            if segments == 1 { "" } else { "s" }
        );
    }
    if report.chunks_reused > 0 {
        let _ = write!(out, ", {} chunks reused", report.chunks_reused);
    }
    if report.retries > 0 {
        let _ = write!(out, ", {} retries", report.retries);
    }
    out
}

/// Pads columns: the first to the left, the others, mostly numbers, to the right.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    padded(rows, |column| column > 0)
}

/// Pads columns, all to the left.
pub fn text_columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    padded(rows, |_| false)
}

fn padded<const N: usize>(rows: &[[String; N]], right: impl Fn(usize) -> bool) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (i, (width, cell)) in widths.iter().zip(row).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                if i > 0 {
                    line += "  ";
                }
                match right(i) {
                    true => line += &format!("{pad}{cell}"),
                    false => line += &format!("{cell}{pad}"),
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::Metric;

    #[test]
    fn the_table_says_what_was_made_and_what_it_cost() {
        let report = JobReport {
            version: 1,
            job: "job_1".into(),
            state: "done".into(),
            reason: None,
            source: "file:///w/in.mp4".into(),
            source_bytes: 1,
            outputs: vec![OutputReport {
                url: "file:///w/out.mp4".into(),
                files: 1,
                bytes: 12_300_000,
                video_bytes: 10_000_000,
                frames: 1440,
                duration_seconds: 60.0,
                scores: vec![recode_types::score::pool(Metric::Vmaf, &[90.0, 100.0])],
                score_frames: Some("file:///w/out.mp4.scores.json".into()),
                segments: vec![],
            }],
            wall_seconds: 12.0,
            cpu_seconds: 23.9,
            bytes_read: 0,
            bytes_written: 0,
            retries: 0,
            chunks_reused: 2,
            ffmpeg: "ffmpeg".into(),
            warnings: vec![],
        };
        assert_eq!(
            table(&report, Path::new("/w")),
            "\
output      size  frames  duration      video
out.mp4  12.3 MB    1440    1:00.0  1.33 Mb/s
vmaf 95.00 (harmonic mean 94.74, min 90.00, 5 % of frames up to 90.00)
score of every frame: out.mp4.scores.json
12.0 s wall, 120.0 frames/s, 5.00x real time, 23.9 CPU s, 2 chunks reused
"
        );
    }
}
