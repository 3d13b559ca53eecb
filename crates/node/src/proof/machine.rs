//! What this machine is, and how busy.

use recode_types::{Machine, NodeLoad};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the load is read.
const READ: Duration = Duration::from_secs(2);

/// Looks at the machine. Takes some milliseconds.
pub fn look() -> Machine {
    // Where the system tells nothing, nothing is known.
    let mut system = sysinfo::System::new().ok();
    if let Some(system) = &mut system {
        system.refresh_memory();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    }
    Machine {
        arch: std::env::consts::ARCH.to_owned(),
        processor: system
            .as_ref()
            .and_then(|system| system.cpus().first())
            .map_or_else(String::new, |cpu| cpu.brand().trim().to_owned()),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        instructions: instructions(),
        memory_bytes: system.as_ref().map_or(0, sysinfo::System::total_memory),
        cards: cards(Path::new("/")),
    }
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<String> {
    let seen = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ];
    let seen = seen.into_iter().filter(|(_, there)| *there);
    seen.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<String> {
    let seen = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        (
            "dotprod",
            std::arch::is_aarch64_feature_detected!("dotprod"),
        ),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
        ("sve2", std::arch::is_aarch64_feature_detected!("sve2")),
    ];
    let seen = seen.into_iter().filter(|(_, there)| *there);
    seen.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<String> {
    Vec::new()
}

/// Render devices with their drivers, and NVIDIA's driver. Read from the system's own files, so that no other program has
/// to be there; a change of any of them makes the proofs of cards worthless.
fn cards(root: &Path) -> Vec<String> {
    let mut cards = Vec::new();
    let names = std::fs::read_dir(root.join("dev/dri"))
        .map(|dir| {
            let names = dir.flatten();
            names
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_else(|_| Vec::new());
    for name in names.iter().filter(|name| name.starts_with("renderD")) {
        let device = root.join("sys/class/drm").join(name).join("device");
        let id = |file: &str| {
            let text = std::fs::read_to_string(device.join(file)).unwrap_or_default();
            text.trim().trim_start_matches("0x").to_owned()
        };
        let driver = std::fs::read_link(device.join("driver"))
            .ok()
            .and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        cards.push(format!(
            "{name} {}:{} {}",
            id("vendor"),
            id("device"),
            driver.unwrap_or_default()
        ));
    }
    if let Ok(text) = std::fs::read_to_string(root.join("proc/driver/nvidia/version"))
        && let Some(line) = text.lines().next()
    {
        cards.push(line.trim().to_owned());
    }
    cards.sort();
    cards
}

/// Reads the load now and then.
#[derive(Debug)]
pub struct Meter {
    system: Option<sysinfo::System>,
    scratch: PathBuf,
    last: Option<Instant>,
}

impl Meter {
    /// Of this machine, and of the disk that `scratch` lies on.
    pub fn new(scratch: PathBuf) -> Self {
        Self {
            system: sysinfo::System::new().ok(),
            scratch,
            last: None,
        }
    }

    /// The load; `None`: it was read a moment ago, or for the first time, which says nothing yet.
    pub fn read(&mut self, now: Instant) -> Option<NodeLoad> {
        if self.last.is_some_and(|last| now - last < READ) {
            return None;
        }
        let first = self.last.replace(now).is_none();
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        system.refresh_memory();
        if first {
            return None;
        }
        let disk = rustix::fs::statvfs(&self.scratch);
        Some(NodeLoad {
            busy_milli: (system.global_cpu_usage() * 10.0).clamp(0.0, 1000.0) as u32,
            memory_free_bytes: system.available_memory(),
            disk_free_bytes: disk.map_or(0, |d| d.f_bavail * d.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let machine = look();
        assert!(machine.cores > 0 && machine.memory_bytes > 100 << 20);
        assert!(!machine.arch.is_empty());
    }

    #[test]
    fn cards_are_named_by_what_the_system_says_of_them() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert!(cards(root.path()).is_empty());
        put("dev/dri/renderD128", "");
        put("dev/dri/card0", "");
        put("sys/class/drm/renderD128/device/vendor", "0x8086\n");
        put("sys/class/drm/renderD128/device/device", "0x56a5\n");
        let device = root.path().join("sys/class/drm/renderD128/device");
        std::os::unix::fs::symlink("../bus/pci/drivers/i915", device.join("driver")).unwrap();
        put("proc/driver/nvidia/version", "NVRM version: 550.54\nGCC\n");
        let expected = ["NVRM version: 550.54", "renderD128 8086:56a5 i915"];
        assert_eq!(cards(root.path()), expected);
    }

    #[test]
    fn the_load_is_read_every_other_second() {
        let mut meter = Meter::new(std::env::temp_dir());
        let start = Instant::now();
        assert_eq!(meter.read(start), None, "since when?");
        assert_eq!(meter.read(start + READ / 2), None);
        let load = meter.read(start + READ).unwrap();
        assert!(load.busy_milli <= 1000 && load.memory_free_bytes > 0 && load.disk_free_bytes > 0);
    }
}
