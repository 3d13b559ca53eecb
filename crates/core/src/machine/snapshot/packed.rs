//! Log entries in little room.
//!
//! Of a large Job nearly all of the log is what Attempts made, and of that nearly half is keys, which repeat the Job's id and
//! the Chunk's address. What does not fit this form exactly is stored as it is.

use crate::machine::{Command, Entry};
use recode_types::score::ScoreSummary;
use recode_types::task::{AttemptOutcome, ChunkFacts, TaskResult, Usage};
use recode_types::{ArtifactRef, AttemptNo, Digest, JobId, TaskId};
use serde::{Deserialize, Serialize};

/// One entry. New variants go to the end: the position is the encoding.
#[derive(Serialize, Deserialize)]
pub enum Stored {
    /// As it is.
    Whole(Entry),
    /// `CompleteAttempt` of an Attempt that made Chunks.
    Encoded(Box<Encoded>),
}

/// See [`Stored::Encoded`].
#[derive(Serialize, Deserialize)]
pub struct Encoded {
    at_ms: u64,
    task: TaskId,
    attempt: AttemptNo,
    usage: Usage,
    unsteady: bool,
    chunks: Vec<Chunk>,
}

/// [`ChunkFacts`] without the Segment, which is the Task's.
#[derive(Serialize, Deserialize)]
struct Chunk {
    output: u16,
    address: Digest,
    /// The key, with [`JOB`] and [`ADDRESS`] for what they stand for.
    key: String,
    size_bytes: u64,
    digest: Digest,
    frames: u32,
    payload_bytes: u64,
    params: Digest,
    signature_before: Option<u32>,
    signature_first: u32,
    signature_last: u32,
    signature_after: Option<u32>,
    score_frames: Option<ArtifactRef>,
    scores: Vec<ScoreSummary>,
    reused: bool,
}

/// Stands for the Job's id in a key. No key has control characters; one that had would be stored as it is.
const JOB: &str = "\u{1}";
/// Stands for the Chunk's address in a key.
const ADDRESS: &str = "\u{2}";

/// The smallest form of some entries that reads back as they were; `None`: nothing in them can be packed.
pub fn pack(entries: &[Entry]) -> Option<Vec<Stored>> {
    let stored: Vec<Stored> = entries
        .iter()
        .map(|entry| match Encoded::of(entry) {
            Some(encoded) => Stored::Encoded(Box::new(encoded)),
            None => Stored::Whole(entry.clone()),
        })
        .collect();
    let any = stored.iter().any(|one| matches!(one, Stored::Encoded(_)));
    any.then_some(stored)
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Whole(entry) => entry,
            Stored::Encoded(encoded) => (*encoded).into(),
        }
    }
}

impl Encoded {
    fn of(entry: &Entry) -> Option<Self> {
        let Command::CompleteAttempt {
            task,
            attempt,
            outcome,
        } = &entry.command
        else {
            return None;
        };
        let AttemptOutcome::Done { result, usage } = &**outcome else {
            return None;
        };
        let (chunks, unsteady) = match result {
            TaskResult::Encoded { chunks } => (chunks, false),
            TaskResult::EncodedUnsteady { chunks } => (chunks, true),
            _ => return None,
        };
        let segment = segment_of(task)?;
        let chunks: Option<Vec<Chunk>> = chunks
            .iter()
            .map(|chunk| (chunk.segment == segment).then(|| Chunk::of(task.job, chunk))?)
            .collect();
        Some(Self {
            at_ms: entry.at_ms,
            task: *task,
            attempt: *attempt,
            usage: *usage,
            unsteady,
            chunks: chunks?,
        })
    }
}

impl From<Encoded> for Entry {
    fn from(encoded: Encoded) -> Self {
        let task = encoded.task;
        // Written only where the Task has one.
        let segment = segment_of(&task).unwrap_or_default();
        let chunks = encoded.chunks.into_iter();
        let chunks = chunks.map(|chunk| chunk.whole(task.job, segment)).collect();
        let result = match encoded.unsteady {
            true => TaskResult::EncodedUnsteady { chunks },
            false => TaskResult::Encoded { chunks },
        };
        Entry {
            at_ms: encoded.at_ms,
            command: Command::CompleteAttempt {
                task,
                attempt: encoded.attempt,
                outcome: Box::new(AttemptOutcome::Done {
                    result,
                    usage: encoded.usage,
                }),
            },
        }
    }
}

