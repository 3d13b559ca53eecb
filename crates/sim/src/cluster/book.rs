//! The one log that all coordinators must have applied, entry by entry, and who led when.

use super::MOST_ENTRIES;
use super::world::{Inner, World};
use crate::faults::Fault;
use crate::rng::mix;
use recode_coordinator::simulated::{Place, Witness};
use recode_core::machine::{Batch, Command, Effect, Entry, Outcome, State};
use recode_types::AttemptToken;
use std::collections::BTreeSet;
use std::sync::Weak;

/// An entry as the first coordinator applied it.
#[derive(Debug)]
struct Known {
    term: (u64, u64),
    digest: u64,
    answers: Vec<(Outcome, Vec<Effect>)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Known>,
    /// The time of the newest command.
    at_ms: u64,
    /// Who led in which term. In openraft two may win the same term; then the higher number counts.
    leaders: BTreeSet<(u64, u64)>,
}

impl Book {
    /// Entries applied by anybody.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How often somebody came to lead.
    pub fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Term and number of who came to lead last.
    pub fn newest(&self) -> Option<(u64, u64)> {
        self.leaders.last().copied()
    }

    /// A coordinator leads.
    pub fn leads(&mut self, machine: u64, term: u64) {
        self.leaders.insert((term, machine));
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    bytes.chunks(8).fold(length, |digest, bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        mix(digest, u64::from_le_bytes(word))
    })
}

impl Inner {
    /// A coordinator has applied an entry.
    fn applied(
        &mut self,
        machine: u64,
        at: Place,
        sealed: Option<&[u8]>,
        answers: &[(Outcome, Vec<Effect>)],
        state: &State,
    ) -> Result<(), String> {
        let digest = sealed.map_or(0, digest);
        let newest = self.book.len();
        if at.index > newest {
            return Err(format!(
                "coordinator {machine} applied entry {} while {newest} is the next",
                at.index
            ));
        }
        if at.index == newest {
            self.judge(at, sealed, answers)?;
            self.book.entries.push(Known {
                term: (at.term, at.leader),
                digest,
                answers: answers.to_vec(),
            });
            self.trace.note(&[at.index, at.term, digest]);
            if self.book.entries.len() > MOST_ENTRIES {
                return Err(format!("the log has {newest} entries and goes on"));
            }
            if at.index.is_multiple_of(8) && state != self.oracle.state() {
                return Err(format!(
                    "coordinator {machine} has another state after entry {}",
                    at.index
                ));
            }
            return Ok(());
        }
        let known = &self.book.entries[at.index as usize];
        if (known.term, known.digest) != ((at.term, at.leader), digest) {
            return Err(format!(
                "entry {} was one of term {:?} and is another of term {} for coordinator {machine}: what was committed is lost",
                at.index, known.term, at.term
            ));
        }
        if known.answers != answers {
            return Err(format!(
                "coordinator {machine} answered entry {} otherwise: {answers:?} instead of {:?}",
                at.index, known.answers
            ));
        }
        if at.index + 1 == newest && state != self.oracle.state() {
            return Err(format!(
                "coordinator {machine} has another state after entry {}",
                at.index
            ));
        }
        Ok(())
    }

    fn judge(
        &mut self,
        at: Place,
        sealed: Option<&[u8]>,
        answers: &[(Outcome, Vec<Effect>)],
    ) -> Result<(), String> {
        let Some(sealed) = sealed else { return Ok(()) };
        let batch = Batch::decode(sealed).map_err(|e| format!("an entry does not read: {e}"))?;
        if batch.0.len() != answers.len() {
            return Err(format!("entry {} was not answered whole", at.index));
        }
        for (entry, answer) in batch.0.iter().zip(answers) {
            self.commands += 1;
            let index = at.index;
            if entry.at_ms < self.book.at_ms {
                return Err(format!(
                    "entry {index} is of {}, and {} was the time before it",
                    entry.at_ms, self.book.at_ms
                ));
            }
            self.book.at_ms = entry.at_ms;
            let now = self.now_ms();
            self.trace.line(now, || {
                format!("{index}: {} => {:?}", brief(&entry.command), answer.0)
            });
            let judged = self.oracle.step(entry)?;
            if judged != *answer {
                return Err(format!(
                    "entry {index} was answered {answer:?} instead of {judged:?}"
                ));
            }
            self.notice(entry, &judged.0);
        }
        Ok(())
    }

    fn notice(&mut self, entry: &Entry, outcome: &Outcome) {
        match (&entry.command, outcome) {
            (Command::CompleteAttempt { task, attempt, .. }, Outcome::Accepted) => {
                self.taken.insert(AttemptToken {
                    task: *task,
                    attempt: *attempt,
                });
            }
            (Command::GrantLeases { .. }, Outcome::Granted { results }) => {
                self.attempts += results.iter().filter(|r| r.is_ok()).count() as u64;
            }
            _ => {}
        }
    }
}

/// A command in one line.
fn brief(command: &Command) -> String {
    let text = format!("{command:?}");
    text.chars().take(160).collect()
}

/// Listens to one coordinator.
#[derive(Debug)]
pub struct Listener {
    pub world: Weak<World>,
    pub machine: u64,
    /// It has begun, so what it restores now came from another.
    pub started: std::sync::atomic::AtomicBool,
}

impl Witness for Listener {
    fn applied(
        &self,
        at: Place,
        sealed: Option<&[u8]>,
        answers: &[(Outcome, Vec<Effect>)],
        state: &State,
    ) {
        self.started
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let judged = world
            .lock()
            .applied(self.machine, at, sealed, answers, state);
        if let Err(what) = judged {
            world.broke(what);
        }
    }

    fn restored(&self, at: Place, state: &State) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let installed = self.started.load(std::sync::atomic::Ordering::Relaxed);
        world.fire(match installed {
            true => Fault::SnapshotInstalled,
            false => Fault::SnapshotRestored,
        });
        let inner = world.lock();
        let differs = at.index + 1 == inner.book.len() && state != inner.oracle.state();
        let unknown = at.index >= inner.book.len();
        drop(inner);
        if differs || unknown {
            let what = format!(
                "coordinator {} came back from its snapshot of entry {} as another",
                self.machine, at.index
            );
            world.broke(what);
        }
    }
}
