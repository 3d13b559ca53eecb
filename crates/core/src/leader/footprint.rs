//! How much memory Tasks are likely to need: counted from what is known of their pictures, and corrected by what such work took.
//!
//! Counted once for all Tasks of a Job that are alike, not for each. A choice of the Leader: who placed by it wrongly has placed
//! too many or too few, and the node waits until what it was given fits.

use super::Registry;
use crate::State;
use crate::machine::{Job, ReadyTask};
use crate::schedule::{Class, FreeNode, Held};
use recode_types::footprint::{self, Beside, Effort, Encoded, Picture};
use recode_types::rendition::Scale;
use recode_types::task::{AttemptOutcome, FailureClass};
use recode_types::{AttemptToken, JobId, NodeId, TaskKey};
use std::collections::BTreeMap;

/// What heavy work is taken to need of whose pictures nothing is known: an encode of 1080p gets by with it.
const UNKNOWN: u64 = 1_000_000_000;

/// What is left beside the most that such work took: content differs.
const MARGIN: f64 = 1.1;

/// Encoders hold so many frames at most, so a Segment of as many shows all that they take.
const SHOWS_ALL: u32 = 150;

/// Kinds of work that are remembered.
const MOST: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Footprints {
    /// What is counted for work of a Class in a Job, where the pictures of its Source are known.
    counted: BTreeMap<(JobId, Class), u64>,
    /// The most that work of a Class took, as a part of what was counted.
    learned: BTreeMap<Class, f64>,
}

impl Footprints {
    /// What was counted may be another now.
    pub(super) fn forget(&mut self) {
        self.counted.clear();
    }

    /// Whether it was counted with the pictures of the Job's Source.
    pub(super) fn knows(&self, job: JobId, class: Class) -> bool {
        self.counted.contains_key(&(job, class))
    }

    fn count(&mut self, job: JobId, class: Class, need: u64) {
        if self.counted.len() >= MOST {
            self.counted.clear();
        }
        self.counted.insert((job, class), need);
    }

    /// What such work is likely to take for which so much was counted.
    fn likely(&self, class: Class, counted: u64) -> u64 {
        let learned = self.learned.get(&class);
        learned.map_or(counted, |part| (counted as f64 * part * MARGIN) as u64)
    }

    /// Work that `counted` so much took `peak`. `least`: it takes more as a rule.
    fn learn(&mut self, class: Class, counted: u64, peak: u64, least: bool) {
        let part = peak as f64 / counted.max(1) as f64;
        if least && part <= 1.0 {
            return;
        }
        if self.learned.len() >= MOST && !self.learned.contains_key(&class) {
            self.learned.pop_first();
        }
        let most = self.learned.entry(class).or_insert(part);
        *most = most.max(part);
    }
}

/// Says of each heavy Task how much memory it is likely to need, where any of `nodes` is limited by that. `picture`: of the Source
/// of a Job; `None`: it is not known yet.
pub fn weigh(
    registry: &mut Registry,
    state: &State,
    tasks: &mut [ReadyTask],
    nodes: &[FreeNode],
    picture: impl Fn(JobId) -> Option<Picture>,
) {
    if nodes.iter().all(|node| node.memory.is_none()) {
        return;
    }
    let mut guessed = BTreeMap::new();
    for task in tasks.iter_mut().filter(|task| task.heavy) {
        let (id, class) = (task.id.job, task.class);
        let known = registry.footprints.counted.get(&(id, class));
        let counted = match known.or_else(|| guessed.get(&(id, class))) {
            Some(counted) => *counted,
            None => {
                let Some(job) = state.jobs.get(&id) else {
                    continue;
                };
                let picture = picture(id);
                let counted = count(registry, job, task.id.key, picture.as_ref());
                match picture {
                    Some(_) => registry.footprints.count(id, class, counted),
                    None => drop(guessed.insert((id, class), counted)),
                }
                counted
            }
        };
        task.memory_bytes = registry.footprints.likely(class, counted);
    }
}

