//! One knob for many pieces: the arithmetic of global rate control, over plain numbers.
//!
//! The size of a piece falls exponentially with the knob. Its own encodes tell best where that curve lies; else its trial,
//! moved by how far the pieces that have both are from their trials; else its length.

use crate::plan::encoder::Axis;

/// One Segment as rate control sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Frames.
    pub rows: u32,
    /// Trial encodes as (quality_milli, bytes), sorted.
    pub trial: Vec<(u32, u64)>,
    /// Real encodes that were replaced, oldest first.
    pub earlier: Vec<(u32, u64)>,
    /// The real encode that counts.
    pub done: Option<(u32, u64)>,
    /// It was made smaller for the sake of a peak limit and must not grow again.
    pub capped: bool,
}

impl Piece {
    /// The bytes that a real encode at this knob had.
    fn seen(&self, milli: u32) -> Option<u64> {
        let all = self.done.iter().chain(self.earlier.iter().rev());
        all.copied().find(|e| e.0 == milli).map(|e| e.1)
    }

    /// How much it is likely to matter: its trial, else its length.
    fn weight(&self) -> u64 {
        self.trial.first().map_or(u64::from(self.rows), |t| t.1)
    }
}

/// What to reach, and with which knob.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// Sum of all pieces.
    pub target_bytes: u64,
    /// Frames of all pieces.
    pub rows: u32,
    /// How the knob counts.
    pub axis: Axis,
    /// Natural logarithm of the size ratio of one whole step on the axis, where nothing better is known.
    pub slope: f64,
    /// How much larger a trial is than an encode at the same knob, as natural logarithm, where nothing better is known.
    pub trial_excess: f64,
    /// Best and worst knob.
    pub range_milli: (u32, u32),
    /// Smallest step of the knob that makes a difference.
    pub step_milli: u32,
    /// Where to start when there is nothing to go by.
    pub guess_milli: u32,
    /// Finished pieces may be made again.
    pub may_correct: bool,
}

