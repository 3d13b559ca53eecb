//! `probe`: what a Source is, for people and as JSON.

use crate::embedded;
use crate::fault::Fault;
use crate::flags::Probe;
use crate::place::{Place, Use};
use crate::preflight;
use crate::units::{show_bytes, show_seconds};
use recode_types::{FrameTable, SourceFacts, Track};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Runs it.
/// # Errors
/// [`Kind::Input`](crate::fault::Kind::Input): the Source cannot be read.
pub fn run(args: Probe, cwd: &Path) -> Result<(), Fault> {
    let place = Place::parse(&args.input, cwd, Use::Read)?;
    preflight::source(&place)?;
    let (facts, table) = embedded::probe(&args, &place)?;
    let summary = Summary::of(&table);
    if args.talk.json {
        let json = serde_json::json!({ "source": facts, "frames": summary, "cuts": cuts(&table) });
        crate::say(&format!("{json:#}\n"));
    } else {
        crate::say(&human(&place.typed, &facts, summary.as_ref(), &table));
    }
    Ok(())
}

/// A frame table in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Frames.
    count: usize,
    /// Frames at which a decoder can start.
    key_frames: usize,
    /// Distances of key frames, in frames.
    gop: Gop,
    /// `constant` when all frames stay equally long (to a tick), else `variable`.
    rate: &'static str,
    /// Usual time from frame to frame, in seconds.
    step_seconds: f64,
    /// Time of the first frame on the Source's own clock, in seconds.
    start_seconds: f64,
    /// From the first frame to the end of the last, in seconds.
    duration_seconds: f64,
}

/// Distances of key frames, in frames; the last one counts to the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gop {
    min: usize,
    median: usize,
    max: usize,
}

/// A place where the Source can be cut without decoding what lies before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CutPoint {
    /// Frame number, from 0.
    frame: usize,
    /// Its time in the table's time base, on the Source's own clock.
    pts: i64,
    /// Its time in seconds from the first frame.
    seconds: f64,
}

impl Summary {
    /// `None` for an empty table.
    fn of(table: &FrameTable) -> Option<Self> {
        let (first, last) = (table.rows.first()?, table.rows.last()?);
        let seconds = |ticks: i64| ticks as f64 * table.time_base.as_f64();
        let mut steps: Vec<i64> = table.rows.windows(2).map(|w| w[1].pts - w[0].pts).collect();
        steps.sort_unstable();
        let usual = steps
            .get(steps.len() / 2)
            .copied()
            .unwrap_or(table.last_duration);
        // Containers round each timestamp to their ticks, so neighbours of a constant rate differ by one.
        let constant = match (steps.first(), steps.last()) {
            (Some(least), Some(most)) => most - least <= 1,
            _ => true,
        };
        let mut keys: Vec<usize> = keys(table).collect();
        let key_frames = keys.len();
        keys.push(table.rows.len());
        let mut gaps: Vec<usize> = keys.windows(2).map(|w| w[1] - w[0]).collect();
        gaps.sort_unstable();
        let step = if constant && steps.len() > 1 {
            seconds(last.pts - first.pts) / steps.len() as f64
        } else {
            seconds(usual)
        };
        Some(Self {
            count: table.rows.len(),
            key_frames,
            gop: Gop {
                min: gaps.first().copied().unwrap_or(0),
                median: gaps.get(gaps.len() / 2).copied().unwrap_or(0),
                max: gaps.last().copied().unwrap_or(0),
            },
            rate: if constant { "constant" } else { "variable" },
            step_seconds: step,
            start_seconds: seconds(first.pts),
            duration_seconds: seconds(table.end_pts() - first.pts),
        })
    }
}

fn keys(table: &FrameTable) -> impl Iterator<Item = usize> {
    let rows = table.rows.iter().enumerate();
    rows.filter(|(_, row)| row.key).map(|(i, _)| i)
}

fn cuts(table: &FrameTable) -> Vec<CutPoint> {
    let start = table.rows.first().map_or(0, |row| row.pts);
    keys(table)
        .map(|frame| {
            let pts = table.rows[frame].pts;
            CutPoint {
                frame,
                pts,
                seconds: (pts - start) as f64 * table.time_base.as_f64(),
            }
        })
        .collect()
}

