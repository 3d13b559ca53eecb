//! `transcode`: one Source, one or more Outputs, here or at a coordinator.

use crate::embedded;
use crate::fault::{Fault, Kind};
use crate::flags::{JobFlags, OutputFlags, Transcode};
use crate::follow::{self, Followed, Interrupt};
use crate::place::{Place, Use};
use crate::{job_file, preflight, request, summary};
use recode_client::Client;
use recode_types::report::JobReport;
use recode_types::{JobRequest, JobState};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs it.
/// # Errors
/// Everything that keeps the Outputs from being made, see [`Kind`].
pub fn run(args: Transcode, cwd: &Path) -> Result<(), Fault> {
    let wanted = wanted(&args, cwd)?;
    let request = request::build(&wanted.source, &wanted.work, &wanted.outputs, &wanted.base)?;
    if args.workers == Some(0) {
        return Err(Fault::usage(
            "--workers must be at least 1; leave it out to use all cores",
        ));
    }
    if let Some(report) = &args.report {
        check_report_place(report)?;
    }
    let followed = match args.endpoint.as_deref().filter(|e| !e.is_empty()) {
        Some(endpoint) => remote(endpoint, &request, &wanted.source, &args)?,
        None => embedded::transcode(&args, &request, &wanted.source)?,
    };
    if let Some(path) = &args.report {
        write_report(path, &followed.report)?;
    }
    match followed.end.state {
        JobState::Done => {}
        JobState::Cancelled => {
            return Err(Fault::new(
                Kind::Job,
                format!("the job was cancelled: {}", followed.end.reason),
            ));
        }
        _ => {
            let kind = followed.end.class.map_or(Kind::Job, Kind::from);
            let fault = Fault::new(kind, followed.end.reason);
            return Err(fault.of_source(&wanted.source.typed));
        }
    }
    if args.talk.json {
        let json = serde_json::to_string_pretty(&followed.report).expect("a report is plain data");
        crate::say(&format!("{json}\n"));
    } else if !args.talk.quiet {
        crate::say(&summary::table(&followed.report, cwd));
    }
    Ok(())
}

/// What is asked for, from flags and job file together.
struct Wanted {
    source: Place,
    work: JobFlags,
    outputs: Vec<OutputFlags>,
    /// Where relative output names start.
    base: PathBuf,
}

fn wanted(args: &Transcode, cwd: &Path) -> Result<Wanted, Fault> {
    let Some(path) = &args.job else {
        let input = args
            .input
            .as_deref()
            .expect("clap asks for it without --job");
        return Ok(Wanted {
            source: Place::parse(input, cwd, Use::Read)?,
            work: args.work.clone(),
            outputs: vec![args.output.clone()],
            base: cwd.to_owned(),
        });
    };
    if args.output != OutputFlags::default() {
        return Err(Fault::usage(
            "flags that describe an output cannot be used with --job; write them into the job file",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| {
        Fault::usage(format!(
            "the job file {} cannot be read ({}); check the path",
            path.display(),
            plain(&e)
        ))
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = job_file::parse(&name, &text)?;
    let base = cwd.join(path.parent().unwrap_or(Path::new("")));
    let source = match (&args.input, &file.input) {
        (Some(input), _) => Place::parse(input, cwd, Use::Read)?,
        (None, Some(input)) => Place::parse(input, &base, Use::Read)?,
        (None, None) => {
            return Err(Fault::usage(format!(
                "the job file {} has no input; add input = \"FILE\", or name it on the command line",
                path.display()
            )));
        }
    };
    Ok(Wanted {
        source,
        work: over(file.work, &args.work),
        outputs: file.outputs,
        base,
    })
}

/// The job file's keys, with flags given on the command line in their place.
fn over(file: JobFlags, line: &JobFlags) -> JobFlags {
    JobFlags {
        start: line.start.or(file.start),
        duration: line.duration.or(file.duration),
        segment: line.segment.or(file.segment),
        score: if line.score.is_empty() {
            file.score
        } else {
            line.score.clone()
        },
        verify: line.verify.clone().or(file.verify),
        strict: line.strict || file.strict,
        force: line.force || file.force,
        label: line.label.clone(),
        labels: file.labels,
        priority: line.priority.or(file.priority),
    }
}

/// An error of the system without its number.
fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

fn remote(
    endpoint: &str,
    request: &JobRequest,
    source: &Place,
    args: &Transcode,
) -> Result<Followed, Fault> {
    let local = std::iter::once(&request.source)
        .chain(request.outputs.iter().map(|o| &o.url))
        .find(|url| url.starts_with("file://"));
    if let Some(url) = local {
        let name = if *url == source.url {
            &source.typed
        } else {
            url
        };
        return Err(Fault::usage(format!(
            "{name} is on this machine, where the nodes of {endpoint} may not see it; name an s3:// URL, or leave \
             --endpoint out to work here"
        )));
    }
    let runtime = runtime()?;
    let followed = runtime.block_on(async {
        let client = Client::at(endpoint).map_err(follow::fault)?.patience(Duration::from_secs(10));
        let mut interrupt = Interrupt::listen()?;
        let request_id = format!("client-{}", uuid::Uuid::now_v7().simple());
        let job = Cell::new(None);
        tokio::select! {
            followed = follow::run(&client, &request_id, request, args.talk.quiet, |id| job.set(Some(id))) => followed,
            () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, match job.get() {
                Some(id) => format!("interrupted; the job goes on at {endpoint} as {id}"),
                None => "interrupted before the job was accepted".to_owned(),
            })),
        }
    });
    runtime.shutdown_background();
    followed
}

/// Small on purpose: a command has little to do itself, and threads cost start-up time.
pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| {
            Fault::environment(format!(
                "no threads can be started ({e}); end other programs"
            ))
        })
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
