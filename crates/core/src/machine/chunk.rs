//! Committed Chunks, in as little memory as there may be a million of them in one Job.

use recode_types::score::ScoreSummary;
use recode_types::task::{ChunkFacts, Usage};
use recode_types::{ArtifactRef, AttemptNo, Digest, Knob, NodeId};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::LocalKey;

/// A committed Chunk and who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The Chunk.
    pub facts: Facts,
    /// With which settings.
    pub knob: SharedKnob,
    /// On which Node.
    pub node: NodeId,
    /// By which Attempt.
    pub attempt: AttemptNo,
    /// What that Attempt used, for all Renditions of the group.
    pub usage: Usage,
}

/// [`ChunkFacts`] in memory: fields of the same name are the same. Stored as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "ChunkFacts", into = "ChunkFacts")]
pub struct Facts {
    /// Index of the Output it belongs to.
    pub output: u16,
    /// Its Segment.
    pub segment: u32,
    /// Content address it answers.
    pub address: Digest,
    /// Frames in it.
    pub frames: u32,
    /// Bytes of its video packets.
    pub payload_bytes: u64,
    /// Digest of its parameter sets.
    pub params: Arc<Digest>,
    /// Signature of the last frame before this Segment, where the decode saw it.
    pub signature_before: Option<u32>,
    /// Signature of the first frame of this Segment.
    pub signature_first: u32,
    /// Signature of the last frame of this Segment.
    pub signature_last: u32,
    /// Signature of the first frame after this Segment, where the decode saw it.
    pub signature_after: Option<u32>,
    /// It was found finished.
    pub reused: bool,
    key: Key,
    size_bytes: u64,
    digest: Digest,
    scored: Option<Box<Scored>>,
}

/// What few Chunks have.
#[derive(Clone, Debug, PartialEq)]
struct Scored {
    frames: Option<ArtifactRef>,
    scores: Vec<ScoreSummary>,
}

impl Facts {
    /// Pooled scores of the Chunk.
    pub fn scores(&self) -> &[ScoreSummary] {
        self.scored.as_ref().map_or(&[], |scored| &scored.scores)
    }

    /// All of them, as they came.
    pub fn whole(&self) -> ChunkFacts {
        self.clone().into()
    }
}

impl From<ChunkFacts> for Facts {
    fn from(facts: ChunkFacts) -> Self {
        let has_scores = facts.score_frames.is_some() || !facts.scores.is_empty();
        Self {
            output: facts.output,
            segment: facts.segment,
            address: facts.address,
            frames: facts.frames,
            payload_bytes: facts.payload_bytes,
            params: shared(&PARAMS, facts.params),
            signature_before: facts.signature_before,
            signature_first: facts.signature_first,
            signature_last: facts.signature_last,
            signature_after: facts.signature_after,
            reused: facts.reused,
            key: Key::new(&facts.artifact.key, &facts.address),
            size_bytes: facts.artifact.size_bytes,
            digest: facts.artifact.digest,
            scored: has_scores.then(|| {
                Box::new(Scored {
                    frames: facts.score_frames,
                    scores: facts.scores,
                })
            }),
        }
    }
}

impl From<Facts> for ChunkFacts {
    fn from(facts: Facts) -> Self {
        let (score_frames, scores) = facts
            .scored
            .map_or_else(Default::default, |scored| (scored.frames, scored.scores));
        Self {
            output: facts.output,
            segment: facts.segment,
            artifact: ArtifactRef {
                key: facts.key.text(&facts.address),
                size_bytes: facts.size_bytes,
                digest: facts.digest,
            },
            address: facts.address,
            frames: facts.frames,
            payload_bytes: facts.payload_bytes,
            params: *facts.params,
            signature_before: facts.signature_before,
            signature_first: facts.signature_first,
            signature_last: facts.signature_last,
            signature_after: facts.signature_after,
            score_frames,
            scores,
            reused: facts.reused,
        }
    }
}

