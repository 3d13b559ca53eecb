//! `cache list` and `cache prune`.

use crate::fault::Fault;
use crate::flags::CacheAction;
use crate::place;
use crate::state::{Entry, State};
use crate::summary::columns;
use crate::units::{show_bytes, show_seconds};
use std::path::Path;

/// Runs it.
/// # Errors
/// [`Kind::Environment`](crate::fault::Kind::Environment): the state folder cannot be used.
pub fn run(action: CacheAction, cwd: &Path) -> Result<(), Fault> {
    match action {
        CacheAction::List { machine, json } => {
            let state = State::open(machine.state.as_deref())?;
            let entries = state.entries();
            if json {
                crate::say(&pretty(&serde_json::json!({
                    "state": state.root(), "bytes": total(&entries), "entries": entries,
                })));
            } else {
                crate::say(&list(&entries, cwd));
            }
        }
        CacheAction::Prune {
            machine,
            keep,
            json,
        } => {
            let state = State::open(machine.state.as_deref())?;
            let removed = state.prune(keep.map_or(0, |k| k.0));
            if json {
                crate::say(&pretty(&serde_json::json!({
                    "removed": removed.len(), "bytes": total(&removed), "entries": removed,
                })));
            } else {
                crate::say(&format!(
                    "removed {} entr{}, {}\n",
                    removed.len(),
                    if removed.len() == 1 { "y" } else { "ies" },
                    show_bytes(total(&removed))
                ));
            }
        }
    }
    Ok(())
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn total(entries: &[Entry]) -> u64 {
    entries.iter().map(|e| e.bytes).sum()
}

fn list(entries: &[Entry], cwd: &Path) -> String {
    let jobs: Vec<&Entry> = entries.iter().filter(|e| e.kind == "job").collect();
    let chunks: Vec<&Entry> = entries.iter().filter(|e| e.kind == "chunk").collect();
    let mut out = String::new();
    if !jobs.is_empty() {
        let mut rows = vec![["job", "state", "size", "age"].map(str::to_owned)];
        rows.extend(jobs.iter().map(|e| {
            let what = e.job.as_ref().map_or_else(
                || e.name.clone(),
                |job| {
                    let outputs: Vec<String> =
                        job.outputs.iter().map(|o| place::show(o, cwd)).collect();
                    format!(
                        "{} -> {}",
                        place::show(&job.source, cwd),
                        outputs.join(", ")
                    )
                },
            );
            [
                what,
                if e.running { "running" } else { "interrupted" }.into(),
                show_bytes(e.bytes),
                show_seconds(e.age_seconds as f64),
            ]
        }));
        for line in columns(&rows) {
            out += &format!("{line}\n");
        }
    }
    out += &format!(
        "{} job{}, {} cached chunk{}, {}\n",
        jobs.len(),
        if jobs.len() == 1 { "" } else { "s" },
        chunks.len(),
        if chunks.len() == 1 { "" } else { "s" },
        show_bytes(total(entries))
    );
    out
}
