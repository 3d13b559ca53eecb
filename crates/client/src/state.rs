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

use crate::fault::Fault;
use recode_types::{Digest, JobRequest};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Interrupted jobs are forgotten after this long ...
const KEEP_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// ... or when all of them together are larger than this.
const KEEP_BYTES: u64 = 50_000_000_000;

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

/// A job folder or a cached chunk, as `cache list` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `job` or `chunk`.
    pub kind: &'static str,
    /// Name of the folder or file.
    pub name: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Seconds since it was last written to.
    pub age_seconds: u64,
    /// A process works on it.
    pub running: bool,
    /// What was asked, for jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobNote>,
    #[serde(skip)]
    path: PathBuf,
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

    /// All job folders and cached chunks, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let mut out = Vec::new();
        for path in children(&self.root.join("jobs")) {
            let (bytes, newest) = measure(&path);
            let job = std::fs::read(path.join("job.json"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            out.push(Entry {
                kind: "job",
                name: name_of(&path),
                bytes,
                age_seconds: age(newest),
                running: is_locked(&path.join("lock")),
                job,
                path,
            });
        }
        for path in files_below(&self.cache_dir()) {
            let Ok(meta) = path.metadata() else { continue };
            out.push(Entry {
                kind: "chunk",
                name: name_of(&path),
                bytes: meta.len(),
                age_seconds: age(meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
                running: false,
                job: None,
                path,
            });
        }
        out.sort_by_key(|e| std::cmp::Reverse(e.age_seconds));
        out
    }

    /// Removes the oldest entries until `keep` bytes are left; running jobs stay. Returns what was removed.
    pub fn prune(&self, keep: u64) -> Vec<Entry> {
        self.sweep_rooms();
        remove_oldest(self.entries(), keep)
    }

    /// Removes the rooms of processes that died in them.
    fn sweep_rooms(&self) {
        for path in children(&self.root) {
            let name = name_of(&path);
            let owner = name.strip_prefix(ROOM).and_then(|id| id.parse().ok());
            if owner.is_some_and(|id: u32| !Path::new(&format!("/proc/{id}")).exists()) {
                // What cannot be removed now is tried again next time.
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }

    /// Forgets interrupted jobs that nobody came back to.
    pub fn forget_old_jobs(&self) {
        self.sweep_rooms();
        let jobs: Vec<Entry> = self
            .entries()
            .into_iter()
            .filter(|e| e.kind == "job" && !e.running)
            .collect();
        let (old, rest): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|e| e.age_seconds > KEEP_FOR.as_secs());
        remove_oldest(old, 0);
        remove_oldest(rest, KEEP_BYTES);
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

fn is_locked(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

fn remove_oldest(entries: Vec<Entry>, keep: u64) -> Vec<Entry> {
    let mut left: u64 = entries.iter().map(|e| e.bytes).sum();
    let mut removed = Vec::new();
    for entry in entries {
        // With nothing to keep, empty leftovers go too.
        if entry.running || (left <= keep && keep > 0) {
            continue;
        }
        if remove(&entry) {
            left -= entry.bytes;
            removed.push(entry);
        }
    }
    removed
}

fn remove(entry: &Entry) -> bool {
    if entry.kind == "chunk" {
        return std::fs::remove_file(&entry.path).is_ok();
    }
    // Hold the lock while removing, so that a run that starts just now waits for a whole folder.
    let lock = File::open(entry.path.join("lock"));
    if let Ok(lock) = &lock
        && flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return false;
    }
    std::fs::remove_dir_all(&entry.path).is_ok()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default()
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for path in children(dir) {
        if path.is_dir() {
            out.extend(files_below(&path));
        } else {
            out.push(path);
        }
    }
    out
}

fn measure(dir: &Path) -> (u64, SystemTime) {
    files_below(dir)
        .iter()
        .filter_map(|path| path.symlink_metadata().ok())
        .fold((0, SystemTime::UNIX_EPOCH), |(bytes, newest), meta| {
            (
                bytes + meta.len(),
                newest.max(meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
            )
        })
}

fn age(at: SystemTime) -> u64 {
    at.elapsed().unwrap_or_default().as_secs()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(source: &str) -> JobRequest {
        JobRequest {
            source: source.into(),
            start_us: None,
            duration_us: None,
            outputs: vec![],
            segment_ms: None,
            score: vec![],
            verify_full: false,
            strict: false,
            overwrite: false,
            labels: Default::default(),
            priority: 50,
        }
    }
    fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path())).unwrap();
        (dir, state)
    }

    #[test]
    fn the_same_job_twice_at_once_is_refused_and_named() {
        let (_dir, state) = state();
        let request = request("a");
        let digest = job_digest(&request, None);
        let claim = state.claim(&digest, &request).unwrap();
        let message = state.claim(&digest, &request).unwrap_err().message;
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        drop(claim);
        state
            .claim(&digest, &request)
            .expect("the lock went with its holder");
    }

    #[test]
    fn another_request_or_a_changed_source_is_another_job() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, b"1").unwrap();
        let first = std::fs::metadata(&file).unwrap();
        std::fs::write(&file, b"12").unwrap();
        let second = std::fs::metadata(&file).unwrap();
        let digest = |r: &JobRequest, m| job_digest(r, m);
        let a = request("a");
        assert_eq!(digest(&a, Some(&first)), digest(&a, Some(&first)));
        assert_ne!(digest(&a, Some(&first)), digest(&a, Some(&second)));
        assert_ne!(digest(&a, None), digest(&request("b"), None));
    }

    #[test]
    fn an_interrupted_job_is_found_again_and_a_done_one_leaves_nothing() {
        let (_dir, state) = state();
        let request = request("a");
        let digest = job_digest(&request, None);
        let claim = state.claim(&digest, &request).unwrap();
        assert!(!claim.resumes());
        std::fs::create_dir(claim.path().join("raft")).unwrap();
        drop(claim);
        let claim = state.claim(&digest, &request).unwrap();
        assert!(claim.resumes());
        let path = claim.path().to_owned();
        claim.remove();
        assert!(!path.exists());
        assert!(state.entries().is_empty());
    }

    #[test]
    fn a_room_goes_with_its_process() {
        let (_dir, state) = state();
        let dead = state.root().join(format!("{ROOM}{}", u32::MAX));
        std::fs::create_dir(&dead).unwrap();
        let room = state.room().unwrap();
        state.prune(0);
        assert!(!dead.exists() && room.path().exists());
        let path = room.path().to_owned();
        drop(room);
        assert!(!path.exists());
    }

    #[test]
    fn pruning_takes_the_oldest_and_leaves_running_jobs_alone() {
        let (_dir, state) = state();
        let cache = state.cache_dir();
        std::fs::create_dir_all(&cache).unwrap();
        let old = cache.join("old");
        std::fs::write(&old, [0; 100]).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        File::options()
            .write(true)
            .open(&old)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        std::fs::write(cache.join("new"), [0; 100]).unwrap();
        state.prune(150);
        assert!(!old.exists() && cache.join("new").exists());

        let claim = state
            .claim(&job_digest(&request("a"), None), &request("a"))
            .unwrap();
        let removed = state.prune(0);
        assert_eq!(removed.len(), 1, "{removed:?}");
        assert!(claim.path().exists(), "a running job was removed");
        drop(claim);
        assert_eq!(state.prune(0).len(), 1);
        assert!(state.entries().is_empty());
    }
}
