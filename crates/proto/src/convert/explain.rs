//! Why Tasks wait.

use super::{Error, id, narrow, plain};
use crate::v1;
use recode_types::{Explanation, NodeId, Wait, Waiting};

impl From<Wait> for v1::waiting::Why {
    fn from(value: Wait) -> Self {
        use v1::waiting as wire;
        match value {
            Wait::Probe => Self::Probe(wire::Probe {}),
            Wait::Plan => Self::Plan(wire::Plan {}),
            Wait::Tasks {
                trials,
                encodes,
                tracks,
            } => Self::Tasks(wire::Tasks {
                trials,
                encodes,
                tracks,
            }),
            Wait::Knobs { output } => Self::Knobs(wire::Knobs {
                output: output.into(),
            }),
            Wait::Paused => Self::Paused(wire::Paused {}),
            Wait::Backoff { until_ms } => Self::Backoff(wire::Backoff { until_ms }),
            Wait::NoNodes => Self::NoNodes(wire::NoNodes {}),
            Wait::Draining => Self::Draining(wire::Draining {}),
            Wait::NoEncoder { encoder } => Self::NoEncoder(wire::NoEncoder { encoder }),
            Wait::NoNode { needs } => Self::NoNode(wire::NoNode { needs }),
            Wait::Refused { nodes } => Self::Refused(wire::Refused {
                nodes: nodes.into_iter().map(|node| node.0).collect(),
            }),
            Wait::Behind { job, priority } => Self::Behind(wire::Behind {
                job: job.to_string(),
                priority: priority.into(),
            }),
            Wait::NoFreeSlot => Self::NoFreeSlot(wire::NoFreeSlot {}),
            Wait::NoMemory { need_bytes } => Self::NoMemory(wire::NoMemory { need_bytes }),
            Wait::Nothing => Self::Nothing(wire::Nothing {}),
        }
    }
}

impl TryFrom<v1::waiting::Why> for Wait {
    type Error = Error;
    fn try_from(value: v1::waiting::Why) -> Result<Self, Error> {
        use v1::waiting::Why;
        Ok(match value {
            Why::Probe(_) => Self::Probe,
            Why::Plan(_) => Self::Plan,
            Why::Tasks(w) => Self::Tasks {
                trials: w.trials,
                encodes: w.encodes,
                tracks: w.tracks,
            },
            Why::Knobs(w) => Self::Knobs {
                output: narrow("waiting.output", w.output)?,
            },
            Why::Paused(_) => Self::Paused,
            Why::Backoff(w) => Self::Backoff {
                until_ms: w.until_ms,
            },
            Why::NoNodes(_) => Self::NoNodes,
            Why::Draining(_) => Self::Draining,
            Why::NoEncoder(w) => Self::NoEncoder { encoder: w.encoder },
            Why::NoNode(w) => Self::NoNode { needs: w.needs },
            Why::Refused(w) => Self::Refused {
                nodes: w.nodes.into_iter().map(NodeId).collect(),
            },
            Why::Behind(w) => Self::Behind {
                job: id("waiting.job", &w.job)?,
                priority: narrow("waiting.priority", w.priority)?,
            },
            Why::NoFreeSlot(_) => Self::NoFreeSlot,
            Why::NoMemory(w) => Self::NoMemory {
                need_bytes: w.need_bytes,
            },
            Why::Nothing(_) => Self::Nothing,
        })
    }
}

impl From<Waiting> for v1::Waiting {
    fn from(value: Waiting) -> Self {
        Self {
            text: value.why.to_string(),
            why: Some(value.why.into()),
            count: value.count,
            first: value.tasks.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<v1::Waiting> for Waiting {
    type Error = Error;
    fn try_from(value: v1::Waiting) -> Result<Self, Error> {
        Ok(Self {
            why: value.why.ok_or(Error::Missing("waiting.why"))?.try_into()?,
            count: value.count,
            tasks: value
                .first
                .iter()
                .map(|key| id("waiting.first", key))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Explanation> for v1::ExplainResponse {
    fn from(value: Explanation) -> Self {
        Self {
            job: value.job.to_string(),
            state: v1::JobState::from(value.state).into(),
            tasks: value.tasks,
            tasks_done: value.tasks_done,
            tasks_running: value.tasks_running,
            waiting: value.waiting.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ExplainResponse> for Explanation {
    type Error = Error;
    fn try_from(value: v1::ExplainResponse) -> Result<Self, Error> {
        Ok(Self {
            job: id("job", &value.job)?,
            state: plain::<v1::JobState, _>("state", value.state)?,
            tasks: value.tasks,
            tasks_done: value.tasks_done,
            tasks_running: value.tasks_running,
            waiting: value
                .waiting
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{JobId, JobState, TaskKey};

    #[test]
    fn every_reason_survives_the_wire() {
        let reasons = [
            Wait::Probe,
            Wait::Plan,
            Wait::Tasks {
                trials: 1,
                encodes: 2,
                tracks: 3,
            },
            Wait::Knobs { output: 4 },
            Wait::Paused,
            Wait::Backoff { until_ms: 5 },
            Wait::NoNodes,
            Wait::Draining,
            Wait::NoNode {
                needs: "the label compute=arm".into(),
            },
            Wait::NoEncoder {
                encoder: "libx264".into(),
            },
            Wait::Refused {
                nodes: vec![NodeId(6)],
            },
            Wait::Behind {
                job: JobId(7),
                priority: 8,
            },
            Wait::NoFreeSlot,
            Wait::NoMemory { need_bytes: 9 },
            Wait::Nothing,
        ];
        let explanation = Explanation {
            job: JobId(9),
            state: JobState::Running,
            tasks: 10,
            tasks_done: 11,
            tasks_running: 12,
            waiting: reasons
                .map(|why| Waiting {
                    why,
                    count: 13,
                    tasks: vec![TaskKey::Audio { output: 14 }],
                })
                .into(),
        };
        let wire = v1::ExplainResponse::from(explanation.clone());
        assert!(wire.waiting.iter().all(|w| !w.text.is_empty()));
        assert_eq!(Explanation::try_from(wire).unwrap(), explanation);
    }
}
