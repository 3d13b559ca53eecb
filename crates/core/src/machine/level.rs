//! Feature levels: what a cluster whose coordinators are of several builds may put into its log.
//!
//! Every build knows the commands up to its own [`LEVEL`]. The state holds the level of the cluster, which a Leader raises
//! ([`Command::RaiseLevel`]) once all members have announced that they know it; before that nobody proposes anything later,
//! so no member meets an entry, or a snapshot, that it cannot read. It never falls: a build that is older than the cluster
//! is refused as a new member, and stops at the first entry that says so.
//!
//! | level | brought |
//! |---|---|
//! | 0 | everything up to [`Command::RaiseLevel`] |
//! | 1 | [`Command::TurnKnobs`]; snapshots that hold the level |
//! | 2 | [`Command::SubmitCommand`] and the results of such Jobs; snapshots that hold them |
//! | 3 | requests for [`SegmentLength::Spread`], and the order in which such Segments are handed out; requests for
//! [`Making::SplitTail`]; snapshots that hold them |

use super::Command;
use recode_types::task::{AttemptOutcome, TaskResult};
use recode_types::{JobRequest, Making, SegmentLength};

/// The level of this build. The first where it stands in for an earlier build.
pub const LEVEL: u32 = if cfg!(feature = "earlier") { 0 } else { 3 };

/// The level that brought command jobs.
pub const COMMANDS: u32 = 2;

/// The level that brought requests for Segments for very many Nodes, and for Chunks that several Attempts make.
pub const REQUESTS: u32 = 3;

impl Command {
    /// The level that knows it first.
    pub fn level(&self) -> u32 {
        match self {
            Self::TurnKnobs { .. } => 1,
            Self::SubmitCommand { .. } => COMMANDS,
            Self::SubmitJob { request, .. } => of_request(request),
            Self::CompleteAttempt { outcome, .. } => of_outcome(outcome),
            _ => 0,
        }
    }
}

/// The level that knows first what is asked.
pub fn of_request(request: &JobRequest) -> u32 {
    let spread = request.segment == SegmentLength::Spread;
    match spread || request.making == Making::SplitTail {
        true => REQUESTS,
        false => 0,
    }
}

/// The level that knows first how an Attempt ended.
pub fn of_outcome(outcome: &AttemptOutcome) -> u32 {
    match outcome {
        AttemptOutcome::Done {
            result: TaskResult::Commanded { .. },
            ..
        } => COMMANDS,
        _ => 0,
    }
}

/// The level that all members know; `None`: somebody has not been heard yet.
pub fn common(announced: impl IntoIterator<Item = Option<u32>>) -> Option<u32> {
    let announced: Option<Vec<u32>> = announced.into_iter().collect();
    announced?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::*;
    use crate::machine::{Batch, Outcome, Rejected, State};
    use crate::plan::{PlanPolicy, cut, plan};

    #[test]
    fn the_slowest_member_decides_and_silence_is_no_consent() {
        assert_eq!(common([Some(2), Some(1), Some(3)]), Some(1));
        assert_eq!(common([Some(2), None]), None);
        assert_eq!(common([]), None);
    }

    fn spread_request() -> JobRequest {
        JobRequest {
            segment: SegmentLength::Spread,
            ..small_request()
        }
    }

    fn submit(request: &JobRequest) -> Command {
        Command::SubmitJob {
            request_id: "one".to_owned(),
            job: JOB,
            request: Box::new(request.clone()),
        }
    }

    /// A planned Job of two minutes in a cluster that knows both.
    fn spread_job() -> Bench {
        let request = spread_request();
        let mut bench = Bench::default();
        assert_eq!(bench.register(), NODE);
        bench.apply(Command::RaiseLevel { level: REQUESTS });
        bench.apply(submit(&request));
        bench.probe(false);
        let table = table(120, 50);
        let planned = plan(&facts(&table), &table, &request, &PlanPolicy::default());
        bench.plan(planned.expect("a plain request"), false);
        bench
    }

    #[test]
    fn no_member_of_an_earlier_level_meets_a_request_for_spread_segments() {
        let submit = submit(&spread_request());
        assert_eq!(submit.level(), REQUESTS);
        let mut bench = Bench::default();
        bench.apply(Command::RaiseLevel {
            level: REQUESTS - 1,
        });
        assert_eq!(
            bench.apply(submit.clone()),
            Outcome::Rejected(Rejected::Outdated)
        );
        bench.apply(Command::RaiseLevel { level: REQUESTS });
        let submitted = bench.apply(submit);
        assert!(matches!(submitted, Outcome::Submitted { .. }));
        // Nor in a snapshot.
        let mut earlier = bench.state.clone();
        earlier.level = REQUESTS - 1;
        let refused = State::decode(&earlier.encode()).unwrap_err().to_string();
        assert!(refused.contains("does not know yet"), "{refused}");
    }

    #[test]
    fn spread_segments_are_handed_out_longest_first_and_others_as_ever() {
        let rows_in_turn = |bench: &Bench| -> Vec<u32> {
            let run = bench.state.jobs[&JOB].run().expect("it is planned");
            let rows = run.order.iter();
            rows.map(|s| run.plan.segments[*s as usize].rows).collect()
        };
        let bench = spread_job();
        let rows = rows_in_turn(&bench);
        assert!(rows.is_sorted_by(|a, b| a >= b), "{rows:?}");
        assert!(rows[0] >= 4 * rows[rows.len() - 1], "{rows:?}");
        // The same cut, asked for in another way, goes in film order but for its end.
        let run = bench.state.jobs[&JOB].run().expect("it is planned");
        let usual = cut::order(&run.plan.segments, SegmentLength::Usual);
        assert_ne!(usual[..], run.order[..]);
    }

    /// A log with such a Job, and the snapshot it led to.
    const LOG: &[u8] = include_bytes!("../../fixtures/batch-level-3.bin");
    const STATE: &[u8] = include_bytes!("../../fixtures/state-v5.bin");

    #[test]
    fn encodings_of_level_3_are_as_they_were() {
        if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
            let bench = spread_job();
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
            let log = Batch(bench.log.clone());
            std::fs::write(folder.join("batch-level-3.bin"), log.encode()).unwrap();
            std::fs::write(folder.join("state-v5.bin"), bench.state.encode()).unwrap();
        }
        let log = Batch::decode(LOG).expect("the log reads");
        assert_eq!((LOG[3], STATE[3]), (4, 5));
        assert_eq!(log.encode(), LOG);
        let mut state = State::default();
        state.apply_batch(&log);
        assert_eq!(State::decode(STATE).expect("the snapshot reads"), state);
        assert_eq!(state.encode(), STATE);
        let job = &state.jobs[&JOB];
        assert_eq!(job.request, spread_request());
        assert!(job.run().is_some_and(|run| run.order.len() > 10));
    }
}

