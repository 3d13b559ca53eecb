//! How Attempts end on make-believe Nodes: honestly, late, never, with a failure or with a lie.

use crate::faults::{Fault, Fired};
use crate::film::{self, Library};
use crate::rng::Rng;
use crate::schedule::{NodeDraw, Rates};
use recode_types::task::{AttemptOutcome, ChunkFacts, FailureClass, TaskResult, Work};
use recode_types::{Codec, Digest};

/// What decides it.
pub struct Fate<'a> {
    /// The run's.
    pub rng: &'a mut Rng,
    /// The run's.
    pub fired: &'a mut Fired,
    /// The run's.
    pub rates: Rates,
    /// The faults have stopped.
    pub calm: bool,
    /// The run's.
    pub library: &'a Library,
    /// Artifacts made so far: none is like another.
    pub made: &'a mut u64,
}

impl Fate<'_> {
    /// Whether an Attempt that begins now never ends by itself.
    pub fn hangs(&mut self) -> bool {
        let hangs = !self.calm && self.rng.chance(self.rates.hang);
        if hangs {
            self.fired.add(Fault::AttemptHung);
        }
        hangs
    }

    /// How long it takes otherwise.
    pub fn takes_ms(&mut self, work: &Work, draw: &NodeDraw) -> u64 {
        let (least, most) = match work {
            Work::Probe { deep: false, .. } => (100, 800),
            Work::Probe { deep: true, .. } | Work::Whole { .. } => (1_000, 6_000),
            Work::Encode(_) => (500, 6_000),
            Work::Trial(_) => (200, 1_500),
            Work::Audio { .. } | Work::Command { .. } | Work::CommandLine(_) => (500, 4_000),
            Work::Stitch(_) => (200, 2_000),
        };
        // A Node that is slow for some other reason is so no more when the faults have stopped.
        let slowness = match self.calm {
            true => draw.slowness.min(100),
            false => draw.slowness,
        };
        self.rng.within(least, most) * slowness / 100
    }

    /// What it ends with. `list`: the Chunks in a stored list, by its number.
    pub fn outcome(
        &mut self,
        draw: &NodeDraw,
        work: &Work,
        list: &dyn Fn(u64) -> Vec<ChunkFacts>,
    ) -> AttemptOutcome {
        let rates = self.rates;
        if draw.lacks_av1
            && let Work::Encode(work) | Work::Trial(work) = work
            && work
                .renditions
                .iter()
                .any(|r| r.rendition.codec == Codec::Av1)
        {
            return film::failed(FailureClass::MissingCapability);
        }
        if !self.calm && self.rng.chance(rates.fail) {
            self.fired.add(Fault::AttemptFailed);
            let class = self.rng.pick(&[
                FailureClass::Killed,
                FailureClass::Killed,
                FailureClass::Killed,
                FailureClass::OutOfResources,
                FailureClass::OutOfResources,
                FailureClass::Store,
                FailureClass::Store,
                FailureClass::Unknown,
                FailureClass::Unknown,
                FailureClass::IndexLied,
                FailureClass::MissingCapability,
                FailureClass::BadInput,
                FailureClass::SourceChanged,
                FailureClass::OutputExists,
            ]);
            return film::failed(class);
        }
        *self.made += 1;
        let honest = match work {
            Work::Stitch(stitch) => {
                let template = &self.library.templates[(stitch.facts.size_bytes >> 1) as usize];
                let chunks = list(stitch.chunks.size_bytes);
                film::stitch(stitch, &chunks, &template.request)
            }
            work => self.library.honest(work, *self.made),
        };
        if !self.calm
            && self.rng.chance(rates.lie)
            && let AttemptOutcome::Done { result, .. } = &honest
        {
            let lie = self.lie(work, result.clone());
            if lie != *result {
                self.fired.add(Fault::AttemptLied);
                return film::done(lie, 0);
            }
        }
        honest
    }

    /// Something that was not asked for.
    fn lie(&mut self, work: &Work, mut result: TaskResult) -> TaskResult {
        let draw = self.rng.below(10);
        match &mut result {
            TaskResult::Encoded { chunks } if !chunks.is_empty() => {
                let which = self.rng.index(chunks.len());
                let other = Digest([9; 32]);
                match draw {
                    0 => chunks.clear(),
                    // The bytes of another Segment, under its own name and under this one's.
                    1 => chunks[which].segment += 1,
                    2 => {
                        chunks[which].signature_first += 1;
                        chunks[which].signature_last += 1;
                    }
                    3 => chunks[which].address = other,
                    4 => chunks[which].output += 1,
                    5 => chunks[which].params = other,
                    6 => {
                        chunks.remove(which);
                    }
                    // Twice, and not alike.
                    7 => {
                        let mut twin = chunks[which].clone();
                        twin.params = other;
                        chunks.push(twin);
                    }
                    8 => {
                        let mut twin = chunks[which].clone();
                        twin.artifact = film::artifact(*self.made + 1_000_000);
                        chunks.push(twin);
                    }
                    _ => {
                        return TaskResult::Track {
                            artifact: film::artifact(*self.made),
                            payload_bytes: 1,
                        };
                    }
                }
            }
            TaskResult::Tried { points } => match draw {
                0..3 => points.clear(),
                3..5 => points.push(vec![(1, 1)]),
                5..7 => points.iter_mut().for_each(Vec::clear),
                7..9 => points.iter_mut().flatten().for_each(|p| p.1 = 0),
                _ => return TaskResult::Encoded { chunks: Vec::new() },
            },
            TaskResult::Stitched { output } => match draw {
                0..3 => output.output += 1,
                3..5 => {
                    return TaskResult::Revise {
                        violations: Vec::new(),
                    };
                }
                5..7 => {
                    return TaskResult::Revise {
                        violations: vec![(4_000_000, 500, 1_000)],
                    };
                }
                7..9 if matches!(work, Work::Stitch(_)) => {
                    let violations = vec![(self.rng.below(4) as u32, 500, 1_000)];
                    return TaskResult::Revise { violations };
                }
                _ => {
                    return TaskResult::Probed {
                        facts: film::artifact(0),
                    };
                }
            },
            TaskResult::Probed { .. } | TaskResult::Track { .. } if draw < 5 => {
                return TaskResult::Tried { points: Vec::new() };
            }
            _ => {}
        }
        result
    }
}
