//! How much memory a run may have: what it is likely to need at most, with a margin, and never more than the machine has. Pure
//! but for [`of_machine`] and [`of_files`].
//!
//! The figure is a fence and not a reservation: a run that needs less uses less, and who meets it is not slow but killed. So it
//! is put where no honest run gets to, and a second, larger class is there for those that do. What is set aside for a run before
//! it starts is less: [`usual_of_encode`].

use crate::args::encode::EncodeArgs;
use recode_types::footprint::{self, Beside, Effort, Encoded, OF_A_THREAD, Picture};
use rustix::fs::StatVfsMountFlags;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// One of 8K with ten bits.
const LARGE_PICTURE: u64 = 133_000_000;

/// What runs need whose pictures are not known beforehand: probes, copies, sound. Some large pictures in a decoder.
pub const UNKNOWN: u64 = 1_000_000_000;

/// What runs need that encode pictures of which nothing is known beforehand: one of 4K.
pub const UNKNOWN_ENCODE: u64 = 4_000_000_000;

/// No run may have less.
const LEAST: u64 = 1_000_000_000;
/// So many times its need a run may have, and again so many times that in the larger class.
const MARGIN: u64 = 2;
const LARGER: u64 = 3;

/// How many processes and threads a run may have: FFmpeg has some for each core and each output.
pub fn tasks() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    512 + 64 * cores
}

/// How much memory the runs of a machine may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What an operator said, in place of what is estimated.
    said: Option<u64>,
    /// What the machine can give.
    most: u64,
    is_larger: bool,
}

impl Default for Allowance {
    /// By their needs alone.
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Allowance {
    /// `said`: bytes for each run, whatever it needs. `machine`: bytes that all processes here may have; an eighth is left to
    /// those that are no runs.
    pub fn new(said: Option<u64>, machine: Option<u64>) -> Self {
        Self {
            said,
            most: machine.map_or(u64::MAX, |bytes| bytes - bytes / 8),
            is_larger: false,
        }
    }

    /// An operator said what all runs together may have, if anything.
    pub fn together(self, said: Option<u64>) -> Self {
        Self {
            most: said.unwrap_or(self.most),
            ..self
        }
    }

    /// The larger class.
    pub fn larger(self) -> Self {
        Self {
            is_larger: true,
            ..self
        }
    }

    /// Whether it is that one.
    pub fn is_larger(self) -> bool {
        self.is_larger
    }

    /// What all runs together may have; `None`: nobody knows.
    pub fn of_all(self) -> Option<u64> {
        (self.most != u64::MAX).then_some(self.most)
    }

    /// Bytes for a run that is likely to need `need` at most.
    pub fn limit(self, need: u64) -> u64 {
        let usual = need.saturating_mul(MARGIN).max(LEAST);
        let usual = self.said.unwrap_or(usual);
        let times = if self.is_larger { LARGER } else { 1 };
        usual.saturating_mul(times).min(self.most)
    }
}

/// What a decode with `threads` is likely to need at most whose pictures are not known beforehand.
pub fn of_decode(threads: u32) -> u64 {
    UNKNOWN + u64::from(threads) * OF_A_THREAD * LARGE_PICTURE
}

/// What an encode is likely to need at most, whatever its preset. `peak`: what an encoder took of this machine's memory on a small
/// sample, FFmpeg included, where that was measured.
pub fn of_encode(args: &EncodeArgs<'_>, peak: impl Fn(&str) -> Option<u64>) -> u64 {
    count(args, false, peak)
}

/// What an encode is likely to need, as those count who give it to this machine: no fence, but what is set aside for it.
pub fn usual_of_encode(args: &EncodeArgs<'_>, peak: impl Fn(&str) -> Option<u64>) -> u64 {
    count(args, true, peak)
}

fn count(args: &EncodeArgs<'_>, usual: bool, peak: impl Fn(&str) -> Option<u64>) -> u64 {
    let source = Picture::of(args.video);
    let outputs = args.outputs.iter().map(|output| {
        let rendition = output.rendition;
        let pix_fmt = rendition.pix_fmt.as_deref().unwrap_or(&source.pix_fmt);
        Encoded {
            encoder: &rendition.encoder,
            effort: match usual {
                true => Effort::of(rendition),
                false => Effort::Most,
            },
            picture: Picture {
                size: output.size,
                pix_fmt: pix_fmt.to_owned(),
            },
        }
    });
    let beside = Beside {
        threads: args.input.threads,
        usual,
        checked: args.check.is_some(),
        scored: args.score.is_some(),
    };
    footprint::of_encode(&source, outputs, beside, peak)
}

/// Memory of this machine in bytes, less where a group `around` the caller has less; `None`: the system does not tell.
pub fn of_machine(around: Option<u64>) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let all = total(&text);
    all.into_iter().chain(around).min()
}