#[cfg(test)]
mod split_tail {
    use super::*;
    use crate::fixture::*;
    use crate::machine::work::Order;
    use crate::machine::{Batch, Outcome, Rejected, State};
    use recode_types::task::Work;
    use recode_types::{TaskId, TaskKey};

    fn split_request() -> JobRequest {
        JobRequest {
            making: Making::SplitTail,
            ..small_request()
        }
    }

    fn submit(request: JobRequest) -> Command {
        Command::SubmitJob {
            request_id: "one".to_owned(),
            job: JOB,
            request: Box::new(request),
        }
    }

    /// A running Job in a cluster that knows it.
    fn split_job() -> Bench {
        let mut bench = Bench::default();
        assert_eq!(bench.register(), NODE);
        bench.apply(Command::RaiseLevel { level: REQUESTS });
        bench.apply(submit(split_request()));
        bench.probe(false);
        bench.plan(small_plan(&split_request()), false);
        bench
    }

    #[test]
    fn no_member_of_an_earlier_level_meets_a_request_to_split_the_tail() {
        let mut bench = Bench::default();
        bench.apply(Command::RaiseLevel {
            level: REQUESTS - 1,
        });
        let asked = submit(split_request());
        assert_eq!(asked.level(), REQUESTS);
        assert_eq!(
            bench.apply(asked.clone()),
            Outcome::Rejected(Rejected::Outdated)
        );
        assert_eq!(submit(small_request()).level(), 0);
        bench.apply(Command::RaiseLevel { level: REQUESTS });
        assert!(matches!(bench.apply(asked), Outcome::Submitted { .. }));
    }

    #[test]
    fn whoever_encodes_such_a_job_is_told() {
        let bench = split_job();
        let key = TaskKey::Encode {
            group: 0,
            segment: 0,
        };
        let splits = |bench: &Bench| match bench.state.work_for(TaskId { job: JOB, key }) {
            Some(Order::Work(work)) => match *work {
                Work::Encode(work) => work.split_tail,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert!(splits(&bench));
        assert!(!splits(&Bench::running(small_request())));
    }

    /// The log of such a Job, and the snapshot it led to.
    const LOG: &[u8] = include_bytes!("../../fixtures/batch-level-3-split.bin");
    const STATE: &[u8] = include_bytes!("../../fixtures/state-v5-split.bin");

    #[test]
    fn encodings_of_a_request_to_split_the_tail_are_as_they_were() {
        let bench = split_job();
        let log = Batch(bench.log.clone());
        if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
            std::fs::write(folder.join("batch-level-3-split.bin"), log.encode()).unwrap();
            std::fs::write(folder.join("state-v5-split.bin"), bench.state.encode()).unwrap();
        }
        assert_eq!(Batch::decode(LOG), Ok(log));
        assert_eq!(State::decode(STATE), Ok(bench.state.clone()));
        assert_eq!((LOG[3], STATE[3]), (4, 5));
        // In a cluster that does not know it, nobody can have asked for it.
        let mut earlier = bench.state;
        earlier.level = COMMANDS;
        let said = State::decode(&earlier.encode()).unwrap_err().to_string();
        assert!(said.contains("does not know yet"), "{said}");
    }
}