/// How the scheduler counts an Attempt that was granted before, by a Leader before or by this one.
pub fn held_of(
    registry: &mut Registry,
    state: &State,
    token: AttemptToken,
    picture: impl Fn(JobId) -> Option<Picture>,
) -> Held {
    let Some(job) = state.jobs.get(&token.task.job) else {
        return Held::default();
    };
    let task = job.describe(token.task.key);
    let mut held = task.held();
    if task.heavy {
        let picture = picture(job.id);
        let counted = count(registry, job, task.id.key, picture.as_ref());
        held.memory_bytes = registry.footprints.likely(task.class, counted);
    }
    held
}

/// Learns from what an Attempt took. To be asked before the Attempt is no longer known to be held.
pub fn learn(
    registry: &mut Registry,
    state: &State,
    node: NodeId,
    token: &AttemptToken,
    outcome: &AttemptOutcome,
) {
    let Some(class) = registry.fleet.held(node, token).map(|held| held.class) else {
        return;
    };
    let Some(counted) = registry.footprints.counted.get(&(token.task.job, class)) else {
        return;
    };
    let (peak, killed) = match outcome {
        AttemptOutcome::Done { result, usage } if !result.is_reused() => {
            (usage.peak_rss_bytes, false)
        }
        AttemptOutcome::Failed { failure, usage } => {
            let killed = failure.class == FailureClass::OutOfResources;
            (if killed { usage.peak_rss_bytes } else { 0 }, true)
        }
        AttemptOutcome::Done { .. } => return,
    };
    let rows = |job: &Job| {
        let segment = match token.task.key {
            TaskKey::Encode { segment, .. } | TaskKey::Trial { segment, .. } => segment,
            _ => return None,
        };
        Some(job.run()?.plan.segments.get(segment as usize)?.rows)
    };
    let rows = state.jobs.get(&token.task.job).and_then(rows);
    // A later Attempt may have found a part of it done.
    let shows_all = token.attempt == 1 && rows.is_some_and(|rows| rows >= SHOWS_ALL);
    if peak > 0 && (killed || shows_all) {
        let counted = *counted;
        registry.footprints.learn(class, counted, peak, killed);
    }
}

