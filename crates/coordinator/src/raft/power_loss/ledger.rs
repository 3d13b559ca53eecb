//! What one coordinator has promised to others, and may thus never forget.

use super::super::log_store::LogStore;
use super::super::type_config::alias::{LogId, Vote};
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use std::collections::BTreeMap;

/// What a coordinator says, or is told, that changes what it has promised.
#[derive(Clone, Debug)]
pub enum Said {
    /// Its own vote, in a request or an answer.
    Votes(Vote),
    /// It was asked to take these entries: what contradicts them may go.
    Asked(Vec<LogId>),
    /// It holds these entries.
    Holds(Vec<LogId>),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    vote: Option<Vote>,
    entries: BTreeMap<u64, LogId>,
}

impl Ledger {
    pub fn hear(&mut self, said: &Said) {
        match said {
            Said::Votes(vote) => {
                if self.vote.is_none_or(|known| known < *vote) {
                    self.vote = Some(*vote);
                }
            }
            Said::Asked(ids) => {
                let contradicts = |id: &&LogId| {
                    self.entries
                        .get(&id.index)
                        .is_some_and(|known| known != *id)
                };
                if let Some(first) = ids.iter().find(contradicts) {
                    self.entries.split_off(&first.index);
                }
            }
            Said::Holds(ids) => self.entries.extend(ids.iter().map(|id| (id.index, *id))),
        }
    }

    /// Number of promises.
    pub fn len(&self) -> usize {
        self.entries.len() + usize::from(self.vote.is_some())
    }

    /// Whether what was found keeps every promise.
    /// # Errors
    /// The first that is broken.
    pub fn kept(&self, found: &Found) -> Result<(), String> {
        if let Some(promised) = self.vote
            && found.vote.is_none_or(|vote| vote < promised)
        {
            return Err(format!("it voted {promised}, and knows {:?}", found.vote));
        }
        if found.purged.map(|id| id.index) > found.snapshot.map(|id| id.index) {
            return Err(format!(
                "purged up to {:?}, and the snapshot ends at {:?}",
                found.purged, found.snapshot
            ));
        }
        for (index, promised) in &self.entries {
            let covered = found.purged.is_some_and(|id| id.index >= *index);
            if !covered && found.entries.get(index) != Some(promised) {
                return Err(format!(
                    "it said to hold {promised}, and holds {:?}; purged up to {:?}",
                    found.entries.get(index),
                    found.purged
                ));
            }
        }
        Ok(())
    }
}

/// What a log and its snapshot hold after opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub entries: BTreeMap<u64, LogId>,
    /// What the newest snapshot ends with.
    pub snapshot: Option<LogId>,
}

impl Found {
    pub async fn of(log: &mut LogStore, snapshot: Option<LogId>) -> Self {
        let entries = log.try_get_log_entries(..).await.expect("from memory");
        Self {
            vote: log.read_vote().await.expect("from memory"),
            purged: log
                .get_log_state()
                .await
                .expect("from memory")
                .last_purged_log_id,
            entries: entries
                .into_iter()
                .map(|entry| (entry.log_id.index, entry.log_id))
                .collect(),
            snapshot,
        }
    }
}
