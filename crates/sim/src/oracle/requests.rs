//! Request ids and Node numbers: the same question gets the same answer, and no number is given twice.

use super::{Step, rejected};
use recode_core::Rejected;
use recode_core::machine::{Command, Outcome};
use recode_types::{JobId, JobRequest, NodeId};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Requests {
    jobs: BTreeMap<String, (JobId, Box<JobRequest>)>,
    nodes: BTreeMap<NodeId, (String, String)>,
    last_node: u64,
}

impl Requests {
    /// # Errors
    /// The answer that differs from an earlier one.
    pub fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        match &step.entry.command {
            Command::SubmitJob {
                request_id,
                job,
                request,
            } => {
                let expected = match self.jobs.get(request_id) {
                    Some((known, same)) if same == request => Outcome::Submitted {
                        job: *known,
                        existing: true,
                    },
                    Some(_) => Outcome::Rejected(Rejected::RequestIdTaken),
                    None if step.before.jobs.contains_key(job) => {
                        Outcome::Rejected(Rejected::JobIdTaken)
                    }
                    None => {
                        let new = (*job, request.clone());
                        self.jobs.insert(request_id.clone(), new);
                        Outcome::Submitted {
                            job: *job,
                            existing: false,
                        }
                    }
                };
                same(&expected, step.outcome)?;
                if let Outcome::Submitted { job, .. } = expected
                    && !step.after.jobs.contains_key(&job)
                {
                    return Err(format!("{job} was accepted and is not there"));
                }
            }
            Command::ForgetJob { job } => {
                if rejected(step.outcome).is_none() {
                    self.jobs.retain(|_, (known, _)| known != job);
                }
            }
            Command::RegisterNode { name, incarnation } => {
                let known = self.nodes.iter().find(|(_, n)| n.1 == *incarnation);
                let node = match known {
                    Some((id, _)) => *id,
                    None => {
                        self.nodes.retain(|_, n| n.0 != *name);
                        self.last_node += 1;
                        NodeId(self.last_node)
                    }
                };
                self.nodes.insert(node, (name.clone(), incarnation.clone()));
                same(&Outcome::Registered { node }, step.outcome)?;
            }
            Command::ForgetNode { node } => {
                let expected = match self.nodes.remove(node) {
                    Some(_) => Outcome::Accepted,
                    None => Outcome::Rejected(Rejected::UnknownNode),
                };
                same(&expected, step.outcome)?;
            }
            _ => return Ok(()),
        }
        if !self.nodes.keys().eq(step.after.nodes.keys()) {
            return Err(format!(
                "nodes should be {:?} and are {:?}",
                self.nodes.keys(),
                step.after.nodes.keys()
            ));
        }
        Ok(())
    }
}

fn same(expected: &Outcome, found: &Outcome) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!(
            "the answer should be {expected:?} and is {found:?}"
        ))
    }
}
