//! What people wish of a Job: cancel, pause, resume, another try.

use super::{Job, Phase};
use crate::machine::MOST_TURNS;
use crate::machine::command::{Effect, Rejected, Wish};
use recode_types::event::{EventKind, JobState};
use recode_types::task::FailureClass;

impl Job {
    /// What somebody wants. Accepted where the Job is so already.
    pub(in crate::machine) fn ask(
        &mut self,
        wish: &Wish,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        if *wish == Wish::Retry {
            return self.retry(at_ms, effects);
        }
        if self.state().is_terminal() {
            return Err(Rejected::JobEnded);
        }
        match wish {
            Wish::Cancel { reason } => {
                self.end(at_ms, JobState::Cancelled, None, reason.clone(), effects);
            }
            Wish::Pause if !self.paused => {
                self.turn_again()?;
                self.paused = true;
                self.tell(at_ms, EventKind::Paused);
                effects.push(Effect::Announce { job: self.id });
            }
            Wish::Resume if self.paused => {
                self.turn_again()?;
                self.paused = false;
                self.tell(at_ms, EventKind::Resumed);
                effects.push(Effect::Announce { job: self.id });
                effects.push(Effect::Dispatch);
            }
            Wish::Pause | Wish::Resume | Wish::Retry => {}
        }
        Ok(())
    }

    /// Counts a pause or a resume. A pause leaves room for the resume that takes it back.
    fn turn_again(&mut self) -> Result<(), Rejected> {
        let most = MOST_TURNS - u32::from(!self.paused);
        if self.turns >= most {
            return Err(Rejected::TooManyTurns);
        }
        self.turns += 1;
        Ok(())
    }

    /// Lets a failed Job live again where it stopped. Attempt numbers go on; failures do not count any more, and Nodes that
    /// refused are asked again, since whoever asks for another try has changed something.
    fn retry(&mut self, at_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        // A grade that was found necessary once is necessary again.
        let deep = self
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Replanning { .. }));
        let Phase::Ended(end) = &mut self.phase else {
            return Err(Rejected::NotFailed);
        };
        if end.state != JobState::Failed {
            return Err(Rejected::NotFailed);
        }
        if self.turns >= MOST_TURNS {
            return Err(Rejected::TooManyTurns);
        }
        self.turns += 1;
        // Nothing made from another Source may meet what is made from now on.
        let changed = end.class == Some(FailureClass::SourceChanged);
        let run = end.run.take().filter(|_| !changed);
        for task in self.tasks.values_mut() {
            task.reopen();
            task.avoid.clear();
        }
        self.backoff.clear();
        self.retiring = false;
        let mut chunks_kept = 0;
        self.phase = match run {
            Some(mut run) => {
                run.reopen();
                chunks_kept = run.count_chunks();
                effects.push(Effect::Decide { job: self.id });
                Phase::Running(Box::new(run))
            }
            None if self.command.is_some() => Phase::Command,
            None => Phase::Probing {
                deep: deep && !changed,
            },
        };
        self.tell(at_ms, EventKind::Retried { chunks_kept });
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Dispatch);
        Ok(())
    }
}
