//! Which Attempts a node that leaves still finishes, and which it gives back at once. Pure: time is an argument.
//!
//! Work in hand has the benefit of the doubt: an Attempt is given back as soon as it is clear that it will not be finished in
//! time, and everything that is left is given back at the end, so that others have it without waiting for silence. What is not
//! known (a probe, sound, the first Chunk of a Job) is kept until then.

use recode_types::{AttemptToken, JobId, TaskKey};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that the last words of a node need: what is left is given back so long before the deadline.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// An estimate may be wrong by this part of what remains: when some nodes leave at once, the others have the machine's cores, the
/// disk or the link to themselves. To keep what will not be finished costs a while, to give back what would have been costs all.
const DOUBT: f64 = 0.5;

/// How much a new measurement counts.
const WEIGHT: f64 = 0.3;

/// Kinds of Chunks whose pace is remembered: those of some Jobs at once, each with its groups and trials.
const MOST_PACES: usize = 64;

/// An Attempt in hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub token: AttemptToken,
    /// It fills a slot with an encoder.
    pub heavy: bool,
    /// Frames finished.
    pub frames: u64,
    /// Frames expected; 0 where not known.
    pub frames_total: u64,
    /// When it got its slot; `None`: it waits for one.
    pub began: Option<Instant>,
}

/// What makes Attempts alike in cost: the Job, a trial or not, the group of Renditions.
type Likeness = (JobId, bool, u16);

fn likeness(token: &AttemptToken) -> Option<Likeness> {
    match token.task.key {
        TaskKey::Encode { group, .. } => Some((token.task.job, false, group)),
        TaskKey::Trial { group, .. } => Some((token.task.job, true, group)),
        _ => None,
    }
}

/// How long Attempts take here, learned from those that finished.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    /// Seconds from slot to result for each frame; the newest last.
    learned: VecDeque<(Likeness, f64)>,
}

impl Paces {
    /// An Attempt has finished `took` after it got its slot.
    pub fn learn(&mut self, token: &AttemptToken, frames: u64, took: Duration) {
        let (Some(like), true) = (likeness(token), frames > 0) else {
            return;
        };
        let new = took.as_secs_f64() / frames as f64;
        let known = self.learned.iter().position(|(l, _)| *l == like);
        let pace = match known.and_then(|at| self.learned.remove(at)) {
            Some((_, old)) => old * (1.0 - WEIGHT) + new * WEIGHT,
            None => new,
        };
        self.learned.push_back((like, pace));
        if self.learned.len() > MOST_PACES {
            self.learned.pop_front();
        }
    }

    /// How long an Attempt takes from slot to result.
    fn whole(&self, one: &Standing) -> Option<Duration> {
        let like = likeness(&one.token)?;
        let pace = self.learned.iter().find(|(l, _)| *l == like)?.1;
        (one.frames_total > 0).then(|| Duration::from_secs_f64(pace * one.frames_total as f64))
    }

    /// When an Attempt that has its slot since `began` is likely to be finished. The pace of others like it knows of the
    /// frames that an encoder looks ahead and of the checks after it; its own pace shows that it is slower than they were.
    fn finished(&self, one: &Standing, began: Instant, now: Instant) -> Option<Instant> {
        let like_others = self.whole(one).map(|whole| began + whole);
        if like_others.is_some_and(|at| at > now) {
            return like_others;
        }
        if one.frames == 0 || one.frames_total == 0 {
            return None;
        }
        let spent = now.saturating_duration_since(began).as_secs_f64();
        let left = one.frames_total.saturating_sub(one.frames);
        let left = spent / one.frames as f64 * left as f64;
        // An encoder looks ahead: frames that it has read and not written yet come at once in the end.
        let most = like_others.map_or(f64::INFINITY, |_| spent / 2.0);
        Some(now + Duration::from_secs_f64(left.min(most)))
    }
}

