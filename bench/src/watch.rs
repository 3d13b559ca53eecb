//! What a process and its descendants hold while they run: memory, descriptors, live FFmpeg children.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most that was seen of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Resident memory in bytes, as the kernel recorded it.
    pub rss_bytes: u64,
    /// Open descriptors, looked at every 20 ms.
    pub descriptors: u64,
}

/// Looks at one process until told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl Watch {
    /// Starts to look at process `pid` alone, not at its children.
    pub fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = Peak::default();
            while !seen.load(Ordering::Relaxed) {
                if let Some(now) = look(pid) {
                    peak.rss_bytes = peak.rss_bytes.max(now.rss_bytes);
                    peak.descriptors = peak.descriptors.max(now.descriptors);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Self { stop, thread }
    }

    /// Stops and says what was seen.
    pub fn stop(self) -> Peak {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn look(pid: u32) -> Option<Peak> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Peak {
        rss_bytes: high_water(&status).unwrap_or(0),
        descriptors,
    })
}

/// `VmHWM` of `proc(5)` status, in bytes.
pub fn high_water(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processes that have to do with `folder`: it is in their arguments or they work inside it. Not this process itself.
pub fn alive_in(folder: &Path) -> BTreeSet<u32> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            let named = fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(needle.len()).any(|part| part == needle));
            named
                || fs::read_link(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(
            high_water("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(high_water("Name:\tx\n"), None);
    }

    #[test]
    fn a_child_working_in_a_folder_is_seen_until_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new("cat")
            .current_dir(folder.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        // `spawn` returns after exec, so its working directory is already the folder.
        assert!(alive_in(folder.path()).contains(&child.id()));
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(alive_in(folder.path()).is_empty());
    }
}
