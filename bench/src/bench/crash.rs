//! `crash`: kill -9 of `recode-client` at random moments, and the same command again. Every run must finish with the
//! bytes of an undisturbed one, no finished Chunk may be encoded again, no FFmpeg may outlive a kill by 2 seconds.
//!
//! What is finished is read from the log: a Chunk counts when an entry names its key. What is encoded is read from the
//! store and the log, looked at all through the later runs: keys end in the number of their Attempt, so a second key of
//! the same Chunk is a second encode.

use super::Deadline;
use crate::figure::Sheet;
use crate::seed::Seed;
use crate::tools::{self, Tools};
use crate::{client, plain, watch};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source clip; repeated to 60 s.
    pub clip: PathBuf,
    /// Runs that are killed once.
    pub runs: usize,
    /// Kills of one further run; 0 leaves it out.
    pub kills: usize,
    /// Seed of the moments.
    pub seed: u64,
    /// No new run after this.
    pub deadline: Deadline,
}

/// How often log and store are looked at while a run goes on.
const LOOK: Duration = Duration::from_millis(50);
/// How long an FFmpeg may live on after its client was killed.
const GRACE: Duration = Duration::from_secs(2);

struct Job<'a> {
    tools: &'a Tools,
    source: PathBuf,
    args: Vec<String>,
    /// The undisturbed Output.
    expected: Vec<u8>,
    /// Seconds of the undisturbed run.
    seconds: f64,
}

/// What one disturbed job showed.
#[derive(Debug, Default)]
struct Seen {
    kills: usize,
    survivors: usize,
    finished_before: usize,
    encoded_again: usize,
    same_bytes: bool,
}

/// Measures single and repeated kills.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = plain::looped(tools, &wanted.clip, 60.0, folder.path())?;
    let args: Vec<String> = ["--codec", "h264", "--preset", "medium", "--crf", "26"]
        .into_iter()
        .chain(["--segment", "4s", "--workers", "2"])
        .map(str::to_owned)
        .collect();
    let output = folder.path().join("undisturbed.mp4");
    let done = client::transcode(tools, &source, &output, &args)?;
    let job = Job {
        tools,
        source,
        args,
        expected: fs::read(&output)?,
        seconds: done.run.wall,
    };
    let mut seed = Seed::new(wanted.seed);
    let name = tools::short_name(&wanted.clip);
    let mut all = Vec::new();
    for _ in 0..wanted.runs {
        if wanted.deadline.passed() {
            break;
        }
        let moment = job.seconds * (0.02 + 0.96 * seed.fraction());
        all.push(job.disturbed(&[moment])?);
    }
    add(sheet, &format!("{name}, killed once"), &all);
    if wanted.kills > 0 && !wanted.deadline.passed() {
        let moments: Vec<f64> = (0..wanted.kills)
            .map(|_| job.seconds * (0.01 + 0.09 * seed.fraction()))
            .collect();
        let seen = job.disturbed(&moments)?;
        add(
            sheet,
            &format!("{name}, killed {} times", wanted.kills),
            &[seen],
        );
    }
    Ok(())
}

fn add(sheet: &mut Sheet, case: &str, seen: &[Seen]) {
    if seen.is_empty() {
        return;
    }
    let each = |take: fn(&Seen) -> f64| seen.iter().map(take).collect::<Vec<f64>>();
    let against = "the log at the kill";
    sheet.add(case, "kills", "count", &each(|one| one.kills as f64), "");
    sheet.add(
        case,
        "finished_before",
        "count",
        &each(|one| one.finished_before as f64),
        "",
    );
    sheet.add(
        case,
        "encoded_again",
        "count",
        &each(|one| one.encoded_again as f64),
        against,
    );
    sheet.add(
        case,
        "ffmpeg_survivors",
        "count",
        &each(|one| one.survivors as f64),
        "2 s after a kill",
    );
    let other = each(|one| f64::from(u8::from(!one.same_bytes)));
    sheet.add(
        case,
        "outputs_that_differ",
        "count",
        &other,
        "an undisturbed run",
    );
}

