//! `command --job FILE`: a command described in TOML or JSON. The keys of aws-batch-with-ffmpeg mean the same here.
//!
//! ```toml
//! compute = "intel"
//! [[input]]
//! options = "-ss 5"
//! url = "s3://in/film.mp4"
//! [[output]]
//! options = "-c:v libx264 -crf 23"
//! url = "s3://out/film.mp4"
//! ```

use crate::fault::Fault;
use crate::job_file;
use recode_types::{CommandFile, CommandRequest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(alias = "global_options")]
    global: String,
    #[serde(alias = "inputs")]
    input: Vec<File>,
    #[serde(alias = "outputs")]
    output: Vec<File>,
    input_file_options: String,
    input_url: Option<String>,
    output_file_options: String,
    output_url: Option<String>,
    compute: Option<String>,
    #[serde(alias = "instance-type")]
    instance_type: Option<String>,
    name: Option<String>,
    labels: BTreeMap<String, String>,
    priority: Option<u8>,
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    options: String,
    url: String,
}

/// Reads a file. URLs are as written.
/// # Errors
/// [`Kind::Usage`](crate::fault::Kind::Usage): it cannot be read, or says what nobody knows.
pub fn read(path: &Path) -> Result<CommandRequest, Fault> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Fault::usage(format!(
            "the job file {} cannot be read ({e}); check its name",
            path.display()
        ))
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Result<CommandRequest, Fault> {
    let root = job_file::table(name, text)?;
    let written: Written = serde_json::from_value(serde_json::Value::Object(root))
        .map_err(|e| job_file::fault(name, "", &e.to_string()))?;
    let one = |options: String, url: Option<String>, many: Vec<File>, what: &str| {
        let file = |file: File| CommandFile {
            options: file.options,
            url: file.url,
        };
        match url {
            Some(_) if !many.is_empty() => {
                let twice = format!("given twice; use either {what}_url or [[{what}]]");
                Err(job_file::fault(name, what, &twice))
            }
            None if !options.is_empty() => {
                let missing =
                    format!("{what}_file_options belong to an {what}_url, which is missing");
                Err(job_file::fault(name, what, &missing))
            }
            Some(url) => Ok(vec![CommandFile { options, url }]),
            None => Ok(many.into_iter().map(file).collect()),
        }
    };
    let mut labels = written.labels;
    labels.extend(written.name.map(|name| ("name".to_owned(), name)));
    if written.priority.is_some_and(|p| p > 100) {
        return Err(job_file::fault(name, "priority", "0 to 100 is possible"));
    }
    Ok(CommandRequest {
        global: written.global,
        inputs: one(
            written.input_file_options,
            written.input_url,
            written.input,
            "input",
        )?,
        outputs: one(
            written.output_file_options,
            written.output_url,
            written.output,
            "output",
        )?,
        compute: written.compute,
        instance_type: written.instance_type,
        overwrite: written.force,
        labels,
        priority: written.priority.unwrap_or(50),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_a_command_are_read_alike() {
        let ours = r#"
name = "clip"
compute = "intel"
[[input]]
url = "s3://in/a.mp4"
[[output]]
options = "-ss 10 -t 15 -c copy"
url = "s3://out/a.mp4"
"#;
        let theirs = r#"{"name": "clip", "compute": "intel", "input_url": "s3://in/a.mp4", "output_url": "s3://out/a.mp4",
            "output_file_options": "-ss 10 -t 15 -c copy"}"#;
        let read = parse("a.toml", ours).unwrap();
        assert_eq!(read, parse("a.json", theirs).unwrap());
        assert_eq!(read.outputs[0].options, "-ss 10 -t 15 -c copy");
        assert_eq!((read.labels["name"].as_str(), read.priority), ("clip", 50));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("crf = 20", "unknown field `crf`"),
            ("[[input]]\noptions = \"\"", "missing field `url`"),
            ("input_url = \"a\"\n[[input]]\nurl = \"b\"", "given twice"),
            (
                "output_file_options = \"-an\"",
                "output_url, which is missing",
            ),
            ("priority = 101", "0 to 100"),
            ("x = ", "line 1"),
        ] {
            let message = parse("j.toml", text).map(|_| ()).unwrap_err().message;
            assert!(
                message.contains(part) && message.contains("j.toml"),
                "{text}: {message}"
            );
        }
    }
}
