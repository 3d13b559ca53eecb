//! Command jobs: one Task, no Plan.
//!
//! ```text
//!   SubmitCommand ─► running ─the Task is done─► done
//!                       ▲ └─a failure that counts─► failed ─Ask retry─┐
//!                       └─────────────────────────────────────────────┘
//! ```
//!
//! What is asked and what came of it stands beside the Job rather than in it: a Job's own form in snapshots is older than this
//! kind. See [`super::snapshot`].

use super::command::Effect;
use super::job::{Job, Phase, wrong_result};
use super::task::Lease;
use recode_types::event::{EventKind, JobState};
use recode_types::task::{CommandWork, Failure};
use recode_types::{AttemptNo, CommandOutput, CommandRequest, Digest, JobId, Needs, TaskKey};
use serde::{Deserialize, Serialize};

/// The only Task of a command job.
pub const COMMAND: TaskKey = TaskKey::Command { output: 0 };

/// A command and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandJob {
    /// What is asked.
    pub request: CommandRequest,
    /// What a Node must have. Chosen by the proposer: builds may read the same options differently.
    pub needs: Needs,
    /// One for each Output, once all are in their places; empty before.
    pub results: Vec<CommandOutput>,
}

impl Job {
    pub(super) fn commanded(
        id: JobId,
        request_id: String,
        request: CommandRequest,
        needs: Needs,
        at_ms: u64,
    ) -> Self {
        let mut job = Self::submitted(id, request_id, request.in_common(), at_ms);
        job.phase = Phase::Command;
        job.command = Some(Box::new(CommandJob {
            request,
            needs,
            results: Vec::new(),
        }));
        job
    }

    /// What a Node must have to run a Task of it.
    pub fn needs(&self) -> Option<&Needs> {
        self.command.as_ref().map(|command| &command.needs)
    }

    /// A Task of it fills a slot with an encoder.
    pub fn is_heavy(&self, key: TaskKey) -> bool {
        match &self.command {
            Some(command) => command.needs.heavy,
            None => super::ready::is_heavy(key),
        }
    }

    pub(super) fn command_work(&self, key: TaskKey) -> Option<CommandWork> {
        let command = self.command.as_ref().filter(|_| key == COMMAND)?;
        Some(CommandWork {
            request: command.request.clone(),
            heavy: command.needs.heavy,
        })
    }

    /// Takes the files that a Node has made, and ends the Job with them.
    pub(super) fn accept_command(
        &mut self,
        attempt: AttemptNo,
        lease: Lease,
        outputs: &[CommandOutput],
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let command = self.command.as_mut().ok_or_else(|| wrong_result(COMMAND))?;
        if outputs.len() != command.request.outputs.len() {
            return Err(wrong_result(COMMAND));
        }
        command.results = outputs.to_vec();
        self.tell(
            at_ms,
            EventKind::TaskDone {
                task: COMMAND,
                attempt,
                node: lease.node,
                frames: outputs.iter().map(|output| output.frames).sum(),
                bytes: outputs.iter().map(|output| output.size_bytes).sum(),
                reused: false,
            },
        );
        for (number, output) in outputs.iter().enumerate() {
            self.tell(
                at_ms,
                EventKind::OutputReady {
                    output: number as u16,
                    url: output.url.clone(),
                    size_bytes: output.size_bytes,
                },
            );
        }
        self.end(at_ms, JobState::Done, None, String::new(), effects);
        Ok(())
    }

    /// A command and its phase belong together.
    pub(super) fn is_whole(&self) -> bool {
        match (&self.command, &self.phase) {
            (Some(command), Phase::Command) => command.results.is_empty(),
            (Some(command), Phase::Ended(end)) => {
                let made = command.results.len() == command.request.outputs.len();
                end.run.is_none() && made == (end.state == JobState::Done)
            }
            (Some(_), _) | (None, Phase::Command) => false,
            (None, _) => true,
        }
    }
}

