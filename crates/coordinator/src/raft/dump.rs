//! A coordinator's log as lines to read, for people and programs. Looks only: it may run on a copy, on the folder of a
//! coordinator that has stopped, or beside one that runs.

use super::disk::Real;
use super::identity::Identity;
use super::snapshot::Snapshots;
use super::state_machine::{self, Applied};
use super::type_config::CoordinatorId;
use super::type_config::alias::Entry;
use super::{Error, log_store};
use openraft::EntryPayload;
use recode_core::{Batch, Command, Outcome};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

/// One line of a dump. As JSON it carries its `kind`.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first line: whose log it is and what it spans.
    Log {
        /// The cluster; `None`: the coordinator was never part of one.
        cluster: Option<String>,
        /// Its number there.
        coordinator: Option<CoordinatorId>,
        /// The term it last voted in.
        term: u64,
        /// For whom.
        voted_for: Option<CoordinatorId>,
        /// The last entry that the newest snapshot holds.
        snapshot: Option<u64>,
        /// The last entry that is gone, being in a snapshot.
        purged: Option<u64>,
        /// The last entry known to be committed; more may be.
        committed: Option<u64>,
        /// The last entry.
        last: Option<u64>,
    },
    /// An entry that a Leader begins with.
    Blank {
        /// Position in the log.
        index: u64,
        /// Term of the Leader that wrote it.
        term: u64,
    },
    /// Who belongs to the cluster from here on.
    Members {
        /// See [`Line::Blank`].
        index: u64,
        /// See [`Line::Blank`].
        term: u64,
        /// Those who vote.
        voters: BTreeSet<CoordinatorId>,
        /// Where all members are.
        addresses: BTreeMap<CoordinatorId, String>,
    },
    /// Commands.
    Batch {
        /// See [`Line::Blank`].
        index: u64,
        /// See [`Line::Blank`].
        term: u64,
        /// In order; none where the entry only served to give out its number or to be waited for.
        changes: Vec<Change>,
    },
}

/// A command in the log.
#[derive(Debug, Serialize)]
pub struct Change {
    /// When it was proposed, in milliseconds since 1970.
    pub at_ms: u64,
    /// The command.
    pub command: Command,
    /// What came of it. `None`: it is not known to be committed, or a snapshot holds it, and the state that it met is not
    /// known any more.
    pub outcome: Option<Outcome>,
}

/// Hands every line of the log in `dir` to `each`, until that fails.
/// # Errors
/// The folder cannot be read, is damaged, or holds no log; or what `each` said.
pub fn dump(dir: &Path, mut each: impl FnMut(Line) -> io::Result<()>) -> Result<(), Error> {
    let folder = |source| Error::Folder {
        path: dir.to_owned(),
        source,
    };
    let identity = Identity::read(dir).map_err(folder)?;
    let contents = log_store::read(dir)?;
    let snapshot = Snapshots::at(Real::shared(), dir)
        .newest()
        .map_err(folder)?;
    let snapshot = snapshot
        .map(|kept| state_machine::restore(&kept.meta, kept.state()))
        .transpose()
        .map_err(folder)?;
    if contents.entries.is_empty() && snapshot.is_none() {
        return Err(folder(io::Error::new(
            io::ErrorKind::NotFound,
            "it holds no log: name the data folder of a coordinator",
        )));
    }
    let committed = contents.committed.map(|id| id.index);
    let last = contents.entries.last().map(|entry| entry.log_id);
    each(Line::Log {
        cluster: identity.as_ref().map(|identity| identity.cluster.clone()),
        coordinator: identity.as_ref().map(|identity| identity.id),
        term: contents.vote.map_or(0, |vote| vote.leader_id.term),
        voted_for: contents.vote.and_then(|vote| vote.leader_id.voted_for()),
        snapshot: snapshot
            .as_ref()
            .and_then(|applied| applied.last)
            .map(|id| id.index),
        purged: contents.purged.map(|id| id.index),
        committed,
        last: last.or(contents.purged).map(|id| id.index),
    })
    .map_err(folder)?;
    let mut replay = Replay {
        applied: snapshot.unwrap_or_default(),
        committed,
    };
    for entry in contents.entries {
        each(replay.line(entry).map_err(folder)?).map_err(folder)?;
    }
    Ok(())
}

/// The state as of the entry before.
struct Replay {
    applied: Applied,
    committed: Option<u64>,
}

impl Replay {
    fn line(&mut self, entry: Entry) -> io::Result<Line> {
        let (index, term) = (entry.log_id.index, entry.log_id.leader_id.term);
        Ok(match entry.payload {
            EntryPayload::Blank => Line::Blank { index, term },
            EntryPayload::Membership(membership) => Line::Members {
                index,
                term,
                voters: membership.voter_ids().collect(),
                addresses: membership
                    .nodes()
                    .map(|(id, node)| (*id, node.addr.clone()))
                    .collect(),
            },
            EntryPayload::Normal(proposal) => {
                let batch = Batch::decode(&proposal.0)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let in_snapshot = self.applied.last.is_some_and(|last| index <= last.index);
                let known = !in_snapshot && self.committed.is_some_and(|at| index <= at);
                let state = &mut self.applied.state;
                let changes = batch.0.into_iter().map(|entry| Change {
                    at_ms: entry.at_ms,
                    outcome: known.then(|| state.apply(&entry).0),
                    command: entry.command,
                });
                Line::Batch {
                    index,
                    term,
                    changes: changes.collect(),
                }
            }
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_none(number: Option<u64>) -> String {
            number.map_or_else(|| "none".to_owned(), |number| number.to_string())
        }
        match self {
            Self::Log {
                cluster,
                coordinator,
                term,
                voted_for,
                snapshot,
                purged,
                committed,
                last,
            } => write!(
                f,
                "coordinator {} of cluster {}: term {term}, voted for {}, snapshot up to {}, purged up to {}, committed \
                 up to {} or more, last entry {}",
                or_none(*coordinator),
                cluster.as_deref().unwrap_or("none"),
                or_none(*voted_for),
                or_none(*snapshot),
                or_none(*purged),
                or_none(*committed),
                or_none(*last),
            ),
            Self::Blank { index, term } => write!(f, "{index:>8} term {term}: a leader begins"),
            Self::Members {
                index,
                term,
                voters,
                addresses,
            } => write!(
                f,
                "{index:>8} term {term}: voters {voters:?} of {addresses:?}"
            ),
            Self::Batch {
                index,
                term,
                changes,
            } => {
                write!(f, "{index:>8} term {term}: {} changes", changes.len())?;
                for change in changes {
                    write!(f, "\n{:>8} {} {:?}", "", change.at_ms, change.command)?;
                    if let Some(outcome) = &change.outcome {
                        write!(f, " -> {outcome:?}")?;
                    }
                }
                Ok(())
            }
        }
    }
}
