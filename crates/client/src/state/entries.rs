//! What interrupted and cached work has left, and how it goes.

use super::{JobNote, ROOM, State};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Interrupted jobs are forgotten after this long ...
const KEEP_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// ... or when all of them together are larger than this.
const KEEP_BYTES: u64 = 50_000_000_000;

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

/// What lies in a folder; nothing where it cannot be read.
pub(super) fn children(dir: &Path) -> Vec<PathBuf> {
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