impl Aim {
    /// Logarithm of the bytes of a frame at the guess, such that the first knob is the guess; the first encodes correct it.
    fn per_row(&self) -> f64 {
        (self.target_bytes.max(1) as f64 / f64::from(self.rows.max(1))).ln()
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Solution {
    /// Encode these pieces with these knobs, as (piece, quality_milli), sorted.
    Knobs(Vec<(usize, u32)>),
    /// Nothing brings the total closer.
    Stuck,
}

/// Largest change of a knob between the last set and the ones before it, and in a correction, as logarithm of size: what
/// is left over must not show as a jump in quality.
const MOST_CHANGE: f64 = 0.2;
/// Calibrating pieces whose knob is further from that of the rest than this, as logarithm of size, are made again.
const FAR: f64 = 0.3;
/// Two encodes of a piece that are nearer than this, as logarithm of size, tell no slope.
const LEAST_APART: f64 = 0.03;
/// A correction has to leave less than this part of what is missing.
const WORTH: f64 = 0.8;
/// Pieces among which single steps are looked for.
const MOST_LOOKED_AT: usize = 64;
/// Steps of one piece in that.
const MOST_STEPS: u32 = 3;

/// The order of work: each set is encoded when the one before it is complete. Few pieces are one set; else a few heavy ones
/// from all over the film to calibrate, most of the rest in one set or two, and a fifth to absorb what is left over.
pub fn sets(pieces: &[Piece]) -> Vec<Vec<usize>> {
    let count = pieces.len();
    if count < 4 {
        return vec![(0..count).collect()];
    }
    let all: Vec<usize> = (0..count).collect();
    let calibrate = heavy(&all, (count / 4).clamp(1, 16), pieces);
    let rest: Vec<usize> = (0..count).filter(|i| !calibrate.contains(i)).collect();
    let last = heavy(&rest, (count / 5).max(1), pieces);
    let most = rest.into_iter().filter(|i| last.binary_search(i).is_err());
    let most: Vec<usize> = most.collect();
    // With many pieces the larger part comes in two halves: what the first shows steers the second.
    let first = if count < 12 {
        most.clone()
    } else {
        spread(&most, most.len() / 2)
    };
    let second = most
        .into_iter()
        .filter(|i| first.binary_search(i).is_err())
        .collect();
    [calibrate, first, second, last]
        .into_iter()
        .filter(|set| !set.is_empty())
        .collect()
}

/// The heaviest of each of `count` stretches of `from`: titles and black frames tell nothing of the rest.
fn heavy(from: &[usize], count: usize, pieces: &[Piece]) -> Vec<usize> {
    (0..count)
        .filter_map(|k| {
            let stretch = &from[k * from.len() / count..(k + 1) * from.len() / count];
            stretch
                .iter()
                .copied()
                .max_by_key(|&i| (pieces[i].weight(), std::cmp::Reverse(i)))
        })
        .collect()
}

/// `count` of `from`, evenly spread.
fn spread(from: &[usize], count: usize) -> Vec<usize> {
    (0..count)
        .map(|k| from[(2 * k + 1) * from.len() / (2 * count)])
        .collect()
}

/// The next knobs. Every piece of an earlier set is done.
pub fn solve(pieces: &[Piece], aim: &Aim) -> Solution {
    let sets = sets(pieces);
    let due = sets
        .iter()
        .position(|set| set.iter().any(|&i| pieces[i].done.is_none()));
    match due {
        Some(set) => Solution::Knobs(first_time(pieces, aim, &sets, set)),
        None if aim.may_correct => correct(pieces, aim, &sets),
        None => Solution::Stuck,
    }
}

/// Knobs for the pieces of `sets[at]`, such that all pieces that are left would fill what is left.
fn first_time(pieces: &[Piece], aim: &Aim, sets: &[Vec<usize>], at: usize) -> Vec<(usize, u32)> {
    let model = Model::new(pieces, aim);
    let knob_for = |open: &[usize]| {
        let made: u64 = (0..pieces.len())
            .filter(|i| open.binary_search(i).is_err())
            .filter_map(|i| pieces[i].done)
            .map(|d| d.1)
            .sum();
        model.knob_for(open, aim.target_bytes as f64 - made as f64)
    };
    let mut open: Vec<usize> = (0..pieces.len())
        .filter(|&i| pieces[i].done.is_none())
        .collect();
    let mut set: Vec<usize> = sets[at]
        .iter()
        .copied()
        .filter(|&i| pieces[i].done.is_none())
        .collect();
    let mut knob = knob_for(&open);
    match at {
        0 => {}
        1 => {
            // The first guess may have been far off: what stands out from the rest is made again with it.
            let far = |i: &usize| {
                pieces[*i]
                    .done
                    .is_some_and(|(done, _)| (model.place(done) - knob).abs() * aim.slope > FAR)
            };
            let again: Vec<usize> = sets[0].iter().copied().filter(far).collect();
            if aim.may_correct && !again.is_empty() {
                for list in [&mut open, &mut set] {
                    list.extend(&again);
                    list.sort_unstable();
                }
                knob = knob_for(&open);
            }
        }
        _ => {
            let before = model.mean_place(pieces, &sets[at - 1]);
            let most = MOST_CHANGE / aim.slope;
            knob = knob.clamp(before - most, before + most);
        }
    }
    let wanted = vec![knob; set.len()];
    model.round(&set, &wanted)
}

/// Pieces to make again so that the total fits: as few as can take it without a jump in quality.
fn correct(pieces: &[Piece], aim: &Aim, sets: &[Vec<usize>]) -> Solution {
    let model = Model::new(pieces, aim);
    let sizes: Vec<f64> = pieces
        .iter()
        .map(|p| p.done.map_or(0.0, |d| d.1 as f64))
        .collect();
    let sum: f64 = sizes.iter().sum();
    let missing = aim.target_bytes as f64 - sum;
    // The last set first: it was made to take up what is left over. Then the largest.
    let mut order: Vec<usize> = sets.last().cloned().unwrap_or_default();
    let mut rest: Vec<usize> = (0..pieces.len()).filter(|i| !order.contains(i)).collect();
    let by_size = |a: &usize, b: &usize| sizes[*b].total_cmp(&sizes[*a]).then(a.cmp(b));
    order.sort_by(by_size);
    rest.sort_by(by_size);
    order.extend(rest);
    let reach = if missing > 0.0 {
        MOST_CHANGE.exp() - 1.0
    } else {
        1.0 - (-MOST_CHANGE).exp()
    };
    if missing > 0.0 {
        order.retain(|&i| !pieces[i].capped && !is_full(&pieces[i], aim));
    }
    let few: Vec<usize> = order.iter().copied().take(MOST_LOOKED_AT).collect();
    let mut chosen = Vec::new();
    let mut room = 0.0;
    for i in order {
        chosen.push(i);
        room += sizes[i] * reach;
        if room >= missing.abs() {
            break;
        }
    }
    chosen.sort_unstable();
    let others = sum - chosen.iter().map(|&i| sizes[i]).sum::<f64>();
    let shift = model.shift_for(&chosen, aim.target_bytes as f64 - others);
    let wanted: Vec<f64> = chosen.iter().map(|&i| model.knob_of(i) + shift).collect();
    let mut knobs: Vec<(usize, u32)> = model
        .round(&chosen, &wanted)
        .into_iter()
        .filter(|&(i, knob)| pieces[i].done.is_none_or(|d| d.0 != knob))
        .collect();
    let gain: f64 = knobs
        .iter()
        .map(|&(i, knob)| model.bytes_at(i, knob) - sizes[i])
        .sum();
    let mut left = (missing - gain).abs();
    if aim.step_milli >= 1000
        && let Some((fewer, closer)) = model.few_steps(&few, missing)
        && closer < left
    {
        (knobs, left) = (fewer, closer);
    }
    if knobs.is_empty() || left >= missing.abs() * WORTH {
        return Solution::Stuck;
    }
    Solution::Knobs(knobs)
}

/// A curve: bytes at a knob, and how fast they fall. Knobs are places on the encoder's axis.
#[derive(Clone, Copy, Debug)]
struct Curve {
    knob: f64,
    log_bytes: f64,
    /// Per whole step.
    slope: f64,
}

impl Curve {
    fn log_at(self, knob: f64) -> f64 {
        self.log_bytes - self.slope * (knob - self.knob)
    }

    /// Through two points, where they tell; a slope that no encoder has is noise.
    fn through(a: (u32, u64), b: (u32, u64), aim: &Aim) -> Option<f64> {
        let place = |milli: u32| aim.axis.place(f64::from(milli));
        let apart = place(b.0) - place(a.0);
        if apart.abs() * aim.slope < LEAST_APART {
            return None;
        }
        let slope = (log(a.1) - log(b.1)) / apart;
        Some(slope.clamp(aim.slope / 3.0, aim.slope * 3.0))
    }
}

fn log(bytes: u64) -> f64 {
    (bytes.max(1) as f64).ln()
}

struct Model<'a> {
    aim: &'a Aim,
    pieces: &'a [Piece],
    curves: Vec<Curve>,
}

impl<'a> Model<'a> {
    fn new(pieces: &'a [Piece], aim: &'a Aim) -> Self {
        let mut trials: Vec<Curve> = pieces.iter().map(|p| trial_curve(p, aim)).collect();
        // Pieces that were encoded twice tell how steep the curves of this encoder really are.
        let bends: Vec<f64> = pieces
            .iter()
            .zip(&trials)
            .filter_map(|(piece, trial)| Some(own_slope(piece, aim)? / trial.slope))
            .collect();
        let bend = if bends.is_empty() {
            1.0
        } else {
            bends.iter().sum::<f64>() / bends.len() as f64
        };
        for curve in &mut trials {
            curve.slope *= bend;
        }
        // How far real encodes are from what the trials say, by bytes.
        let (mut real, mut said) = (0.0, 0.0);
        for (piece, curve) in pieces.iter().zip(&trials) {
            if let Some((knob, bytes)) = piece.done {
                real += bytes as f64;
                said += curve.log_at(aim.axis.place(f64::from(knob))).exp();
            }
        }
        let moved = if said > 0.0 && real > 0.0 {
            (real / said).ln()
        } else {
            0.0
        };
        let curves = pieces
            .iter()
            .zip(trials)
            .map(|(piece, trial)| match piece.done {
                Some(done) => Curve {
                    knob: aim.axis.place(f64::from(done.0)),
                    log_bytes: log(done.1),
                    slope: own_slope(piece, aim).unwrap_or(trial.slope),
                },
                None => Curve {
                    log_bytes: trial.log_bytes + moved,
                    ..trial
                },
            })
            .collect();
        Self {
            aim,
            pieces,
            curves,
        }
    }

