//! How much a coordinator writes to its log, seen from outside: its files grow, and go when they are not needed any more.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Far more often than a file is begun.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub struct LogSize {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<OsString, u64>>,
}

impl LogSize {
    /// Looks at the log files in `folder` until told to stop.
    pub fn watch(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (stop.clone(), folder.to_owned());
        let thread = std::thread::spawn(move || {
            let mut sizes = BTreeMap::new();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                look(&folder, &mut sizes);
                if last {
                    return sizes;
                }
                std::thread::sleep(LOOK);
            }
        });
        Self { stop, thread }
    }

    /// The bytes of all files that were seen.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sizes = self.thread.join().unwrap_or_default();
        sizes.values().sum()
    }
}

fn look(folder: &Path, sizes: &mut BTreeMap<OsString, u64>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (name, Ok(found)) = (entry.file_name(), entry.metadata()) else {
            continue;
        };
        if name.as_encoded_bytes().ends_with(b".wal") {
            let size = sizes.entry(name).or_default();
            *size = found.len().max(*size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_gone_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("1.wal"), [0; 10]).expect("written");
        std::fs::write(folder.path().join("1.snapshot"), [0; 10]).expect("written");
        let mut sizes = BTreeMap::new();
        look(folder.path(), &mut sizes);
        std::fs::remove_file(folder.path().join("1.wal")).expect("removed");
        std::fs::write(folder.path().join("2.wal"), [0; 5]).expect("written");
        look(folder.path(), &mut sizes);
        assert_eq!(sizes.values().sum::<u64>(), 15);
    }
}
