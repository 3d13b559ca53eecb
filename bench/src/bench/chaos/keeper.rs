//! Keeps what the work store held. Chunks are swept when their job is done, so each object is given a second name as soon
//! as it is seen; objects are immutable, and appear under their name whole.

use anyhow::Result;
use recode_types::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the store is looked at: a Chunk lives for as long as an encode at least.
pub const LOOK: Duration = Duration::from_millis(30);

/// Looks at a store until told to stop.
pub struct Keeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, PathBuf>>,
}

/// Objects that a store held at some time, by key.
pub struct Kept(BTreeMap<String, PathBuf>);

impl Keeper {
    /// Starts to look at `store`, and keeps what is there in `folder`, which is on the same file system.
    /// # Errors
    /// What the disk said.
    pub fn start(store: PathBuf, folder: PathBuf) -> Result<Self> {
        fs::create_dir(&folder)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Ahead of the encodes that keep the processors busy. Without the right to it, it sees less of what is cancelled.
            let _ = rustix::process::setpriority_process(None, -15);
            let (mut kept, mut last) = (BTreeMap::new(), false);
            while !last {
                // Once more after it was told to stop.
                last = told.load(Ordering::Relaxed);
                look(&store, &folder, &mut kept);
                std::thread::sleep(LOOK);
            }
            kept
        });
        Ok(Self { stop, thread })
    }

    /// Stops and says what was there.
    pub fn stop(self) -> Kept {
        self.stop.store(true, Ordering::Relaxed);
        Kept(self.thread.join().unwrap_or_default())
    }
}

fn look(store: &Path, folder: &Path, kept: &mut BTreeMap<String, PathBuf>) {
    let mut open = vec![store.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            // Half-written files have hidden names.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
                continue;
            }
            let Some(key) = path.strip_prefix(store).ok().and_then(Path::to_str) else {
                continue;
            };
            if !kept.contains_key(key) {
                let name = folder.join(kept.len().to_string());
                // It may be swept at this moment; then nobody needs it any more.
                if fs::hard_link(&path, &name).is_ok() {
                    kept.insert(key.to_owned(), name);
                }
            }
        }
    }
}

impl Kept {
    /// Size and digest of the object of this key; `None`: it was never seen.
    pub fn object(&self, key: &str) -> Option<(u64, Digest)> {
        let bytes = fs::read(self.0.get(key)?).ok()?;
        Some((bytes.len() as u64, Digest::of(&bytes)))
    }
}
