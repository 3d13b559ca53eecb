//! `list`, `show`, `watch`, `cancel`, `pause`, `resume`, `retry` and `report`: Jobs of a cluster.

use crate::clock::{show_ago, show_time, show_took};
use crate::fault::Fault;
use crate::flags::{Cancel, List, OneJob, Watch};
use crate::follow::{self, Interrupt};
use crate::remote::{about, come_back, fault, new_request_id, now_ms, say_json, state_name, with};
use crate::summary::{self, text_columns};
use crate::{bars, transcode};
use recode_client::{Client, Error, JobPage, JobView};
use recode_types::{CommandRequest, JobFilter, JobId, JobState, JobStatus};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// Lists Jobs.
/// # Errors
/// Nobody answers, or the page belongs to another list.
pub fn list(args: &List) -> Result<(), Fault> {
    let now_ms = now_ms();
    let filter = filter(args, now_ms);
    let JobPage { jobs, next } = with(&args.remote, async |client| {
        let page = match args.limit {
            Some(limit) => {
                let token = args.page.as_deref().unwrap_or_default();
                client.page(&filter, limit, token).await
            }
            None => client
                .list(&filter)
                .await
                .map(|jobs| JobPage { jobs, next: None }),
        };
        page.map_err(fault)
    })?;
    if args.remote.json {
        say_json(&json!({ "jobs": jobs, "next_page": next }));
        return Ok(());
    }
    crate::say(&table(&jobs, filter == JobFilter::default(), now_ms));
    if let Some(next) = next {
        bars::line(&format!(
            "recode-client: there are more; go on with --page {next}"
        ));
    }
    Ok(())
}

fn filter(args: &List, now_ms: u64) -> JobFilter {
    JobFilter {
        states: args.state.clone(),
        labels: args.labels.iter().cloned().collect(),
        source_prefix: args.source.clone(),
        submitted_after_ms: args.since.map_or(0, |since| {
            now_ms.saturating_sub(since.0.unsigned_abs() / 1000)
        }),
        live_only: args.live,
        archived: args.archived,
    }
}

fn table(jobs: &[JobStatus], all: bool, now_ms: u64) -> String {
    if jobs.is_empty() {
        return match all {
            true => "there are no jobs\n".to_owned(),
            false => "there are no such jobs\n".to_owned(),
        };
    }
    let mut rows = vec![["job", "state", "tasks", "submitted", "source"].map(str::to_owned)];
    for job in jobs {
        rows.push([
            job.job.to_string(),
            state_name(job).to_owned(),
            format!("{}/{}", job.tasks_done, job.tasks),
            show_ago(job.submitted_at_ms, now_ms),
            match &job.archive {
                Some(_) if job.source.is_empty() => "(archived)".to_owned(),
                _ => job.source.clone(),
            },
        ]);
    }
    text_columns(&rows).join("\n") + "\n"
}

/// Shows one Job.
/// # Errors
/// There is none of this id, or nobody answers.
pub fn show(args: &OneJob) -> Result<(), Fault> {
    let view = with(&args.remote, async |client| {
        client.get(args.job).await.map_err(about(args.job))
    })?;
    if args.remote.json {
        say_json(&json!({
            "status": view.status, "request": view.request, "progress": view.progress, "command": view.command,
        }));
    } else {
        crate::say(&shown(&view));
    }
    Ok(())
}

fn shown(view: &JobView) -> String {
    let JobView {
        status,
        request,
        progress,
        command,
    } = view;
    let mut said = format!("{}  {}\n", status.job, state_name(status));
    if let Some(reason) = status.reason.as_deref().filter(|r| !r.is_empty()) {
        let _ = writeln!(said, "because: {reason}");
    }
    let _ = writeln!(said, "source: {}", status.source);
    for output in &request.outputs {
        let encoder = &output.rendition.encoder;
        let _ = writeln!(said, "output: {} ({encoder})", output.url);
    }
    if let Some(command) = command {
        said += &commanded(command);
    }
    let labels = status
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    if !labels.is_empty() {
        let _ = writeln!(said, "labels: {labels}");
    }
    let _ = writeln!(said, "priority: {}", status.priority);
    let _ = writeln!(said, "submitted: {}", show_time(status.submitted_at_ms));
    if let Some(ended) = status.ended_at_ms {
        let took = show_took(status.submitted_at_ms, ended);
        let _ = writeln!(said, "ended: {}, after {took}", show_time(ended));
    }
    let _ = writeln!(said, "tasks: {} of {}", status.tasks_done, status.tasks);
    if progress.frames_total > 0 {
        let (done, total) = (progress.frames_done, progress.frames_total);
        let _ = writeln!(said, "frames: {done} of {total}");
    }
    for attempt in &progress.running {
        let _ = writeln!(said, "running: {}#{}", attempt.task.key, attempt.attempt);
    }
    said
}

