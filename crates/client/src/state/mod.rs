//! The folder where embedded work lives, shared safely by any number of processes.
//!
//! ```text
//! STATE/jobs/<digest>/lock      held (flock) by the process that works on the job; its id is written in it
//!                     job.json  what was asked, for people and for `cache list`
//!                     raft/     the job's log        store/  facts, chunks, audio      scratch/  emptied at start
//! STATE/cache/<..>              finished chunks kept by --cache, one file per content address, oldest go first
//! STATE/room-<pid>/             work outside any job (probe, score), removed at its end
//! ```
//!
//! The digest covers the request and the identity of a local Source, so the same command finds the same folder, and a
//! changed file does not. A folder goes when its job is done or has failed; an interrupted one stays for the next run.

mod entries;

pub use entries::Entry;

use crate::fault::Fault;
use entries::children;
use recode_types::{Digest, JobRequest};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Folders for work outside any job are named by this and the process's id.
const ROOM: &str = "room-";

/// The state folder.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
}

/// What is written to `job.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobNote {
    /// URL of the Source.
    pub source: String,
    /// URLs of the Outputs.
    pub outputs: Vec<String>,
}

/// The right to work on a job: nobody else has its folder while this lives.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
    resumes: bool,
}

/// A folder that goes with the value.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
}

impl Room {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a folder was not removed");
        }
    }
}

impl State {
    /// The folder at `dir`, else the user's usual one. Made when missing.
    /// # Errors
    /// [`Kind::Environment`](crate::fault::Kind::Environment): it cannot be made.
    pub fn open(dir: Option<&Path>) -> Result<Self, Fault> {
        let root = match dir {
            Some(dir) => dir.to_owned(),
            None => usual().ok_or_else(|| {
                Fault::environment(
                    "there is no place for unfinished work, since neither XDG_STATE_HOME nor HOME is set; name one with --state DIR",
                )
            })?,
        };
        let unusable = |e: std::io::Error| {
            Fault::environment(format!(
                "the state folder {} cannot be used ({e}); name another with --state DIR",
                root.display()
            ))
        };
        let root = std::path::absolute(&root).map_err(unusable)?;
        std::fs::create_dir_all(root.join("jobs")).map_err(unusable)?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where chunks are kept for later jobs.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Claims the folder of the job with this digest.
    /// # Errors
    /// `Job`: another process works on it. `Environment`: the folder cannot be used.
    pub fn claim(&self, digest: &Digest, request: &JobRequest) -> Result<Claim, Fault> {
        let path = self.root.join("jobs").join(&digest.to_string()[..32]);
        let unusable = |e: std::io::Error| {
            Fault::environment(format!(
                "the state folder {} cannot be written ({e}); free the disk or name another with --state DIR",
                path.display()
            ))
        };
        // A finished job's process may remove the folder between our steps: then the lock we got is on a file that is
        // gone, and the folder is made again.
        loop {
            std::fs::create_dir_all(&path).map_err(unusable)?;
            let opened = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path.join("lock"));
            let mut lock = match opened {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(unusable)?,
            };
            if let Err(e) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                if e != rustix::io::Errno::WOULDBLOCK {
                    return Err(unusable(e.into()));
                }
                let mut holder = String::new();
                // Only for the message; a holder that has not written yet is shown without its number.
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    id => format!("process {id}"),
                };
                return Err(Fault::new(
                    crate::fault::Kind::Job,
                    format!(
                        "{holder} is already working on exactly this; wait for it, or give this one its own --state DIR"
                    ),
                ));
            }
            if !is_same(&lock, &path.join("lock")) {
                continue;
            }
            // Only for the message of others.
            let _ = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| write!(lock, "{}", std::process::id()));
            let resumes = path.join("raft").exists();
            if !resumes {
                let note = JobNote {
                    source: request.source.clone(),
                    outputs: request.outputs.iter().map(|o| o.url.clone()).collect(),
                };
                let json = serde_json::to_vec_pretty(&note).expect("a note is plain data");
                std::fs::write(path.join("job.json"), json).map_err(unusable)?;
            }
            return Ok(Claim {
                path,
                _lock: lock,
                resumes,
            });
        }
    }

    /// An empty folder for work outside any job, removed when the value is dropped.
    /// # Errors
    /// [`Kind::Environment`](crate::fault::Kind::Environment).
    pub fn room(&self) -> Result<Room, Fault> {
        let path = self.root.join(format!("{ROOM}{}", std::process::id()));
        // A process of the same number may have died here.
        let _ = std::fs::remove_dir_all(&path);
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Room { path }),
            Err(e) => Err(Fault::environment(format!(
                "the state folder {} cannot be written ({e}); free the disk or name another with --state DIR",
                self.root.display()
            ))),
        }
    }

    /// Whether other jobs left folders behind.
    pub fn has_other_jobs(&self, own: &Claim) -> bool {
        children(&self.root.join("jobs"))
            .iter()
            .any(|path| *path != own.path)
    }
}

impl Claim {
    /// The job's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An earlier run left its log here.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Throws away what an earlier run left, so that the job starts anew.
    /// # Errors
    /// [`Kind::Environment`](crate::fault::Kind::Environment).
    pub fn start_anew(&mut self) -> Result<(), Fault> {
        for part in ["raft", "store", "scratch"] {
            match std::fs::remove_dir_all(self.path.join(part)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Fault::environment(format!(
                        "what an earlier run left in {} cannot be removed ({e}); remove it by hand",
                        self.path.display()
                    )));
                }
                _ => {}
            }
        }
        self.resumes = false;
        Ok(())
    }

    /// The job is over: its folder goes. The lock goes last, so that nobody starts in a half-removed folder.
    pub fn remove(mut self) {
        if let Err(fault) = self.start_anew() {
            tracing::warn!("{fault}");
            return;
        }
        for name in ["job.json", "lock"] {
            // Anything left shows in `cache list` and goes with `cache prune`.
            let _ = std::fs::remove_file(self.path.join(name));
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The digest that names a job's folder: the request, and what makes a local Source the same file.
pub fn job_digest(request: &JobRequest, source: Option<&Metadata>) -> Digest {
    let identity = source.map(|m| (m.len(), m.mtime(), m.mtime_nsec(), m.ino()));
    let bytes = serde_json::to_vec(&(request, identity)).expect("a request is plain data");
    Digest::of(&bytes)
}

fn usual() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("recode"))
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