/// What a heavy Task is likely to need, as far as can be told beforehand.
fn count(registry: &Registry, job: &Job, key: TaskKey, source: Option<&Picture>) -> u64 {
    let outputs = job.outputs_of(key);
    let Some(run) = job.run().filter(|_| !outputs.is_empty()) else {
        return UNKNOWN;
    };
    let planned = outputs
        .iter()
        .filter_map(|o| run.plan.outputs.get(usize::from(*o)));
    let renditions = planned.map(|planned| &planned.output.rendition);
    let encoded: Vec<Encoded<'_>> = renditions
        .map(|rendition| {
            let own = source.cloned().unwrap_or_default();
            let size = match rendition.scale {
                Scale::Exact { width, height } => (width, height),
                _ => own.size,
            };
            Encoded {
                encoder: &rendition.encoder,
                effort: Effort::of(rendition),
                picture: Picture {
                    size,
                    pix_fmt: rendition.pix_fmt.clone().unwrap_or(own.pix_fmt),
                },
            }
        })
        .collect();
    // Pictures are seldom enlarged: the Source has at least those of the largest Output.
    let largest = || {
        let pictures = encoded.iter().map(|one| one.picture.clone());
        pictures.max_by_key(Picture::bytes).unwrap_or_default()
    };
    let source = source.filter(|source| source.bytes() > 0);
    let source = source.cloned().unwrap_or_else(largest);
    let beside = Beside {
        threads: 1,
        usual: true,
        checked: matches!(key, TaskKey::Encode { .. }),
        scored: matches!(key, TaskKey::Encode { .. }) && !run.plan.score.is_empty(),
    };
    let counted = footprint::of_encode(&source, encoded, beside, |encoder| registry.peak(encoder));
    // Of sizes that nobody has settled nothing is known.
    match source.bytes() {
        0 => counted.max(UNKNOWN),
        _ => counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Bench, JOB};
    use crate::schedule::{self, Problem, Reason};
    use recode_types::task::{Failure, TaskResult, Usage};
    use recode_types::{Codec, NodeHello, NodeReport, Offer, Proof};
    use std::time::Instant;

    const NODE: NodeId = NodeId(1);
    const UHD: (u32, u32) = (3840, 2160);
    const HD: (u32, u32) = (1280, 720);

    fn picture(size: (u32, u32)) -> Picture {
        Picture {
            size,
            pix_fmt: "yuv420p".to_owned(),
        }
    }

    /// A Job of many Segments, long enough to show what they take.
    fn running(codec: Codec, (width, height): (u32, u32)) -> Bench {
        let mut rendition = fixture::rendition(codec);
        rendition.scale = Scale::Exact { width, height };
        let mut request = fixture::request(vec![fixture::output("out.mp4", rendition)]);
        request.segment = recode_types::SegmentLength::Millis(8_000);
        let table = fixture::table(240, 50);
        let plan = crate::plan(
            &fixture::facts(&table),
            &table,
            &request,
            &crate::PlanPolicy::default(),
        );
        let mut bench = Bench::submitted(request);
        bench.probe(false);
        bench.plan(plan.expect("a plain request"), false);
        bench
    }

    fn registry(memory_bytes: Option<u64>, offer: Option<Offer>, now: Instant) -> Registry {
        let mut registry = Registry::new(now);
        let report = NodeReport {
            hello: Some(NodeHello {
                heavy_slots: 8,
                memory_bytes,
                ..NodeHello::default()
            }),
            free_heavy: 9,
            offer,
            ..NodeReport::default()
        };
        registry.opened(NODE, 1, report, now);
        registry
    }

    /// What is ready, weighed, and who takes it.
    fn problem(registry: &mut Registry, bench: &Bench, now: Instant) -> Problem {
        let mut tasks: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).collect();
        let nodes = registry.free(now);
        let size = |bench: &Bench| match bench.state.jobs[&JOB].run().unwrap().plan.outputs[0]
            .output
            .rendition
            .scale
        {
            Scale::Exact { width, height } => (width, height),
            _ => UHD,
        };
        let source = picture(size(bench));
        weigh(registry, &bench.state, &mut tasks, &nodes, |_| {
            Some(source.clone())
        });
        Problem {
            nodes,
            tasks,
            plenty: true,
        }
    }

    fn given(registry: &mut Registry, bench: &Bench, now: Instant) -> usize {
        schedule::assign(&problem(registry, bench, now))
            .placed
            .len()
    }

    #[test]
    fn eight_gigabytes_take_three_chunks_of_4k_and_eight_slots_full_of_720p() {
        let now = Instant::now();
        let given = |memory, codec, size| {
            let mut registry = registry(memory, None, now);
            given(&mut registry, &running(codec, size), now)
        };
        let gigabytes = |n: u64| Some(n * 1_000_000_000);
        assert_eq!(given(gigabytes(8), Codec::H265, UHD), 3);
        assert_eq!(given(gigabytes(8), Codec::H265, HD), 9, "one is ahead");
        assert_eq!(given(gigabytes(1), Codec::H265, UHD), 1);
        assert_eq!(given(None, Codec::H265, UHD), 9);
    }

    #[test]
    fn who_waits_says_how_much_memory_it_needs() {
        let (now, bench) = (Instant::now(), running(Codec::H265, UHD));
        let mut registry = registry(Some(8_000_000_000), None, now);
        let problem = problem(&mut registry, &bench, now);
        let need = problem.tasks[0].memory_bytes;
        assert!((2_400_000_000..2_700_000_000).contains(&need), "{need}");
        let solution = schedule::assign(&problem);
        let waits = |(_, why): &(_, Reason)| *why == Reason::NoMemory { need };
        assert!(solution.unplaced.len() > 10 && solution.unplaced.iter().all(waits));
    }

    fn token(segment: u32) -> AttemptToken {
        let key = TaskKey::Encode { group: 0, segment };
        let task = recode_types::TaskId { job: JOB, key };
        AttemptToken { task, attempt: 1 }
    }

    /// The need of a Task after one like it has ended so, having taken so much.
    fn after(ended: impl Fn(Usage) -> AttemptOutcome, peak_rss_bytes: u64) -> (u64, u64) {
        let (now, bench) = (Instant::now(), running(Codec::H265, UHD));
        let mut registry = registry(Some(8_000_000_000), None, now);
        let first = problem(&mut registry, &bench, now).tasks.remove(0);
        registry.granted(NODE, token(0), first.held(), now);
        assert_eq!(
            registry.memory_for(NODE, &token(0)),
            Some(first.memory_bytes)
        );
        let outcome = ended(Usage {
            peak_rss_bytes,
            ..Usage::default()
        });
        learn(&mut registry, &bench.state, NODE, &token(0), &outcome);
        let then = problem(&mut registry, &bench, now).tasks.remove(0);
        (first.memory_bytes, then.memory_bytes)
    }

    fn done(usage: Usage) -> AttemptOutcome {
        let result = TaskResult::Encoded { chunks: vec![] };
        AttemptOutcome::Done { result, usage }
    }

    fn failed(class: FailureClass) -> impl Fn(Usage) -> AttemptOutcome {
        move |usage| AttemptOutcome::Failed {
            failure: Failure {
                class,
                message: "m".to_owned(),
                stderr_tail: None,
            },
            usage,
        }
    }

    #[test]
    fn what_work_has_taken_counts_from_then_on() {
        let near = |seen: u64, wanted: u64| seen.abs_diff(wanted) < 1000;
        let (_, less) = after(done, 1_000_000_000);
        assert!(near(less, 1_100_000_000), "{less}");
        let (_, more) = after(failed(FailureClass::OutOfResources), 5_000_000_000);
        assert!(near(more, 5_500_000_000), "{more}");
        // What was ended on its way says only that it may be more.
        let (before, then) = after(failed(FailureClass::OutOfResources), 1_000_000_000);
        assert_eq!(before, then);
        let (before, then) = after(failed(FailureClass::Unknown), 5_000_000_000);
        assert_eq!(before, then);
    }

    #[test]
    fn what_an_encoder_took_of_a_sample_counts_in_place_of_a_guess() {
        let (now, bench) = (Instant::now(), running(Codec::H264, HD));
        let mut offer = Offer::default();
        offer.put(Proof {
            encoder: "libx264".to_owned(),
            peak_rss_bytes: 250_000_000,
            ..Proof::default()
        });
        let need = |offer| {
            let mut registry = registry(Some(8_000_000_000), offer, now);
            problem(&mut registry, &bench, now).tasks[0].memory_bytes
        };
        assert_eq!(need(Some(offer)), need(None) + 200_000_000);
    }

    #[test]
    fn pictures_that_are_not_known_yet_are_guessed_and_nobody_is_told() {
        let (now, bench) = (Instant::now(), running(Codec::H264, HD));
        let mut registry = registry(Some(8_000_000_000), None, now);
        let nodes = registry.free(now);
        let mut tasks: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).take(1).collect();
        weigh(&mut registry, &bench.state, &mut tasks, &nodes, |_| None);
        let guessed = tasks[0].memory_bytes;
        registry.granted(NODE, token(0), tasks[0].held(), now);
        assert_eq!(registry.memory_for(NODE, &token(0)), None);
        // A Source whose pictures are larger than those that are made of them.
        weigh(&mut registry, &bench.state, &mut tasks, &nodes, |_| {
            Some(picture(UHD))
        });
        assert!(tasks[0].memory_bytes > guessed + 150_000_000);
        // A new Leader counts what was granted before it in the same way.
        let held = held_of(&mut registry, &bench.state, token(0), |_| {
            Some(picture(UHD))
        });
        assert_eq!(held.memory_bytes, tasks[0].memory_bytes);
    }
}
