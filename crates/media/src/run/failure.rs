//! Why a run failed, from how it ended and what it printed. Pure.

use super::{Trouble, plain};
use recode_sandbox::cgroup::Shortage;
use recode_types::task::{Failure, FailureClass};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

/// Phrases of FFmpeg and what they mean, the most telling first.
const PHRASES: &[(&str, FailureClass)] = &[
    ("No space left on device", FailureClass::OutOfResources),
    ("Disk quota exceeded", FailureClass::OutOfResources),
    ("File too large", FailureClass::OutOfResources),
    ("Cannot allocate memory", FailureClass::OutOfResources),
    (
        "Resource temporarily unavailable",
        FailureClass::OutOfResources,
    ),
    ("Too many open files", FailureClass::OutOfResources),
    ("malloc of size", FailureClass::OutOfResources),
    ("Unknown encoder", FailureClass::MissingCapability),
    ("Unknown decoder", FailureClass::MissingCapability),
    ("No such filter", FailureClass::MissingCapability),
    ("Unrecognized option", FailureClass::MissingCapability),
    ("Option not found", FailureClass::MissingCapability),
    ("could not load model", FailureClass::MissingCapability),
    ("Cannot determine format of input", FailureClass::BadInput),
    ("moov atom not found", FailureClass::BadInput),
    ("EBML header parsing failed", FailureClass::BadInput),
    (
        "Invalid data found when processing input",
        FailureClass::BadInput,
    ),
    ("Error opening input", FailureClass::BadInput),
    ("matches no streams", FailureClass::BadInput),
    ("does not contain any stream", FailureClass::BadInput),
    ("Decoder not found", FailureClass::BadInput),
];

/// Class and sentence of a run that ended with `status`. `stderr_tail` goes into the failure as it is.
pub fn classify(status: ExitStatus, stderr_tail: &str) -> Failure {
    let (class, message) = if let Some(signal) = status.signal() {
        let name = match signal {
            libc::SIGKILL => "SIGKILL".to_owned(),
            libc::SIGSEGV => "SIGSEGV".to_owned(),
            libc::SIGABRT => "SIGABRT".to_owned(),
            libc::SIGXFSZ => "SIGXFSZ".to_owned(),
            libc::SIGXCPU => "SIGXCPU".to_owned(),
            libc::SIGTERM => "SIGTERM".to_owned(),
            other => format!("signal {other}"),
        };
        let class = match signal {
            libc::SIGXFSZ | libc::SIGXCPU => FailureClass::OutOfResources,
            _ => FailureClass::Killed,
        };
        (class, format!("ffmpeg was ended by {name}"))
    } else if let Some((trouble, line)) = super::trouble(stderr_tail) {
        let sentence = match trouble {
            Trouble::Absent => format!("ffmpeg finds no card for this encoder: {line}"),
            Trouble::NoSession => format!("the card has no free encoding session: {line}"),
            Trouble::Lost => format!("the card stopped encoding: {line}"),
        };
        (trouble.class(), sentence)
    } else {
        let found = PHRASES
            .iter()
            .find_map(|(phrase, class)| Some((*class, line_with(stderr_tail, phrase)?)));
        match (found, last_error(stderr_tail)) {
            (Some((class, line)), _) if is_full(&line) => (
                class,
                format!(
                    "ffmpeg failed: {line}; free some space, or name another --state or output folder"
                ),
            ),
            (Some((class, line)), _) => (class, format!("ffmpeg failed: {line}")),
            (None, Some(line)) => (FailureClass::Unknown, format!("ffmpeg failed: {line}")),
            (None, None) => (
                FailureClass::Unknown,
                format!("ffmpeg ended with {status} and said nothing"),
            ),
        }
    };
    Failure {
        class,
        message,
        stderr_tail: Some(stderr_tail.to_owned()),
    }
}

/// A run that failed in a control group that was short of something: that is why, whatever FFmpeg made of it. `is_larger`: it
/// had the larger class of memory.
pub(super) fn explain(failure: &mut Failure, shortage: Shortage, is_larger: bool) {
    let remedy = match shortage {
        Shortage::Memory { .. } if is_larger => {
            "use a smaller picture, a quicker preset, a machine with more memory, or a higher --run-memory where the node's is too low"
        }
        Shortage::Memory { .. } => "another attempt may have up to three times as much",
        Shortage::MemoryAround => "use fewer --workers or a machine with more memory",
        Shortage::Tasks { .. } => "use fewer outputs",
    };
    failure.class = FailureClass::OutOfResources;
    failure.message = format!("ffmpeg {shortage}; {remedy}");
}

/// Whether FFmpeg has told of a disk without room, whatever its exit status says.
pub(super) fn tells_full(stderr_tail: &str) -> bool {
    stderr_tail.lines().any(is_full)
}

/// Whether it says that there is no room on a disk.
fn is_full(line: &str) -> bool {
    line.contains("No space left on device") || line.contains("Disk quota exceeded")
}

/// FFmpeg itself could not be started.
pub(super) fn not_started(ffmpeg: &Path, e: &std::io::Error) -> Failure {
    let class = match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
            FailureClass::MissingCapability
        }
        _ => FailureClass::OutOfResources,
    };
    plain(
        class,
        format!("{} cannot be started: {e}", ffmpeg.display()),
    )
}

