//! A command job: one run of FFmpeg with options of the user's own, read by the grammar of `recode-command`.
//!
//! ```text
//!   inputs: local ones in place, others fetched into the Attempt's directory
//!   FFmpeg: output0.mp4, output1-000001.png ... in that directory, and nowhere else
//!   names:  each file gets its own when all have been made; if one cannot, those before it lose theirs again
//! ```

use super::{Attempt, failure, from_store, resources};
use recode_command::{CommandLine, MOST_FILES, Made};
use recode_media::run::{Invocation, spawn};
use recode_store::{Location, Publication, Source};
use recode_types::command::CAPABILITY;
use recode_types::task::{CommandWork, Failure, FailureClass, TaskResult};
use recode_types::{CommandOutput, CommandRequest, Engine};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

/// Bytes of an input that are fetched at once.
const PART: u64 = 8 << 20;

/// Runs the command and publishes what it made.
pub async fn run(attempt: &mut Attempt, work: CommandWork) -> Result<TaskResult, Failure> {
    let request = work.request;
    let line = recode_command::parse(&request).map_err(|e| failure(FailureClass::BadInput, e))?;
    let needs = line.needs(&request).capabilities;
    for encoder in needs.iter().filter(|name| *name != CAPABILITY) {
        let ffmpeg = &attempt.ffmpeg;
        let has = ffmpeg.require_encoder(encoder);
        has.map_err(|e| failure(FailureClass::MissingCapability, e))?;
    }
    let wanted = wanted(&request)?;
    if attempt.attempt == 1 {
        for (location, made) in wanted.iter().zip(line.made()) {
            if made.numbered.is_none() {
                let free = Publication::check(location, line.overwrite);
                free.await.map_err(from_store)?;
            }
        }
    }
    let (sources, paths) = inputs(attempt, &request).await?;
    let files = ffmpeg(attempt, &line, &paths).await?;
    for source in &sources {
        source.recheck().await.map_err(from_store)?;
        attempt.usage.source_bytes_read += source.bytes_read();
    }
    let mut publishing = Publishing {
        overwrite: line.overwrite,
        named: Vec::new(),
    };
    let mut outputs = Vec::new();
    for (((files, location), made), output) in files
        .into_iter()
        .zip(&wanted)
        .zip(line.made())
        .zip(&request.outputs)
    {
        let published = publishing.publish(attempt, files, location, made);
        match published.await {
            Ok(facts) => outputs.push(CommandOutput {
                url: output.url.clone(),
                ..facts
            }),
            Err(failure) => {
                publishing.take_back().await;
                return Err(failure);
            }
        }
    }
    Ok(TaskResult::Commanded { outputs })
}

/// Where the outputs belong.
fn wanted(request: &CommandRequest) -> Result<Vec<Location>, Failure> {
    let outputs = request.outputs.iter();
    let wanted = outputs.map(|output| Location::parse(&output.url).map_err(from_store));
    wanted.collect()
}

/// Opens the inputs, and fetches those that are elsewhere.
async fn inputs(
    attempt: &Attempt,
    request: &CommandRequest,
) -> Result<(Vec<Source>, Vec<PathBuf>), Failure> {
    let (mut sources, mut paths) = (Vec::new(), Vec::new());
    for (number, input) in request.inputs.iter().enumerate() {
        let source = Source::open(&input.url, attempt.room.path());
        let source = source.await.map_err(from_store)?;
        let path = match source.local_path() {
            Some(path) => path.to_owned(),
            None => {
                let path = attempt.room.file(&format!("input{number}"));
                fetch(&source, &path).await?;
                path
            }
        };
        sources.push(source);
        paths.push(path);
    }
    Ok((sources, paths))
}

async fn fetch(source: &Source, path: &Path) -> Result<(), Failure> {
    let mut file = tokio::fs::File::create(path).await.map_err(resources)?;
    let mut at = 0;
    while at < source.size() {
        let end = (at + PART).min(source.size());
        let bytes = source.read(at..end).await.map_err(from_store)?;
        file.write_all(&bytes).await.map_err(resources)?;
        at = end;
    }
    file.flush().await.map_err(resources)
}

