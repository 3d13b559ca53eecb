//! What the jobs of a run ask for, and what each must come to.

use crate::tools::Tools;
use crate::{client, measure};
use anyhow::{Result, ensure};
use recode_types::Digest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds of the source; with Segments of 2 s a job has six.
const SECONDS: u32 = 12;
const FRAMES_PER_SECOND: u32 = 25;

/// A kind of job.
#[derive(Clone, Debug)]
struct Kind {
    /// Endings of its outputs, which follow the name of the job.
    endings: &'static [&'static str],
    /// As a job file, in which `SOURCE` and `NAME` stand for what they say; else flags.
    file: Option<&'static str>,
    flags: &'static [&'static str],
    /// Digests of its outputs.
    expected: Vec<Digest>,
}

const FLAGS: [&str; 8] = [
    "--codec",
    "h264",
    "--preset",
    "ultrafast",
    "--crf",
    "30",
    "--segment",
    "2s",
];

const LADDER: &str = r#"
input = "SOURCE"
segment = "2s"

[defaults]
codec = "h264"
preset = "ultrafast"

[[output]]
path = "NAME-large.mp4"
crf = 28

[[output]]
path = "NAME-small.mp4"
crf = 34
scale = "80x44"
"#;

fn kinds() -> Vec<Kind> {
    let kind = |endings, file, flags| Kind {
        endings,
        file,
        flags,
        expected: Vec::new(),
    };
    vec![
        kind(&[".mp4"], None, &[]),
        kind(&["-large.mp4", "-small.mp4"], Some(LADDER), &[]),
        kind(&[".mkv"], None, &["--audio-codec", "opus"]),
    ]
}

/// The kinds of jobs of a run, with their source and what undisturbed ones gave.
#[derive(Clone, Debug)]
pub struct Jobs {
    source: PathBuf,
    kinds: Vec<Kind>,
}

/// One job to submit.
#[derive(Clone, Debug)]
pub struct Request {
    /// Chosen by the client.
    pub id: String,
    /// Arguments of `recode-client` after the subcommand.
    pub arguments: Vec<String>,
    /// URLs of the outputs with the digests they must have.
    pub outputs: Vec<(String, Digest)>,
}

impl Jobs {
    /// Makes a source in `folder` and one job of every kind from it, undisturbed, with `ffmpeg` in FFmpeg's place. What
    /// comes out must have every frame.
    /// # Errors
    /// A job fails, or lacks frames.
    pub fn prepare(tools: &Tools, ffmpeg: &Path, folder: &Path) -> Result<Self> {
        let source = folder.join("source.mp4");
        make_source(tools, &source)?;
        let mut jobs = Self {
            source,
            kinds: kinds(),
        };
        let outputs = folder.join("undisturbed");
        fs::create_dir(&outputs)?;
        let patient = Tools {
            ffmpeg: ffmpeg.to_owned(),
            ..tools.clone()
        };
        for number in 0..jobs.kinds.len() {
            let request = jobs.request(number, &format!("kind-{number}"), &outputs)?;
            jobs.kinds[number].expected = undisturbed(tools, &patient, folder, &request)?;
        }
        Ok(jobs)
    }

    /// The job of number `number`, under a name of its own, with outputs in `folder`.
    /// # Errors
    /// What the disk said.
    pub fn request(&self, number: usize, name: &str, folder: &Path) -> Result<Request> {
        let kind = &self.kinds[number % self.kinds.len()];
        let source = format!("file://{}", client::path_text(&self.source)?);
        let base = format!("file://{}", client::path_text(&folder.join(name))?);
        let mut arguments: Vec<String> = match kind.file {
            Some(text) => {
                let file = folder.join(format!("{name}.toml"));
                fs::write(
                    &file,
                    text.replace("SOURCE", &source).replace("NAME", &base),
                )?;
                vec!["--job".into(), client::path_text(&file)?.into()]
            }
            None => {
                let output = format!("{base}{}", kind.endings[0]);
                let first = [source.as_str(), "-o", &output];
                first
                    .iter()
                    .chain(&FLAGS)
                    .map(ToString::to_string)
                    .collect()
            }
        };
        arguments.extend(kind.flags.iter().map(ToString::to_string));
        let urls = kind.endings.iter().map(|ending| format!("{base}{ending}"));
        let expected = kind.expected.iter().copied();
        Ok(Request {
            id: name.to_owned(),
            arguments,
            // Before it is known what to expect, anything is.
            outputs: urls
                .zip(expected.chain(std::iter::repeat(Digest([0; 32]))))
                .collect(),
        })
    }
}

fn make_source(tools: &Tools, source: &Path) -> Result<()> {
    let picture = format!("testsrc2=size=160x90:rate={FRAMES_PER_SECOND}:duration={SECONDS}");
    let sound = format!("sine=frequency=440:duration={SECONDS}");
    let mut command = tools.ffmpeg();
    command.args(["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    command.args(["-c:v", "libx264", "-g", &FRAMES_PER_SECOND.to_string()]);
    command
        .args(["-c:a", "aac", "-movflags", "+faststart"])
        .arg(source);
    measure::run(&mut command)?.succeeded("making the source")?;
    Ok(())
}

/// Runs a job in a process of its own and answers the digests of its outputs.
fn undisturbed(
    tools: &Tools,
    with: &Tools,
    folder: &Path,
    request: &Request,
) -> Result<Vec<Digest>> {
    let mut command = Command::new(&with.client);
    command.arg("transcode").args(&request.arguments);
    command
        .args(["--quiet", "--state"])
        .arg(folder.join("state"));
    command.env("RECODE_FFMPEG", &with.ffmpeg);
    command.env("RECODE_SANDBOX", crate::player::sandbox(&with.ffmpeg));
    command.env_remove("RECODE_ENDPOINT");
    measure::run(&mut command)?.succeeded("an undisturbed job")?;
    let outputs = request.outputs.iter().map(|(url, _)| {
        let path = local(url);
        let frames = frames(tools, path)?;
        ensure!(
            frames == (SECONDS * FRAMES_PER_SECOND) as usize,
            "{url} has {frames} frames"
        );
        Ok(Digest::of(&fs::read(path)?))
    });
    outputs.collect()
}

/// Frames that FFmpeg decodes from a file.
fn frames(tools: &Tools, path: &Path) -> Result<usize> {
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(path);
    command.args(["-map", "0:v:0", "-fps_mode", "passthrough"]);
    command.args(["-f", "framecrc", "-"]);
    let decoded = measure::run(&mut command)?.succeeded("decoding an output")?;
    let lines = decoded.stdout.lines();
    Ok(lines.filter(|line| !line.starts_with('#')).count())
}

/// The path of a local output, which the log names without the `file://` that was asked for.
pub fn local(url: &str) -> &Path {
    Path::new(url.strip_prefix("file://").unwrap_or(url))
}