    fn place(&self, milli: u32) -> f64 {
        self.aim.axis.place(f64::from(milli))
    }

    /// Mean place of pieces that are done.
    fn mean_place(&self, pieces: &[Piece], of: &[usize]) -> f64 {
        let knobs = of.iter().filter_map(|&i| pieces[i].done);
        let (sum, count) = knobs.fold((0.0, 0.0), |(sum, count), (knob, _)| {
            (sum + self.place(knob), count + 1.0)
        });
        sum / f64::max(count, 1.0)
    }

    /// Bytes of a piece at a knob that the encoder knows: as seen, else as its curve says.
    fn bytes_at(&self, piece: usize, milli: u32) -> f64 {
        match self.pieces[piece].seen(milli) {
            Some(bytes) => bytes as f64,
            None => self.bytes(piece, self.place(milli)),
        }
    }

    fn knob_of(&self, piece: usize) -> f64 {
        self.curves[piece].knob
    }

    fn bytes(&self, piece: usize, knob: f64) -> f64 {
        self.curves[piece].log_at(knob).exp()
    }

    fn range(&self) -> (f64, f64) {
        (
            self.place(self.aim.range_milli.0),
            self.place(self.aim.range_milli.1),
        )
    }

    /// The one knob at which `pieces` come to `bytes`, or the end of the scale that is nearest.
    fn knob_for(&self, pieces: &[usize], bytes: f64) -> f64 {
        let (low, high) = self.range();
        bisect(low, high, |knob| {
            pieces.iter().map(|&i| self.bytes(i, knob)).sum::<f64>() > bytes
        })
    }

