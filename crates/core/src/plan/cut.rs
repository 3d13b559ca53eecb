//! Cuts the source timeline into Segments that can be encoded independently.
//!
//! Two costs pull against each other. A cut costs bits (an extra key frame where the encoder would have made none) and,
//! inside a GOP of the Source, decode time (a pre-roll from the key frame before it). A long Segment costs idle cores at the
//! end of a Job, when some finish before others. So: Segments of about ten seconds on the Source's key frames, few in short
//! films, and towards the end ever smaller ones that fill the gaps. Which Nodes exist plays no part: the same Job gives the
//! same bytes anywhere.

mod order;
mod spread;

pub use order::order;
pub use spread::Share;

use super::{PlanError, PlanPolicy};
use recode_types::source::ReadMode;
use recode_types::{FrameTable, JobRequest, Rational, Segment, SegmentLength, SourceFacts};
use std::ops::Range;

const MICRO: Rational = Rational::new(1, 1_000_000);

/// How long Segments are when nothing is asked, and what a cut inside a GOP may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct CutPolicy {
    /// Below this length a film is one Segment.
    pub unsplit_ms: u64,
    /// Films up to `pieces` times `usual_ms` get about this many equal Segments, fewer if these were shorter than
    /// `unsplit_ms`.
    pub pieces: u64,
    /// Length of Segments of films that are a little longer.
    pub usual_ms: u64,
    /// Length of Segments of long films.
    pub longest_ms: u64,
    /// Towards the end a Segment takes one part in so many of what is left.
    pub tail_part: u64,
    /// Smallest Segments at the end of long films.
    pub tail_ms: u64,
    /// Frames decoded only to reach cuts inside GOPs, in percent of all frames, when no length is asked.
    pub preroll_percent: u64,
    /// The same where a length is asked.
    pub preroll_percent_asked: u64,
    /// Lengths for very many Nodes, longest first, and what part of the film each gets: together all of it.
    pub spread: Vec<Share>,
    /// In shorter films the lengths of `spread` are shorter in proportion.
    pub spread_ms: u64,
}

impl Default for CutPolicy {
    fn default() -> Self {
        Self {
            unsplit_ms: 2_500,
            pieces: 4,
            usual_ms: 8_000,
            longest_ms: 12_000,
            tail_part: 3,
            tail_ms: 1_200,
            preroll_percent: 100,
            preroll_percent_asked: 800,
            spread: spread::usual(),
            spread_ms: 120_000,
        }
    }
}

/// What decides the length of Segments of one Job.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Wish {
    /// How long they are to be.
    pub length: SegmentLength,
    /// Boundaries fall on multiples of this only.
    pub grid: Option<Grid>,
    /// The encoder's own longest key frame distance in rows: a cut there costs no extra key frame.
    pub usual_gop_rows: Option<u32>,
    /// The Source is decoded from its start for every Segment: so many Segments at most, key frames do not matter.
    pub linear: Option<u32>,
    /// Cuts at key frames of the Source only: where the other frames are is a guess.
    pub keys_only: bool,
    /// No Segment is shorter, unless the film is: of a few frames a minute each Segment must have one.
    pub least_ms: u64,
}

/// A fixed distance of key frames in the Output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Every so many frames of the Source.
    Rows(u32),
    /// Every so many seconds: the frame rate is converted.
    Seconds(Rational),
}

impl Wish {
    /// What a request wants of its Segments.
    pub fn of(request: &JobRequest, facts: &SourceFacts, policy: &PlanPolicy) -> Self {
        let mut wish = Self {
            length: request.segment,
            linear: (facts.read_mode == ReadMode::Linear).then_some(policy.linear_segments.max(1)),
            keys_only: facts.rows_estimated,
            ..Self::default()
        };
        for rendition in request.outputs.iter().map(|o| &o.rendition) {
            let Some(encoder) = super::encoder::named(&rendition.encoder) else {
                continue;
            };
            if let Some(fps) = rendition.fps.filter(|fps| fps.num > 0) {
                let two_frames = (2000 * i128::from(fps.den) / i128::from(fps.num)) as u64;
                wish.least_ms = wish.least_ms.max(two_frames);
            }
            match (rendition.gop, rendition.fps) {
                (Some(gop), None) => {
                    // Two grids meet on their common multiples.
                    let rows = match wish.grid {
                        Some(Grid::Rows(other)) => lcm(gop, other),
                        _ => gop,
                    };
                    if !matches!(wish.grid, Some(Grid::Seconds(_))) {
                        wish.grid = Some(Grid::Rows(rows));
                    }
                }
                (Some(gop), Some(fps)) if fps.num > 0 => {
                    wish.grid = Some(Grid::Seconds(Rational::new(
                        i64::from(gop) * fps.den,
                        fps.num,
                    )));
                }
                _ => wish.usual_gop_rows = wish.usual_gop_rows.max(Some(encoder.usual_gop)),
            }
        }
        wish
    }
}