/// A [`Knob`], which is the same for a great many Chunks. Stored as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Knob", into = "Knob")]
pub struct SharedKnob(Arc<Knob>);

impl From<Knob> for SharedKnob {
    fn from(knob: Knob) -> Self {
        Self(shared(&KNOBS, knob))
    }
}

impl From<SharedKnob> for Knob {
    fn from(knob: SharedKnob) -> Self {
        *knob.0
    }
}

impl std::ops::Deref for SharedKnob {
    type Target = Knob;

    fn deref(&self) -> &Knob {
        &self.0
    }
}

/// A key that names the address it answers: what stands before and after it is the same in a great many.
#[derive(Clone, Debug, PartialEq)]
struct Key(Arc<Around>);

/// What a key has around its address.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Around {
    before: Box<str>,
    /// `None`: the address is not in it, and all of it stands before.
    after: Option<Box<str>>,
}

impl Key {
    fn new(text: &str, address: &Digest) -> Self {
        let (before, after) = match text.split_once(&address.to_string()) {
            Some((before, after)) => (before, Some(after.into())),
            None => (text, None),
        };
        let before = before.into();
        Self(shared(&KEYS, Around { before, after }))
    }

    fn text(&self, address: &Digest) -> String {
        match &self.0.after {
            Some(after) => format!("{}{address}{after}", self.0.before),
            None => self.0.before.to_string(),
        }
    }
}

/// Values remembered by one thread, for the sake of memory only.
type Known<T> = RefCell<BTreeSet<Arc<T>>>;

/// How many of a kind are remembered.
const REMEMBERED: usize = 256;

thread_local! {
    static KEYS: Known<Around> = const { RefCell::new(BTreeSet::new()) };
    static PARAMS: Known<Digest> = const { RefCell::new(BTreeSet::new()) };
    static KNOBS: Known<Knob> = const { RefCell::new(BTreeSet::new()) };
}

/// The same value, where there is one already.
fn shared<T: Ord>(known: &'static LocalKey<Known<T>>, value: T) -> Arc<T> {
    known.with_borrow_mut(|known| {
        if let Some(found) = known.get(&value) {
            return found.clone();
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let value = Arc::new(value);
        known.insert(value.clone());
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(key: &str) -> ChunkFacts {
        ChunkFacts {
            output: 1,
            segment: 2,
            address: Digest([0xab; 32]),
            artifact: ArtifactRef {
                key: key.to_owned(),
                size_bytes: 3,
                digest: Digest([4; 32]),
            },
            frames: 5,
            payload_bytes: 6,
            params: Digest([7; 32]),
            signature_before: None,
            signature_first: 8,
            signature_last: 9,
            signature_after: Some(10),
            score_frames: None,
            scores: Vec::new(),
            reused: true,
        }
    }

    #[test]
    fn facts_come_back_as_they_were_and_are_stored_so() {
        let address = "ab".repeat(32);
        for key in [
            format!("jobs/job_1/chunks/{address}/0.1.mp4"),
            format!("{address}{address}"),
            address,
            "another/key".to_owned(),
            String::new(),
        ] {
            let mut whole = facts(&key);
            for _ in 0..2 {
                let small = Facts::from(whole.clone());
                assert_eq!(small.whole(), whole);
                let bytes = postcard::to_stdvec(&small).expect("it serialises");
                assert_eq!(bytes, postcard::to_stdvec(&whole).expect("it serialises"));
                assert_eq!(postcard::from_bytes(&bytes), Ok(small));
                whole.score_frames = Some(whole.artifact.clone());
            }
        }
    }

    #[test]
    fn a_million_chunks_fit_into_210_megabytes() {
        assert!(
            size_of::<Option<Chunk>>() <= 208,
            "{}",
            size_of::<Option<Chunk>>()
        );
        let [one, two] = ["0", "0"].map(|number| {
            let key = format!("jobs/job_1/chunks/{}/{number}.mp4", "ab".repeat(32));
            Facts::from(facts(&key)).key
        });
        assert!(Arc::ptr_eq(&one.0, &two.0));
    }
}
