//! The object layout below a work store's root, written down once.
//!
//! ```text
//! jobs/<job>/tasks/<task>/<attempt>/<name>           what one Attempt made: facts.json, table.bin, audio.mka, ...
//! jobs/<job>/chunks/<address>/<output>.<attempt>.mp4 one try at one Chunk
//! jobs/<job>/chunks/<address>/parts/<output>.<row>.<rows>.<digest>.mp4
//!                                                    finished frames of a Chunk, whoever made them
//! jobs/<job>/plan/<digest>.<ending>                  what the Leader wrote: named by its own bytes
//! <any of these>.<digest>.upload                     an upload of it in parts that is under way
//! archive/<job>/<digest>.json                        what stays of a Job that has left the state
//! ```
//!
//! Every key that a node writes holds an Attempt's number, and Attempts are never reused: two tries never meet under one key,
//! so a late upload of a lost Attempt harms nobody. Parts belong to all Attempts, and are named by their own bytes. Keys are plain ASCII, so that every store takes them.

use recode_types::{AttemptNo, Digest, JobId, TaskId};

/// Everything of a Job lies below this prefix, which ends in a slash.
pub fn job(job: JobId) -> String {
    format!("jobs/{job}/")
}

/// Something an Attempt made.
///
/// # Panics
/// When `name` is not a plain file name: it is chosen by us, never by a user.
pub fn of_attempt(task: &TaskId, attempt: AttemptNo, name: &str) -> String {
    assert!(is_plain(name), "{name:?} is not a plain file name");
    format!("{}tasks/{}/{attempt}/{name}", job(task.job), task.key)
}

/// One try at the Chunk that answers `address`, for the Output numbered `output`.
///
/// # Panics
/// As [`of_attempt`], for `ending`.
pub fn chunk(of: JobId, address: &Digest, output: u16, attempt: AttemptNo, ending: &str) -> String {
    assert!(is_plain(ending), "{ending:?} is not a plain ending");
    format!("{}chunks/{address}/{output}.{attempt}.{ending}", job(of))
}

/// Finished frames of a Chunk, as their key names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Index of the Output.
    pub output: u16,
    /// The first frame, counted from that of the Chunk.
    pub first_row: u32,
    /// How many.
    pub rows: u32,
    /// Of the stored bytes.
    pub digest: Digest,
}

/// All parts of the Chunks that answer `address` lie below this prefix, which ends in a slash.
pub fn parts(of: JobId, address: &Digest) -> String {
    format!("{}chunks/{address}/parts/", job(of))
}

/// One part of a Chunk that answers `address`. Storing it twice is harmless.
pub fn part(of: JobId, address: &Digest, part: &Part) -> String {
    let Part {
        output,
        first_row,
        rows,
        digest,
    } = part;
    format!(
        "{}{output}.{first_row}.{rows}.{digest}.mp4",
        parts(of, address)
    )
}

/// What the key of a part says of it; `None`: it is none below `prefix`, which [`parts`] made.
pub fn part_of(key: &str, prefix: &str) -> Option<Part> {
    let name = key.strip_prefix(prefix)?.strip_suffix(".mp4")?;
    let mut words = name.split('.');
    let part = Part {
        output: words.next()?.parse().ok()?,
        first_row: words.next()?.parse().ok()?,
        rows: words.next()?.parse().ok()?,
        digest: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(part)
}

/// Something the Leader wrote, named by its own digest: writing it twice is harmless.
///
/// # Panics
/// As [`of_attempt`], for `ending`.
pub fn of_plan(of: JobId, digest: &Digest, ending: &str) -> String {
    assert!(is_plain(ending), "{ending:?} is not a plain ending");
    format!("{}plan/{digest}.{ending}", job(of))
}

/// The archive of a Job, named by its own digest: writing it twice is harmless, and so is a Job that ends twice. Beside
/// the Job's prefix, which is swept.
pub fn archive(of: JobId, digest: &Digest) -> String {
    format!("archive/{of}/{digest}.json")
}

/// Whether `key` is one that this module could have made: relative, without tricks. Keys arrive in messages.
pub fn is_valid(key: &str) -> bool {
    let ours = key.starts_with("jobs/") || key.starts_with("archive/");
    key.len() <= 1024 && ours && key.split('/').all(is_plain)
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::TaskKey;

    #[test]
    fn keys_are_what_the_layout_says() {
        let id = JobId(1);
        let task = TaskId {
            job: id,
            key: TaskKey::Encode {
                group: 0,
                segment: 12,
            },
        };
        let hex = "00000000000000000000000000000001";
        assert_eq!(
            of_attempt(&task, 3, "scores.json"),
            format!("jobs/job_{hex}/tasks/encode.0.12/3/scores.json")
        );
        let digest = Digest::of(b"");
        let chunk = chunk(id, &digest, 1, 2, "mp4");
        assert_eq!(chunk, format!("jobs/job_{hex}/chunks/{digest}/1.2.mp4"));
        let made = Part {
            output: 1,
            first_row: 48,
            rows: 24,
            digest: Digest::of(b"part"),
        };
        let (prefix, key) = (parts(id, &digest), part(id, &digest, &made));
        assert_eq!(
            key,
            format!(
                "jobs/job_{hex}/chunks/{digest}/parts/1.48.24.{}.mp4",
                made.digest
            )
        );
        assert_eq!(part_of(&key, &prefix), Some(made));
        for other in [
            chunk.clone(),
            format!("{key}.upload"),
            key.replace(".24.", "."),
            key.replace(".24.", ".24.1."),
            key.replace(".24.", ".-24."),
        ] {
            assert_eq!(part_of(&other, &prefix), None, "{other}");
        }
        for key in [
            key,
            chunk,
            of_plan(id, &digest, "json"),
            of_attempt(&task, 1, "x"),
            archive(id, &digest),
        ] {
            assert!(is_valid(&key), "{key}");
        }
    }

    #[test]
    fn a_key_from_outside_cannot_leave_the_store() {
        for key in [
            "",
            "/jobs/x",
            "jobs/../x",
            "jobs//x",
            "jobs/.x",
            "jobs/a b",
            "etc/passwd",
        ] {
            assert!(!is_valid(key), "{key}");
        }
    }
}