    /// The one change of their knobs at which `pieces` come to `bytes`.
    fn shift_for(&self, pieces: &[usize], bytes: f64) -> f64 {
        let (low, high) = self.range();
        let width = high - low;
        bisect(-width, width, |shift| {
            pieces
                .iter()
                .map(|&i| self.bytes(i, (self.knob_of(i) + shift).clamp(low, high)))
                .sum::<f64>()
                > bytes
        })
    }

    /// Knobs that the encoder can tell apart. What one piece gains by rounding, the next ones give back.
    fn round(&self, pieces: &[usize], wanted: &[f64]) -> Vec<(usize, u32)> {
        let (low, high) = self.aim.range_milli;
        let step = self.aim.step_milli.max(1);
        let mut owed = 0.0;
        pieces
            .iter()
            .zip(wanted)
            .map(|(&piece, &place)| {
                let ideal = self.bytes(piece, place.clamp(self.place(low), self.place(high)));
                let milli = self.aim.axis.milli(place).clamp(0.0, f64::from(high)) as u32;
                let better = (milli / step * step).clamp(low, high);
                let worse = (better + step).min(high);
                let miss = |k: u32| (owed + ideal - self.bytes_at(piece, k)).abs();
                let chosen = if miss(better) <= miss(worse) {
                    better
                } else {
                    worse
                };
                owed += ideal - self.bytes_at(piece, chosen);
                (piece, chosen)
            })
            .collect()
    }