/// Runs FFmpeg. Answers the files of each output, in the order of their numbers.
async fn ffmpeg(
    attempt: &mut Attempt,
    line: &CommandLine,
    inputs: &[PathBuf],
) -> Result<Vec<Vec<(u32, PathBuf)>>, Failure> {
    let made = line.made().enumerate();
    let outputs: Vec<PathBuf> = made
        .map(|(n, made)| attempt.room.file(&made.scratch_name(n)))
        .collect();
    let args = line.argv(inputs, &outputs);
    tracing::debug!(?args, "running a command");
    let invocation = Invocation {
        directory: Some(attempt.room.path().to_owned()),
        reads: inputs.to_vec(),
        // Numbered files have names that only FFmpeg knows.
        writes: vec![attempt.room.path().to_owned()],
        need_bytes: recode_media::memory::UNKNOWN_ENCODE,
        ..Invocation::new(args)
    };
    let capabilities = line.capabilities();
    let engines = capabilities
        .iter()
        .filter_map(|name| Engine::of_encoder(name));
    let invocation = invocation.on_cards(engines);
    let ffmpeg = std::sync::Arc::clone(&attempt.ffmpeg);
    let child = spawn(&ffmpeg, invocation).await.map_err(|e| e.failure)?;
    let finished = child.wait(attempt.on_progress()).await;
    let finished = finished.map_err(|e| for_people(e.failure, inputs, &outputs))?;
    attempt.used(&finished.usage);
    let mut files = Vec::new();
    for ((number, made), output) in line.made().enumerate().zip(&outputs) {
        let made = match made.numbered {
            None => vec![(0, output.clone())],
            Some(_) => numbered(attempt.room.path(), made, number).map_err(resources)?,
        };
        let empty = |path: &PathBuf| std::fs::metadata(path).map_or(true, |meta| meta.len() == 0);
        if made.is_empty() || made.iter().any(|(_, path)| empty(path)) {
            return Err(bad(format!(
                "ffmpeg put nothing into output {}: see whether its -ss, -t and -map leave anything",
                number + 1
            )));
        }
        if made.len() > MOST_FILES as usize {
            return Err(bad(format!(
                "output {} is more than {MOST_FILES} files: make fewer pictures or longer pieces",
                number + 1
            )));
        }
        files.push(made);
    }
    Ok(files)
}

fn bad(message: String) -> Failure {
    Failure {
        class: FailureClass::BadInput,
        message,
        stderr_tail: None,
    }
}

/// What FFmpeg says of files, with the numbers that people know them by.
fn for_people(mut failure: Failure, inputs: &[PathBuf], outputs: &[PathBuf]) -> Failure {
    let texts = [Some(&mut failure.message), failure.stderr_tail.as_mut()];
    for text in texts.into_iter().flatten() {
        for (kind, paths) in [("input", inputs), ("output", outputs)] {
            for (number, path) in paths.iter().enumerate() {
                let path = path.display().to_string();
                let shown = format!("{kind} {}", number + 1);
                *text = text
                    .replace(&format!("file:{path}"), &shown)
                    .replace(&path, &shown);
            }
        }
    }
    failure
}

/// Numbered files of an output, by number.
fn numbered(room: &Path, made: &Made, output: usize) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(room)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().and_then(|name| made.number(output, name)) {
            files.push((number, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Files that were given their names.
struct Publishing {
    overwrite: bool,
    named: Vec<Location>,
}

impl Publishing {
    /// Publishes the files of one output.
    async fn publish(
        &mut self,
        attempt: &mut Attempt,
        files: Vec<(u32, PathBuf)>,
        location: &Location,
        made: &Made,
    ) -> Result<CommandOutput, Failure> {
        let mut facts = CommandOutput {
            url: String::new(),
            files: files.len() as u32,
            size_bytes: 0,
            frames: 0,
            duration_us: 0,
        };
        match &made.numbered {
            _ if made.is_pictures() => facts.frames = files.len() as u64,
            Some(_) => {}
            None => (facts.frames, facts.duration_us) = look(attempt, &files[0].1).await?,
        }
        for (number, file) in files {
            let location = match &made.numbered {
                Some(numbered) => location.with_file_name(&numbered.name(number)),
                None => location.clone(),
            };
            let publication = attempt.publication(&location, self.overwrite).await?;
            tokio::fs::copy(&file, publication.path())
                .await
                .map_err(resources)?;
            // Not kept twice for longer than it takes.
            let _ = tokio::fs::remove_file(&file).await;
            let published = publication.commit().await.map_err(from_store)?;
            self.named.push(location);
            facts.size_bytes += published.size_bytes;
            attempt.usage.bytes_written += published.size_bytes;
        }
        Ok(facts)
    }

    /// Takes the names back. What was replaced is gone, so files that replaced others stay.
    async fn take_back(self) {
        if self.overwrite {
            return;
        }
        for location in self.named {
            if let Err(error) = recode_store::withdraw(&location).await {
                tracing::warn!(%location, %error, "a file of a command that failed could not be taken back");
            }
        }
    }
}

/// Video frames and duration of a file; zero where it is none that FFmpeg reads as media.
async fn look(attempt: &mut Attempt, path: &Path) -> Result<(u64, i64), Failure> {
    let ffmpeg = std::sync::Arc::clone(&attempt.ffmpeg);
    let Ok(prelude) = recode_media::probe::prelude(&ffmpeg, path).await else {
        return Ok((0, 0));
    };
    attempt.used(&prelude.usage);
    let duration = prelude.banner.duration_us.unwrap_or_default();
    let Some(picture) = prelude.picture else {
        return Ok((0, duration));
    };
    let scanned = recode_media::probe::scan_packets(&ffmpeg, path, picture.track, |_| {});
    let (_, packets, usage) = scanned.await.map_err(|e| e.failure())?;
    attempt.used(&usage);
    Ok((packets.len() as u64, duration))
}