/// Least common multiple, the larger one where that overflows.
fn lcm(a: u32, b: u32) -> u32 {
    let gcd = recode_types::time::gcd(a.into(), b.into()).max(1) as u32;
    (a / gcd).checked_mul(b).unwrap_or(a.max(b))
}

/// PTS of a row, or one past the last frame for the row after it.
pub(super) fn pts_at(table: &FrameTable, row: usize) -> i64 {
    table
        .rows
        .get(row)
        .map_or_else(|| table.end_pts(), |row| row.pts)
}

/// PTS of the first wanted frame and one past the last, in ticks of the table. Where rows are estimates these are the times
/// that were asked for, since no frame may be lost to a guess.
pub(super) fn wanted_span(
    facts: &SourceFacts,
    table: &FrameTable,
    request: &JobRequest,
    rows: &Range<usize>,
) -> (i64, i64) {
    let (mut start, mut end) = (pts_at(table, rows.start), pts_at(table, rows.end));
    if facts.rows_estimated {
        let at = |offset_us: i64| {
            MICRO.rescale(facts.start_us.saturating_add(offset_us), table.time_base)
        };
        let start_us = request.start_us.unwrap_or(0);
        if request.start_us.is_some() && rows.start > 0 {
            start = at(start_us);
        }
        if let Some(duration) = request.duration_us.filter(|_| rows.end < table.rows.len()) {
            end = at(start_us.saturating_add(duration));
        }
    }
    (start, end)
}

/// Rows of the wanted part of the Source, which is counted from the Source's start as FFmpeg's `-ss` and `-t` do.
/// # Errors
/// [`PlanError::NothingWanted`].
pub fn wanted_rows(
    facts: &SourceFacts,
    table: &FrameTable,
    request: &JobRequest,
) -> Result<Range<usize>, PlanError> {
    let at =
        |offset_us: i64| MICRO.rescale(facts.start_us.saturating_add(offset_us), table.time_base);
    let start_us = request.start_us.unwrap_or(0);
    let first = match request.start_us {
        Some(start) => {
            let start = at(start);
            table.rows.partition_point(|row| row.pts < start)
        }
        None => 0,
    };
    let end = match request.duration_us {
        Some(duration) => {
            let end = at(start_us.saturating_add(duration));
            table.rows.partition_point(|row| row.pts < end)
        }
        None => table.rows.len(),
    };
    if first < end {
        return Ok(first..end);
    }
    let seconds =
        (i128::from(table.end_pts()) - i128::from(at(0))) as f64 * table.time_base.as_f64();
    Err(PlanError::NothingWanted {
        seconds: format!("{seconds:.3}"),
    })
}

/// Cuts `wanted` rows of a table.
/// # Shape
/// Non-empty, sorted, contiguous, covering `wanted` exactly; the same for any set of nodes.
/// # Units
/// PTS in the table's time base; spans are half-open. The asked length is a wish, not a bound: key frames of the Source
/// decide, except inside a GOP that is much longer, where a cut pays a pre-roll. With a grid every boundary is on it.
/// Where only key frames are known every boundary is one.
/// # Panics
/// When `wanted` is empty or goes beyond the table.
pub fn cut(
    table: &FrameTable,
    wanted: Range<usize>,
    wish: &Wish,
    policy: &CutPolicy,
) -> Vec<Segment> {
    assert!(
        !wanted.is_empty() && wanted.end <= table.rows.len(),
        "the wanted rows are rows of the table"
    );
    let film = Film::new(table, wanted, wish);
    let mut bounds = match wish.linear {
        Some(most) => film.equal_parts(wish, policy, most),
        None => film.by_cost(wish, policy),
    };
    film.join_short(&mut bounds, wish.least_ms as f64);
    bounds
        .windows(2)
        .enumerate()
        .map(|(index, pair)| Segment {
            index: index as u32,
            first_row: (film.first + pair[0]) as u32,
            rows: (pair[1] - pair[0]) as u32,
            start_pts: film.pts(pair[0]),
            end_pts: film.pts(pair[1]),
        })
        .collect()
}

