//! Puts commands into the log. openraft waits for one flush per entry, so whatever was proposed while one entry was being
//! written goes into the next one together.

use super::state_machine::Shared;
use super::type_config::Proposal;
use super::type_config::alias::Raft;
use crate::runtime;
use recode_core::{Batch, Command, Entry, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long an entry may take before its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(15);

/// Commands that are written together at most.
const MOST_TOGETHER: usize = 1024;

/// What one entry may hold, unless a single command is larger: as much as the largest of them, a part of a Plan.
const ENTRY_BYTES: usize = 64 << 10;

/// A proposal without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This coordinator does not lead, or stops.
    #[error("this coordinator does not lead now: {0}")]
    NotLeading(String),
    /// No answer in time: it may or may not become part of the log.
    #[error("the log did not take the change within {} seconds", DEADLINE.as_secs())]
    Unknown,
}

struct Waiting {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Vec<Outcome>, ProposeError>>,
}

/// Handle to the task that proposes.
#[derive(Clone, Debug)]
pub struct Proposer {
    // Room for every connection and actor to have one proposal under way.
    mailbox: mpsc::Sender<Waiting>,
    clock: Clock,
}

/// Wall time at start, then monotonic: jumps of the wall clock change nothing. Never behind what the log has seen: where the
/// clock of a former Leader was ahead, time goes on from there, or whatever waits until a time would wait for that long.
#[derive(Clone, Debug)]
struct Clock {
    shared: Arc<Shared>,
    base_ms: Arc<AtomicU64>,
    started: Instant,
}

impl Clock {
    fn now_ms(&self) -> u64 {
        let elapsed = runtime::now().duration_since(self.started).as_millis() as u64;
        if planted!(ClockGoesBack) {
            return self.base_ms.load(Ordering::Relaxed) + elapsed;
        }
        let least = self.shared.at_ms().saturating_sub(elapsed);
        self.base_ms.fetch_max(least, Ordering::Relaxed).max(least) + elapsed
    }
}

impl Proposer {
    pub fn start(raft: Raft, shared: &Arc<Shared>) -> Self {
        let clock = Clock {
            shared: shared.clone(),
            base_ms: Arc::new(AtomicU64::new(runtime::wall_ms())),
            started: runtime::now(),
        };
        let (mailbox, inbox) = mpsc::channel(1024);
        // Ends when the last handle is gone; everybody who waited for an answer has gone with it.
        runtime::spawn(run(raft, clock.clone(), inbox));
        Self { mailbox, clock }
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Resolves when nothing is proposed any more, though somebody could: the task has panicked.
    pub async fn gone(&self) {
        self.mailbox.closed().await;
    }

    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ProposeError::NotLeading("it stops".into());
        self.mailbox
            .send(Waiting { commands, reply })
            .await
            .map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn run(raft: Raft, clock: Clock, mut inbox: mpsc::Receiver<Waiting>) {
    let mut together = Vec::new();
    while let Some(first) = inbox.recv().await {
        let mut count = first.commands.len();
        together.push(first);
        while count < MOST_TOGETHER
            && let Ok(next) = inbox.try_recv()
        {
            count += next.commands.len();
            together.push(next);
        }
        let at_ms = clock.now_ms();
        let (mut entries, mut waiting) = (Vec::with_capacity(count), Vec::new());
        for Waiting { commands, reply } in together.drain(..) {
            waiting.push((commands.len(), reply));
            entries.extend(commands.into_iter().map(|command| Entry { at_ms, command }));
        }
        match write(&raft, Batch(entries)).await {
            Ok(outcomes) => {
                if planted!(AnswersSwapped) {
                    waiting.reverse();
                }
                let mut outcomes = outcomes.into_iter();
                for (count, reply) in waiting {
                    // Who does not wait any more finds the outcome in the state.
                    let _ = reply.send(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for (_, reply) in waiting {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Writes entries as small as they should be, one after the other, since each waits for a flush of its own.
async fn write(raft: &Raft, batch: Batch) -> Result<Vec<Outcome>, ProposeError> {
    let mut outcomes = Vec::with_capacity(batch.0.len());
    for (count, bytes) in parts(batch) {
        let written = raft.client_write(Proposal(bytes));
        match tokio::time::timeout(DEADLINE, written).await {
            Err(_) => return Err(ProposeError::Unknown),
            Ok(Err(error)) => return Err(ProposeError::NotLeading(error.to_string())),
            Ok(Ok(answer)) => {
                assert_eq!(answer.data.0.len(), count, "apply answers every command");
                outcomes.extend(answer.data.0);
            }
        }
    }
    Ok(outcomes)
}

/// A batch as entries of at most [`ENTRY_BYTES`] where that can be, each with the number of its commands.
fn parts(batch: Batch) -> Vec<(usize, Vec<u8>)> {
    let (count, bytes) = (batch.0.len(), batch.encode());
    let wanted = bytes.len().div_ceil(ENTRY_BYTES);
    if wanted <= 1 || count <= 1 {
        return vec![(count, bytes)];
    }
    let mut rest = batch.0.into_iter();
    let each = count.div_ceil(wanted);
    let mut all = Vec::with_capacity(wanted);
    while rest.len() > 0 {
        all.extend(parts(Batch(rest.by_ref().take(each).collect())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_become_entries_of_bounded_size_and_keep_their_order() {
        let entry = |number: usize, length: usize| Entry {
            at_ms: number as u64,
            command: Command::RegisterNode {
                name: "n".repeat(length),
                incarnation: String::new(),
            },
        };
        for lengths in [
            vec![],
            vec![10; 100],
            vec![1000; 1000],
            vec![200_000, 5, 5, 100_000],
        ] {
            let entries = lengths.iter().enumerate();
            let batch = Batch(entries.map(|(i, length)| entry(i, *length)).collect());
            let parts = parts(batch.clone());
            let mut read = Vec::new();
            for (count, bytes) in &parts {
                assert!(*count <= 1 || bytes.len() <= ENTRY_BYTES);
                let part = Batch::decode(bytes).unwrap();
                assert_eq!(part.0.len(), *count);
                read.extend(part.0);
            }
            assert_eq!(Batch(read), batch);
            assert!(parts.len() <= 1 + batch.encode().len() / (ENTRY_BYTES / 3));
        }
    }
}