impl Job<'_> {
    /// Starts the job once per moment, kills it then, and at last lets it finish.
    fn disturbed(&self, moments: &[f64]) -> Result<Seen> {
        let folder = tempfile::tempdir()?;
        let (state, report) = (
            folder.path().join("state"),
            folder.path().join("report.json"),
        );
        let output = folder.path().join("output.mp4");
        let start = || -> Result<std::process::Child> {
            let source = client::path_text(&self.source)?;
            let output = client::path_text(&output)?;
            client::command(self.tools, source, output, &self.args, &state, &report)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot start recode-client")
        };
        let mut seen = Seen::default();
        let (mut finished, mut ever) = (BTreeSet::new(), BTreeSet::new());
        for &moment in moments {
            let mut child = start()?;
            let began = Instant::now();
            let mut ended = false;
            while began.elapsed().as_secs_f64() < moment && !ended {
                look(&state, &mut ever);
                ended = child.try_wait()?.is_some();
                std::thread::sleep(LOOK);
            }
            if ended {
                break;
            }
            child.kill()?;
            child.wait()?;
            seen.kills += 1;
            finished.extend(in_log(&state));
            std::thread::sleep(GRACE);
            seen.survivors += watch::alive_in(&state).len();
        }
        if !output.exists() {
            let mut child = start()?;
            while child.try_wait()?.is_none() {
                look(&state, &mut ever);
                std::thread::sleep(LOOK);
            }
            let ended = child.wait_with_output()?;
            ensure!(
                ended.status.success(),
                "the job did not finish after a kill: {}",
                String::from_utf8_lossy(&ended.stderr).trim()
            );
        }
        ever.extend(finished.iter().cloned());
        seen.finished_before = finished.len();
        seen.encoded_again = encoded_again(&finished, &ever);
        seen.same_bytes = fs::read(&output)? == self.expected;
        Ok(seen)
    }
}

/// One try at one Chunk, from a key `chunks/<address>/<output>.<attempt>.<ending>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Try {
    /// `<address>/<output>`
    chunk: String,
    attempt: u32,
}

/// Adds every try that log and store name now.
fn look(state: &Path, ever: &mut BTreeSet<Try>) {
    ever.extend(in_log(state));
    for file in files_below(state) {
        ever.extend(
            file.to_str()
                .and_then(|path| try_at(path.split_once("chunks/")?.1)),
        );
    }
}

/// The tries that entries of the log name.
fn in_log(state: &Path) -> BTreeSet<Try> {
    files_below(state)
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "raft"))
        .filter_map(|path| fs::read(path).ok())
        .flat_map(|bytes| tries_in(&bytes))
        .collect()
}

/// Tries named anywhere in `bytes`; the log keeps keys as plain text between its own bytes.
fn tries_in(bytes: &[u8]) -> Vec<Try> {
    const MARK: &[u8] = b"chunks/";
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|part| part == MARK) {
        rest = &rest[at + MARK.len()..];
        let text: String = rest
            .iter()
            .take(100)
            .map(|&byte| char::from(byte))
            .collect();
        found.extend(try_at(&text));
    }
    found
}

/// The try that `text` begins with; what follows the ending's dot does not matter.
fn try_at(text: &str) -> Option<Try> {
    let (address, name) = text.split_once('/')?;
    let mut parts = name.split('.');
    let (output, attempt) = (parts.next()?, parts.next()?);
    parts.next()?;
    let is_hex = address.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && output.parse::<u32>().is_ok()).then_some(())?;
    Some(Try {
        chunk: format!("{address}/{output}"),
        attempt: attempt.parse().ok()?,
    })
}

/// How many finished Chunks were encoded once more: another try at the same Chunk, later than the finished one.
fn encoded_again(finished: &BTreeSet<Try>, ever: &BTreeSet<Try>) -> usize {
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for one in finished {
        // A set is ordered, so the first try of a Chunk comes first.
        done.entry(&one.chunk).or_insert(one.attempt);
    }
    ever.iter()
        .filter(|one| {
            done.get(one.chunk.as_str())
                .is_some_and(|&first| one.attempt > first)
        })
        .count()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[&str]) -> BTreeSet<Try> {
        keys.iter().map(|key| try_at(key).expect("a key")).collect()
    }

    #[test]
    fn keys_are_found_in_log_bytes_whatever_follows_them() {
        let log = b"\x00\x12jobs/job_01/chunks/ab12/0.1.mp4.\x00\xffjobs/job_01/chunks/cd34/1.2.movX/chunks/";
        assert_eq!(
            tries_in(log),
            Vec::from_iter(set(&["ab12/0.1.mp4", "cd34/1.2.mov"]))
        );
        assert_eq!(
            tries_in(b"chunks/xyz/0.1.mp4 chunks/ab/c.1.mp4 chunks/ab/1"),
            []
        );
    }

    #[test]
    fn a_second_attempt_counts_only_for_a_finished_chunk() {
        let finished = set(&["aa/0.1.mp4"]);
        let fine = set(&["aa/0.1.mp4", "bb/0.1.mp4", "bb/0.2.mp4"]);
        assert_eq!(encoded_again(&finished, &fine), 0);
        let again = set(&["aa/0.1.mp4", "aa/0.2.mp4"]);
        assert_eq!(encoded_again(&finished, &again), 1);
        let other_output = set(&["aa/0.1.mp4", "aa/1.2.mp4"]);
        assert_eq!(encoded_again(&finished, &other_output), 0);
    }
}
