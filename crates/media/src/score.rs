//! Scores of frames: reading libvmaf's log, leaving out context, joining Chunks, and runs of their own.
//!
//! Digits stay as libvmaf printed them from its log to the file beside the Output: joining never goes through a float, so
//! a merged score equals that of a whole-file run digit by digit.

use crate::args::encode::libvmaf;
use crate::args::list::List;
use recode_types::score::{Metric, ScoreSummary, pool};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::path::PathBuf;

/// Scores of consecutive frames.
/// # Shape
/// `values[m][i]` is metric `metrics[m]` of frame `i`, as printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameScores {
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// One list per metric.
    pub values: Vec<Vec<String>>,
}

/// A log that does not hold what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not libvmaf's JSON.
    #[error("the scores cannot be read: {0}")]
    Unreadable(String),
    /// Frames are missing or too many.
    #[error("{found} frames were scored instead of {expected}")]
    Count {
        /// As planned.
        expected: usize,
        /// As logged.
        found: usize,
    },
    /// A metric is missing.
    #[error("frame {frame} has no {metric}")]
    Metric {
        /// Its number in the log.
        frame: usize,
        /// What is missing.
        metric: &'static str,
    },
    /// Chunks were scored by different metrics.
    #[error("chunks were scored by different metrics")]
    Mixed,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow)]
    frames: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "frameNum")]
    number: usize,
    #[serde(borrow)]
    metrics: std::collections::BTreeMap<&'a str, &'a RawValue>,
}

/// Reads libvmaf's JSON log of a Segment of `frames` frames, with a frame of context `before` and `after` it or not.
/// # Errors
/// [`Error`]: score again.
pub fn parse_log(
    log: &str,
    metrics: &[Metric],
    frames: usize,
    before: bool,
    after: bool,
) -> Result<FrameScores, Error> {
    let mut log: Log<'_> =
        serde_json::from_str(log).map_err(|e| Error::Unreadable(e.to_string()))?;
    log.frames.sort_by_key(|f| f.number);
    let expected = frames + usize::from(before) + usize::from(after);
    if log.frames.len() != expected {
        return Err(Error::Count {
            expected,
            found: log.frames.len(),
        });
    }
    let wanted = &log.frames[usize::from(before)..][..frames];
    let values = metrics.iter().map(|metric| {
        let value = |entry: &Entry<'_>| {
            let found = entry.metrics.get(metric.log_key());
            found.map(|v| v.get().to_owned()).ok_or(Error::Metric {
                frame: entry.number,
                metric: metric.name(),
            })
        };
        wanted.iter().map(value).collect()
    });
    Ok(FrameScores {
        metrics: metrics.to_vec(),
        values: values.collect::<Result<_, _>>()?,
    })
}

impl FrameScores {
    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// Appends the scores of what follows.
    /// # Errors
    /// [`Error::Mixed`]
    pub fn append(&mut self, next: Self) -> Result<(), Error> {
        if self.metrics != next.metrics {
            return Err(Error::Mixed);
        }
        for (all, more) in self.values.iter_mut().zip(next.values) {
            all.extend(more);
        }
        Ok(())
    }

    /// Pooled, one entry per metric. Empty when there is no frame.
    /// # Errors
    /// [`Error::Unreadable`]: a value is no number.
    pub fn summaries(&self) -> Result<Vec<ScoreSummary>, Error> {
        let mut all = vec![];
        for (metric, values) in self.metrics.iter().zip(&self.values) {
            let numbers: Vec<f64> = values
                .iter()
                .map(|v| {
                    v.parse()
                        .map_err(|_| Error::Unreadable(format!("{v} is no number")))
                })
                .collect::<Result<_, _>>()?;
            if !numbers.is_empty() {
                all.push(pool(*metric, &numbers));
            }
        }
        Ok(all)
    }

    /// The file beside the Output: one line per frame, values as printed.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\n  \"frames\": [\n");
        let frames = self.frames();
        for i in 0..frames {
            let values: Vec<String> = self
                .metrics
                .iter()
                .zip(&self.values)
                .map(|(m, v)| format!("\"{}\": {}", m.name(), v[i]))
                .collect();
            let comma = if i + 1 < frames { "," } else { "" };
            out += &format!("    {{\"frame\": {i}, {}}}{comma}\n", values.join(", "));
        }
        out += "  ]\n}\n";
        out
    }
}

/// Joins the scores of Chunks, given in order.
/// # Errors
/// [`Error::Mixed`]
pub fn merge(chunks: impl IntoIterator<Item = FrameScores>) -> Result<FrameScores, Error> {
    let mut chunks = chunks.into_iter();
    let mut all = chunks.next().unwrap_or_default();
    for chunk in chunks {
        all.append(chunk)?;
    }
    Ok(all)
}

/// One side of a run that only scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The file.
    pub path: PathBuf,
    /// Its demuxer, where known.
    pub demuxer: Option<&'static str>,
    /// Decode from this PTS on, in ticks of the file (with the context frame).
    pub start_pts: Option<i64>,
    /// Decode up to this PTS.
    pub end_pts: Option<i64>,
}

/// A run that only scores: for builds without a loop-back decoder, and for files encoded elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreArgs {
    /// What is scored.
    pub distorted: Side,
    /// What it is compared with, context included.
    pub reference: Side,
    /// Size and pixel format the reference is brought to: those of the distorted side.
    pub size: (u32, u32),
    /// See `size`; `None` leaves it to FFmpeg.
    pub pix_fmt: Option<String>,
    /// Whether the reference has a frame of context before and after.
    pub context: (bool, bool),
    /// What to measure.
    pub metrics: Vec<Metric>,
    /// Where the log goes.
    pub log: PathBuf,
}

impl ScoreArgs {
    /// The argument list. Frames are paired by number.
    pub fn build(&self) -> Vec<OsString> {
        let mut list = List::default();
        list.opt("-loglevel", "level+warning");
        list.opt("-filter_complex_threads", 1).flag("-copyts");
        for side in [&self.distorted, &self.reference] {
            list.opt("-threads", 1).opt("-reinit_filter", 0);
            if let Some(demuxer) = side.demuxer {
                list.opt("-f", demuxer);
            }
            list.input(&side.path);
        }
        let trim = |side: &Side| match (side.start_pts, side.end_pts) {
            (None, None) => String::new(),
            (start, end) => {
                let start = start.map(|s| format!("start_pts={s}"));
                let end = end.map(|e| format!("end_pts={e}"));
                let both: Vec<String> = start.into_iter().chain(end).collect();
                format!("trim={},", both.join(":"))
            }
        };
        let pad = match self.context {
            (false, false) => String::new(),
            (before, after) => format!(
                "tpad=start={}:stop={}:start_mode=clone:stop_mode=clone,",
                u8::from(before),
                u8::from(after)
            ),
        };
        let (w, h) = self.size;
        let format = self
            .pix_fmt
            .as_ref()
            .map_or_else(String::new, |f| format!("format={f},"));
        let graph = format!(
            "[0:V:0]{}{pad}settb=1/1000,setpts=N[m];\
             [1:V:0]{}scale={w}:{h}:flags=bicubic,{format}settb=1/1000,setpts=N[r];\
             [m][r]{}[o]",
            trim(&self.distorted),
            trim(&self.reference),
            libvmaf(&self.metrics, &self.log)
        );
        list.opt("-filter_complex", graph).opt("-map", "[o]");
        list.opt("-fps_mode", "passthrough");
        list.opt("-c:v", "wrapped_avframe");
        list.opt("-f", "null").flag("-");
        list.0
    }
}

#[cfg(test)]
mod tests;
