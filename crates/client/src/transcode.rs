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
    let wanted = wanted(
        args.input.as_deref(),
        args.job.as_deref(),
        &args.output,
        &args.work,
        cwd,
    )?;
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
        Some(endpoint) => remote(endpoint, &request, &wanted, &args)?,
        None => embedded::transcode(&args, &request, &wanted.source)?,
    };
    if let Some(path) = &args.report {
        write_report(path, &followed.report)?;
    }
    judge(&followed, Some(&wanted.source.typed))?;
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

/// What is asked for, from flags and job file together.
pub struct Wanted {
    source: Place,
    work: JobFlags,
    outputs: Vec<OutputFlags>,
    /// Where relative output names start.
    base: PathBuf,
}

impl Wanted {
    /// As a coordinator is asked.
    /// # Errors
    /// What contradicts itself.
    pub fn request(&self) -> Result<JobRequest, Fault> {
        request::build(&self.source, &self.work, &self.outputs, &self.base)
    }
}

/// Puts flags and job file together.
/// # Errors
/// The job file cannot be used.
pub fn wanted(
    input: Option<&str>,
    job: Option<&Path>,
    output: &OutputFlags,
    work: &JobFlags,
    cwd: &Path,
) -> Result<Wanted, Fault> {
    let Some(path) = job else {
        let input = input.expect("clap asks for it without --job");
        return Ok(Wanted {
            source: Place::parse(input, cwd, Use::Read)?,
            work: work.clone(),
            outputs: vec![output.clone()],
            base: cwd.to_owned(),
        });
    };
    if *output != OutputFlags::default() {
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
    let source = match (input, &file.input) {
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
        work: over(file.work, work),
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

/// Refuses plain paths: the nodes of a cluster may not see them. Who writes `file://` says that they do.
/// # Errors
/// Which path, and what to do.
pub fn refuse_local(request: &JobRequest, wanted: &Wanted, endpoint: &str) -> Result<(), Fault> {
    let outputs = wanted.outputs.iter().map(|o| o.path.as_deref());
    let typed = std::iter::once(Some(wanted.source.typed.as_str())).chain(outputs);
    let urls = std::iter::once(&request.source).chain(request.outputs.iter().map(|o| &o.url));
    for (typed, url) in typed.zip(urls) {
        let plain = !typed.is_some_and(|typed| typed.starts_with("file://"));
        if url.starts_with("file://") && plain {
            return Err(Fault::usage(format!(
                "{} is on this machine, where the nodes of {endpoint} may not see it; name an s3:// URL, write {url} where \
                 all nodes share that disk, or leave --endpoint out to work here",
                typed.unwrap_or(url)
            )));
        }
    }
    Ok(())
}

/// A request id that nobody had.
pub fn new_request_id() -> String {
    format!("client-{}", uuid::Uuid::now_v7().simple())
}

/// What is said when somebody stops following a Job.
pub fn detached(job: recode_types::JobId, endpoint: &str) -> String {
    format!("the job goes on; come back with: recode-client watch {job} --endpoint {endpoint}")
}

fn remote(
    endpoint: &str,
    request: &JobRequest,
    wanted: &Wanted,
    args: &Transcode,
) -> Result<Followed, Fault> {
    refuse_local(request, wanted, endpoint)?;
    let runtime = runtime()?;
    let followed = runtime.block_on(async {
        let client = Client::at(endpoint).map_err(follow::fault)?.patience(Duration::from_secs(10));
        let mut interrupt = Interrupt::listen()?;
        let request_id = new_request_id();
        let job = Cell::new(None);
        tokio::select! {
            followed = follow::run(&client, &request_id, request, args.talk.quiet, |id| job.set(Some(id))) => followed,
            () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, match job.get() {
                Some(id) => detached(id, endpoint),
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
