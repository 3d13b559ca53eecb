//! `score`: how good a file is, measured against the one it was made from.

use crate::embedded;
use crate::fault::Fault;
use crate::flags::Score;
use crate::place::{Place, Use};
use crate::preflight;
use crate::summary::score_line;
use recode_types::ScoreSummary;
use std::path::Path;

/// What measuring gave.
pub struct Measured {
    /// Frames compared.
    pub frames: u64,
    /// The size at which they were compared: that of the distorted file.
    pub size: (u32, u32),
    /// The Source was scaled to that size.
    pub scaled: bool,
    /// One per metric.
    pub scores: Vec<ScoreSummary>,
    /// Scores of every frame, JSON.
    pub per_frame: String,
}

/// Runs it.
/// # Errors
/// [`Kind::Input`](crate::fault::Kind::Input): a file cannot be read, or the two have different numbers of frames.
pub fn run(args: Score, cwd: &Path) -> Result<(), Fault> {
    let distorted = Place::parse(&args.distorted, cwd, Use::Read)?;
    let reference = Place::parse(&args.reference, cwd, Use::Read)?;
    preflight::source(&distorted)?;
    preflight::source(&reference)?;
    let measured = embedded::score(&args, &distorted, &reference)?;
    if let Some(path) = &args.per_frame {
        std::fs::write(path, &measured.per_frame).map_err(|e| {
            Fault::output(format!(
                "the scores cannot be written to {} ({e}); name another file with --per-frame",
                path.display()
            ))
        })?;
    }
    let (width, height) = measured.size;
    if args.talk.json {
        let json = serde_json::json!({
            "distorted": distorted.url,
            "reference": reference.url,
            "frames": measured.frames,
            "scaled_to": measured.scaled.then(|| format!("{width}x{height} bicubic")),
            "scores": measured.scores,
            "per_frame": args.per_frame,
        });
        crate::say(&format!("{json:#}\n"));
    } else if !args.talk.quiet {
        let mut out = format!("{} frames at {width}x{height}", measured.frames);
        if measured.scaled {
            out += ", the reference scaled to that (bicubic)";
        }
        out.push('\n');
        for score in &measured.scores {
            out += &score_line(score);
            out.push('\n');
        }
        crate::say(&out);
    }
    Ok(())
}