/// The wanted rows, numbered from 0.
struct Film<'a> {
    table: &'a FrameTable,
    first: usize,
    rows: usize,
    /// Rows where a decoder can start.
    keys: Vec<usize>,
    /// Row positions of a grid that follows time; for a grid of rows arithmetic does.
    grid: Option<GridRows>,
    ticks_per_ms: f64,
}

enum GridRows {
    Every(usize),
    At(Vec<usize>),
}

/// A cut inside a GOP, where no length is asked: an extra key frame. In units of squared relative deviation.
const INSIDE: f64 = 0.5;
/// The same for the small Segments at the end: there a cut buys more.
const INSIDE_TAIL: f64 = 0.2;
/// The same where a length is asked.
const INSIDE_ASKED: f64 = 0.08;
/// Pre-roll as long as the wanted Segment.
const PREROLL: f64 = 0.05;

impl<'a> Film<'a> {
    fn new(table: &'a FrameTable, wanted: Range<usize>, wish: &Wish) -> Self {
        let first = wanted.start;
        let rows = wanted.len();
        let keys = (0..rows).filter(|&r| table.rows[first + r].key).collect();
        let mut film = Self {
            table,
            first,
            rows,
            keys,
            grid: None,
            ticks_per_ms: 1.0 / (table.time_base.as_f64() * 1000.0),
        };
        film.grid = wish.grid.map(|grid| match grid {
            Grid::Rows(every) => GridRows::Every(every.max(1) as usize),
            Grid::Seconds(step) => GridRows::At(film.rows_at(step)),
        });
        if wish.keys_only {
            let on_grid = |row: &usize| match &film.grid {
                None => true,
                Some(GridRows::Every(every)) => row.is_multiple_of(*every),
                Some(GridRows::At(rows)) => rows.binary_search(row).is_ok(),
            };
            let inner = film.keys.iter().copied().filter(|row| *row > 0);
            film.grid = Some(GridRows::At(inner.filter(on_grid).collect()));
        }
        film
    }

    /// The last row at or before each multiple of `step` seconds: the first output frame at or after it is on the grid.
    fn rows_at(&self, step: Rational) -> Vec<usize> {
        let start = self.pts(0);
        let mut out = Vec::new();
        for k in 1.. {
            let Some(seconds) = step.num.checked_mul(k) else {
                break;
            };
            let offset = Rational::new(seconds, step.den).rescale(1, self.table.time_base);
            let at = start.saturating_add(offset);
            if at >= self.pts(self.rows) {
                break;
            }
            let row = self.row_at(at.saturating_add(1)).saturating_sub(1);
            if row > 0 && out.last() != Some(&row) {
                out.push(row);
            }
        }
        out
    }

    fn pts(&self, row: usize) -> i64 {
        if row == self.rows && self.first + row == self.table.rows.len() {
            return self.table.end_pts();
        }
        self.table.rows[self.first + row].pts
    }

    /// The first row at or after a time.
    fn row_at(&self, pts: i64) -> usize {
        self.table.rows[self.first..self.first + self.rows].partition_point(|row| row.pts < pts)
    }

    /// Distance of two rows in milliseconds; for choices only, timestamps stay integers.
    fn ms(&self, from: usize, to: usize) -> f64 {
        (self.pts(to) - self.pts(from)) as f64 / self.ticks_per_ms
    }

    fn row_after(&self, from: usize, ms: f64) -> usize {
        self.row_at(
            self.pts(from)
                .saturating_add((ms * self.ticks_per_ms) as i64),
        )
        .clamp(from + 1, self.rows)
    }

    /// Rows to decode before a cut at `row`: from the key frame at or before it.
    fn preroll(&self, row: usize) -> usize {
        let before = self.keys.partition_point(|&key| key <= row);
        row - before.checked_sub(1).map_or(0, |i| self.keys[i])
    }

    fn is_key(&self, row: usize) -> bool {
        self.keys.binary_search(&row).is_ok()
    }

