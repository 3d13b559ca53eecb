//! Whether a run kept the promises, from the log dumps, what clients were told, and the stored objects alone.
//!
//! The checker holds its own books. It takes from the log what was decided, never what the coordinator made of it.

use super::clients::Told;
use super::history::{Decided, History};
use super::jobs::local;
use anyhow::{Context as _, Result, ensure};
use recode_types::task::{AttemptOutcome, OutputFacts, TaskResult};
use recode_types::{ArtifactRef, AttemptNo, Digest, JobId, NodeId, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// The stored bytes, as size and digest.
pub struct Stored<'a> {
    /// Of the artifact with this key, at whatever time it was there.
    pub object: &'a dyn Fn(&str) -> Option<(u64, Digest)>,
    /// Of the output at this URL, now.
    pub output: &'a dyn Fn(&str) -> Option<(u64, Digest)>,
}

/// What was found: counts, and one sentence for every promise that was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Jobs that the log accepted.
    pub jobs: usize,
    /// Chunks that the log names.
    pub chunks: usize,
    /// Attempts after the first of their task.
    pub repeated: usize,
    /// Accepted jobs that are unknown, have not ended, or failed though nothing was wrong with them.
    pub lost: Vec<String>,
    /// Segments committed more than once in a rendition, leases held twice, results of no lease.
    pub twice: Vec<String>,
    /// Segments of a finished job that were never committed.
    pub missing: Vec<String>,
    /// Objects that the log names and that are not what it says; outputs that are not those of an undisturbed run.
    pub objects: Vec<String>,
    /// Chunks of cancelled jobs that nobody saw in the store: they are swept with the job, which may be cancelled as soon as
    /// they are committed. Of a job that goes on, one that was not seen is broken.
    pub unseen: usize,
    /// Committed entries that two logs do not share.
    pub logs: Vec<String>,
}

impl Found {
    /// All broken promises.
    pub fn broken(&self) -> impl Iterator<Item = &String> {
        let kinds = [
            &self.lost,
            &self.twice,
            &self.missing,
            &self.objects,
            &self.logs,
        ];
        kinds.into_iter().flatten()
    }
}

/// The books of one job.
#[derive(Default)]
struct Job {
    request_id: String,
    outputs: usize,
    segments: Vec<u32>,
    chunks: BTreeMap<(u16, u32), Vec<ArtifactRef>>,
    stitched: BTreeMap<u16, Vec<OutputFacts>>,
    cancelled: bool,
    failed: Option<String>,
}

impl Job {
    fn is_done(&self) -> bool {
        self.outputs > 0 && self.stitched.len() == self.outputs
    }
}

#[derive(Default)]
struct Books {
    jobs: BTreeMap<JobId, Job>,
    requests: BTreeMap<String, JobId>,
    leases: BTreeMap<TaskId, (AttemptNo, NodeId)>,
    /// The last attempt of each task.
    attempts: BTreeMap<TaskId, AttemptNo>,
    names: BTreeMap<NodeId, String>,
    found: Found,
}

/// Checks a run.
/// # Errors
/// The dumps cannot be read.
pub fn check(dumps: &[String], told: &[Told], stored: &Stored<'_>) -> Result<Found> {
    let histories: Vec<History> = dumps
        .iter()
        .map(|dump| History::read(dump))
        .collect::<Result<_>>()?;
    let longest = histories
        .iter()
        .max_by_key(|history| history.committed)
        .context("there is no log")?;
    ensure!(longest.committed > 0, "nothing was committed");
    let mut books = Books::default();
    for decided in longest.decided()? {
        books.enter(decided);
    }
    books.judge(told, stored);
    let mut found = books.found;
    found.logs = apart(&histories);
    Ok(found)
}

