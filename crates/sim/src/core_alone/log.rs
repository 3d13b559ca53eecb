//! The make-believe log: what Raft promises, and nothing more.
//!
//! There is one list of entries, that of the present Leader. A coordinator has a prefix of it written and a prefix of that
//! on disk. What a majority has on disk is committed. At a change of Leader the new one's prefix counts: of what was not
//! committed some survives and lands late, the rest is lost. A crash loses what was not on disk.

use super::leader::Reign;
use super::world::{Event, Place, World};
use crate::faults::Fault;
use recode_core::machine::{Batch, Effect, Outcome, State};
use recode_types::{AttemptToken, JobId, NodeId};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What applying an entry answered: per command.
pub type Answers = Rc<Vec<(Outcome, Vec<Effect>)>>;

#[derive(Debug)]
pub struct LogEntry {
    pub term: u64,
    pub batch: Rc<Batch>,
}

#[derive(Debug, Default)]
pub struct Log {
    pub entries: Vec<LogEntry>,
    pub committed: usize,
    pub term: u64,
    pub leader: Option<usize>,
    /// What the oracle heard, for each committed entry: every replica must hear the same.
    pub answers: Vec<Answers>,
    /// What each coordinator has told the present Leader to have on disk.
    acked: Vec<usize>,
}

/// Effects that wait for a Leader; see the coordinator's `raft/effects.rs`.
#[derive(Debug, Default)]
pub struct Gathered {
    pub plan: BTreeSet<JobId>,
    pub decide: BTreeSet<JobId>,
    pub revoke: BTreeSet<(NodeId, AttemptToken)>,
    pub dispatch: bool,
}

impl Gathered {
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty() && self.decide.is_empty() && self.revoke.is_empty() && !self.dispatch
    }

    pub fn add(&mut self, effect: &Effect) {
        match effect {
            Effect::Plan { job } => {
                self.plan.insert(*job);
            }
            Effect::Decide { job } => {
                self.decide.insert(*job);
            }
            Effect::Revoke {
                node,
                task,
                attempt,
            } => {
                let token = AttemptToken {
                    task: *task,
                    attempt: *attempt,
                };
                self.revoke.insert((*node, token));
            }
            Effect::Dispatch => self.dispatch = true,
            Effect::Announce { .. } | Effect::Ended { .. } => {}
        }
    }
}

/// One coordinator process and its disk.
#[derive(Debug)]
pub struct Coordinator {
    pub up: bool,
    /// Counts its starts.
    pub life: u32,
    pub paused_until: u64,
    pub slow_disk_until: u64,
    pub written: usize,
    pub durable: usize,
    pub state: State,
    pub applied: usize,
    /// Newest time stamp seen in an entry.
    pub at_ms: u64,
    /// Entries in it, its bytes, and the stamp.
    snapshot: Option<(usize, Vec<u8>, u64)>,
    pub gathered: Gathered,
    pub reign: Option<Box<Reign>>,
    /// What its wall clock is wrong by, in milliseconds.
    pub wall_error_ms: i64,
    /// Of its monotonic clock, in permille.
    pub rate: u64,
}

impl Coordinator {
    pub fn new(rate: u64) -> Self {
        Self {
            up: true,
            life: 0,
            paused_until: 0,
            slow_disk_until: 0,
            written: 0,
            durable: 0,
            state: State::default(),
            applied: 0,
            at_ms: 0,
            snapshot: None,
            gathered: Gathered::default(),
            reign: None,
            wall_error_ms: 0,
            rate,
        }
    }
}

impl World {
    pub fn majority(&self) -> usize {
        self.coordinators.len() / 2 + 1
    }

    fn disk_ms(&mut self, at: usize) -> u64 {
        let usual = self.rng.within(1, 8);
        usual
            + self.coordinators[at]
                .slow_disk_until
                .saturating_sub(self.now)
    }

    /// The Leader writes an entry. Answers its position; `None`: it leads no more and does not know it, so the entry goes
    /// nowhere.
    pub fn append(&mut self, at: usize, batch: Batch) -> Option<usize> {
        let term = self.coordinators[at].reign.as_ref()?.term;
        if term != self.log.term {
            self.fired.add(Fault::ProposalLost);
            return None;
        }
        let bytes = batch.encode();
        let read = match Batch::decode(&bytes) {
            Ok(read) if read == batch => read,
            other => {
                self.broke(format!("an entry reads back as {other:?}"));
                return None;
            }
        };
        self.log.entries.push(LogEntry {
            term,
            batch: Rc::new(read),
        });
        let upto = self.log.entries.len();
        if upto > super::MOST_ENTRIES {
            self.broke(format!("the log has {upto} entries and goes on"));
        }
        self.coordinators[at].written = upto;
        let life = self.coordinators[at].life;
        let disk = self.disk_ms(at);
        self.after(
            disk,
            Event::Synced {
                at,
                life,
                upto,
                term,
            },
        );
        self.replicate(at);
        Some(upto - 1)
    }

