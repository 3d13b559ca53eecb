//! One knob for many pieces: the arithmetic of global rate control, over plain numbers.
//!
//! The size of a piece falls exponentially with the knob. Its own encodes tell best where that curve lies; else its trial,
//! moved by how far the pieces that have both are from their trials; else its length.

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
}

/// What to reach, and with which knob.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// Sum of all pieces.
    pub target_bytes: u64,
    /// Frames of all pieces.
    pub rows: u32,
    /// Natural logarithm of the size ratio of one whole step, where nothing better is known.
    pub slope: f64,
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

/// The order of work: each set is encoded when the one before it is complete. Few pieces are one set; else a few spread over
/// the film to calibrate, most of the rest in one set or two, and a fifth to absorb what is left over.
pub fn sets(pieces: usize) -> Vec<Vec<usize>> {
    if pieces < 4 {
        return vec![(0..pieces).collect()];
    }
    let calibrate = spread(&(0..pieces).collect::<Vec<_>>(), (pieces / 8).clamp(1, 16));
    let rest: Vec<usize> = (0..pieces).filter(|i| !calibrate.contains(i)).collect();
    let last = spread(&rest, (pieces / 5).max(1));
    let most = rest.into_iter().filter(|i| last.binary_search(i).is_err());
    let most: Vec<usize> = most.collect();
    // With many pieces the larger part comes in two halves: what the first shows steers the second.
    let first = if pieces < 12 {
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

/// `count` of `from`, evenly spread.
fn spread(from: &[usize], count: usize) -> Vec<usize> {
    (0..count)
        .map(|k| from[(2 * k + 1) * from.len() / (2 * count)])
        .collect()
}

/// The next knobs. Every piece of an earlier set is done.
pub fn solve(pieces: &[Piece], aim: &Aim) -> Solution {
    let sets = sets(pieces.len());
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
                pieces[*i].done.is_some_and(|(done, _)| {
                    (f64::from(done) - knob).abs() * aim.slope / 1000.0 > FAR
                })
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
            let before = mean_knob(pieces, &sets[at - 1]);
            let most = MOST_CHANGE / aim.slope * 1000.0;
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
    let knobs: Vec<(usize, u32)> = model
        .round(&chosen, &wanted)
        .into_iter()
        .filter(|&(i, knob)| pieces[i].done.is_none_or(|d| d.0 != knob))
        .collect();
    let predicted: f64 = sum
        + knobs
            .iter()
            .map(|&(i, knob)| model.bytes(i, f64::from(knob)) - sizes[i])
            .sum::<f64>();
    let better = (predicted - aim.target_bytes as f64).abs() < missing.abs();
    if knobs.is_empty() || !better {
        return Solution::Stuck;
    }
    Solution::Knobs(knobs)
}

/// Mean knob of pieces that are done.
fn mean_knob(pieces: &[Piece], of: &[usize]) -> f64 {
    let knobs = of.iter().filter_map(|&i| pieces[i].done);
    let (sum, count) = knobs.fold((0.0, 0.0), |(sum, count), (knob, _)| {
        (sum + f64::from(knob), count + 1.0)
    });
    sum / f64::max(count, 1.0)
}

/// A curve: bytes at a knob, and how fast they fall.
#[derive(Clone, Copy, Debug)]
struct Curve {
    knob: f64,
    log_bytes: f64,
    /// Per thousandth of a step.
    slope: f64,
}

impl Curve {
    fn log_at(self, knob: f64) -> f64 {
        self.log_bytes - self.slope * (knob - self.knob)
    }

    /// Through two points, where they tell; a slope that no encoder has is noise.
    fn through(a: (u32, u64), b: (u32, u64), usual: f64) -> Option<f64> {
        let apart = f64::from(b.0) - f64::from(a.0);
        if apart.abs() < 100.0 {
            return None;
        }
        let slope = (log(a.1) - log(b.1)) / apart;
        Some(slope.clamp(usual / 3.0, usual * 3.0))
    }
}

fn log(bytes: u64) -> f64 {
    (bytes.max(1) as f64).ln()
}

struct Model<'a> {
    aim: &'a Aim,
    curves: Vec<Curve>,
}

impl<'a> Model<'a> {
    fn new(pieces: &[Piece], aim: &'a Aim) -> Self {
        let usual = aim.slope / 1000.0;
        let mut trials: Vec<Curve> = pieces.iter().map(|p| trial_curve(p, aim, usual)).collect();
        // Pieces that were encoded twice tell how steep the curves of this encoder really are.
        let bends: Vec<f64> = pieces
            .iter()
            .zip(&trials)
            .filter_map(|(piece, trial)| Some(own_slope(piece, usual)? / trial.slope))
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
                said += curve.log_at(f64::from(knob)).exp();
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
                    knob: f64::from(done.0),
                    log_bytes: log(done.1),
                    slope: own_slope(piece, usual).unwrap_or(trial.slope),
                },
                None => Curve {
                    log_bytes: trial.log_bytes + moved,
                    ..trial
                },
            })
            .collect();
        Self { aim, curves }
    }

    fn knob_of(&self, piece: usize) -> f64 {
        self.curves[piece].knob
    }

    fn bytes(&self, piece: usize, knob: f64) -> f64 {
        self.curves[piece].log_at(knob).exp()
    }

    fn range(&self) -> (f64, f64) {
        (
            f64::from(self.aim.range_milli.0),
            f64::from(self.aim.range_milli.1),
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
        let (low, high) = self.range();
        let step = f64::from(self.aim.step_milli.max(1));
        let mut owed = 0.0;
        pieces
            .iter()
            .zip(wanted)
            .map(|(&piece, &knob)| {
                let knob = knob.clamp(low, high);
                let ideal = self.bytes(piece, knob);
                let better = (knob / step).floor() * step;
                let worse = (better + step).min(high);
                let better = better.max(low);
                let miss = |k: f64| (owed + ideal - self.bytes(piece, k)).abs();
                let chosen = if miss(better) <= miss(worse) {
                    better
                } else {
                    worse
                };
                owed += ideal - self.bytes(piece, chosen);
                (piece, chosen.round() as u32)
            })
            .collect()
    }
}

/// The slope that a piece's own real encodes show.
fn own_slope(piece: &Piece, usual: f64) -> Option<f64> {
    let done = piece.done?;
    let mut earlier = piece.earlier.iter().rev();
    earlier.find_map(|&earlier| Curve::through(earlier, done, usual))
}

fn trial_curve(piece: &Piece, aim: &Aim, usual: f64) -> Curve {
    match (piece.trial.first(), piece.trial.last()) {
        (Some(&first), Some(&last)) => Curve {
            knob: f64::from(first.0),
            log_bytes: log(first.1),
            slope: Curve::through(first, last, usual).unwrap_or(usual),
        },
        // Nothing but its length: right in proportion, the first encodes tell the rest.
        _ => Curve {
            knob: f64::from(aim.guess_milli),
            log_bytes: f64::from(piece.rows.max(1)).ln() + aim.per_row(),
            slope: usual,
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