fn segment_of(task: &TaskId) -> Option<u32> {
    match task.key {
        recode_types::TaskKey::Encode { segment, .. } => Some(segment),
        _ => None,
    }
}

impl Chunk {
    fn of(job: JobId, facts: &ChunkFacts) -> Option<Self> {
        let (job, address) = (job.to_string(), facts.address.to_string());
        let whole = &facts.artifact.key;
        let key = whole.replace(&job, JOB).replace(&address, ADDRESS);
        if unpacked(&key, &job, &address) != *whole {
            return None;
        }
        Some(Self {
            output: facts.output,
            address: facts.address,
            key,
            size_bytes: facts.artifact.size_bytes,
            digest: facts.artifact.digest,
            frames: facts.frames,
            payload_bytes: facts.payload_bytes,
            params: facts.params,
            signature_before: facts.signature_before,
            signature_first: facts.signature_first,
            signature_last: facts.signature_last,
            signature_after: facts.signature_after,
            score_frames: facts.score_frames.clone(),
            scores: facts.scores.clone(),
            reused: facts.reused,
        })
    }

    fn whole(self, job: JobId, segment: u32) -> ChunkFacts {
        let key = unpacked(&self.key, &job.to_string(), &self.address.to_string());
        ChunkFacts {
            output: self.output,
            segment,
            address: self.address,
            artifact: ArtifactRef {
                key,
                size_bytes: self.size_bytes,
                digest: self.digest,
            },
            frames: self.frames,
            payload_bytes: self.payload_bytes,
            params: self.params,
            signature_before: self.signature_before,
            signature_first: self.signature_first,
            signature_last: self.signature_last,
            signature_after: self.signature_after,
            score_frames: self.score_frames,
            scores: self.scores,
            reused: self.reused,
        }
    }
}

fn unpacked(key: &str, job: &str, address: &str) -> String {
    key.replace(JOB, job).replace(ADDRESS, address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Batch;
    use recode_types::TaskKey;

    const TASK: TaskId = TaskId {
        job: JobId(7),
        key: TaskKey::Encode {
            group: 0,
            segment: 99_000,
        },
    };

    /// As of a Job with ten Renditions.
    fn completion(segment: u32, key: &str) -> Entry {
        let noise = |seed: u8| Digest::of(&[seed]);
        let chunks = (0..10).map(|output| ChunkFacts {
            output,
            segment,
            address: noise(1),
            artifact: ArtifactRef {
                key: key
                    .replace("{job}", &TASK.job.to_string())
                    .replace("{address}", &noise(1).to_string()),
                size_bytes: 1_000_000,
                digest: noise(2),
            },
            frames: 250,
            payload_bytes: 990_000,
            params: noise(3),
            signature_before: Some(0xdead_beef),
            signature_first: 0xdead_beef,
            signature_last: 0xdead_beef,
            signature_after: Some(0xdead_beef),
            score_frames: None,
            scores: Vec::new(),
            reused: false,
        });
        Entry {
            at_ms: 1_800_000_000_000,
            command: Command::CompleteAttempt {
                task: TASK,
                attempt: 1,
                outcome: Box::new(AttemptOutcome::Done {
                    result: TaskResult::Encoded {
                        chunks: chunks.collect(),
                    },
                    usage: Usage::default(),
                }),
            },
        }
    }

    #[test]
    fn a_committed_chunk_takes_less_than_200_bytes() {
        let batch = Batch(vec![completion(
            99_000,
            "jobs/{job}/chunks/{address}/0.1.mp4",
        )]);
        let bytes = batch.encode();
        assert!(bytes.len() < 10 * 180, "{} bytes", bytes.len());
        assert_eq!(Batch::decode(&bytes), Ok(batch));
    }

    #[test]
    fn what_does_not_fit_reads_back_all_the_same() {
        for (segment, key) in [
            (99_000, "another/key"),
            (99_000, "{job}{address}{job}"),
            (99_000, "\u{1}/{address}"),
            (99_000, "\u{2}"),
            (5, "jobs/{job}/chunks/{address}/0.1.mp4"),
        ] {
            let batch = Batch(vec![completion(segment, key)]);
            assert_eq!(Batch::decode(&batch.encode()), Ok(batch), "{key:?}");
        }
    }
}