fn human(
    typed: &str,
    facts: &SourceFacts,
    summary: Option<&Summary>,
    table: &FrameTable,
) -> String {
    let mut out = format!(
        "{typed}: {}, {}{}\n",
        facts.format,
        show_bytes(facts.identity.size_bytes),
        facts
            .duration_us
            .map(|us| format!(", {}", show_seconds(us as f64 / 1e6)))
            .unwrap_or_default()
    );
    for track in &facts.tracks {
        let _ = writeln!(out, "  {}", track_line(track));
    }
    if facts.chapters > 0 {
        let _ = writeln!(out, "  {} chapters", facts.chapters);
    }
    let Some(s) = summary else {
        out += "no video that could be encoded\n";
        return out;
    };
    let _ = writeln!(
        out,
        "{}{} frames, {}, {} rate ({:.3} frames/s on average)",
        match facts.rows_estimated {
            true => "about ",
            false => "",
        },
        s.count,
        show_seconds(s.duration_seconds),
        s.rate,
        if s.duration_seconds > 0.0 {
            s.count as f64 / s.duration_seconds
        } else {
            0.0
        },
    );
    let _ = writeln!(
        out,
        "{} key frames, {} to {} frames apart, median {}",
        s.key_frames, s.gop.min, s.gop.max, s.gop.median
    );
    let cuts = cuts(table);
    let shown: Vec<String> = cuts
        .iter()
        .take(8)
        .map(|c| format!("{:.3}", c.seconds))
        .collect();
    let _ = writeln!(
        out,
        "can be cut at {} s{}",
        shown.join(", "),
        match cuts.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more places"),
        }
    );
    for warning in &facts.warnings {
        let _ = writeln!(out, "note: {warning}");
    }
    out
}

fn track_line(track: &Track) -> String {
    let kind = format!("{:?}", track.kind).to_lowercase();
    // FFmpeg's description begins with the codec where it knows one.
    let what = if track.description.starts_with(&track.codec) {
        track.description.clone()
    } else {
        format!("{}, {}", track.codec, track.description)
    };
    let mut line = format!(
        "#{} {kind:<10} {}",
        track.index,
        what.trim_end_matches(", ")
    );
    if let Some(language) = &track.language {
        let _ = write!(line, " [{language}]");
    }
    if let Some(title) = &track.title {
        let _ = write!(line, " \"{title}\"");
    }
    if !track.dispositions.is_empty() {
        let _ = write!(line, " ({})", track.dispositions.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{FrameRow, TimeBase};

    fn table(rows: &[(i64, bool)]) -> FrameTable {
        FrameTable {
            time_base: TimeBase::new(1, 1000),
            rows: rows
                .iter()
                .map(|&(pts, key)| FrameRow {
                    pts,
                    key,
                    signature: None,
                })
                .collect(),
            last_duration: 33,
        }
    }

    #[test]
    fn rounded_timestamps_of_a_constant_rate_are_constant() {
        let t = table(&[
            (100, true),
            (133, false),
            (167, false),
            (200, true),
            (233, false),
        ]);
        let s = Summary::of(&t).unwrap();
        assert_eq!((s.count, s.key_frames, s.rate), (5, 2, "constant"));
        assert_eq!(
            s.gop,
            Gop {
                min: 2,
                median: 3,
                max: 3
            }
        );
        assert!((s.step_seconds - 0.03325).abs() < 1e-9);
        assert!((s.duration_seconds - 0.166).abs() < 1e-9);
        let cuts = cuts(&t);
        assert_eq!((cuts[1].frame, cuts[1].pts, cuts[1].seconds), (3, 200, 0.1));
    }

    #[test]
    fn a_pause_makes_the_rate_variable() {
        let s = Summary::of(&table(&[(0, true), (33, false), (500, false)])).unwrap();
        assert_eq!(s.rate, "variable");
        assert_eq!(Summary::of(&table(&[])), None);
    }
}
