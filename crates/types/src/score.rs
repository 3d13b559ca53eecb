//! Scores: quality of an Output against its Source.

use serde::{Deserialize, Serialize};

/// A measure of quality. Names are those on the command line and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// VMAF with libvmaf's default model `vmaf_v0.6.1`.
    Vmaf,
    /// PSNR of luma, in dB.
    Psnr,
    /// SSIM of luma (libvmaf `float_ssim`).
    Ssim,
    /// MS-SSIM of luma (libvmaf `float_ms_ssim`).
    MsSsim,
}

impl Metric {
    /// The key of this metric in libvmaf's per-frame log.
    pub fn log_key(self) -> &'static str {
        match self {
            Self::Vmaf => "vmaf",
            Self::Psnr => "psnr_y",
            Self::Ssim => "float_ssim",
            Self::MsSsim => "float_ms_ssim",
        }
    }
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmaf => "vmaf",
            Self::Psnr => "psnr",
            Self::Ssim => "ssim",
            Self::MsSsim => "ms-ssim",
        }
    }
}

/// Pooled score of one metric over a Chunk or an Output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// Which measure.
    pub metric: Metric,
    /// Frames pooled.
    pub frames: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Harmonic mean, of (value + 1), minus 1: as libvmaf pools.
    pub harmonic_mean: f64,
    /// Lowest frame.
    pub min: f64,
    /// Percentiles 1, 5, 10, 25, 50 (nearest rank).
    pub percentiles: [f64; 5],
}

/// The percentiles of [`ScoreSummary::percentiles`].
pub const PERCENTILES: [u8; 5] = [1, 5, 10, 25, 50];

/// Pools per-frame values. The same function for a Chunk and for a whole Output, so that merging is exact.
/// # Panics
/// When `values` is empty: an Output without frames has no score and must not get here.
pub fn pool(metric: Metric, values: &[f64]) -> ScoreSummary {
    assert!(!values.is_empty(), "a score needs frames");
    let n = values.len() as f64;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank =
        |p: u8| sorted[((f64::from(p) / 100.0 * n).ceil() as usize).clamp(1, sorted.len()) - 1];
    ScoreSummary {
        metric,
        frames: values.len() as u64,
        mean: values.iter().sum::<f64>() / n,
        harmonic_mean: n / values.iter().map(|v| 1.0 / (v + 1.0)).sum::<f64>() - 1.0,
        min: sorted[0],
        percentiles: PERCENTILES.map(rank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_follows_libvmaf() {
        let s = pool(Metric::Vmaf, &[90.0, 100.0, 80.0]);
        assert_eq!(s.mean, 90.0);
        assert_eq!(s.min, 80.0);
        assert!(
            (s.harmonic_mean - (3.0 / (1.0 / 91.0 + 1.0 / 101.0 + 1.0 / 81.0) - 1.0)).abs() < 1e-12
        );
        assert_eq!(s.percentiles, [80.0, 80.0, 80.0, 80.0, 90.0]);
    }
}
