//! `submit`: Jobs for a cluster, one for each input.

use crate::bars;
use crate::fault::{Fault, Kind};
use crate::flags::Submit;
use crate::follow::Interrupt;
use crate::inputs::{self, Input, count};
use crate::remote::{fault, new_request_id, say_json_line, with};
use crate::summary::text_columns;
use crate::upload::Upload;
use crate::wanted::{Order, Wanted};
use recode_client::{Client, Error};
use recode_types::{Digest, JobId, JobRequest};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// How the remedy begins where a request id is one.
const AGAIN: &str = "the same command with --request-id";

/// What is said when Ctrl-C comes before a Job is submitted.
const NOTHING: &str = "interrupted; nothing was submitted, and nothing is left of what was sent";

/// One Job to be.
pub struct Target {
    /// What is asked for.
    pub wanted: Wanted,
    /// The same, as a coordinator is asked.
    pub request: JobRequest,
    /// With which it may be sent again.
    pub request_id: String,
    /// What to do when it is not known whether it was accepted.
    pub remedy: String,
}

/// How Jobs are handed over.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Sources that only this machine sees are sent along.
    pub upload: bool,
    /// The request id is the user's, and may be that of an earlier try.
    pub named: bool,
    /// No bars.
    pub quiet: bool,
}

/// Hands Jobs to the cluster.
/// # Errors
/// A request makes no sense, or nobody takes it.
pub fn run(args: &Submit, cwd: &Path) -> Result<(), Fault> {
    let order = Order::read(&args.recipe, cwd)?;
    with(&args.remote, async |client| {
        let mut interrupt = Interrupt::listen()?;
        let inputs = match &args.inputs[..] {
            [] => vec![Input::named(order.input()?)],
            named => unless(&mut interrupt, NOTHING, inputs::read(named, cwd)).await?,
        };
        let many = inputs.len() > 1 || args.inputs.iter().any(|typed| inputs::is_prefix(typed));
        let name = args.request_id.clone().unwrap_or_else(new_request_id);
        let targets = targets(&order, inputs, &name, many)?;
        let prefixes = args.inputs.iter().filter(|typed| inputs::is_prefix(typed));
        warn_of_circles(prefixes, &targets);
        for target in &targets {
            let (request, endpoint) = (&target.request, &args.remote.endpoint);
            target.wanted.refuse_local(request, args.upload, endpoint)?;
        }
        if args.dry_run {
            said_only(&targets, args.remote.json);
            return Ok(());
        }
        for (accepted, target) in targets.iter().enumerate() {
            let how = How {
                upload: args.upload,
                named: args.request_id.is_some(),
                quiet: args.remote.json,
            };
            match hand_over(&client, target, how, &mut interrupt).await {
                Ok(job) => tell(target, job, many, args.remote.json),
                Err(fault) => return Err(unfinished(fault, accepted, targets.len(), &name)),
            }
        }
        Ok(())
    })
}

/// Does `work`, until Ctrl-C is heard.
async fn unless<T>(
    interrupt: &mut Interrupt,
    what: &str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        done = work => done,
        () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, what)),
    }
}

/// What is to be submitted for each input.
fn targets(
    order: &Order,
    inputs: Vec<Input>,
    name: &str,
    many: bool,
) -> Result<Vec<Target>, Fault> {
    if inputs.len() > 1
        && let Some(fixed) = order.fixed_name()
    {
        return Err(Fault::usage(format!(
            "{fixed} is one name for the outputs of {} inputs; put {{stem}} into it, which stands for the name of the input \
             without its ending",
            inputs.len()
        )));
    }
    let mut targets: Vec<Target> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let wanted = order.filled(input.place, &input.path)?;
        let request = wanted.request()?;
        let request_id = match many {
            false => name.to_owned(),
            // Of the input alone: what lies below a prefix may have changed when the same command is given again.
            true => format!(
                "{name}.{}",
                &Digest::of(request.source.as_bytes()).to_string()[..16]
            ),
        };
        let remedy = format!("{AGAIN} {request_id} submits it once, whether it was heard or not");
        targets.push(Target {
            wanted,
            request,
            request_id,
            remedy,
        });
    }
    check_names(&targets)?;
    Ok(targets)
}

/// Refuses outputs that would meet under one name, or take the place of an input.
fn check_names(targets: &[Target]) -> Result<(), Fault> {
    let mut sources = BTreeMap::new();
    for target in targets {
        let source = &target.wanted.source;
        if sources.insert(&target.request.source, source).is_some() {
            return Err(Fault::usage(format!(
                "{} is named as input twice; name it once",
                source.typed
            )));
        }
    }
    let mut outputs: BTreeMap<&str, &Target> = BTreeMap::new();
    for target in targets {
        let typed = &target.wanted.source.typed;
        for output in &target.request.outputs {
            if let Some(other) = sources.get(&output.url) {
                return Err(Fault::usage(format!(
                    "the output {} of {typed} is itself an input ({}); name the outputs differently",
                    output.url, other.typed
                )));
            }
            if let Some(other) = outputs.insert(&output.url, target) {
                return Err(Fault::usage(format!(
                    "{} and {typed} would both become {}; use {{path}} or {{ext}} in the name of the output, or submit them apart",
                    other.wanted.source.typed, output.url
                )));
            }
        }
    }
    Ok(())
}

