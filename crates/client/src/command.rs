//! `command`: one run of FFmpeg with options of the user's own, here or at a coordinator.

use crate::fault::{Fault, Kind};
use crate::flags::RunCommand;
use crate::follow::{self, Interrupt};
use crate::place::{Place, Use};
use crate::remote::{client, fault, new_request_id, runtime, say_json};
use crate::{bars, command_file, embedded, preflight, summary, transcode};
use recode_command::CommandLine;
use recode_types::{CommandFile, CommandRequest};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A command as it was asked for.
pub struct Asked {
    /// What a coordinator is asked.
    pub request: CommandRequest,
    /// The same, read.
    pub line: CommandLine,
    /// Where the inputs are.
    pub inputs: Vec<Place>,
    /// Where the outputs belong.
    pub outputs: Vec<Place>,
}

/// Runs it.
/// # Errors
/// Everything that keeps the outputs from being made, see [`Kind`].
pub fn run(args: &RunCommand, cwd: &Path) -> Result<(), Fault> {
    let asked = read(args, cwd)?;
    if args.dry_run {
        say_only(&asked, args.talk.json);
        return Ok(());
    }
    let endpoint = args
        .endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty());
    let followed = match endpoint {
        None => Some(here(&asked, args)?),
        Some(endpoint) => there(&asked, args, endpoint)?,
    };
    let Some(followed) = followed else {
        return Ok(());
    };
    transcode::judge(&followed, None)?;
    if args.talk.json {
        say_json(&followed.report);
    } else if !args.talk.quiet {
        crate::say(&summary::table(&followed.report, cwd));
    }
    Ok(())
}

/// What is asked for, checked as far as it can be without a look at any file.
fn read(args: &RunCommand, cwd: &Path) -> Result<Asked, Fault> {
    let (mut request, base) = match &args.job {
        Some(path) => {
            let base = cwd.join(path).parent().unwrap_or(cwd).to_owned();
            (command_file::read(&cwd.join(path))?, base)
        }
        None => {
            let request = CommandRequest {
                global: args.global.clone().unwrap_or_default(),
                inputs: files("--input", &args.input)?,
                outputs: files("--output", &args.output)?,
                priority: 50,
                ..CommandRequest::default()
            };
            (request, cwd.to_owned())
        }
    };
    request.overwrite |= args.force;
    request.compute = args.compute.clone().or(request.compute);
    request.instance_type = args.instance_type.clone().or(request.instance_type);
    request.priority = args.priority.unwrap_or(request.priority);
    request.labels.extend(args.labels.iter().cloned());
    if let Some(name) = &args.name {
        request.labels.insert("name".to_owned(), name.clone());
    }
    let places = |files: &mut [CommandFile], purpose| -> Result<Vec<Place>, Fault> {
        let places = files.iter_mut().map(|file| {
            let place = Place::parse(&file.url, &base, purpose)?;
            file.url.clone_from(&place.url);
            Ok(place)
        });
        places.collect()
    };
    let inputs = places(&mut request.inputs, Use::Read)?;
    let outputs = places(&mut request.outputs, Use::Write)?;
    let line = recode_command::parse(&request).map_err(|e| Fault::usage(e.to_string()))?;
    Ok(Asked {
        request,
        line,
        inputs,
        outputs,
    })
}

/// Pairs of options and a URL.
fn files(flag: &str, words: &[String]) -> Result<Vec<CommandFile>, Fault> {
    let files = words.chunks(2).map(|pair| match pair {
        [options, url] if !url.starts_with('-') => Ok(CommandFile {
            options: options.clone(),
            url: url.clone(),
        }),
        _ => Err(Fault::usage(format!(
            "{flag} takes options and a path or URL, and {} is none; write {flag} '' FILE where there are no options",
            pair.last().map_or("", String::as_str)
        ))),
    });
    files.collect()
}

/// In this process.
fn here(asked: &Asked, args: &RunCommand) -> Result<follow::Followed, Fault> {
    if asked.request.compute.is_some() || asked.request.instance_type.is_some() {
        return Err(Fault::usage(
            "compute and instance-type choose among the nodes of a cluster; add --endpoint HOST:PORT, or leave them out",
        ));
    }
    let mut seen = Vec::new();
    for input in &asked.inputs {
        seen.extend(preflight::source(input)?);
    }
    for output in &asked.outputs {
        if let Some(path) = &output.path {
            preflight::output(path, &seen, asked.line.overwrite)?;
        }
    }
    embedded::command(asked, args)
}

/// At the coordinators; `None`: nobody waits for it.
fn there(
    asked: &Asked,
    args: &RunCommand,
    endpoint: &str,
) -> Result<Option<follow::Followed>, Fault> {
    for place in asked.inputs.iter().chain(&asked.outputs) {
        if place.is_plain() {
            return Err(Fault::usage(format!(
                "{} is on this machine, where the nodes of {endpoint} may not see it; name an s3:// URL, or write {} where all \
                 nodes share that disk",
                place.typed, place.url
            )));
        }
    }
    let request_id = args.request_id.clone().unwrap_or_else(new_request_id);
    let runtime = runtime()?;
    let followed = runtime.block_on(async {
        let client = client(endpoint)?;
        let mut interrupt = Interrupt::listen()?;
        let submitted = tokio::select! {
            submitted = client.submit_command(&request_id, &asked.request) => submitted.map_err(fault),
            () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, "interrupted while the job was being submitted")),
        };
        let job = submitted.map_err(|fault| match fault.kind {
            Kind::Environment | Kind::Interrupted => Fault {
                message: format!("{}; the same command with --request-id {request_id} submits it once, whether it was heard or not", fault.message),
                ..fault
            },
            _ => fault,
        })?;
        if !args.wait {
            match args.talk.json {
                true => say_json(&json!({ "job": job.to_string(), "request_id": request_id })),
                false => crate::say(&format!("{job}\n")),
            }
            return Ok(None);
        }
        let quiet = args.talk.quiet || args.talk.json;
        if !quiet {
            // Its name is needed for everything else that can be done with it.
            bars::line(&format!("recode-client: {job} is accepted"));
        }
        let followed = follow::until_interrupted(&client, job, endpoint, quiet, &mut interrupt);
        followed.await.map(Some)
    });
    runtime.shutdown_background();
    followed
}

/// Says what FFmpeg would be given, with the files as the user named them.
fn say_only(asked: &Asked, json: bool) {
    let typed = |places: &[Place]| -> Vec<PathBuf> {
        places
            .iter()
            .map(|place| PathBuf::from(&place.typed))
            .collect()
    };
    let args = asked
        .line
        .argv(&typed(&asked.inputs), &typed(&asked.outputs));
    let args: Vec<String> = args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    if json {
        let needs = asked.line.needs(&asked.request);
        say_json(&json!({ "request": asked.request, "arguments": args, "needs": needs }));
        return;
    }
    let quoted: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
    crate::say(&format!("ffmpeg {}\n", quoted.join(" ")));
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=:,./+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        assert_eq!(quoted("scale=w=1280:h=-2"), "scale=w=1280:h=-2");
        assert_eq!(quoted("title=it's"), r"'title=it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_forgotten_half_of_a_pair_is_told() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            files("--input", &words(&["-ss 5", "a.mp4"])).unwrap()[0].url,
            "a.mp4"
        );
        let error = files("--input", &words(&["a.mp4", "--output"])).unwrap_err();
        assert!(
            error.message.contains("--input '' FILE"),
            "{}",
            error.message
        );
    }
}
