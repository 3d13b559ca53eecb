//! How fast Nodes are going to be at work that nobody has done yet, from the samples they measured.

use super::Registry;
use crate::State;
use crate::machine::{Job, ReadyTask};
use recode_types::rendition::Scale;
use recode_types::{Offer, TaskKey};

/// Makes the speeds known that Nodes foretell for the Classes of `tasks`. Answers whether any were new: what the scheduler was
/// told of Nodes before knows nothing of them.
pub fn foretell(registry: &mut Registry, state: &State, tasks: &[ReadyTask]) -> bool {
    let mut new = false;
    for task in tasks.iter().filter(|task| task.heavy) {
        if let Some(job) = state.jobs.get(&task.id.job) {
            new |= registry.foretell(task.class, |offer| speed(offer, job, task.id.key));
        }
    }
    new
}

/// Work per second of a slot, as the samples of an Offer show it. `None`: they show nothing of the kind.
fn speed(offer: &Offer, job: &Job, key: TaskKey) -> Option<f64> {
    if !matches!(key, TaskKey::Encode { .. } | TaskKey::Whole { .. }) {
        return None;
    }
    let plan = &job.run()?.plan;
    // Scores and comparisons cost about as much as an encode, and were not measured.
    if !plan.score.is_empty() || plan.verify_full {
        return None;
    }
    let outputs = job.outputs_of(key);
    let mut seconds = 0.0;
    for output in &outputs {
        let rendition = &plan.outputs.get(usize::from(*output))?.output.rendition;
        let Scale::Exact { width, height } = rendition.scale else {
            return None;
        };
        let preset = rendition.preset.as_deref();
        let frames = offer.predict(&rendition.encoder, preset, (width, height))?;
        seconds += 1.0 / frames;
    }
    let speed = outputs.len() as f64 / seconds;
    (speed.is_finite() && speed > 0.0).then_some(speed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, JOB};
    use recode_types::{Codec, NodeId, NodeReport, Proof, offer::Rate};
    use std::time::Instant;

    const ENCODE: TaskKey = TaskKey::Encode {
        group: 0,
        segment: 0,
    };

    /// A Node whose samples ran so many frames a second at 1280x720, whatever the encoder.
    fn offer(frames_per_second: f64) -> Offer {
        let mut offer = Offer::default();
        for encoder in ["libx264", "libx265"] {
            offer.put(Proof {
                encoder: encoder.to_owned(),
                presets: vec!["medium".to_owned()],
                usual_rank: Some(0),
                rates: vec![Rate {
                    preset: "medium".to_owned(),
                    rank: 0,
                    size: (1280, 720),
                    frames_per_second,
                }],
                ..Proof::default()
            });
        }
        offer
    }

    fn running(change: impl FnOnce(&mut recode_types::JobRequest)) -> fixture::Bench {
        let rendition = |codec| {
            let mut rendition = fixture::rendition(codec);
            rendition.scale = Scale::Exact {
                width: 1280,
                height: 720,
            };
            rendition
        };
        let mut request = fixture::request(vec![
            fixture::output("a.mp4", rendition(Codec::H264)),
            fixture::output("b.mp4", rendition(Codec::H265)),
        ]);
        change(&mut request);
        fixture::Bench::running(request)
    }

    #[test]
    fn several_encodes_of_one_decode_take_their_times_together() {
        let bench = running(|_| {});
        let job = &bench.state.jobs[&JOB];
        assert_eq!(job.outputs_of(ENCODE).len(), 2);
        // 0.02 s and 0.02 s for a frame that counts twice.
        let seen = speed(&offer(50.0), job, ENCODE).unwrap();
        assert!((seen - 50.0).abs() < 1e-9, "{seen}");
        assert_eq!(speed(&Offer::default(), job, ENCODE), None);
        assert_eq!(speed(&offer(50.0), job, TaskKey::Audio { output: 0 }), None);
    }

    #[test]
    fn nothing_is_foretold_of_jobs_that_score() {
        let bench = running(|request| request.score = vec![recode_types::Metric::Vmaf]);
        assert_eq!(speed(&offer(50.0), &bench.state.jobs[&JOB], ENCODE), None);
    }

    #[test]
    fn nodes_are_known_by_their_samples_before_they_have_done_anything() {
        let bench = running(|_| {});
        let now = Instant::now();
        let mut registry = Registry::new(now);
        for (node, speed) in [(1, 50.0), (2, 100.0)] {
            let report = NodeReport {
                offer: Some(offer(speed)),
                free_heavy: 1,
                ..NodeReport::default()
            };
            registry.opened(NodeId(node), node, report, now);
        }
        let tasks: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).collect();
        let known = |registry: &Registry| -> Vec<f64> {
            let nodes = registry.free(now).into_iter();
            let speed = |speeds: std::collections::BTreeMap<_, f64>| speeds.into_values().next();
            nodes.filter_map(|node| speed(node.speeds)).collect()
        };
        assert_eq!(known(&registry), [0.0; 0]);
        assert!(foretell(&mut registry, &bench.state, &tasks));
        let seen = known(&registry);
        assert!(
            (seen[0] - 50.0).abs() < 1e-9 && (seen[1] - 100.0).abs() < 1e-9,
            "{seen:?}"
        );
        assert!(
            !foretell(&mut registry, &bench.state, &tasks),
            "once is enough"
        );
    }
}
