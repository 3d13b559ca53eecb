//! Events, status and progress.

use super::{Error, id, invalid, mirror_enum, narrow, plain};
use crate::v1;
use recode_types::id::{NodeId, TaskKey};
use recode_types::task::FailureClass;
use recode_types::{AttemptLog, AttemptProgress, Event, EventKind, JobState, JobStatus, Progress};

mirror_enum!(v1::JobState, JobState, "state", { Probing, Planning, Running, Done, Failed, Cancelled });
mirror_enum!(v1::FailureClass, FailureClass, "class", {
    BadInput, MissingCapability, OutOfResources, Killed, IndexLied, SourceChanged, Store, OutputExists, Unknown,
});

fn class_to_wire(value: Option<FailureClass>) -> Option<i32> {
    value.map(|class| v1::FailureClass::from(class).into())
}

fn class_from_wire(value: Option<i32>) -> Result<Option<FailureClass>, Error> {
    value
        .map(|class| plain::<v1::FailureClass, _>("class", class))
        .transpose()
}

impl From<Event> for v1::Event {
    fn from(value: Event) -> Self {
        use v1::event as wire;
        use wire::Kind;
        let kind = match value.kind {
            EventKind::Submitted => Kind::Submitted(wire::Submitted {}),
            EventKind::Planned {
                segments,
                frames,
                warnings,
            } => Kind::Planned(wire::Planned {
                segments,
                frames,
                warnings,
            }),
            EventKind::Replanning { reason } => Kind::Replanning(wire::Replanning { reason }),
            EventKind::TaskDone {
                task,
                attempt,
                node,
                frames,
                bytes,
                reused,
            } => Kind::TaskDone(wire::TaskDone {
                task: task.to_string(),
                attempt,
                node: node.0,
                frames,
                bytes,
                reused,
            }),
            EventKind::AttemptFailed {
                task,
                attempt,
                node,
                class,
                message,
                retried,
            } => Kind::AttemptFailed(wire::AttemptFailed {
                task: task.to_string(),
                attempt,
                node: node.0,
                class: v1::FailureClass::from(class).into(),
                message,
                retried,
            }),
            EventKind::Reopened { chunks, reason } => {
                Kind::Reopened(wire::Reopened { chunks, reason })
            }
            EventKind::OutputReady {
                output,
                url,
                size_bytes,
            } => Kind::OutputReady(wire::OutputReady {
                output: output.into(),
                url,
                size_bytes,
            }),
            EventKind::Warning { text } => Kind::Warning(wire::Warning { text }),
            EventKind::Ended {
                state,
                class,
                reason,
            } => Kind::Ended(wire::Ended {
                state: v1::JobState::from(state).into(),
                class: class_to_wire(class),
                reason,
            }),
            EventKind::Paused => Kind::Paused(wire::Paused {}),
            EventKind::Resumed => Kind::Resumed(wire::Resumed {}),
            EventKind::Retried { chunks_kept } => Kind::Retried(wire::Retried { chunks_kept }),
        };
        Self {
            index: value.index,
            at_ms: value.at_ms,
            kind: Some(kind),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = Error;
    fn try_from(value: v1::Event) -> Result<Self, Error> {
        use v1::event::Kind;
        let key = |text: &str| id::<TaskKey>("event.task", text);
        let kind = match value.kind.ok_or(Error::Missing("event.kind"))? {
            Kind::Submitted(_) => EventKind::Submitted,
            Kind::Planned(e) => EventKind::Planned {
                segments: e.segments,
                frames: e.frames,
                warnings: e.warnings,
            },
            Kind::Replanning(e) => EventKind::Replanning { reason: e.reason },
            Kind::TaskDone(e) => EventKind::TaskDone {
                task: key(&e.task)?,
                attempt: e.attempt,
                node: NodeId(e.node),
                frames: e.frames,
                bytes: e.bytes,
                reused: e.reused,
            },
            Kind::AttemptFailed(e) => EventKind::AttemptFailed {
                task: key(&e.task)?,
                attempt: e.attempt,
                node: NodeId(e.node),
                class: plain::<v1::FailureClass, _>("class", e.class)?,
                message: e.message,
                retried: e.retried,
            },
            Kind::Reopened(e) => EventKind::Reopened {
                chunks: e.chunks,
                reason: e.reason,
            },
            Kind::OutputReady(e) => EventKind::OutputReady {
                output: narrow("event.output", e.output)?,
                url: e.url,
                size_bytes: e.size_bytes,
            },
            Kind::Warning(e) => EventKind::Warning { text: e.text },
            Kind::Paused(_) => EventKind::Paused,
            Kind::Resumed(_) => EventKind::Resumed,
            Kind::Retried(e) => EventKind::Retried {
                chunks_kept: e.chunks_kept,
            },
            Kind::Ended(e) => EventKind::Ended {
                state: plain::<v1::JobState, _>("state", e.state)?,
                class: class_from_wire(e.class)?,
                reason: e.reason,
            },
        };
        Ok(Self {
            index: value.index,
            at_ms: value.at_ms,
            kind,
        })
    }
}

impl From<JobStatus> for v1::JobStatus {
    fn from(value: JobStatus) -> Self {
        Self {
            job: value.job.to_string(),
            state: v1::JobState::from(value.state).into(),
            source: value.source,
            outputs: value.outputs,
            submitted_at_ms: value.submitted_at_ms,
            ended_at_ms: value.ended_at_ms,
            tasks: value.tasks,
            tasks_done: value.tasks_done,
            events: value.events,
            class: class_to_wire(value.class),
            reason: value.reason,
            paused: value.paused,
            priority: value.priority.into(),
            labels: value.labels.into_iter().collect(),
            archive: value.archive,
        }
    }
}

impl TryFrom<v1::JobStatus> for JobStatus {
    type Error = Error;
    fn try_from(value: v1::JobStatus) -> Result<Self, Error> {
        Ok(Self {
            job: id("status.job", &value.job)?,
            state: plain::<v1::JobState, _>("state", value.state)?,
            source: value.source,
            outputs: value.outputs,
            submitted_at_ms: value.submitted_at_ms,
            ended_at_ms: value.ended_at_ms,
            tasks: value.tasks,
            tasks_done: value.tasks_done,
            events: value.events,
            class: class_from_wire(value.class)?,
            reason: value.reason,
            paused: value.paused,
            priority: u8::try_from(value.priority)
                .map_err(|_| invalid("status.priority", "it is above 100"))?,
            labels: value.labels.into_iter().collect(),
            archive: value.archive,
        })
    }
}

impl From<AttemptLog> for v1::AttemptLog {
    fn from(value: AttemptLog) -> Self {
        Self {
            number: value.number,
            task: value.task.to_string(),
            attempt: value.attempt,
            node: value.node.0,
            at_ms: value.at_ms,
            class: v1::FailureClass::from(value.class).into(),
            message: value.message,
            stderr_tail: value.stderr_tail,
        }
    }
}

impl TryFrom<v1::AttemptLog> for AttemptLog {
    type Error = Error;
    fn try_from(value: v1::AttemptLog) -> Result<Self, Error> {
        Ok(Self {
            number: value.number,
            task: id("log.task", &value.task)?,
            attempt: value.attempt,
            node: NodeId(value.node),
            at_ms: value.at_ms,
            class: plain::<v1::FailureClass, _>("class", value.class)?,
            message: value.message,
            stderr_tail: value.stderr_tail,
        })
    }
}

impl From<AttemptProgress> for v1::AttemptProgress {
    fn from(value: AttemptProgress) -> Self {
        Self {
            task: value.task.to_string(),
            attempt: value.attempt,
            frames: value.frames,
            frames_total: value.frames_total,
            media_us: value.media_us,
        }
    }
}

impl TryFrom<v1::AttemptProgress> for AttemptProgress {
    type Error = Error;
    fn try_from(value: v1::AttemptProgress) -> Result<Self, Error> {
        Ok(Self {
            task: id("running.task", &value.task)?,
            attempt: value.attempt,
            frames: value.frames,
            frames_total: value.frames_total,
            media_us: value.media_us,
        })
    }
}

impl From<Progress> for v1::Progress {
    fn from(value: Progress) -> Self {
        Self {
            frames_done: value.frames_done,
            frames_total: value.frames_total,
            tasks_done: value.tasks_done,
            tasks: value.tasks,
            running: value.running.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Progress> for Progress {
    type Error = Error;
    fn try_from(value: v1::Progress) -> Result<Self, Error> {
        Ok(Self {
            frames_done: value.frames_done,
            frames_total: value.frames_total,
            tasks_done: value.tasks_done,
            tasks: value.tasks,
            running: value
                .running
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::JobId;

    fn survives(kind: EventKind) {
        let event = Event {
            index: 7,
            at_ms: 8,
            kind,
        };
        assert_eq!(
            Event::try_from(v1::Event::from(event.clone())).unwrap(),
            event
        );
    }

    #[test]
    fn every_kind_of_event_survives_the_wire() {
        let task = TaskKey::Encode {
            group: 1,
            segment: 12,
        };
        survives(EventKind::Submitted);
        survives(EventKind::Planned {
            segments: 3,
            frames: 99,
            warnings: vec!["captions are lost".into()],
        });
        survives(EventKind::Replanning {
            reason: "frame 3 differs".into(),
        });
        survives(EventKind::TaskDone {
            task,
            attempt: 2,
            node: NodeId(3),
            frames: 48,
            bytes: 1000,
            reused: true,
        });
        survives(EventKind::AttemptFailed {
            task,
            attempt: 2,
            node: NodeId(3),
            class: FailureClass::Killed,
            message: "signal 9".into(),
            retried: true,
        });
        survives(EventKind::Reopened {
            chunks: 4,
            reason: "the size is missed".into(),
        });
        survives(EventKind::OutputReady {
            output: 1,
            url: "file:///a".into(),
            size_bytes: 5,
        });
        survives(EventKind::Warning { text: "w".into() });
        survives(EventKind::Ended {
            state: JobState::Failed,
            class: Some(FailureClass::BadInput),
            reason: "no picture".into(),
        });
        survives(EventKind::Paused);
        survives(EventKind::Resumed);
        survives(EventKind::Retried { chunks_kept: 9 });
    }

    #[test]
    fn a_log_survives_the_wire() {
        let log = AttemptLog {
            number: 1,
            task: TaskKey::Stitch { output: 2 },
            attempt: 3,
            node: NodeId(4),
            at_ms: 5,
            class: FailureClass::Store,
            message: "m".into(),
            stderr_tail: "t".into(),
        };
        let wire = v1::AttemptLog::from(log.clone());
        assert_eq!(AttemptLog::try_from(wire).unwrap(), log);
    }

    #[test]
    fn status_and_progress_survive_the_wire() {
        let status = JobStatus {
            job: JobId(9),
            state: JobState::Cancelled,
            source: "file:///a".into(),
            outputs: vec!["file:///b".into()],
            submitted_at_ms: 1,
            ended_at_ms: Some(2),
            tasks: 3,
            tasks_done: 4,
            events: 5,
            class: Some(FailureClass::Store),
            reason: Some("r".into()),
            paused: true,
            priority: 6,
            labels: [("show".to_owned(), "one".to_owned())].into(),
            archive: Some("archive/a".into()),
        };
        assert_eq!(
            JobStatus::try_from(v1::JobStatus::from(status.clone())).unwrap(),
            status
        );
        let progress = Progress {
            frames_done: 1,
            frames_total: 2,
            tasks_done: 3,
            tasks: 4,
            running: vec![AttemptProgress {
                task: recode_types::TaskId {
                    job: JobId(9),
                    key: TaskKey::Stitch { output: 1 },
                },
                attempt: 1,
                frames: 2,
                frames_total: 3,
                media_us: 4,
            }],
        };
        assert_eq!(
            Progress::try_from(v1::Progress::from(progress.clone())).unwrap(),
            progress
        );
    }
}