    /// The change of one piece, or of two, that comes nearest to `missing` more bytes in all, and what would still be missing.
    /// For encoders with few steps, where a change of all overshoots.
    fn few_steps(&self, pieces: &[usize], missing: f64) -> Option<(Vec<(usize, u32)>, f64)> {
        let (low, high) = self.aim.range_milli;
        let step = self.aim.step_milli.max(1);
        let mut moves: Vec<(usize, u32, f64)> = Vec::new();
        for &i in pieces {
            let Some((now, bytes)) = self.pieces[i].done else {
                continue;
            };
            let near = (1..=MOST_STEPS).flat_map(|n| {
                [
                    now.checked_sub(n * step).filter(|&k| k >= low),
                    Some(now + n * step).filter(|&k| k <= high),
                ]
            });
            for milli in near.flatten() {
                let gain = self.bytes_at(i, milli) - bytes as f64;
                let grows = gain > 0.0 && self.pieces[i].capped;
                let jump = (gain / (bytes.max(1) as f64)).ln_1p().abs();
                if !grows && (jump <= MOST_CHANGE || milli.abs_diff(now) == step) {
                    moves.push((i, milli, gain));
                }
            }
        }
        let mut best: Option<(Vec<(usize, u32)>, f64)> = None;
        let mut offer = |knobs: Vec<(usize, u32)>, gain: f64| {
            let left = (missing - gain).abs();
            // A second piece must be worth its encode.
            let price = 1.0 + 0.5 * (knobs.len() - 1) as f64;
            if best.as_ref().is_none_or(|b| left * price < b.1) {
                best = Some((knobs, left));
            }
        };
        for (n, &(i, milli, gain)) in moves.iter().enumerate() {
            offer(vec![(i, milli)], gain);
            for &(j, other, more) in moves.iter().skip(n + 1).filter(|m| m.0 != i) {
                if (missing - gain - more).abs() < (missing - gain).abs() {
                    offer(
                        vec![
                            (i.min(j), if i < j { milli } else { other }),
                            (i.max(j), if i < j { other } else { milli }),
                        ],
                        gain + more,
                    );
                }
            }
        }
        best
    }
}

/// A better knob did not make this piece larger: a peak limit binds.
fn is_full(piece: &Piece, aim: &Aim) -> bool {
    let (Some(done), Some(before)) = (piece.done, piece.earlier.last()) else {
        return false;
    };
    let place = |milli: u32| aim.axis.place(f64::from(milli));
    let expected = (place(before.0) - place(done.0)) * aim.slope;
    expected > 2.0 * LEAST_APART && log(done.1) - log(before.1) < expected / 6.0
}

/// The slope that a piece's own real encodes show.
fn own_slope(piece: &Piece, aim: &Aim) -> Option<f64> {
    let done = piece.done?;
    let mut earlier = piece.earlier.iter().rev();
    earlier.find_map(|&earlier| Curve::through(earlier, done, aim))
}

fn trial_curve(piece: &Piece, aim: &Aim) -> Curve {
    match piece.trial.first() {
        Some(&first) => Curve {
            knob: aim.axis.place(f64::from(first.0)),
            log_bytes: log(first.1) - aim.trial_excess,
            slope: aim.slope,
        },
        // Nothing but its length: right in proportion, the first encodes tell the rest.
        None => Curve {
            knob: aim.axis.place(f64::from(aim.guess_milli)),
            log_bytes: f64::from(piece.rows.max(1)).ln() + aim.per_row(),
            slope: aim.slope,
        },
    }
}

/// The point where `too_much` turns from true to false, between `low` and `high`.
fn bisect(mut low: f64, mut high: f64, too_much: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if too_much(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}