/// `MemTotal:       24683768 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Files that lie in memory count as memory of who writes them, so a run may have what is free where it writes; 0 on disks.
pub fn of_files(paths: &[PathBuf]) -> u64 {
    let mut free = BTreeMap::new();
    for path in paths {
        // What is not there yet is made in its folder.
        let there = [Some(path.as_path()), path.parent()];
        let there = there.into_iter().flatten().find(|path| path.exists());
        if let Some(path) = there
            && let Ok(meta) = path.metadata()
            && let Some(bytes) = free_in_memory(path)
        {
            free.insert(meta.dev(), bytes);
        }
    }
    free.into_values().sum()
}

/// `None`: it is on a disk.
fn free_in_memory(path: &std::path::Path) -> Option<u64> {
    let system = rustix::fs::statfs(path).ok()?;
    let is_writable = !rustix::fs::statvfs(path)
        .ok()?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY);
    (system.f_type == libc::TMPFS_MAGIC && is_writable)
        .then(|| system.f_bavail * u64::try_from(system.f_bsize).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::encode::{FusedCheck, FusedScore};
    use crate::verify::Grade;

    #[test]
    fn a_run_may_have_twice_its_need_and_the_larger_class_three_times_that() {
        let allowance = Allowance::new(None, Some(16_000_000_000));
        assert_eq!(allowance.limit(2_000_000_000), 4_000_000_000);
        assert_eq!(allowance.larger().limit(2_000_000_000), 12_000_000_000);
        // Never less than a floor, and never more than seven eighths of the machine.
        assert_eq!(allowance.limit(1), 1_000_000_000);
        assert_eq!(allowance.limit(9_000_000_000), 14_000_000_000);
        assert_eq!(allowance.larger().limit(u64::MAX), 14_000_000_000);
        assert_eq!(Allowance::default().limit(u64::MAX / 4), u64::MAX / 4 * 2);
        let said = Allowance::new(Some(256_000_000), Some(16_000_000_000));
        assert_eq!(said.limit(2_000_000_000), 256_000_000);
        assert_eq!(said.larger().limit(2_000_000_000), 768_000_000);
        assert_eq!(Allowance::new(Some(9), Some(8)).limit(1), 7);
        assert_eq!(said.of_all(), Some(14_000_000_000));
        assert_eq!(Allowance::default().of_all(), None);
        let together = allowance.together(Some(3_000_000_000));
        assert_eq!(together.limit(2_000_000_000), 3_000_000_000);
        assert_eq!(together.of_all(), Some(3_000_000_000));
        assert_eq!(allowance.together(None), allowance);
    }

    use crate::args::encode::tests::{args, rendition, video};
    use recode_types::Codec;

    #[test]
    fn what_is_set_aside_for_an_encode_is_less_than_its_fence_and_follows_its_preset() {
        let (video, mut rendition) = (video(), rendition(Codec::H265));
        let mut needs = Vec::new();
        for preset in [Some("ultrafast"), None, Some("Slow"), Some("veryslow")] {
            rendition.preset = preset.map(str::to_owned);
            let renditions = [rendition.clone()];
            let args = args(&video, &renditions);
            needs.push(usual_of_encode(&args, |_| None));
            assert!(needs[needs.len() - 1] < of_encode(&args, |_| None));
        }
        assert!(needs.is_sorted_by(|a, b| a < b), "{needs:?}");
    }

    /// Of one output of each of these sizes; `change` what is not as in the fixture.
    fn need(codec: Codec, sizes: &[(u32, u32)], change: impl Fn(&mut EncodeArgs<'_>)) -> u64 {
        let (video, renditions) = (video(), vec![rendition(codec); sizes.len()]);
        let mut args = args(&video, &renditions);
        for (output, size) in args.outputs.iter_mut().zip(sizes) {
            output.size = *size;
        }
        change(&mut args);
        of_encode(&args, |_| None)
    }

    const HD: (u32, u32) = (1920, 1080);
    const UHD: (u32, u32) = (3840, 2160);

    #[test]
    fn an_encode_may_have_twice_what_the_slowest_presets_took() {
        // Peak resident sets in MiB of FFmpeg 9 with threads for two cores, 45 to 70 frames from 720p.
        for (codec, size, took) in [
            (Codec::H264, HD, 876),
            (Codec::H264, UHD, 2424),
            (Codec::H265, HD, 789),
            (Codec::H265, UHD, 2154),
            (Codec::Av1, HD, 898),
            (Codec::Av1, UHD, 2473),
            (Codec::Vp9, HD, 351),
            (Codec::Vp9, UHD, 1070),
            (Codec::Prores, UHD, 267),
            (Codec::Mpeg2, UHD, 270),
        ] {
            let may = Allowance::default().limit(need(codec, &[size], |_| {}));
            let (took, most) = (took << 20, 20 * (took << 20));
            assert!(may >= 2 * took && may < most, "{codec} {size:?}: {may}");
        }
    }

    #[test]
    fn what_adds_to_an_encode_adds_to_its_need() {
        let plain = need(Codec::H264, &[HD], |_| {});
        let two = need(Codec::H264, &[HD, HD], |_| {});
        assert!(two > plain + 800_000_000, "{two}");
        let checked = need(Codec::H264, &[HD], |args| {
            args.check = Some(FusedCheck {
                grade: Grade::Full,
                logs: vec![],
            });
        });
        let scored = need(Codec::H264, &[HD], |args| {
            args.score = Some(FusedScore {
                metrics: vec![],
                logs: vec![],
            });
        });
        assert!(plain < checked && checked < scored);
        let mut deep = video();
        deep.pix_fmt = "yuv420p10le".to_owned();
        let renditions = [rendition(Codec::H264)];
        let args = args(&deep, &renditions);
        let unmeasured = of_encode(&args, |_| None);
        assert!(unmeasured > need(Codec::H264, &[(1280, 720)], |_| {}) * 3 / 2);
        let measured = of_encode(&args, |name| (name == "libx264").then_some(900_000_000));
        assert_eq!(measured, unmeasured - footprint::ENCODER + 900_000_000);
        assert!(of_decode(16) > of_decode(1) && of_decode(1) > UNKNOWN);
    }

    #[test]
    fn the_system_says_how_much_there_is() {
        let text = "MemTotal:       24683768 kB\nMemFree:        23882220 kB\n";
        assert_eq!(total(text), Some(24_683_768 * 1024));
        assert_eq!(total(""), None);
        let all = of_machine(None).expect("Linux tells it");
        assert_eq!(of_machine(Some(all - 1)), Some(all - 1));
        assert_eq!(of_machine(Some(u64::MAX)), Some(all));
    }

    #[test]
    fn files_in_memory_count_once_and_others_not() {
        let dir = tempfile::tempdir().unwrap();
        let in_memory = free_in_memory(dir.path()).is_some();
        let file = dir.path().join("new");
        let paths = [dir.path().to_owned(), file];
        assert_eq!(of_files(&paths) > 0, in_memory);
        assert_eq!(of_files(&[]), 0);
        match free_in_memory(std::path::Path::new("/dev/shm")) {
            None => eprintln!(
                "NOT TESTED: files in memory, since /dev/shm is none or cannot be written"
            ),
            Some(free) => {
                let paths = ["/dev/shm/a", "/dev/shm/b"].map(PathBuf::from);
                let found = of_files(&paths);
                // Others write there as well.
                assert!(
                    found > free / 2 && found < free + free / 2,
                    "{found} of {free}"
                );
            }
        }
    }
}