/// The files of a command with their options.
fn commanded(command: &CommandRequest) -> String {
    let mut said = String::new();
    if !command.global.is_empty() {
        let _ = writeln!(said, "options: {}", command.global);
    }
    for (kind, files) in [("input", &command.inputs), ("output", &command.outputs)] {
        for file in files {
            let options = match file.options.as_str() {
                "" => String::new(),
                options => format!(" ({options})"),
            };
            let _ = writeln!(said, "{kind}: {}{options}", file.url);
        }
    }
    said
}

/// Follows a Job.
/// # Errors
/// It failed, or nobody answers; an interrupt leaves it alone and says how to come back.
pub fn watch(args: &Watch, cwd: &Path) -> Result<(), Fault> {
    let endpoint = &args.remote.endpoint;
    let followed = with(&args.remote, async |client| {
        let mut interrupt = Interrupt::listen()?;
        let quiet = args.quiet || args.remote.json;
        follow::until_interrupted(&client, args.job, endpoint, quiet, &mut interrupt).await
    })?;
    transcode::judge(&followed, None)?;
    if args.remote.json {
        say_json(&followed.report);
    } else if !args.quiet {
        crate::say(&summary::table(&followed.report, cwd));
    }
    Ok(())
}

/// Ends a Job.
/// # Errors
/// There is none of this id, or nobody answers.
pub fn cancel(args: &Cancel) -> Result<(), Fault> {
    let status = with(&args.remote, async |client| {
        let cancelled = client.cancel(args.job, &args.reason).await;
        cancelled.map_err(about(args.job))
    })?;
    tell(&status, args.remote.json, |state| match state {
        JobState::Cancelled => "is cancelled".to_owned(),
        other => format!("had ended before: {}", other.name()),
    });
    Ok(())
}

/// Lets nothing more of a Job start.
/// # Errors
/// It has ended, there is none of this id, or nobody answers.
pub fn pause(args: &OneJob) -> Result<(), Fault> {
    let status = steer(args, async |client, job, id| client.pause(job, &id).await)?;
    tell(&status, args.remote.json, |_| {
        "is paused; what runs of it goes on to its end".to_owned()
    });
    Ok(())
}

/// Goes on with a Job.
/// # Errors
/// As [`pause`].
pub fn resume(args: &OneJob) -> Result<(), Fault> {
    let status = steer(args, async |client, job, id| client.resume(job, &id).await)?;
    tell(&status, args.remote.json, |_| "goes on".to_owned());
    Ok(())
}

/// Lets a failed Job live again.
/// # Errors
/// It has not failed, there is none of this id, or nobody answers.
pub fn retry(args: &OneJob) -> Result<(), Fault> {
    let status = steer(args, async |client, job, id| client.retry(job, &id).await)?;
    let follow = come_back(args.job, &args.remote.endpoint);
    tell(&status, args.remote.json, |_| {
        format!("is tried again; follow it with: {follow}")
    });
    Ok(())
}

/// Asks something of a Job under an id of its own: heard twice it is done once.
fn steer(
    args: &OneJob,
    ask: impl AsyncFnOnce(Client, JobId, String) -> Result<JobStatus, Error>,
) -> Result<JobStatus, Fault> {
    with(&args.remote, async |client| {
        let asked = ask(client, args.job, new_request_id()).await;
        asked.map_err(about(args.job))
    })
}

fn tell(status: &JobStatus, json: bool, what: impl FnOnce(JobState) -> String) {
    match json {
        true => say_json(status),
        false => crate::say(&format!("{} {}\n", status.job, what(status.state))),
    }
}

/// Prints what an ended Job did.
/// # Errors
/// It has not ended, there is none of this id, or nobody answers.
pub fn report(args: &OneJob, cwd: &Path) -> Result<(), Fault> {
    let report = with(&args.remote, async |client| {
        client.report(args.job).await.map_err(about(args.job))
    })?;
    if args.remote.json {
        say_json(&report);
    } else {
        crate::say(&summary::table(&report, cwd));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_each_job_stands() {
        let status: JobStatus = serde_json::from_value(json!({
            "job": "job_00000000000000000000000000000001", "state": "running", "source": "s3://b/film.mov", "outputs": [],
            "submitted_at_ms": 0, "ended_at_ms": null, "tasks": 12, "tasks_done": 3, "events": 4, "class": null,
            "reason": null, "paused": true, "priority": 50, "labels": {}, "archive": null
        }))
        .unwrap();
        let done = JobStatus {
            state: JobState::Done,
            source: String::new(),
            archive: Some("archive/x".into()),
            ..status.clone()
        };
        let expected = "\
job                                   state   tasks  submitted  source
job_00000000000000000000000000000001  paused  3/12   5 min ago  s3://b/film.mov
job_00000000000000000000000000000001  done    3/12   5 min ago  (archived)
";
        assert_eq!(table(&[status, done], false, 300_000), expected);
        assert_eq!(table(&[], true, 0), "there are no jobs\n");
        assert_eq!(table(&[], false, 0), "there are no such jobs\n");
    }
}
