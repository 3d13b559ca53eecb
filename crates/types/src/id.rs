//! Identities. Each is a newtype printed with a prefix, so that a mixed-up id does not compile.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {kind} id (expected {prefix}…)")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
    /// The noun that was wanted.
    pub kind: &'static str,
    /// The prefix such an id starts with.
    pub prefix: &'static str,
}

/// One request to turn a Source into Outputs. A UUIDv7 printed as `job_` and 32 hex digits: ids sort by time.
///
/// In JSON it is the printed form: its number is larger than most readers of JSON can hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_newtype_struct("JobId", &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

impl JobId {
    /// A fresh id. Called by proposers only, never inside `apply`.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{:032x}", self.0)
    }
}
impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for JobId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.strip_prefix("job_")
            .filter(|hex| hex.len() == 32)
            .and_then(|hex| u128::from_str_radix(hex, 16).ok())
            .map(JobId)
            .ok_or_else(|| ParseIdError {
                text: text.to_owned(),
                kind: "job",
                prefix: "job_",
            })
    }
}

/// A process that runs Attempts. Numbered by the log, never reused. Printed as `node_7`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node_{}", self.0)
    }
}
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a try at a Task: from 1, never reused. `(task, attempt)` is the fencing token.
pub type AttemptNo = u32;

/// Which Task of a Job, by formula: the Plan needs no row per Task.
///
/// The order is the order in which ready tasks of one job are offered when nothing else decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskKey {
    /// Learn what the Source is. `deep` decodes all of it: the slower, exact path for containers that lie.
    Probe {
        /// Whether every frame is decoded.
        deep: bool,
    },
    /// One continuous encode of the audio tracks that cannot be copied, for one Output.
    Audio {
        /// Index into the job's outputs.
        output: u16,
    },
    /// A further video track, encoded whole.
    Whole {
        /// Index into the job's outputs.
        output: u16,
        /// FFmpeg's index of the track in the Source.
        track: u16,
    },
    /// A cheap encode of one Segment at trial knobs, to learn size as a function of the knob.
    Trial {
        /// The group of renditions that share one decode.
        group: u16,
        /// The Segment.
        segment: u32,
    },
    /// The Chunks of one Segment, in all Renditions of one group, from one decode.
    Encode {
        /// The group of renditions that share one decode.
        group: u16,
        /// The Segment.
        segment: u32,
    },
    /// Chunks to Output.
    Stitch {
        /// Index into the job's outputs.
        output: u16,
    },
    /// Score a file that was encoded elsewhere: one Segment of it.
    Score {
        /// The Segment.
        segment: u32,
    },
    /// A job that runs unsplit on one node (stream copy).
    Command {
        /// Index into the job's outputs.
        output: u16,
    },
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskKey::Probe { deep: false } => write!(f, "probe"),
            TaskKey::Probe { deep: true } => write!(f, "probe.deep"),
            TaskKey::Audio { output } => write!(f, "audio.{output}"),
            TaskKey::Whole { output, track } => write!(f, "whole.{output}.{track}"),
            TaskKey::Trial { group, segment } => write!(f, "trial.{group}.{segment}"),
            TaskKey::Encode { group, segment } => write!(f, "encode.{group}.{segment}"),
            TaskKey::Stitch { output } => write!(f, "stitch.{output}"),
            TaskKey::Score { segment } => write!(f, "score.{segment}"),
            TaskKey::Command { output } => write!(f, "command.{output}"),
        }
    }
}

impl FromStr for TaskKey {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bad = || ParseIdError {
            text: text.to_owned(),
            kind: "task key",
            prefix: "probe, audio.0, encode.0.12",
        };
        fn number<T: FromStr>(text: Option<&&str>) -> Option<T> {
            text.and_then(|t| t.parse().ok())
        }
        let parts: Vec<&str> = text.split('.').collect();
        let (first, second) = (parts.get(1), parts.get(2));
        let output = || number(first);
        let group = || Some((number(first)?, number(second)?));
        let key = match (parts[0], parts.len()) {
            ("probe", 1) => Some(Self::Probe { deep: false }),
            ("probe", 2) if parts[1] == "deep" => Some(Self::Probe { deep: true }),
            ("audio", 2) => output().map(|output| Self::Audio { output }),
            ("whole", 3) => output()
                .zip(number(second))
                .map(|(output, track)| Self::Whole { output, track }),
            ("trial", 3) => group().map(|(group, segment)| Self::Trial { group, segment }),
            ("encode", 3) => group().map(|(group, segment)| Self::Encode { group, segment }),
            ("stitch", 2) => output().map(|output| Self::Stitch { output }),
            ("score", 2) => number(first).map(|segment| Self::Score { segment }),
            ("command", 2) => output().map(|output| Self::Command { output }),
            _ => None,
        };
        key.ok_or_else(bad)
    }
}

/// A Task of a Job. Printed as `task_<job hex>.encode.0.12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The Job it belongs to.
    pub job: JobId,
    /// Which of its Tasks.
    pub key: TaskKey,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task_{:032x}.{}", self.job.0, self.key)
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bad = || ParseIdError {
            text: text.to_owned(),
            kind: "task",
            prefix: "task_",
        };
        let (job, key) = text
            .strip_prefix("task_")
            .and_then(|rest| rest.split_once('.'))
            .ok_or_else(bad)?;
        Ok(Self {
            job: format!("job_{job}").parse().map_err(|_| bad())?,
            key: key.parse().map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_reads_back_what_it_prints() {
        let job = JobId(0x0123_4567_89ab_cdef);
        for key in [
            TaskKey::Probe { deep: false },
            TaskKey::Probe { deep: true },
            TaskKey::Audio { output: 3 },
            TaskKey::Whole {
                output: 1,
                track: 7,
            },
            TaskKey::Trial {
                group: 0,
                segment: 9,
            },
            TaskKey::Encode {
                group: 2,
                segment: 4_000_000,
            },
            TaskKey::Stitch { output: 0 },
            TaskKey::Score { segment: 5 },
            TaskKey::Command { output: 0 },
        ] {
            let id = TaskId { job, key };
            assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        }
        for bad in [
            "",
            "probe.shallow",
            "encode.0",
            "encode.0.1.2",
            "encode.-1.2",
            "stitch.70000",
        ] {
            assert!(bad.parse::<TaskKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_job_id_reads_back_what_it_prints() {
        let id = JobId::generate();
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), id);
        assert!("job_12".parse::<JobId>().is_err());
        assert!(
            "task_00000000000000000000000000000001"
                .parse::<JobId>()
                .is_err()
        );
    }
}
