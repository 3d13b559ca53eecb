//! What a log dump (`recode-coordinator dump --json`) says was decided, as far as the checker looks at it.

use anyhow::{Context as _, Result, ensure};
use recode_types::task::AttemptOutcome;
use recode_types::{AttemptNo, JobId, NodeId, TaskId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The log of one coordinator.
#[derive(Debug)]
pub struct History {
    /// Whose.
    pub coordinator: u64,
    /// The last entry that is known to be committed.
    pub committed: u64,
    /// By index, as it was dumped.
    pub entries: BTreeMap<u64, Value>,
}

/// Something that was decided.
#[derive(Debug, PartialEq)]
pub enum Decided {
    /// A job was accepted, or was known already.
    Submitted {
        /// Of the client.
        request_id: String,
        /// The job.
        job: JobId,
        /// How many outputs it has.
        outputs: usize,
    },
    /// Segments of a plan; part 0 starts over.
    Planned {
        /// The job.
        job: JobId,
        /// Number of the part.
        part: u32,
        /// Their numbers.
        segments: Vec<u32>,
    },
    /// A lease was given.
    Leased {
        /// On which task.
        task: TaskId,
        /// Which attempt.
        attempt: AttemptNo,
        /// To whom.
        node: NodeId,
    },
    /// A lease was to end, if there still was one.
    Expired {
        /// On which task.
        task: TaskId,
        /// Which attempt.
        attempt: AttemptNo,
    },
    /// An attempt ended, and that was accepted.
    Completed {
        /// Of which task.
        task: TaskId,
        /// Which.
        attempt: AttemptNo,
        /// How.
        outcome: Box<AttemptOutcome>,
    },
    /// A node exists; one of the same name is gone.
    Registered {
        /// Its number.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A node is gone.
    Forgotten(NodeId),
    /// A job was ended by somebody's wish.
    Cancelled(JobId),
    /// A job was failed.
    Failed(JobId, String),
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Log {
        coordinator: Option<u64>,
        snapshot: Option<u64>,
        purged: Option<u64>,
        committed: Option<u64>,
    },
    Blank {
        index: u64,
    },
    Members {
        index: u64,
    },
    Batch {
        index: u64,
    },
}

#[derive(Deserialize)]
struct Change {
    command: BTreeMap<String, Value>,
    outcome: Option<Value>,
}

impl History {
    /// Reads a dump.
    /// # Errors
    /// It is none, or begins in a snapshot: then what came before is not known.
    pub fn read(dump: &str) -> Result<Self> {
        let mut history = Self {
            coordinator: 0,
            committed: 0,
            entries: BTreeMap::new(),
        };
        for line in dump.lines() {
            let value: Value = serde_json::from_str(line).context("a dump is one JSON per line")?;
            let read = Line::deserialize(&value).with_context(|| format!("unknown line {line}"))?;
            let index = match read {
                Line::Log {
                    coordinator,
                    snapshot,
                    purged,
                    committed,
                } => {
                    ensure!(
                        snapshot.is_none() && purged.is_none(),
                        "the log begins in a snapshot: its run was too long to be checked"
                    );
                    history.coordinator = coordinator.unwrap_or(0);
                    history.committed = committed.unwrap_or(0);
                    continue;
                }
                Line::Blank { index } | Line::Members { index } | Line::Batch { index } => index,
            };
            history.entries.insert(index, value);
        }
        Ok(history)
    }

    /// What was decided by committed entries, in order; what was rejected is left out.
    /// # Errors
    /// A command has another form than this reader knows.
    pub fn decided(&self) -> Result<Vec<Decided>> {
        let mut decided = Vec::new();
        for (index, entry) in self.entries.range(..=self.committed) {
            let Some(changes) = entry.get("changes") else {
                continue;
            };
            for change in Vec::<Change>::deserialize(changes)? {
                read(change, &mut decided).with_context(|| format!("entry {index}"))?;
            }
        }
        Ok(decided)
    }
}

fn read(change: Change, decided: &mut Vec<Decided>) -> Result<()> {
    let (name, body) = change.command.into_iter().next().context("no command")?;
    let outcome = change
        .outcome
        .context("a committed entry without outcome")?;
    if outcome.get("Rejected").is_some() {
        return Ok(());
    }
    let body = Body(body);
    match name.as_str() {
        "SubmitJob" => decided.push(Decided::Submitted {
            request_id: body.get("request_id")?,
            // The one it got, which is another than it proposed where the request was known.
            job: Body(outcome).body("Submitted")?.get("job")?,
            outputs: body.body("request")?.get::<Vec<Value>>("outputs")?.len(),
        }),
        "PlanPart" => {
            let segments: Vec<recode_types::Segment> = body.get("segments")?;
            decided.push(Decided::Planned {
                job: body.get("job")?,
                part: body.get("part")?,
                segments: segments.iter().map(|segment| segment.index).collect(),
            });
        }
        "GrantLeases" => {
            let results: Vec<Result<(), Value>> = Body(outcome).body("Granted")?.get("results")?;
            for (grant, result) in body.get::<Vec<Value>>("grants")?.into_iter().zip(results) {
                let grant = Body(grant);
                if result.is_ok() {
                    decided.push(Decided::Leased {
                        task: grant.get("task")?,
                        attempt: grant.get("attempt")?,
                        node: grant.get("node")?,
                    });
                }
            }
        }
        "ExpireLeases" => {
            for (task, attempt) in body.get::<Vec<(TaskId, AttemptNo)>>("leases")? {
                decided.push(Decided::Expired { task, attempt });
            }
        }
        "CompleteAttempt" => decided.push(Decided::Completed {
            task: body.get("task")?,
            attempt: body.get("attempt")?,
            outcome: body.get("outcome")?,
        }),
        "RegisterNode" => decided.push(Decided::Registered {
            node: Body(outcome).body("Registered")?.get("node")?,
            name: body.get("name")?,
        }),
        "ForgetNode" => decided.push(Decided::Forgotten(body.get("node")?)),
        "CancelJob" => decided.push(Decided::Cancelled(body.get("job")?)),
        "Ask" if body.get::<Value>("wish")?.get("Cancel").is_some() => {
            decided.push(Decided::Cancelled(body.get("job")?));
        }
        "FailJob" => decided.push(Decided::Failed(body.get("job")?, body.get("message")?)),
        _ => {}
    }
    Ok(())
}

/// The fields of a command or an outcome.
struct Body(Value);

impl Body {
    fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let field = self.0.get(name).with_context(|| format!("no {name}"))?;
        T::deserialize(field).with_context(|| format!("{name} is something else"))
    }

    fn body(&self, name: &str) -> Result<Self> {
        self.get(name).map(Self)
    }
}