    fn replicate(&mut self, from: usize) {
        let (upto, commit, term) = (self.log.entries.len(), self.log.committed, self.log.term);
        for to in 0..self.coordinators.len() {
            if to != from {
                let event = Event::Append {
                    to,
                    from,
                    upto,
                    commit,
                    term,
                };
                self.send(Place::Coordinator(from), Place::Coordinator(to), event);
            }
        }
    }

    pub fn on_heartbeat(&mut self, at: usize, term: u64) {
        let leads = self.coordinators[at]
            .reign
            .as_ref()
            .is_some_and(|r| r.term == term);
        if leads && term == self.log.term {
            self.replicate(at);
            self.after(250, Event::Heartbeat { at, term });
        }
    }

    pub fn on_append(&mut self, to: usize, from: usize, upto: usize, commit: usize, term: u64) {
        if term != self.log.term {
            return;
        }
        let one = &mut self.coordinators[to];
        let life = one.life;
        if one.written < upto {
            one.written = upto;
        }
        let disk = self.disk_ms(to);
        if self.coordinators[to].durable < upto {
            self.after(
                disk,
                Event::Synced {
                    at: to,
                    life,
                    upto,
                    term,
                },
            );
        } else {
            let ack = Event::Acked {
                to: from,
                from: to,
                upto,
                term,
            };
            self.send(Place::Coordinator(to), Place::Coordinator(from), ack);
        }
        let commit = commit.min(self.coordinators[to].written);
        self.apply(to, commit);
    }

    pub fn on_synced(&mut self, at: usize, life: u32, upto: usize, term: u64) {
        let one = &mut self.coordinators[at];
        if one.life != life || !one.up || term != self.log.term {
            return;
        }
        one.durable = one.durable.max(upto.min(one.written));
        let durable = one.durable;
        let Some(leader) = self.log.leader else {
            return;
        };
        if leader == at {
            self.on_acked(at, at, durable, term);
        } else {
            let ack = Event::Acked {
                to: leader,
                from: at,
                upto: durable,
                term,
            };
            self.send(Place::Coordinator(at), Place::Coordinator(leader), ack);
        }
    }

    pub fn on_acked(&mut self, to: usize, from: usize, upto: usize, term: u64) {
        let leads = self.coordinators[to]
            .reign
            .as_ref()
            .is_some_and(|r| r.term == term);
        if term != self.log.term || !leads {
            return;
        }
        self.log.acked[from] = self.log.acked[from].max(upto);
        let mut acked = self.log.acked.clone();
        acked.sort_unstable();
        let commit = acked[acked.len() - self.majority()];
        // Entries of former terms are committed with the first of this one.
        if commit > self.log.committed && self.log.entries[commit - 1].term == term {
            self.commit(commit);
        }
        let committed = self.log.committed;
        self.apply(to, committed);
    }

    fn commit(&mut self, upto: usize) {
        for index in self.log.committed..upto {
            let batch = self.log.entries[index].batch.clone();
            let mut answers = Vec::with_capacity(batch.0.len());
            for entry in &batch.0 {
                self.commands += 1;
                match self.oracle.step(entry) {
                    Ok((outcome, effects)) => {
                        self.trace.line(self.now, || {
                            format!("{index}: {} => {outcome:?}", brief(&entry.command))
                        });
                        self.notice(entry, &outcome);
                        answers.push((outcome, effects));
                    }
                    Err(what) => {
                        self.trace
                            .line(self.now, || format!("{index}: {}", brief(&entry.command)));
                        self.broke(what);
                        return;
                    }
                }
            }
            self.trace.note(&[index as u64, answers.len() as u64]);
            self.log.answers.push(Rc::new(answers));
            self.log.committed = index + 1;
        }
    }

    /// A replica applies what it knows to be committed.
    pub fn apply(&mut self, at: usize, upto: usize) {
        while self.coordinators[at].applied < upto && self.broken.is_none() {
            let index = self.coordinators[at].applied;
            let batch = self.log.entries[index].batch.clone();
            let one = &mut self.coordinators[at];
            let answers = one.state.apply_batch(&batch);
            one.applied += 1;
            for entry in &batch.0 {
                one.at_ms = one.at_ms.max(entry.at_ms);
            }
            if answers != *self.log.answers[index] {
                let expected = &self.log.answers[index];
                let what =
                    format!("entry {index} was answered {answers:?} instead of {expected:?}");
                self.broke(what);
                return;
            }
            for (_, effects) in &answers {
                effects.iter().for_each(|e| one.gathered.add(e));
            }
            if index + 1 == self.log.committed
                && index.is_multiple_of(8)
                && self.coordinators[at].state != *self.oracle.state()
            {
                self.broke(format!("replica {at} differs after entry {index}"));
                return;
            }
            if index % 64 == 63 {
                self.snapshot(at);
            }
            self.on_applied(at, index);
        }
    }

    fn snapshot(&mut self, at: usize) {
        let one = &mut self.coordinators[at];
        one.snapshot = Some((one.applied, one.state.encode(), one.at_ms));
    }