/// Warns where what is made will be an input the next time.
fn warn_of_circles<'a>(prefixes: impl Iterator<Item = &'a String>, targets: &[Target]) {
    for prefix in prefixes {
        let mut outputs = targets.iter().flat_map(|target| &target.request.outputs);
        // Schemes are written small in requests.
        let below = |url: &str| {
            url.get(5..)
                .is_some_and(|rest| rest.starts_with(&prefix[5..]))
        };
        if let Some(output) = outputs.find(|o| o.url.starts_with("s3://") && below(&o.url)) {
            bars::line(&format!(
                "recode-client: warning: the output {} lies below {prefix}, and will be an input when that is submitted again",
                output.url
            ));
        }
    }
}

/// Submits one Job, and sends its Source first where only this machine sees it.
/// # Errors
/// It is not taken, or Ctrl-C was heard. An upload is taken back unless the Job may have been accepted.
pub async fn hand_over(
    client: &Client,
    target: &Target,
    how: How,
    interrupt: &mut Interrupt,
) -> Result<JobId, Fault> {
    let Target {
        wanted,
        request,
        request_id,
        ..
    } = target;
    if !how.upload || !wanted.is_sent() {
        return submit(client, target, None, request, interrupt).await;
    }
    if how.named
        && let Some(job) = unless(interrupt, NOTHING, earlier(client, request, request_id)).await?
    {
        return Ok(job);
    }
    let job = JobId::generate();
    let prepared = Upload::prepare(client, &wanted.source, job);
    let upload = unless(interrupt, NOTHING, prepared).await?;
    let sending = upload.send(&wanted.source, how.quiet);
    if let Err(fault) = unless(interrupt, NOTHING, sending).await {
        upload.withdraw().await;
        return Err(fault);
    }
    let request = JobRequest {
        source: upload.url.clone(),
        ..request.clone()
    };
    let submitted = submit(client, target, Some(job), &request, interrupt).await;
    if let Err(fault) = &submitted
        && !matches!(fault.kind, Kind::Environment | Kind::Interrupted)
    {
        upload.withdraw().await;
    }
    submitted
}

/// The call itself. Its outcome is not known when nobody answers, or when it is broken off.
async fn submit(
    client: &Client,
    target: &Target,
    job: Option<JobId>,
    request: &JobRequest,
    interrupt: &mut Interrupt,
) -> Result<JobId, Fault> {
    let fault = tokio::select! {
        submitted = client.submit_as(&target.request_id, job, request) => match submitted {
            Ok(job) => return Ok(job),
            Err(error) => fault(error),
        },
        () = interrupt.heard() => Fault::new(Kind::Interrupted, "interrupted while the job was being submitted"),
    };
    let open = matches!(fault.kind, Kind::Environment | Kind::Interrupted);
    Err(Fault {
        message: match open {
            true => format!("{}; {}", fault.message, target.remedy),
            false => fault.message,
        },
        ..fault
    })
}

/// The Job that an earlier try with this request id has made.
async fn earlier(
    client: &Client,
    request: &JobRequest,
    request_id: &str,
) -> Result<Option<JobId>, Fault> {
    let view = match client.find(request_id).await {
        Ok(view) => view,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let same = JobRequest {
        source: view.request.source.clone(),
        ..request.clone()
    };
    if same == view.request {
        return Ok(Some(view.status.job));
    }
    Err(Fault::new(
        Kind::Job,
        format!(
            "{request_id} was used for another request, {}; choose a new --request-id",
            view.status.job
        ),
    ))
}

/// What is said when some of many Jobs were accepted.
fn unfinished(mut fault: Fault, accepted: usize, all: usize, name: &str) -> Fault {
    if all > 1 {
        // The id of one of them is of no use to the others.
        let end = fault.message.find(&format!("; {AGAIN}"));
        fault.message.truncate(end.unwrap_or(fault.message.len()));
        fault.message += &format!(
            "; {accepted} of {} were accepted, and {AGAIN} {name} submits the rest",
            count(all, "job")
        );
    }
    fault
}

fn tell(target: &Target, job: JobId, many: bool, json: bool) {
    let source = &target.wanted.source.typed;
    match (json, many) {
        (true, false) => crate::remote::say_json(&json!({
            "job": job.to_string(), "request_id": target.request_id,
        })),
        (true, true) => say_json_line(&json!({
            "job": job.to_string(), "request_id": target.request_id, "source": source,
        })),
        (false, false) => crate::say(&format!("{job}\n")),
        (false, true) => crate::say(&format!("{job}  {source}\n")),
    }
}

/// Says what would be submitted.
fn said_only(targets: &[Target], json: bool) {
    if json {
        for target in targets {
            say_json_line(&json!({ "request": target.request }));
        }
        return;
    }
    let mut rows = vec![["source", "output"].map(str::to_owned)];
    for target in targets {
        let source = &target.wanted.source.typed;
        for output in &target.request.outputs {
            rows.push([source.clone(), output.url.clone()]);
        }
    }
    crate::say(&(text_columns(&rows).join("\n") + "\n"));
}