    fn equal_parts(&self, wish: &Wish, policy: &CutPolicy, most: u32) -> Vec<usize> {
        let total = self.ms(0, self.rows);
        let parts = match wish.length.millis() {
            Some(ms) => (total / ms as f64).round() as usize,
            None if total < policy.unsplit_ms as f64 * 2.0 => 1,
            None => most as usize,
        }
        .clamp(1, most as usize)
        .min(self.rows);
        let mut bounds: Vec<usize> = (0..=parts).map(|i| self.rows * i / parts).collect();
        for bound in &mut bounds[1..parts] {
            *bound = self.nearest_grid_row(*bound);
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }

    /// Takes cuts out until no Segment is shorter than `least` milliseconds.
    fn join_short(&self, bounds: &mut Vec<usize>, least: f64) {
        let mut at = 0;
        bounds.retain(|&bound| {
            let keep = bound == 0 || bound == self.rows || self.ms(at, bound) >= least;
            if keep {
                at = bound;
            }
            keep
        });
        // What is left at the end goes to the Segment before it.
        while let [.., before, end] = bounds[..]
            && before > 0
            && self.ms(before, end) < least
        {
            bounds.remove(bounds.len() - 2);
        }
    }

    fn nearest_grid_row(&self, row: usize) -> usize {
        match &self.grid {
            None => row,
            Some(GridRows::Every(every)) => {
                let snapped = (row + every / 2) / every * every;
                if snapped >= self.rows { 0 } else { snapped }
            }
            Some(GridRows::At(rows)) => rows
                .iter()
                .copied()
                .min_by_key(|r| r.abs_diff(row))
                .unwrap_or(0),
        }
    }

    /// Longer and longer Segments until the pre-roll is sane.
    fn by_cost(&self, wish: &Wish, policy: &CutPolicy) -> Vec<usize> {
        let percent = if wish.length.millis().is_some() {
            policy.preroll_percent_asked
        } else {
            policy.preroll_percent
        };
        let most = (self.rows as u64).saturating_mul(percent) / 100;
        let one_gop = self.keys.iter().all(|&key| key == 0);
        let long = self.ms(0, self.rows) > (policy.unsplit_ms * policy.pieces) as f64;
        if one_gop
            && long
            && wish.length.millis().is_none()
            && self.grid.is_none()
            && self.rows >= 10
        {
            // One to two to three to four: the pre-roll is one more decode of the film in all, and two workers or three
            // finish together.
            return [0, 1, 3, 6, 10]
                .map(|tenth| self.rows * tenth / 10)
                .to_vec();
        }
        let mut stretch = 1.0;
        loop {
            let mut bounds = match wish.length {
                SegmentLength::Spread => self.spread(policy, stretch),
                SegmentLength::Usual | SegmentLength::Millis(_) => {
                    self.attempt(wish, policy, stretch)
                }
            };
            self.small_first(&mut bounds, wish);
            let preroll: usize = bounds[1..bounds.len() - 1]
                .iter()
                .map(|&b| self.preroll(b))
                .sum();
            if bounds.len() == 2 || preroll as u64 <= most {
                return bounds;
            }
            stretch *= 1.3;
        }
    }

    /// The length wanted of a Segment when `left` milliseconds are left of `total`.
    fn wanted_ms(&self, wish: &Wish, policy: &CutPolicy, total: f64, left: f64) -> f64 {
        if let Some(asked) = wish.length.millis() {
            return asked as f64;
        }
        let usual = policy.usual_ms as f64;
        let pieces = policy.pieces as f64;
        if total <= usual * pieces {
            return total
                / (total / policy.unsplit_ms as f64)
                    .floor()
                    .clamp(2.0, pieces);
        }
        let long = (total / (pieces + 2.0)).clamp(usual, policy.longest_ms as f64);
        let least = (total / 30.0).clamp(1000.0, policy.tail_ms as f64);
        (left / policy.tail_part as f64).clamp(least, long)
    }

    fn attempt(&self, wish: &Wish, policy: &CutPolicy, stretch: f64) -> Vec<usize> {
        let total = self.ms(0, self.rows);
        if wish.length.millis().is_none() && total < policy.unsplit_ms as f64 {
            return vec![0, self.rows];
        }
        let (mut bounds, mut at) = (vec![0], 0);
        loop {
            let left = self.ms(at, self.rows);
            let usual = self.wanted_ms(wish, policy, total, total);
            let wanted = self.wanted_ms(wish, policy, total, left);
            let inside = match wish.length.millis() {
                Some(_) => INSIDE_ASKED,
                None if wanted < usual => INSIDE_TAIL,
                None => INSIDE,
            };
            let wanted = (wanted * stretch).max(1e-6);
            // No runt: what is left beyond one Segment must be worth another.
            if left < wanted * 1.5 {
                break;
            }
            let Some(next) = self.best_cut(at, wanted, left, inside, wish) else {
                break;
            };
            bounds.push(next);
            at = next;
        }
        bounds.push(self.rows);
        bounds
    }

    /// The cheapest cut after `at`; `None`: the rest is best left in one piece.
    fn best_cut(
        &self,
        at: usize,
        wanted: f64,
        left: f64,
        inside: f64,
        wish: &Wish,
    ) -> Option<usize> {
        let from = self.row_after(at, wanted * 0.5);
        let until = self.row_after(at, (wanted * 2.0).min(left - wanted * 0.4));
        let cost = |row: usize| {
            let off = self.ms(at, row) / wanted - 1.0;
            // On a grid the Output has a key frame there anyway.
            let inside = if self.is_key(row) || self.grid.is_some() {
                0.0
            } else {
                inside
            };
            let preroll = self.ms(row - self.preroll(row), row) / wanted * PREROLL;
            off * off + inside + preroll
        };
        let mut best: Option<(f64, usize)> = None;
        let mut consider = |row: usize| {
            if row > at && row < self.rows {
                let cost = cost(row);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, row));
                }
            }
        };
        match &self.grid {
            Some(GridRows::Every(every)) => {
                let first = from.div_ceil(*every).max(at / every + 1);
                // The next grid row counts even where it lies beyond the window: the grid is a promise.
                let last = (until / every).max(first).min(first + 4096);
                (first..=last).for_each(|k| consider(k * every));
            }
            Some(GridRows::At(rows)) => {
                let first = rows.partition_point(|&r| r < from);
                let last = rows.partition_point(|&r| r <= until).max(first + 1);
                rows[first..last.min(rows.len())]
                    .iter()
                    .for_each(|&row| consider(row));
            }
            None => {
                let first = self.keys.partition_point(|&k| k < from);
                let last = self.keys.partition_point(|&k| k <= until);
                self.keys[first..last].iter().for_each(|&row| consider(row));
                consider(self.inside_cut(at, wanted, wish));
            }
        }
        best.map(|(_, row)| row)
    }

    /// Where to cut when no key frame decides: at the wanted length, or, where none is asked, at a multiple of the
    /// encoder's own key frame distance near it.
    fn inside_cut(&self, at: usize, wanted: f64, wish: &Wish) -> usize {
        let row = self.row_after(at, wanted);
        let (None, Some(gop)) = (wish.length.millis(), wish.usual_gop_rows) else {
            return row;
        };
        let gop = gop.max(1) as usize;
        let length = row - at;
        let snapped = ((length + gop / 2) / gop).max(1) * gop;
        if snapped.abs_diff(length) * 3 <= length && at + snapped < self.rows {
            at + snapped
        } else {
            row
        }
    }

    /// Pieces of one GOP in rising length: the cuts come to lie near its key frame, where the pre-roll is short. Which
    /// piece is encoded when does not follow from its place.
    fn small_first(&self, bounds: &mut [usize], wish: &Wish) {
        if self.grid.is_some() || wish.length.millis().is_some() {
            return;
        }
        let mut start = 0;
        while start + 1 < bounds.len() {
            // A run of pieces without a key frame inside, except at its start.
            let from = bounds[start];
            let next_key = self
                .keys
                .get(self.keys.partition_point(|&k| k <= from))
                .copied()
                .unwrap_or(self.rows);
            let mut end = start + 1;
            while end + 1 < bounds.len() && bounds[end + 1] <= next_key {
                end += 1;
            }
            if bounds[end] <= next_key && end > start + 1 {
                let mut lengths: Vec<usize> = bounds[start..=end]
                    .windows(2)
                    .map(|pair| pair[1] - pair[0])
                    .collect();
                lengths.sort_unstable();
                for (i, length) in lengths.iter().enumerate() {
                    bounds[start + i + 1] = bounds[start + i] + length;
                }
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests;
