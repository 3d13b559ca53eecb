//! Room on the disk that holds log and snapshots.
//!
//! A log that cannot be written ends the process. Long before that no new Jobs are taken, so that those that are there can
//! come to their end, and what the log needs no more is given back.

use crate::raft::Consensus;
use recode_proto::convert::status::because;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// How often the disk is looked at.
const ROUND: Duration = Duration::from_secs(5);

/// Between two snapshots that are to give room back.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// On a large disk less than the tenth part is plenty.
const PLENTY: u64 = 1 << 30;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing to say.
    Enough,
    /// No new Jobs are taken.
    Low {
        /// What is free.
        free_bytes: u64,
        /// What has to be free.
        wanted_bytes: u64,
    },
}

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    free_bytes: u64,
    total_bytes: u64,
}

impl Space {
    fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Self {
            free_bytes: found.f_bavail * found.f_frsize,
            total_bytes: found.f_blocks * found.f_frsize,
        })
    }

    /// The tenth part of the disk, or a GiB, is to be free.
    fn wanted_bytes(self) -> u64 {
        (self.total_bytes / 10).min(PLENTY)
    }

    fn room(self) -> Room {
        let wanted_bytes = self.wanted_bytes();
        if self.free_bytes >= wanted_bytes {
            return Room::Enough;
        }
        Room::Low {
            free_bytes: self.free_bytes,
            wanted_bytes,
        }
    }

    /// Less than half of what is to be free: what the log needs no more should go.
    fn is_tight(self) -> bool {
        self.free_bytes < self.wanted_bytes() / 2
    }
}

/// What is told to whoever brings a new Job. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    dir: PathBuf,
    room: watch::Receiver<Room>,
}

impl Door {
    /// One that is always open.
    pub fn open() -> Self {
        Self {
            dir: PathBuf::new(),
            room: watch::channel(Room::Enough).1,
        }
    }

    /// # Errors
    /// There is no room for new Jobs.
    pub fn pass(&self) -> Result<(), Status> {
        let Room::Low {
            free_bytes,
            wanted_bytes,
        } = *self.room.borrow()
        else {
            return Ok(());
        };
        let (free, wanted) = (free_bytes >> 20, wanted_bytes >> 20);
        Err(because(
            Code::ResourceExhausted,
            "DISK_LOW",
            format!(
                "the disk of the leading coordinator is nearly full, so it takes no new jobs: free {wanted} MiB or more for \
                 {}, where {free} MiB are left",
                self.dir.display()
            ),
            &[
                ("free_bytes", free_bytes.to_string()),
                ("wanted_bytes", wanted_bytes.to_string()),
            ],
        ))
    }
}

/// Watches the disk of the folder `dir`; the future does so until told to stop.
pub fn watch(
    dir: &Path,
    consensus: Consensus,
    stop: CancellationToken,
) -> (Door, impl Future<Output = ()> + use<>) {
    let (tell, room) = watch::channel(Room::Enough);
    let door = Door {
        dir: dir.to_owned(),
        room,
    };
    let dir = dir.to_owned();
    let life = async move {
        let mut round = tokio::time::interval(ROUND);
        let mut compacted: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = round.tick() => {}
            }
            let at = dir.clone();
            let found = tokio::task::spawn_blocking(move || Space::of(&at)).await;
            let Ok(Ok(space)) = found else {
                // A disk that does not answer shows itself when the log is written.
                continue;
            };
            let room = space.room();
            let news = tell.send_if_modified(|known| {
                let turned = std::mem::discriminant(known) != std::mem::discriminant(&room);
                *known = room;
                turned
            });
            if news {
                match room {
                    Room::Enough => tracing::info!("there is room on the disk again"),
                    Room::Low { free_bytes, .. } => tracing::warn!(
                        free_bytes,
                        dir = %dir.display(),
                        "the disk is nearly full: no new jobs are taken"
                    ),
                }
            }
            let due = compacted.is_none_or(|at| at.elapsed() >= COMPACT_EVERY);
            if space.is_tight() && due {
                compacted = Some(Instant::now());
                // One that cannot be written ends the process, as the log would.
                let made = tokio::select! {
                    () = stop.cancelled() => return,
                    made = consensus.snapshot() => made,
                };
                tracing::info!(?made, "compacted the log, since the disk is nearly full");
            }
        }
    };
    (door, life)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_proto::convert::status::reason;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_tenth_of_a_disk_or_a_gib_is_to_be_free() {
        let check = |free_mib: u64, total_mib: u64, low: bool, tight: bool| {
            let space = Space {
                free_bytes: free_mib * MIB,
                total_bytes: total_mib * MIB,
            };
            assert_eq!(space.room() != Room::Enough, low, "{space:?}");
            assert_eq!(space.is_tight(), tight, "{space:?}");
        };
        check(100, 1000, false, false);
        check(99, 1000, true, false);
        check(50, 1000, true, false);
        check(49, 1000, true, true);
        check(0, 64, true, true);
        check(1024, 4 << 20, false, false);
        check(1023, 4 << 20, true, false);
        check(511, 4 << 20, true, true);
        // A disk that tells nothing of itself is none to go by.
        check(0, 0, false, false);
        assert!(Space::of(Path::new("/")).unwrap().total_bytes > 0);
    }

    #[test]
    fn who_brings_a_job_hears_what_to_do() {
        assert!(Door::open().pass().is_ok());
        let low = Room::Low {
            free_bytes: 3 * MIB,
            wanted_bytes: 100 * MIB,
        };
        let door = Door {
            dir: "/var/lib/recode".into(),
            room: watch::channel(low).1,
        };
        let status = door.pass().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(&status).as_deref(), Some("DISK_LOW"));
        let message = status.message();
        assert!(
            message.contains("free 100 MiB or more for /var/lib/recode, where 3 MiB are left"),
            "{message}"
        );
    }
}
