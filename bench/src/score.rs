//! Whole-file libvmaf runs, the reference for every score.

use crate::measure::{self, Run};
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// Every number libvmaf wrote, as text, frame by frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    frames: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Scores {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The printed digits of one metric (libvmaf's key) of one frame.
    pub fn printed(&self, frame: usize, key: &str) -> Option<String> {
        Some(self.frames.get(frame)?.get(key)?.to_string())
    }

    /// The arithmetic mean of one metric.
    /// # Errors
    /// When a frame lacks it.
    pub fn mean(&self, key: &str) -> Result<f64> {
        ensure!(!self.is_empty(), "the score log holds no frame");
        let mut sum = 0.0;
        for frame in &self.frames {
            sum += frame
                .get(key)
                .and_then(serde_json::Value::as_f64)
                .with_context(|| format!("the score log has no {key}"))?;
        }
        Ok(sum / self.len() as f64)
    }

    /// Reads libvmaf's JSON log (`"metrics"` inside each frame) or recode's per-frame file (metrics beside the number).
    pub fn parse(text: &str) -> Result<Self> {
        let log: serde_json::Value =
            serde_json::from_str(text).context("the score log is no JSON")?;
        let frames = log["frames"]
            .as_array()
            .context("the score log has no frames")?
            .iter()
            .map(|frame| frame.get("metrics").unwrap_or(frame).as_object().cloned())
            .collect::<Option<Vec<_>>>()
            .context("a frame of the score log has no metrics")?;
        Ok(Self { frames })
    }
}

/// libvmaf's features for all four metrics.
pub const ALL_FEATURES: &str = "name=psnr|name=float_ssim|name=float_ms_ssim";

/// One libvmaf run over two files, frame by frame in order. Where sizes differ the reference is scaled to the distorted
/// picture's size, bicubic, as recode does: the encoder is judged, not the scaler. Both sides are numbered, so that only the order of frames matters.
pub fn whole_file(
    tools: &Tools,
    distorted: &Path,
    reference: &Path,
    features: &str,
    threads: u32,
) -> Result<(Scores, Run)> {
    let folder = tempfile::tempdir().context("no room for a score log")?;
    let log = folder.path().join("vmaf.json");
    let mut graph = String::from(
        "[0:v:0]settb=1/1000,setpts=N*40[d0];[1:v:0]settb=1/1000,setpts=N*40[r0];\
         [r0][d0]scale2ref=flags=bicubic[r][d];[d][r]libvmaf=log_fmt=json:log_path=vmaf.json",
    );
    graph.push_str(&format!(":n_threads={threads}"));
    if !features.is_empty() {
        graph.push_str(&format!(":feature={features}"));
    }
    let mut command = tools.ffmpeg();
    command.current_dir(folder.path());
    command.arg("-i").arg(distorted).arg("-i").arg(reference);
    command.args([
        "-filter_complex",
        &graph,
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]);
    let run = measure::run(&mut command)?.succeeded("libvmaf")?;
    let text = std::fs::read_to_string(&log).context("libvmaf wrote no log")?;
    Ok((Scores::parse(&text)?, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_digits_survive_and_means_are_taken() {
        let log = r#"{"frames":[{"frameNum":0,"metrics":{"vmaf":97.428043,"psnr_y":40.0}},
                                {"frameNum":1,"metrics":{"vmaf":95.571957,"psnr_y":42.5}}]}"#;
        let scores = Scores::parse(log).expect("reads");
        assert_eq!(scores.printed(0, "vmaf").as_deref(), Some("97.428043"));
        assert_eq!(scores.mean("psnr_y").expect("there"), 41.25);
        assert!(scores.mean("ssim").is_err());
        let own = r#"{"frames":[{"frame":0,"vmaf":97.428043,"ms-ssim":0.999000}]}"#;
        let own = Scores::parse(own).expect("reads");
        assert_eq!(own.printed(0, "vmaf"), scores.printed(0, "vmaf"));
        assert!(Scores::parse("{}").is_err());
    }
}
