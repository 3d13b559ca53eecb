//! `submit`, `list`, `show`, `watch`, `cancel` and `report`: Jobs of a cluster.

use crate::fault::{Fault, Kind};
use crate::flags::{Cancel, List, OneJob, Remote, Submit, Watch};
use crate::follow::{self, Interrupt, fault};
use crate::summary::{self, columns};
use crate::transcode::{self, runtime};
use recode_client::{Client, JobView};
use recode_types::{JobState, JobStatus};
use std::path::Path;

fn with<T>(
    remote: &Remote,
    work: impl AsyncFnOnce(Client) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let runtime = runtime()?;
    let done = runtime.block_on(async { work(Client::at(&remote.endpoint).map_err(fault)?).await });
    runtime.shutdown_background();
    done
}

fn say_json(value: &impl serde::Serialize) {
    let json = serde_json::to_string_pretty(value).expect("it is plain data");
    crate::say(&format!("{json}\n"));
}

/// Hands a Job to the cluster.
/// # Errors
/// The request makes no sense, or nobody takes it.
pub fn submit(args: Submit, cwd: &Path) -> Result<(), Fault> {
    let Submit {
        input,
        job,
        output,
        work,
        request_id,
        remote,
    } = args;
    let wanted = transcode::wanted(input.as_deref(), job.as_deref(), &output, &work, cwd)?;
    let request = wanted.request()?;
    transcode::refuse_local(&request, &wanted, &remote.endpoint)?;
    let id = request_id.unwrap_or_else(transcode::new_request_id);
    let job = with(&remote, async |client| {
        client.submit(&id, &request).await.map_err(fault)
    })?;
    if remote.json {
        say_json(&serde_json::json!({ "job": job.to_string(), "request_id": id }));
    } else {
        crate::say(&format!("{job}\n"));
    }
    Ok(())
}

/// Lists Jobs.
/// # Errors
/// Nobody answers.
pub fn list(args: &List) -> Result<(), Fault> {
    let jobs = with(&args.remote, async |client| {
        client.list(args.live).await.map_err(fault)
    })?;
    if args.remote.json {
        say_json(&jobs);
    } else {
        crate::say(&table(&jobs));
    }
    Ok(())
}

fn table(jobs: &[JobStatus]) -> String {
    if jobs.is_empty() {
        return "there are no jobs\n".to_owned();
    }
    let mut rows = vec![["job", "state", "tasks", "source"].map(str::to_owned)];
    for job in jobs {
        rows.push([
            job.job.to_string(),
            job.state.name().to_owned(),
            format!("{}/{}", job.tasks_done, job.tasks),
            job.source.clone(),
        ]);
    }
    columns(&rows).join("\n") + "\n"
}

/// Shows one Job.
/// # Errors
/// There is none of this id, or nobody answers.
pub fn show(args: &OneJob) -> Result<(), Fault> {
    let view = with(&args.remote, async |client| {
        client.get(args.job).await.map_err(fault)
    })?;
    if args.remote.json {
        say_json(&serde_json::json!({
            "status": view.status, "request": view.request, "progress": view.progress,
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
    } = view;
    let mut said = format!("{}  {}\n", status.job, status.state.name());
    if let Some(reason) = status.reason.as_deref().filter(|r| !r.is_empty()) {
        said += &format!("because: {reason}\n");
    }
    said += &format!("source: {}\n", status.source);
    for output in &request.outputs {
        let rendition = &output.rendition;
        said += &format!("output: {} ({})\n", output.url, rendition.encoder);
    }
    said += &format!("tasks: {} of {}\n", status.tasks_done, status.tasks);
    if progress.frames_total > 0 {
        said += &format!(
            "frames: {} of {}\n",
            progress.frames_done, progress.frames_total
        );
    }
    for attempt in &progress.running {
        said += &format!("running: {}#{}\n", attempt.task, attempt.attempt);
    }
    said
}

/// Follows a Job.
/// # Errors
/// It failed, or nobody answers; an interrupt leaves it alone and says how to come back.
pub fn watch(args: &Watch, cwd: &Path) -> Result<(), Fault> {
    let followed = with(&args.remote, async |client| {
        let mut interrupt = Interrupt::listen()?;
        let quiet = args.quiet || args.remote.json;
        tokio::select! {
            followed = follow::to_the_end(&client, args.job, quiet) => followed,
            () = interrupt.heard() => Err(Fault::new(
                Kind::Interrupted,
                transcode::detached(args.job, &args.remote.endpoint),
            )),
        }
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
        client.cancel(args.job, &args.reason).await.map_err(fault)
    })?;
    if args.remote.json {
        say_json(&status);
    } else if status.state == JobState::Cancelled {
        crate::say(&format!("{} is cancelled\n", status.job));
    } else {
        crate::say(&format!(
            "{} had ended before: {}\n",
            status.job,
            status.state.name()
        ));
    }
    Ok(())
}

/// Prints what an ended Job did.
/// # Errors
/// It has not ended, there is none of this id, or nobody answers.
pub fn report(args: &OneJob, cwd: &Path) -> Result<(), Fault> {
    let report = with(&args.remote, async |client| {
        client.report(args.job).await.map_err(fault)
    })?;
    if args.remote.json {
        say_json(&report);
    } else {
        crate::say(&summary::table(&report, cwd));
    }
    Ok(())
}
