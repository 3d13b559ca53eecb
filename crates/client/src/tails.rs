//! `logs`: what FFmpeg said last where Attempts failed.

use crate::clock::show_time;
use crate::fault::Fault;
use crate::flags::Logs;
use crate::remote::{about, say_json_line, with};
use recode_client::{LogQuery, Logged};
use std::fmt::Write as _;

/// Prints them as they come.
/// # Errors
/// There is no Job of this id, or nobody answers.
pub fn run(args: &Logs) -> Result<(), Fault> {
    let query = LogQuery {
        task: args.task,
        from_number: 0,
        follow: args.follow,
    };
    let json = args.remote.json;
    let mut any = false;
    with(&args.remote, async |client| {
        let see = |logged: &Logged| {
            any = true;
            match json {
                true => say_json_line(&logged.log),
                false => crate::say(&said(logged)),
            }
        };
        let logs = client.logs(args.job, query, see).await;
        logs.map_err(about(args.job))
    })?;
    if !any && !json {
        crate::say("no attempt has failed\n");
    }
    Ok(())
}

fn said(logged: &Logged) -> String {
    let log = &logged.log;
    let mut said = String::new();
    if logged.dropped > 0 {
        let _ = writeln!(said, "({} earlier ones are not kept)", logged.dropped);
    }
    let _ = writeln!(
        said,
        "{}#{} on {} at {}: {}",
        log.task,
        log.attempt,
        log.node,
        show_time(log.at_ms),
        log.message
    );
    for line in log.stderr_tail.trim_end().lines() {
        let _ = writeln!(said, "  {line}");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::task::FailureClass;
    use recode_types::{AttemptLog, NodeId, TaskKey};

    #[test]
    fn a_log_says_who_failed_when_and_how() {
        let logged = Logged {
            log: AttemptLog {
                number: 3,
                task: TaskKey::Encode {
                    group: 0,
                    segment: 12,
                },
                attempt: 2,
                node: NodeId(7),
                at_ms: 1_795_265_445_000,
                class: FailureClass::Killed,
                message: "ffmpeg was ended by SIGKILL".into(),
                stderr_tail: "one\ntwo\n".into(),
            },
            dropped: 3,
        };
        let expected = "\
(3 earlier ones are not kept)
encode.0.12#2 on node_7 at 2026-11-21 12:50:45 UTC: ffmpeg was ended by SIGKILL
  one
  two
";
        assert_eq!(said(&logged), expected);
    }
}
