//! Segments for very many Nodes.
//!
//! What a Segment costs is known when it is done, and differs by a factor of two. The time of a Job on many Nodes is that of the
//! unlucky one that holds a costly Segment when nothing else is left, so the last Segments must be small; and each size must be
//! plenty enough to fill the gaps that the next larger one leaves. They come from all over the film, since the costs at
//! its end are all alike: credits.

use super::{CutPolicy, Film, GridRows};

/// A length of Segments, and what part of the film is cut into such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The length.
    pub ms: u64,
    /// The part.
    pub percent: u64,
}

/// Chosen by simulation, see decision 0034.
pub(super) fn usual() -> Vec<Share> {
    [
        (8_000, 30),
        (6_000, 25),
        (4_000, 20),
        (2_000, 14),
        (1_000, 7),
        (500, 4),
    ]
    .map(|(ms, percent)| Share { ms, percent })
    .into()
}

/// Films that are scaled down are not cut shorter than this on that account.
const LEAST_SCALED_MS: f64 = 1_000.0;

/// How far from its length a Segment may end to be on a key frame of the Source, as parts of it. What is much longer than its
/// kind begins too late.
const SHORTEST: f64 = 0.75;
const LONGEST: f64 = 1.125;

/// What a cut inside a GOP costs beside its pre-roll, in milliseconds of that: an extra key frame.
const INSIDE_MS: f64 = 400.0;

/// Segments that stand before a longer one at most.
const FRONT: usize = 3;

/// One length, with what it has got so far.
struct Kind {
    ms: f64,
    share: f64,
    got: f64,
}

/// How far the shares are kept. Kinds are in falling length.
struct Mix {
    kinds: Vec<Kind>,
    /// So much too much of a kind is as bad as a pre-roll as long as the film.
    scale: f64,
}

impl Mix {
    fn of(policy: &CutPolicy, total: f64, stretch: f64) -> Self {
        let scale = (total / policy.spread_ms as f64).min(1.0);
        let kind = |share: &Share| {
            let ms = share.ms as f64;
            Kind {
                ms: (ms * scale).max(ms.min(LEAST_SCALED_MS)) * stretch,
                share: share.percent as f64 / 100.0,
                got: 0.0,
            }
        };
        let kinds: Vec<Kind> = policy.spread.iter().map(kind).collect();
        let longest = kinds.first().map_or(0.0, |kind| kind.ms);
        Self {
            scale: (total * 0.005).max(longest * 2.0),
            kinds,
        }
    }

    /// Which kind a length counts as: the nearest.
    fn nearest(&self, ms: f64) -> usize {
        let off = |at: &usize| (ms / self.kinds[*at].ms).ln().abs();
        let nearest = (0..self.kinds.len()).min_by(|a, b| off(a).total_cmp(&off(b)));
        nearest.unwrap_or(0)
    }

    /// How much more of each kind there is than its share.
    fn prices(&self) -> Vec<f64> {
        let all: f64 = self.kinds.iter().map(|kind| kind.got).sum();
        let over = |kind: &Kind| (kind.got - kind.share * all) / self.scale;
        self.kinds.iter().map(over).collect()
    }

    /// All rising runs of kinds: up to [`FRONT`] before a last one.
    fn runs(&self) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = (0..self.kinds.len()).map(|kind| vec![kind]).collect();
        let mut from = 0;
        for _ in 0..FRONT {
            let until = runs.len();
            for at in from..until {
                for next in 0..=runs[at][runs[at].len() - 1] {
                    runs.push([&runs[at][..], &[next]].concat());
                }
            }
            from = until;
        }
        runs
    }
}

impl Film<'_> {
    /// Boundaries of Segments of all lengths of the policy, each `stretch` times as long. They come in runs of rising length that
    /// end on a key frame where there is one: the cuts inside a GOP lie near its beginning. Of all runs that one comes next
    /// that costs least in pre-roll and key frames, and mends most of what the shares lack.
    pub(super) fn spread(&self, policy: &CutPolicy, stretch: f64) -> Vec<usize> {
        let total = self.ms(0, self.rows);
        if total < policy.unsplit_ms as f64 {
            return vec![0, self.rows];
        }
        let mut mix = Mix::of(policy, total, stretch);
        let runs = mix.runs();
        let mut bounds = vec![0];
        let mut at = 0;
        while at < self.rows {
            let prices = mix.prices();
            let cuts = runs
                .iter()
                .filter_map(|run| self.run(at, run, &mix, &prices));
            let Some((_, cuts)) = cuts.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                break;
            };
            for cut in cuts {
                let ms = self.ms(at, cut);
                let kind = mix.nearest(ms);
                mix.kinds[kind].got += ms;
                bounds.push(cut);
                at = cut;
            }
        }
        if at < self.rows {
            bounds.push(self.rows);
        }
        bounds
    }

    /// Where a run of kinds would be cut from `at` on, and what that costs for each second of it. `None`: there is no room.
    fn run(
        &self,
        at: usize,
        run: &[usize],
        mix: &Mix,
        prices: &[f64],
    ) -> Option<(f64, Vec<usize>)> {
        let least = mix.kinds.last()?.ms;
        let (mut from, mut cost) = (at, 0.0);
        let mut cuts = Vec::with_capacity(run.len());
        for &kind in run {
            let cut = self.cut_near(from, mix.kinds[kind].ms, least)?;
            let ms = self.ms(from, cut);
            cost += ms * prices[mix.nearest(ms)];
            if cut < self.rows && !self.is_key(cut) {
                cost += self.ms(cut - self.preroll(cut), cut);
                if self.grid.is_none() {
                    cost += INSIDE_MS;
                }
            }
            cuts.push(cut);
            from = cut;
        }
        Some((cost / self.ms(at, from).max(1e-6), cuts))
    }

    /// Where a Segment of about `wanted` milliseconds ends that begins at `from`: on the nearest key frame (or row of the grid)
    /// in reach, else just there. No runt is left. `None`: so much is not left.
    fn cut_near(&self, from: usize, wanted: f64, least: f64) -> Option<usize> {
        let left = self.ms(from, self.rows);
        if left < wanted * SHORTEST {
            return None;
        }
        if left <= wanted * LONGEST {
            return Some(self.rows);
        }
        let row = self.row_after(from, wanted);
        let near = |rows: &[usize]| {
            let after = rows.partition_point(|r| *r < row);
            let around = rows[after.saturating_sub(1)..].iter().take(2).copied();
            around
                .filter(|r| *r > from && *r < self.rows)
                .min_by_key(|r| r.abs_diff(row))
        };
        let cut = match &self.grid {
            Some(GridRows::Every(every)) => row.div_ceil(*every).max(from / every + 1) * every,
            Some(GridRows::At(rows)) => near(rows)?,
            None => near(&self.keys)
                .filter(|key| {
                    let ms = self.ms(from, *key);
                    (wanted * SHORTEST..=wanted * LONGEST).contains(&ms)
                })
                .unwrap_or(row),
        };
        let rest = self.ms(cut.min(self.rows), self.rows);
        (cut < self.rows && rest >= least * SHORTEST).then_some(cut)
    }
}
