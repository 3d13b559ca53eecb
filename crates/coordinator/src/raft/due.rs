//! When this coordinator writes a snapshot.
//!
//! All coordinators have the same log. Each writes its first snapshot after a part of the usual distance that differs from the
//! others', so that they do not all write at once from then on: a commit waits for the faster half of them only.

use super::log_store::LogStore;
use super::type_config::CoordinatorId;
use super::type_config::alias::Raft;

/// Bytes of log after which a snapshot is taken although there are fewer entries than that: entries are held in memory until
/// they are purged.
const EVERY_BYTES: u64 = 48 << 20;

/// Numbers of coordinators that follow each other write at different times, so many of them.
const TURNS: u64 = 3;

/// Entries and bytes of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grown {
    entries: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Due {
    every: Grown,
    /// Of [`TURNS`]; all of them from the second snapshot on.
    part: u64,
    /// Where the log was at the newest snapshot, or when one was asked for.
    last: Grown,
}

impl Due {
    fn new(id: CoordinatorId, every_entries: u64, last: Grown) -> Self {
        Self {
            every: Grown {
                entries: every_entries,
                bytes: EVERY_BYTES,
            },
            part: id % TURNS + 1,
            last,
        }
    }

    /// Whether one is to be written now. Where it is, the next one is due when the log has grown as much again: this one is
    /// under way meanwhile.
    fn at(&mut self, now: Grown) -> bool {
        let of = |every: u64| every * self.part / TURNS;
        if now.entries.saturating_sub(self.last.entries) < of(self.every.entries)
            && now.bytes - self.last.bytes < of(self.every.bytes)
        {
            return false;
        }
        (self.last, self.part) = (now, TURNS);
        true
    }
}

/// Asks for a snapshot whenever one is due, until Raft has ended.
pub async fn write_snapshots(raft: Raft, log: LogStore, id: CoordinatorId, every_entries: u64) {
    let mut metrics = raft.metrics();
    let known = metrics.borrow_and_update().snapshot;
    let mut newest = known.map(|snapshot| snapshot.index);
    let last = Grown {
        entries: newest.unwrap_or(0),
        bytes: log.written(),
    };
    let mut due = Due::new(id, every_entries, last);
    while metrics.changed().await.is_ok() {
        let (applied, snapshot) = {
            let metrics = metrics.borrow_and_update();
            let index = |id: Option<openraft::LogId<CoordinatorId>>| id.map(|id| id.index);
            (index(metrics.last_applied), index(metrics.snapshot))
        };
        let now = Grown {
            entries: applied.unwrap_or(0),
            bytes: log.written(),
        };
        if snapshot > newest {
            newest = snapshot;
            // One that a Leader has sent, or that somebody has asked for.
            due.last.entries = due.last.entries.max(snapshot.unwrap_or(0));
        }
        if due.at(now) && raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(due: &mut Due, entries: u64, bytes: u64) -> bool {
        due.at(Grown { entries, bytes })
    }

    #[test]
    fn three_coordinators_take_turns() {
        let mut dues = [1, 2, 3].map(|id| {
            Due::new(
                id,
                300,
                Grown {
                    entries: 0,
                    bytes: 0,
                },
            )
        });
        let mut written = Vec::new();
        for entries in 1..=1000 {
            for (coordinator, due) in (1..).zip(&mut dues) {
                if after(due, entries, 0) {
                    written.push((entries, coordinator));
                }
            }
        }
        let turns = [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000].into_iter();
        let expected: Vec<_> = turns.zip([3, 1, 2].into_iter().cycle()).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn bytes_count_as_entries_do_and_both_begin_again() {
        let start = Grown {
            entries: 1000,
            bytes: 0,
        };
        let mut due = Due::new(2, 300, start);
        assert!(!after(&mut due, 1001, EVERY_BYTES - 1));
        assert!(after(&mut due, 1002, EVERY_BYTES));
        assert!(!after(&mut due, 1301, EVERY_BYTES * 2 - 1));
        assert!(after(&mut due, 1302, EVERY_BYTES * 2 - 1));
        assert!(!after(&mut due, 1303, EVERY_BYTES * 2));
        // A snapshot that was received is ahead of what is applied here.
        due.last.entries = 5000;
        assert!(!after(&mut due, 1304, EVERY_BYTES * 2));
    }
}
