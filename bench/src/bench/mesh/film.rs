//! Make-believe films: where key frames are, and what each Segment really costs.

use crate::seed::Seed;
use recode_types::{FrameRow, FrameTable, Rational};

/// How key frames lie in a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Every two seconds, as of a mezzanine or a stream.
    TwoSeconds,
    /// At scene cuts, and every ten seconds at the latest, as encoders set them by themselves.
    Scenes,
    /// Every ten seconds.
    TenSeconds,
}

impl Keys {
    /// All of them.
    pub const ALL: [Keys; 3] = [Keys::TwoSeconds, Keys::Scenes, Keys::TenSeconds];

    /// As cases name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoSeconds => "keys 2 s",
            Self::Scenes => "keys at scenes",
            Self::TenSeconds => "keys 10 s",
        }
    }
}

/// Frames a second of all films.
pub const FPS: f64 = 25.0;

/// Scenes last four seconds at the median; one in six is longer than ten.
fn scene(seed: &mut Seed) -> usize {
    ((4.0 * lognormal(seed, 0.9) * FPS) as usize).max(8)
}

/// A film: its table, and what its frames really cost.
#[derive(Debug)]
pub struct Film {
    /// As a probe would see it.
    pub table: FrameTable,
    /// Cost of all frames before each, in frames of the usual kind.
    before: Vec<f64>,
}

impl Film {
    /// Every scene costs another amount for each frame.
    pub fn new(seconds: f64, keys: Keys, scatter: f64, seed: &mut Seed) -> Self {
        let frames = (seconds * FPS) as usize;
        let (mut rows, mut before) = (Vec::with_capacity(frames), vec![0.0]);
        let (mut next_scene, mut next_key, mut cost, mut sum) = (0, 0, 1.0, 0.0);
        for frame in 0..frames {
            if frame == next_scene {
                next_scene += scene(seed);
                cost = lognormal(seed, scatter);
                if keys == Keys::Scenes {
                    next_key = frame;
                }
            }
            let key = frame == next_key;
            if key {
                next_key += if keys == Keys::TwoSeconds { 50 } else { 250 };
            }
            rows.push(FrameRow {
                pts: frame as i64 * 512,
                key,
                signature: None,
            });
            sum += cost;
            before.push(sum);
        }
        let table = FrameTable {
            time_base: Rational::new(1, 12_800),
            rows,
            last_duration: 512,
        };
        Self { table, before }
    }

    /// Frames that are decoded to reach this one and not shown: from the key frame at or before it.
    pub fn preroll(&self, first: u32) -> usize {
        let before = self.table.rows[..=first as usize].iter().rev();
        before.take_while(|row| !row.key).count()
    }

    /// What so many frames from one on really cost.
    pub fn cost(&self, first: u32, frames: u32) -> f64 {
        self.before[(first + frames) as usize] - self.before[first as usize]
    }
}

/// A number whose logarithm is normally distributed about 0 with this deviation.
pub fn lognormal(seed: &mut Seed, sigma: f64) -> f64 {
    let radius = (-2.0 * (1.0 - seed.fraction()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * seed.fraction()).cos() * sigma).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_scatter_about_one_and_scenes_have_a_limit() {
        let mut seed = Seed::new(1);
        let logs: Vec<f64> = (0..4000).map(|_| lognormal(&mut seed, 0.3).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let spread = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len() as f64;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((spread.sqrt() - 0.3).abs() < 0.02, "{spread}");
        let film = Film::new(600.0, Keys::Scenes, 0.3, &mut seed);
        let rows = &film.table.rows;
        let keys: Vec<usize> = (0..rows.len()).filter(|r| rows[*r].key).collect();
        assert_eq!((film.preroll(0), film.preroll(keys[1] as u32)), (0, 0));
        assert_eq!(film.preroll(keys[2] as u32 - 1), keys[2] - keys[1] - 1);
        let (all, part) = (film.cost(0, 15_000), film.cost(0, 9_000));
        assert!((part + film.cost(9_000, 6_000) - all).abs() < 1e-6);
        assert!((12_000.0..20_000.0).contains(&all), "{all}");
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] <= 250));
        assert!((70..200).contains(&keys.len()), "{}", keys.len());
    }
}