/// Attempts to give back now, of a node with `slots` for heavy ones that must be gone at `deadline`.
pub fn given_up(
    held: &[Standing],
    paces: &Paces,
    slots: usize,
    deadline: Instant,
    now: Instant,
) -> Vec<AttemptToken> {
    if now + LAST_WORDS >= deadline {
        return held.iter().map(|one| one.token).collect();
    }
    let late = |at: Instant| {
        let doubt = at.saturating_duration_since(now).mul_f64(DOUBT);
        at > deadline - LAST_WORDS + doubt
    };
    let mut given_up = Vec::new();
    // When each slot is free again; `None`: nobody knows.
    let mut free: Vec<Option<Instant>> = vec![Some(now); slots];
    for one in held.iter().filter(|one| one.heavy) {
        let Some(began) = one.began else { continue };
        let at = paces.finished(one, began, now);
        if at.is_some_and(late) {
            given_up.push(one.token);
        } else if let Some(slot) = free.iter_mut().find(|at| **at == Some(now)) {
            *slot = at;
        }
    }
    for one in held.iter().filter(|one| one.heavy && one.began.is_none()) {
        let Some(slot) = free.iter_mut().filter(|at| at.is_some()).min() else {
            continue;
        };
        let at = slot.zip(paces.whole(one)).map(|(at, whole)| at + whole);
        if at.is_some_and(late) {
            given_up.push(one.token);
        } else {
            *slot = at;
        }
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::TaskId;

    fn of(segment: u32) -> AttemptToken {
        let key = TaskKey::Encode { group: 0, segment };
        AttemptToken {
            task: TaskId { job: JobId(1), key },
            attempt: 1,
        }
    }

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// Chunks of 100 frames that take 10 s.
    fn paces() -> Paces {
        let mut paces = Paces::default();
        paces.learn(&of(99), 100, seconds(10.0));
        paces
    }

    /// Segment, seconds since it got its slot, frames done.
    fn held(all: &[(u32, Option<f64>, u64)], now: Instant) -> Vec<Standing> {
        let one = |&(segment, since, frames): &(u32, Option<f64>, u64)| Standing {
            token: of(segment),
            heavy: true,
            frames,
            frames_total: 100,
            began: since.map(|s| now - seconds(s)),
        };
        all.iter().map(one).collect()
    }

    fn check(all: &[(u32, Option<f64>, u64)], paces: &Paces, left: f64, expected: &[u32]) {
        let now = Instant::now() + seconds(1000.0);
        let back = given_up(&held(all, now), paces, 2, now + seconds(left), now);
        let expected: Vec<_> = expected.iter().map(|s| of(*s)).collect();
        assert_eq!(back, expected, "{left} s before the end");
    }

    #[test]
    fn what_can_be_finished_is_kept_and_the_rest_goes_at_once() {
        let two = [(0, Some(8.0), 70), (1, Some(1.0), 5)];
        check(&two, &paces(), 11.0, &[]);
        check(&two, &paces(), 5.0, &[1]);
        check(&two, &paces(), 1.5, &[0, 1]);
    }

    #[test]
    fn a_prepared_one_counts_from_the_slot_that_is_free_first() {
        let three = [(0, Some(8.0), 70), (1, Some(1.0), 5), (2, None, 0)];
        check(&three, &paces(), 14.0, &[]);
        check(&three, &paces(), 6.0, &[2]);
        let four = [
            (0, Some(8.0), 70),
            (1, Some(1.0), 5),
            (2, None, 0),
            (3, None, 0),
        ];
        check(&four, &paces(), 10.0, &[3]);
    }

    #[test]
    fn one_that_is_slower_than_others_were_is_judged_by_its_own_pace() {
        check(&[(0, Some(20.0), 90)], &paces(), 5.0, &[]);
        check(&[(0, Some(20.0), 50)], &paces(), 5.0, &[0]);
    }

    #[test]
    fn what_is_not_known_is_kept_until_the_last_words() {
        let unknown = [(0, Some(5.0), 0), (1, None, 0)];
        check(&unknown, &Paces::default(), 1.5, &[]);
        check(&unknown, &Paces::default(), 1.0, &[0, 1]);
        let now = Instant::now();
        let probe = Standing {
            token: AttemptToken {
                task: TaskId {
                    job: JobId(1),
                    key: TaskKey::Probe { deep: false },
                },
                attempt: 1,
            },
            heavy: false,
            frames: 0,
            frames_total: 0,
            began: None,
        };
        let left = |s| given_up(&[probe], &paces(), 2, now + seconds(s), now).len();
        assert_eq!((left(1.5), left(0.5)), (0, 1));
    }

    #[test]
    fn paces_follow_and_are_not_kept_for_ever() {
        let mut paces = paces();
        paces.learn(&of(1), 100, seconds(20.0));
        let one = held(&[(2, None, 0)], Instant::now())[0];
        assert_eq!(paces.whole(&one), Some(seconds(13.0)));
        for job in 2..200 {
            let mut token = of(0);
            token.task.job = JobId(job);
            paces.learn(&token, 1, seconds(1.0));
        }
        assert_eq!(paces.learned.len(), MOST_PACES);
        assert_eq!(paces.whole(&one), None);
    }
}