/// Entries that two logs hold to be committed and that are not the same in both.
fn apart(histories: &[History]) -> Vec<String> {
    let mut apart = Vec::new();
    for (number, one) in histories.iter().enumerate() {
        for other in &histories[number + 1..] {
            let both = one.committed.min(other.committed);
            let indexes = 0..=both;
            let differs = indexes
                .into_iter()
                .find(|i| one.entries.get(i) != other.entries.get(i));
            if let Some(index) = differs {
                apart.push(format!(
                    "coordinators {} and {} have different entries {index}",
                    one.coordinator, other.coordinator
                ));
            }
        }
    }
    apart
}

impl Books {
    fn enter(&mut self, decided: Decided) {
        match decided {
            Decided::Submitted {
                request_id,
                job,
                outputs,
            } => {
                let known = self.requests.entry(request_id.clone()).or_insert(job);
                if *known != job {
                    let other = *known;
                    let twice = format!("request {request_id} became {other} and {job}");
                    self.found.twice.push(twice);
                }
                self.jobs.entry(job).or_insert_with(|| Job {
                    request_id,
                    outputs,
                    ..Job::default()
                });
            }
            Decided::Planned {
                job,
                part,
                segments,
            } => {
                let job = self.jobs.entry(job).or_default();
                if part == 0 {
                    job.segments.clear();
                }
                job.segments.extend(segments);
            }
            Decided::Leased {
                task,
                attempt,
                node,
            } => {
                if let Some((held, _)) = self.leases.insert(task, (attempt, node)) {
                    let twice = format!("{task} was leased as {attempt} while {held} held it");
                    self.found.twice.push(twice);
                }
                let last = self.attempts.insert(task, attempt).unwrap_or(0);
                self.found.repeated += usize::from(last > 0);
                if attempt <= last {
                    let twice = format!("attempt {attempt} of {task} came after {last}");
                    self.found.twice.push(twice);
                }
            }
            Decided::Expired { task, attempt } => {
                if self.leases.get(&task).is_some_and(|held| held.0 == attempt) {
                    self.leases.remove(&task);
                }
            }
            Decided::Completed {
                task,
                attempt,
                outcome,
            } => self.complete(task, attempt, *outcome),
            Decided::Registered { node, name } => {
                let same = self
                    .names
                    .iter()
                    .filter(|(id, n)| **n == name && **id != node);
                for former in same.map(|(id, _)| *id).collect::<Vec<_>>() {
                    self.forget(former);
                }
                self.names.insert(node, name);
            }
            Decided::Forgotten(node) => self.forget(node),
            Decided::Cancelled(job) => {
                let books = self.jobs.entry(job).or_default();
                books.cancelled |= !books.is_done();
                self.release(job);
            }
            Decided::Failed(job, why) => {
                self.jobs.entry(job).or_default().failed = Some(why);
                self.release(job);
            }
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.names.remove(&node);
        self.leases.retain(|_, (_, holder)| *holder != node);
    }

    fn release(&mut self, job: JobId) {
        self.leases.retain(|task, _| task.job != job);
    }

    fn complete(&mut self, task: TaskId, attempt: AttemptNo, outcome: AttemptOutcome) {
        match self.leases.remove(&task) {
            Some((held, _)) if held == attempt => {}
            other => {
                let held = other.map_or("nobody".to_owned(), |(held, _)| held.to_string());
                let twice = format!("{task} ended as {attempt} while {held} held it");
                self.found.twice.push(twice);
            }
        }
        let job = self.jobs.entry(task.job).or_default();
        let result = match outcome {
            AttemptOutcome::Done { result, .. } => result,
            AttemptOutcome::Failed { failure, .. } => {
                job.failed = Some(failure.message);
                return;
            }
        };
        match result {
            TaskResult::Encoded { chunks } | TaskResult::EncodedUnsteady { chunks } => {
                for chunk in chunks {
                    let place = (chunk.output, chunk.segment);
                    job.chunks.entry(place).or_default().push(chunk.artifact);
                }
            }
            TaskResult::Stitched { output } => {
                job.stitched.entry(output.output).or_default().push(output);
            }
            _ => {}
        }
    }

    fn judge(&mut self, told: &[Told], stored: &Stored<'_>) {
        self.found.jobs = self.jobs.len();
        let told: BTreeMap<&str, &Told> = told
            .iter()
            .map(|one| (one.request.id.as_str(), one))
            .collect();
        for one in told.values() {
            if let Some(job) = one.job
                && self.requests.get(&one.request.id) != Some(&job)
            {
                let lost = format!("{job} was acknowledged and is not in the log");
                self.found.lost.push(lost);
            }
        }
        for (id, job) in &self.jobs {
            judge_job(
                *id,
                job,
                told.get(job.request_id.as_str()).copied(),
                &mut self.found,
            );
            judge_objects(
                job,
                told.get(job.request_id.as_str()).copied(),
                stored,
                &mut self.found,
            );
        }
    }
}

fn judge_job(id: JobId, job: &Job, told: Option<&Told>, found: &mut Found) {
    let may_end_early = told.is_some_and(|told| told.cancelled);
    let has_ended = job.is_done() || (job.cancelled && may_end_early);
    if !has_ended {
        let why = match &job.failed {
            Some(why) => format!("; what failed last: {why}"),
            None => String::new(),
        };
        found.lost.push(format!(
            "{id} ({}) did not end: {} of {} outputs, {} chunks of {} segments{why}",
            job.request_id,
            job.stitched.len(),
            job.outputs,
            job.chunks.len(),
            job.segments.len()
        ));
    }
    for (output, results) in &job.stitched {
        if results.len() > 1 {
            let count = results.len();
            let twice = format!("output {output} of {id} was made {count} times");
            found.twice.push(twice);
        }
    }
    for ((output, segment), chunks) in &job.chunks {
        found.chunks += chunks.len();
        if chunks.len() > 1 {
            let keys: Vec<&str> = chunks.iter().map(|chunk| chunk.key.as_str()).collect();
            found.twice.push(format!(
                "segment {segment} of output {output} of {id} is committed as {}",
                keys.join(" and ")
            ));
        }
    }
    if job.is_done() {
        let mut planned = BTreeSet::new();
        for output in 0..job.outputs as u16 {
            planned.extend(job.segments.iter().map(|segment| (output, *segment)));
        }
        if planned.is_empty() {
            found.missing.push(format!("{id} has no segments"));
        }
        planned.retain(|place| !job.chunks.contains_key(place));
        for (output, segment) in planned {
            let missing =
                format!("segment {segment} of output {output} of {id} was never committed");
            found.missing.push(missing);
        }
    }
}

fn judge_objects(job: &Job, told: Option<&Told>, stored: &Stored<'_>, found: &mut Found) {
    for artifact in job.chunks.values().flatten() {
        let there = (stored.object)(&artifact.key);
        if there.is_none() && job.cancelled {
            found.unseen += 1;
        } else if there != Some((artifact.size_bytes, artifact.digest)) {
            let what = match there {
                None => "was never in the store".to_owned(),
                Some((size, _)) => {
                    format!("has {size} bytes of {}, or others", artifact.size_bytes)
                }
            };
            found.objects.push(format!("{} {what}", artifact.key));
        }
    }
    for output in job.stitched.values().flatten() {
        let there = (stored.output)(&output.url);
        let wanted = told.and_then(|told| {
            let mut outputs = told.request.outputs.iter();
            let same = outputs.find(|(url, _)| local(url) == local(&output.url));
            same.map(|(_, digest)| *digest)
        });
        if wanted.is_none() || there != wanted.map(|digest| (output.size_bytes, digest)) {
            let url = &output.url;
            found.objects.push(match there {
                None => format!("{url} is not there"),
                Some(_) => format!("{url} is not what an undisturbed run makes"),
            });
        }
    }
}

#[cfg(test)]
mod tests;