    /// A coordinator goes on from the encoding of its state.
    pub fn restore(&mut self, at: usize) {
        self.snapshot(at);
        self.load(at);
        // What came with the entries before it was for whoever applied them.
        let one = &mut self.coordinators[at];
        if one.reign.is_none() {
            one.gathered = Gathered::default();
        }
        self.fired.add(Fault::SnapshotRestored);
        let one = &self.coordinators[at];
        if one.applied == self.log.committed && one.state != *self.oracle.state() {
            self.broke(format!(
                "replica {at} came back from its snapshot as another"
            ));
        }
    }

    fn load(&mut self, at: usize) {
        let one = &mut self.coordinators[at];
        (one.applied, one.state, one.at_ms) = match &one.snapshot {
            None => (0, State::default(), 0),
            Some((applied, bytes, at_ms)) => match State::decode(bytes) {
                Ok(state) => (*applied, state, *at_ms),
                Err(error) => {
                    self.broke(format!("a snapshot does not read: {error}"));
                    return;
                }
            },
        };
    }

    pub fn crash(&mut self, at: usize) {
        if self.rng.chance(500) {
            self.snapshot(at);
        }
        let one = &mut self.coordinators[at];
        one.up = false;
        one.life += 1;
        one.reign = None;
        one.gathered = Gathered::default();
        let lost = one.written > one.durable;
        one.written = one.durable;
        self.fired.add(Fault::CoordinatorCrash);
        if lost {
            self.fired.add(Fault::UnsyncedTailLost);
        }
        self.load(at);
        self.hang_up_all(at);
    }

    /// Whether a coordinator is there and reaches a majority that would follow it.
    fn could_lead(&self, at: usize) -> bool {
        let one = &self.coordinators[at];
        if !one.up || one.paused_until > self.now || one.durable < self.log.committed {
            return false;
        }
        let place = Place::Coordinator(at);
        let votes = self.coordinators.iter().enumerate().filter(|(v, voter)| {
            let other = Place::Coordinator(*v);
            *v == at
                || voter.up
                    && voter.paused_until <= self.now
                    && voter.durable <= one.durable
                    && self.passes(place, other)
                    && self.passes(other, place)
        });
        votes.count() >= self.majority()
    }

    fn leads_well(&self) -> bool {
        let Some(at) = self.log.leader else {
            return false;
        };
        let one = &self.coordinators[at];
        let place = Place::Coordinator(at);
        let followers = (0..self.coordinators.len()).filter(|&v| {
            let (other, voter) = (Place::Coordinator(v), &self.coordinators[v]);
            v == at || voter.up && self.passes(place, other) && self.passes(other, place)
        });
        one.up
            && one.paused_until <= self.now
            && one.reign.as_ref().is_some_and(|r| r.term == self.log.term)
            && followers.count() >= self.majority()
    }

    /// An election timeout: elects if nobody leads well, or by force.
    pub fn elect(&mut self, force: bool) {
        let well = self.leads_well();
        if well && !force {
            return;
        }
        let former = self.log.leader;
        let able: Vec<usize> = (0..self.coordinators.len())
            .filter(|&c| self.could_lead(c) && (!force || Some(c) != former))
            .collect();
        if able.is_empty() {
            return;
        }
        let at = self.rng.pick(&able);
        if well {
            self.fired.add(Fault::LeaderChange);
        }
        // Often the one that has just started again, from a snapshot that already holds what the log asked for.
        if !self.calm
            && self.schedule.rates.restore > 0
            && self.coordinators[at].reign.is_none()
            && self.rng.chance(400)
        {
            self.restore(at);
        }
        if let Some(former) = former
            && former != at
            && let Some(reign) = &self.coordinators[former].reign
        {
            let term = reign.term;
            let wait = self.rng.within(20, 2_000);
            self.after(wait, Event::StepDown { at: former, term });
        }
        let kept = self.coordinators[at].durable;
        let lost = self.log.entries.len() - kept;
        if lost > 0 {
            self.fired.add(Fault::ProposalLost);
        }
        if kept > self.log.committed {
            self.fired.add(Fault::ProposalLate);
        }
        self.log.entries.truncate(kept);
        for one in &mut self.coordinators {
            one.written = one.written.min(kept);
            one.durable = one.durable.min(kept);
        }
        self.coordinators[at].written = kept;
        self.log.term += 1;
        self.log.leader = Some(at);
        self.log.acked = vec![0; self.coordinators.len()];
        let term = self.log.term;
        self.trace.line(self.now, || {
            format!("coordinator {at} leads term {term}, lost {lost}")
        });
        self.trace.note(&[term, at as u64]);
        // A second reign of the same coordinator is a new one.
        self.hang_up_all(at);
        self.coordinators[at].reign = Some(Box::new(Reign::new(term)));
        // The first entry of a term commits what came before it.
        self.append(at, Batch::default());
        self.after(250, Event::Heartbeat { at, term });
    }
}

/// A command in a line.
fn brief(command: &recode_core::Command) -> String {
    let mut text = format!("{command:?}");
    if let Some((at, _)) = text.char_indices().nth(260) {
        text.truncate(at);
        text.push('…');
    }
    text
}
