//! `transcode`: one Source, one or more Outputs, here or at a coordinator.

use crate::embedded;
use crate::fault::{Fault, Kind};
use crate::flags::Transcode;
use crate::follow::{self, Followed, Interrupt};
use crate::place::{Place, Use};
use crate::remote::{client, new_request_id, runtime};
use crate::submit::{self, How, Target};
use crate::wanted::{Order, Wanted, plain};
use crate::{bars, preflight, summary};
use recode_types::report::JobReport;
use recode_types::{JobRequest, JobState};
use std::path::Path;

/// Runs it.
/// # Errors
/// Everything that keeps the Outputs from being made, see [`Kind`].
pub fn run(args: Transcode, cwd: &Path) -> Result<(), Fault> {
    let order = Order::read(&args.recipe, cwd)?;
    let source = match &args.input {
        Some(input) => Place::parse(input, cwd, Use::Read)?,
        None => order.input()?,
    };
    let wanted = order.of(source.clone());
    let request = wanted.request()?;
    if args.workers == Some(0) {
        return Err(Fault::usage(
            "--workers must be at least 1; leave it out to use all cores",
        ));
    }
    if let Some(report) = &args.report {
        check_report_place(report)?;
    }
    let followed = match args.endpoint.as_deref().filter(|e| !e.is_empty()) {
        Some(endpoint) => remote(endpoint, &request, wanted, &args)?,
        None => embedded::transcode(&args, &request, &source)?,
    };
    if let Some(path) = &args.report {
        write_report(path, &followed.report)?;
    }
    judge(&followed, Some(&source.typed))?;
    if args.talk.json {
        let json = serde_json::to_string_pretty(&followed.report).expect("a report is plain data");
        crate::say(&format!("{json}\n"));
    } else if !args.talk.quiet {
        crate::say(&summary::table(&followed.report, cwd));
    }
    Ok(())
}

/// Whether a Job that was followed did what was asked. `typed`: the Source as the user wrote it.
/// # Errors
/// It did not.
pub fn judge(followed: &Followed, typed: Option<&str>) -> Result<(), Fault> {
    match followed.end.state {
        JobState::Done => Ok(()),
        JobState::Cancelled => Err(Fault::new(
            Kind::Job,
            format!("the job was cancelled: {}", followed.end.reason),
        )),
        _ => {
            let kind = followed.end.class.map_or(Kind::Job, Kind::from);
            let fault = Fault::new(kind, followed.end.reason.clone());
            Err(match typed {
                Some(typed) => fault.of_source(typed),
                None => fault,
            })
        }
    }
}

fn remote(
    endpoint: &str,
    request: &JobRequest,
    wanted: Wanted,
    args: &Transcode,
) -> Result<Followed, Fault> {
    wanted.refuse_local(request, args.upload, endpoint)?;
    let runtime = runtime()?;
    let target = Target {
        wanted,
        request: request.clone(),
        request_id: new_request_id(),
        remedy: "recode-client list shows whether it was accepted".to_owned(),
    };
    let how = How {
        upload: args.upload,
        named: false,
        quiet: args.talk.quiet,
    };
    let followed = runtime.block_on(async {
        let client = client(endpoint)?;
        let mut interrupt = Interrupt::listen()?;
        let job = submit::hand_over(&client, &target, how, &mut interrupt).await?;
        if !args.talk.quiet {
            // Its name is needed for everything else that can be done with it.
            bars::line(&format!("recode-client: {job} is accepted"));
        }
        follow::until_interrupted(&client, job, endpoint, args.talk.quiet, &mut interrupt).await
    });
    runtime.shutdown_background();
    followed
}

fn check_report_place(path: &Path) -> Result<(), Fault> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.is_dir() || !folder.is_dir() {
        return Err(Fault::output(format!(
            "the report {} cannot be written there; name a file in a directory that exists",
            path.display()
        )));
    }
    preflight::writable(folder)
}

/// Written beside its place and moved there whole, so that nobody reads half a report.
fn write_report(path: &Path, report: &JobReport) -> Result<(), Fault> {
    let json = serde_json::to_string_pretty(report).expect("a report is plain data");
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, json + "\n")
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| {
            let _ = std::fs::remove_file(&part);
            Fault::output(format!(
                "the report {} cannot be written ({})",
                path.display(),
                plain(&e)
            ))
        })
}
