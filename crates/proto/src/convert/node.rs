//! The exchange between nodes and the Leader.

use super::{Error, id, invalid};
use crate::v1;
use recode_types::task::Grant;
use recode_types::{AttemptToken, FinishedAttempt, NodeHello, NodeId, NodeOrders, NodeReport};

impl From<NodeHello> for v1::NodeHello {
    fn from(value: NodeHello) -> Self {
        Self {
            name: value.name,
            version: value.version,
            heavy_slots: value.heavy_slots,
            light_slots: value.light_slots,
            ffmpeg: value.ffmpeg,
            capabilities: value.capabilities,
        }
    }
}

impl From<v1::NodeHello> for NodeHello {
    fn from(value: v1::NodeHello) -> Self {
        Self {
            name: value.name,
            version: value.version,
            heavy_slots: value.heavy_slots,
            light_slots: value.light_slots,
            ffmpeg: value.ffmpeg,
            capabilities: value.capabilities,
        }
    }
}

impl From<AttemptToken> for v1::AttemptToken {
    fn from(value: AttemptToken) -> Self {
        Self {
            task: value.task.to_string(),
            attempt: value.attempt,
        }
    }
}

impl TryFrom<v1::AttemptToken> for AttemptToken {
    type Error = Error;
    fn try_from(value: v1::AttemptToken) -> Result<Self, Error> {
        Ok(Self {
            task: id("task", &value.task)?,
            attempt: value.attempt,
        })
    }
}

impl From<FinishedAttempt> for v1::FinishedAttempt {
    fn from(value: FinishedAttempt) -> Self {
        Self {
            task: value.token.task.to_string(),
            attempt: value.token.attempt,
            outcome_json: serde_json::to_vec(&value.outcome)
                .expect("an outcome has text keys only, so it has a JSON form"),
        }
    }
}

impl TryFrom<v1::FinishedAttempt> for FinishedAttempt {
    type Error = Error;
    fn try_from(value: v1::FinishedAttempt) -> Result<Self, Error> {
        Ok(Self {
            token: AttemptToken {
                task: id("finished.task", &value.task)?,
                attempt: value.attempt,
            },
            outcome: serde_json::from_slice(&value.outcome_json)
                .map_err(|e| invalid("finished.outcome_json", e))?,
        })
    }
}

impl From<Grant> for v1::GrantedAttempt {
    fn from(value: Grant) -> Self {
        Self {
            task: value.task.to_string(),
            attempt: value.attempt,
            grant_json: serde_json::to_vec(&value)
                .expect("a grant has text keys only, so it has a JSON form"),
        }
    }
}

impl TryFrom<v1::GrantedAttempt> for Grant {
    type Error = Error;
    fn try_from(value: v1::GrantedAttempt) -> Result<Self, Error> {
        let grant: Self = serde_json::from_slice(&value.grant_json)
            .map_err(|e| invalid("grants.grant_json", e))?;
        if grant.attempt != value.attempt || grant.task.to_string() != value.task {
            return Err(invalid(
                "grants.grant_json",
                "it names another attempt than the message around it",
            ));
        }
        Ok(grant)
    }
}

impl From<NodeReport> for v1::NodeReport {
    fn from(value: NodeReport) -> Self {
        Self {
            instance: value.instance,
            sequence: value.sequence,
            hello: value.hello.map(Into::into),
            running: value.running.into_iter().map(Into::into).collect(),
            finished: value.finished.into_iter().map(Into::into).collect(),
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            draining: value.draining,
        }
    }
}

impl TryFrom<v1::NodeReport> for NodeReport {
    type Error = Error;
    fn try_from(value: v1::NodeReport) -> Result<Self, Error> {
        if value.instance.is_empty() || value.instance.len() > 128 {
            return Err(invalid("instance", "it needs 1 to 128 characters"));
        }
        Ok(Self {
            instance: value.instance,
            sequence: value.sequence,
            hello: value.hello.map(Into::into),
            running: value
                .running
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            finished: value
                .finished
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            draining: value.draining,
        })
    }
}

impl From<NodeOrders> for v1::NodeOrders {
    fn from(value: NodeOrders) -> Self {
        Self {
            sequence: value.sequence,
            node: value.node.map(|node| node.0),
            grants: value.grants.into_iter().map(Into::into).collect(),
            revocations: value.revocations.into_iter().map(Into::into).collect(),
            acknowledged: value.acknowledged.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::NodeOrders> for NodeOrders {
    type Error = Error;
    fn try_from(value: v1::NodeOrders) -> Result<Self, Error> {
        Ok(Self {
            sequence: value.sequence,
            node: value.node.map(NodeId),
            grants: value
                .grants
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            revocations: value
                .revocations
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            acknowledged: value
                .acknowledged
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::task::{AttemptOutcome, Failure, FailureClass, Usage, Work};
    use recode_types::{AttemptProgress, JobId, TaskId, TaskKey};

    fn token() -> AttemptToken {
        AttemptToken {
            task: TaskId {
                job: JobId(5),
                key: TaskKey::Probe { deep: false },
            },
            attempt: 3,
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = NodeReport {
            instance: "one".into(),
            sequence: 2,
            hello: Some(NodeHello {
                name: "host".into(),
                version: "0.1".into(),
                heavy_slots: 2,
                light_slots: 4,
                ffmpeg: "9".into(),
                capabilities: vec!["libx264".into()],
            }),
            running: vec![AttemptProgress {
                task: token().task,
                attempt: 3,
                frames: 4,
                frames_total: 5,
                media_us: 6,
            }],
            finished: vec![FinishedAttempt {
                token: token(),
                outcome: AttemptOutcome::Failed {
                    failure: Failure {
                        class: FailureClass::Killed,
                        message: "signal 9".into(),
                        stderr_tail: Some("tail".into()),
                    },
                    usage: Usage {
                        wall_ms: 1,
                        ..Usage::default()
                    },
                },
            }],
            free_heavy: 1,
            free_light: 2,
            draining: true,
        };
        assert_eq!(
            NodeReport::try_from(v1::NodeReport::from(report.clone())).unwrap(),
            report
        );
    }

    #[test]
    fn orders_survive_the_wire_and_a_grant_cannot_change_its_name() {
        let orders = NodeOrders {
            sequence: 9,
            node: Some(NodeId(4)),
            grants: vec![Grant {
                task: token().task,
                attempt: 3,
                work_store: "file:///work".into(),
                work: Work::Probe {
                    source: "file:///a".into(),
                    deep: false,
                    start_us: None,
                    duration_us: Some(7),
                },
            }],
            revocations: vec![token()],
            acknowledged: vec![token()],
        };
        let mut wire = v1::NodeOrders::from(orders.clone());
        assert_eq!(NodeOrders::try_from(wire.clone()).unwrap(), orders);
        wire.grants[0].attempt = 4;
        assert!(NodeOrders::try_from(wire).is_err());
    }
}