/// The sandbox around it could not be made.
pub(super) fn not_confined(why: &str) -> Failure {
    plain(
        FailureClass::MissingCapability,
        format!("ffmpeg was not started, since its sandbox cannot be made: {why}"),
    )
}

/// Its end could not be learnt.
pub(super) fn lost(e: &std::io::Error) -> Failure {
    plain(
        FailureClass::Unknown,
        format!("ffmpeg's end could not be learnt: {e}"),
    )
}

/// The line that holds `phrase`, without the names and addresses that FFmpeg puts in front.
fn line_with(tail: &str, phrase: &str) -> Option<String> {
    let line = tail.lines().find(|l| l.contains(phrase))?;
    Some(without_prefix(line).to_owned())
}

/// What FFmpeg complained about last, passing over lines that only repeat that it failed.
fn last_error(tail: &str) -> Option<String> {
    let telling = |l: &&str| {
        let l = without_prefix(l);
        !l.is_empty()
            && !l.starts_with("Conversion failed")
            && !l.starts_with("Terminating thread")
            && !l.starts_with("Nothing was written")
            && !l.starts_with("Task finished with error")
            && !l.starts_with("frame=")
    };
    let tagged = tail
        .lines()
        .rev()
        .filter(|l| l.contains("[error]") || l.contains("[fatal]"))
        .find(telling);
    let line = tagged.or_else(|| tail.lines().rev().find(telling))?;
    Some(without_prefix(line).to_owned())
}

/// Cuts `[libx264 @ 0x5590b60660c0] [error] ` off a line.
pub(crate) fn without_prefix(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(after) = rest.strip_prefix('[') {
        match after.split_once(']') {
            Some((_, after)) => rest = after.trim_start(),
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: i32, tail: &str, class: FailureClass, message: &str) {
        let failure = classify(ExitStatus::from_raw(raw), tail);
        assert_eq!((failure.class, failure.message.as_str()), (class, message));
    }

    #[test]
    fn who_was_short_of_something_is_told_so_whatever_its_end() {
        let mut failure = classify(ExitStatus::from_raw(9), "");
        let limit_bytes = 256_000_000;
        let begin = "ffmpeg needed more than the 256 MB of memory that it may have; ";
        for (is_larger, end) in [
            (false, "another attempt may have"),
            (true, "use a smaller picture"),
        ] {
            explain(&mut failure, Shortage::Memory { limit_bytes }, is_larger);
            assert_eq!(failure.class, FailureClass::OutOfResources);
            let said = failure.message.strip_prefix(begin).unwrap();
            assert!(said.starts_with(end), "{said}");
        }
        let tail = "[error] Invalid data found when processing input";
        let mut failure = classify(ExitStatus::from_raw(256), tail);
        explain(&mut failure, Shortage::Tasks { limit: 9 }, false);
        assert_eq!(failure.class, FailureClass::OutOfResources);
        assert_eq!(failure.stderr_tail.as_deref(), Some(tail));
    }

    #[test]
    fn the_class_follows_from_what_ffmpeg_says() {
        use FailureClass::*;
        check(
            256,
            "[in#0 @ 0x56] [error] moov atom not found\n[error] Error opening input files: Invalid data found when processing input",
            BadInput,
            "ffmpeg failed: moov atom not found",
        );
        check(
            256,
            "[out#0/mp4 @ 0x1] [error] Error writing trailer: No space left on device\nConversion failed!",
            OutOfResources,
            "ffmpeg failed: Error writing trailer: No space left on device; free some space, or name another --state or output \
             folder",
        );
        check(
            256,
            "[error] Unknown encoder 'libx266'",
            MissingCapability,
            "ffmpeg failed: Unknown encoder 'libx266'",
        );
        check(
            256,
            "[libx265 @ 0x1] [error] Cannot open libx265 encoder.\n[vost#0:0 @ 0x2] [error] Terminating thread with return code -22\nConversion failed!",
            Unknown,
            "ffmpeg failed: Cannot open libx265 encoder.",
        );
        check(
            256,
            "[vf#0:0 @ 0x5] Cannot determine format of input 0:1 after EOF\n[vf#0:0 @ 0x5] Task finished with error code: -1094995529 (Invalid data found when processing input)",
            BadInput,
            "ffmpeg failed: Cannot determine format of input 0:1 after EOF",
        );
        // FFmpeg 5.1, which ends with success then.
        let tail = "[mp4 @ 0x1] Error writing trailer of file:/o.part: No space left on device";
        assert!(tells_full(tail) && !tells_full("frame= 100"));
        check(
            0,
            tail,
            OutOfResources,
            "ffmpeg failed: Error writing trailer of file:/o.part: No space left on device; free some space, or name another \
             --state or output folder",
        );
        check(9, "", Killed, "ffmpeg was ended by SIGKILL");
        check(11, "", Killed, "ffmpeg was ended by SIGSEGV");
        check(25, "", OutOfResources, "ffmpeg was ended by SIGXFSZ");
        check(
            256,
            "",
            Unknown,
            "ffmpeg ended with exit status: 1 and said nothing",
        );
    }
}
