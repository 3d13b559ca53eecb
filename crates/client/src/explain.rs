//! `explain`: what the unfinished Tasks of a Job wait for.

use crate::fault::Fault;
use crate::flags::OneJob;
use crate::remote::{about, now_ms, say_json, with};
use crate::units::show_seconds;
use recode_types::{Explanation, Wait, Waiting};
use std::fmt::Write as _;

/// Runs it.
/// # Errors
/// There is none of this id, or nobody answers.
pub fn run(args: &OneJob) -> Result<(), Fault> {
    let explanation = with(&args.remote, async |client| {
        client.explain(args.job).await.map_err(about(args.job))
    })?;
    if args.remote.json {
        say_json(&explanation);
    } else {
        crate::say(&said(&explanation, now_ms()));
    }
    Ok(())
}

fn said(explanation: &Explanation, now_ms: u64) -> String {
    let Explanation {
        job,
        state,
        tasks,
        tasks_done,
        tasks_running,
        waiting,
    } = explanation;
    if state.is_terminal() {
        return format!("{job} has ended ({}): nothing of it waits\n", state.name());
    }
    let mut said = format!(
        "{job}  {}: {tasks_done} of {tasks} tasks done, {tasks_running} running\n",
        state.name()
    );
    for one in waiting {
        let _ = writeln!(said, "{}: {}", who(one), why(&one.why, now_ms));
    }
    said
}

/// `encode.0.4`, `encode.0.4, encode.0.5 and 28 more`.
fn who(waiting: &Waiting) -> String {
    const SHOWN: usize = 3;
    let names = waiting.tasks.iter().take(SHOWN).map(ToString::to_string);
    let names = names.collect::<Vec<_>>().join(", ");
    let shown = waiting.tasks.len().min(SHOWN) as u32;
    match (names.is_empty(), waiting.count.saturating_sub(shown)) {
        (true, 0) => "the rest".to_owned(),
        (true, more) => format!("{more} tasks"),
        (false, 0) => names,
        (false, more) => format!("{names} and {more} more"),
    }
}

/// A reason as people read it.
pub fn why(wait: &Wait, now_ms: u64) -> String {
    match wait {
        Wait::Backoff { until_ms } => format!(
            "something was short in the last attempt; tried again in {}",
            show_seconds(until_ms.saturating_sub(now_ms) as f64 / 1000.0)
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{JobId, JobState, TaskKey};

    #[test]
    fn reasons_stand_beside_who_waits() {
        let encode = |segment| TaskKey::Encode { group: 0, segment };
        let explanation = Explanation {
            job: JobId(1),
            state: JobState::Running,
            tasks: 40,
            tasks_done: 3,
            tasks_running: 2,
            waiting: vec![
                Waiting {
                    why: Wait::Backoff { until_ms: 3_500 },
                    count: 1,
                    tasks: vec![encode(9)],
                },
                Waiting {
                    why: Wait::NoFreeSlot,
                    count: 34,
                    tasks: (0..8).map(encode).collect(),
                },
                Waiting {
                    why: Wait::Plan,
                    count: 0,
                    tasks: vec![],
                },
            ],
        };
        let expected = "\
job_00000000000000000000000000000001  running: 3 of 40 tasks done, 2 running
encode.0.9: something was short in the last attempt; tried again in 2.50 s
encode.0.0, encode.0.1, encode.0.2 and 31 more: waits for a free slot
the rest: waits for the plan, which is being made
";
        assert_eq!(said(&explanation, 1_000), expected);
    }
}