/// Stands for the command of an archived Job.
pub(super) fn digest(request: &CommandRequest) -> Digest {
    Digest::of(&postcard::to_stdvec(request).expect("plain data always serialises"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::*;
    use crate::machine::level::{self, COMMANDS};
    use crate::machine::{Batch, Command, Entry, Order, Outcome, Rejected, State, Wish, decide};
    use recode_types::task::{AttemptOutcome, FailureClass, TaskResult, Usage, Work};
    use recode_types::{TaskId, Wait};

    fn submit(request_id: &str, job: u128, request: CommandRequest) -> Command {
        Command::SubmitCommand {
            request_id: request_id.to_owned(),
            job: JobId(job),
            request: Box::new(request),
            needs: needs(),
        }
    }

    #[test]
    fn a_command_is_one_task_and_its_files_are_in_the_report() {
        let mut bench = Bench::commanded(command_request());
        let status = bench.state.status(JOB).unwrap();
        assert_eq!(
            (status.state, status.tasks, status.tasks_done),
            (JobState::Running, 1, 0)
        );
        assert_eq!(status.source, "s3://in/a.mp4");
        assert_eq!(status.outputs, ["s3://out/a.mkv", "s3://out/%03d.png"]);
        assert_eq!(status.labels["team"], "news");
        let ready: Vec<_> = bench.state.ready(bench.now_ms).collect();
        assert_eq!(
            (ready[0].id.key, ready[0].heavy, ready[0].cost),
            (COMMAND, true, 0)
        );
        assert_eq!(bench.state.ready_light(bench.now_ms).count(), 0);
        let Some(Order::Work(work)) = bench.state.work_for(ready[0].id) else {
            panic!("it has work");
        };
        let Work::CommandLine(work) = *work else {
            panic!("{work:?}");
        };
        assert_eq!(work.request, command_request());
        assert!(bench.step(&even_size));
        assert_eq!(bench.job_state(), JobState::Done);
        let report = crate::report::build(&bench.state.jobs[&JOB]);
        assert_eq!((report.outputs.len(), report.outputs[1].files), (2, 3));
        assert_eq!(report.outputs[1].url, "s3://out/%03d.png");
        let archive = crate::archive::build(&bench.state.jobs[&JOB]);
        assert_eq!(archive.command, Some(command_request()));
        assert_eq!(bench.state.status(JOB).unwrap().tasks_done, 1);
    }

    #[test]
    fn a_light_command_runs_beside_encodes() {
        let mut bench = Bench::commanded(command_request());
        let mut light = needs();
        light.heavy = false;
        bench.apply(Command::SubmitCommand {
            request_id: "two".to_owned(),
            job: JobId(9),
            request: Box::new(command_request()),
            needs: light,
        });
        let ready: Vec<_> = bench.state.ready_light(bench.now_ms).collect();
        assert_eq!(
            ready.iter().map(|task| task.id.job).collect::<Vec<_>>(),
            [JobId(9)]
        );
        assert!(!bench.state.is_heavy(ready[0].id));
        assert!(bench.state.is_heavy(TaskId {
            job: JOB,
            key: COMMAND
        }));
    }

    #[test]
    fn the_same_request_id_gives_the_same_command_and_no_other() {
        let mut bench = Bench::commanded(command_request());
        let known = Outcome::Submitted {
            job: JOB,
            existing: true,
        };
        assert_eq!(bench.apply(submit("one", 8, command_request())), known);
        let mut other = command_request();
        other.outputs[0].options = "-an".to_owned();
        let taken = Outcome::Rejected(Rejected::RequestIdTaken);
        assert_eq!(bench.apply(submit("one", 8, other.clone())), taken);
        // Nor is it the same as another kind of Job that looks alike in all that both have.
        let alike = Command::SubmitJob {
            request_id: "one".to_owned(),
            job: JobId(8),
            request: Box::new(command_request().in_common()),
        };
        assert_eq!(bench.apply(alike), taken);
        assert!(bench.step(&even_size));
        bench.archive(JOB);
        assert_eq!(bench.apply(submit("one", 8, command_request())), known);
        assert_eq!(bench.apply(submit("one", 8, other)), taken);
    }

    #[test]
    fn a_failed_command_is_tried_again_as_it_was() {
        let mut bench = Bench::commanded(command_request());
        let attempt = bench.grant(COMMAND);
        bench.fail(COMMAND, attempt, FailureClass::Killed);
        assert_eq!(bench.job_state(), JobState::Running);
        let attempt = bench.grant(COMMAND);
        assert_eq!(attempt, 2);
        bench.fail(COMMAND, attempt, FailureClass::BadInput);
        assert_eq!(bench.job_state(), JobState::Failed);
        assert_eq!(bench.ask("again", Wish::Retry), Outcome::Accepted);
        assert_eq!(bench.ready(), [COMMAND]);
        // A Node whose index lied has none to look at again.
        let attempt = bench.grant(COMMAND);
        bench.fail(COMMAND, attempt, FailureClass::IndexLied);
        assert_eq!(bench.ready(), [COMMAND]);
        assert!(bench.step(&even_size));
        assert_eq!(bench.job_state(), JobState::Done);
    }

    #[test]
    fn a_result_that_is_not_the_commands_is_not_taken() {
        let mut bench = Bench::commanded(command_request());
        let mut short = command_request();
        short.outputs.pop();
        for wrong in [made(&short), TaskResult::Encoded { chunks: Vec::new() }] {
            let attempt = bench.grant(COMMAND);
            bench.done(COMMAND, attempt, wrong);
            assert_eq!(bench.job_state(), JobState::Running);
        }
        let mut bench = Bench::running(small_request());
        bench.apply(Command::RaiseLevel { level: COMMANDS });
        let attempt = bench.grant(TaskKey::Audio { output: 0 });
        bench.done(
            TaskKey::Audio { output: 0 },
            attempt,
            made(&command_request()),
        );
        assert_eq!(bench.job_state(), JobState::Running);
    }

    #[test]
    fn a_command_waits_for_a_node_that_can_run_it() {
        let bench = Bench::commanded(command_request());
        let waits = |capabilities: &[&str]| {
            let mut heard = recode_types::NodeHeard {
                present: true,
                free_heavy: 1,
                ..Default::default()
            };
            heard.hello.capabilities = capabilities.iter().map(|c| (*c).to_owned()).collect();
            let status = bench.state.node_status(NODE, Some(heard)).unwrap();
            let explained = bench
                .state
                .explain(JOB, &[status], None, bench.now_ms)
                .unwrap();
            explained.waiting[0].why.clone()
        };
        let lacks = Wait::NoNode {
            needs: "the encoder libx264".to_owned(),
        };
        assert_eq!(waits(&["recode:command"]), lacks);
        assert_eq!(waits(&["libx264"]), lacks);
        assert_eq!(waits(&["libx264", "recode:command"]), Wait::Nothing);
    }

    #[test]
    fn no_member_of_an_earlier_level_meets_a_command() {
        let mut bench = Bench::running(small_request());
        let submit = submit("two", 9, command_request());
        assert_eq!(
            bench.apply(submit.clone()),
            Outcome::Rejected(Rejected::Outdated)
        );
        assert_eq!(submit.level(), COMMANDS);
        let done = AttemptOutcome::Done {
            result: made(&command_request()),
            usage: Usage::default(),
        };
        assert_eq!(level::of_outcome(&done), COMMANDS);
        // What a Node of a later build says is told in words that all know.
        let told = decide::told(COMMANDS - 1, &done);
        assert!(matches!(&told, AttemptOutcome::Failed { .. }) && level::of_outcome(&told) == 0);
        assert_eq!(decide::told(COMMANDS, &done), done);
    }

    /// A log with a command that fails, is tried again and done, and the snapshot it led to.
    const LOG: &[u8] = include_bytes!("../../fixtures/batch-level-2.bin");
    const STATE: &[u8] = include_bytes!("../../fixtures/state-v4.bin");

    #[test]
    fn encodings_of_level_2_are_as_they_were() {
        let mut bench = Bench::commanded(command_request());
        bench.apply(submit("two", 9, command_request()));
        let attempt = bench.grant(COMMAND);
        bench.fail(COMMAND, attempt, FailureClass::BadInput);
        bench.ask("again", Wish::Retry);
        assert!(bench.step(&even_size));
        let log = Batch(bench.log.clone());
        if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
            std::fs::write(folder.join("batch-level-2.bin"), log.encode()).unwrap();
            std::fs::write(folder.join("state-v4.bin"), bench.state.encode()).unwrap();
        }
        assert_eq!(Batch::decode(LOG), Ok(log));
        assert_eq!(State::decode(STATE), Ok(bench.state.clone()));
        assert_eq!((LOG[3], STATE[3]), (3, 4));
        // A job without its command, or a command without its job, is not read.
        let without = |change: fn(&mut State)| {
            let mut state = bench.state.clone();
            change(&mut state);
            State::decode(&state.encode()).unwrap_err().to_string()
        };
        let said = without(|state| state.jobs.get_mut(&JobId(9)).unwrap().command = None);
        assert!(said.contains("contradict"), "{said}");
        let entry = Entry {
            at_ms: 1,
            command: Command::RaiseLevel { level: 1 },
        };
        assert_eq!(
            Batch(vec![entry]).encode()[3],
            1,
            "what all builds know is as before"
        );
    }
}
