//! `--job FILE`: several renditions from one source, described in TOML or JSON. The keys are the long flags.
//!
//! ```toml
//! input = "film.mkv"
//! score = ["vmaf"]
//! [defaults]
//! codec = "h264"
//! [[output]]
//! path = "film-1080p.mp4"
//! crf = 20
//! ```

use crate::fault::Fault;
use crate::flags::{JobFlags, OutputFlags};
use serde_json::{Map, Value};

/// A job file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFile {
    /// The Source as written; relative paths start at the file's folder.
    pub input: Option<String>,
    /// Keys of the whole job.
    pub work: JobFlags,
    /// The outputs, with defaults filled in.
    pub outputs: Vec<OutputFlags>,
}

/// Reads the text of a job file. `name` is its file name: JSON when it ends so, else TOML.
/// # Errors
/// [`Kind::Usage`](crate::fault::Kind::Usage): the text is not TOML or JSON, has an unknown key or a value of the
/// wrong shape. The sentence names the place.
pub fn parse(name: &str, text: &str) -> Result<JobFile, Fault> {
    let mut root = table(name, text)?;
    let input = match root.remove("input") {
        None => None,
        Some(Value::String(input)) => Some(input),
        Some(_) => return Err(fault(name, "input", "a path or URL is needed")),
    };
    let defaults = match root.remove("defaults") {
        None => Map::new(),
        Some(Value::Object(defaults)) => defaults,
        Some(_) => return Err(fault(name, "defaults", "a table of keys is needed")),
    };
    let outputs = match (root.remove("output"), root.remove("outputs")) {
        (Some(_), Some(_)) => {
            return Err(fault(name, "output", "given twice; use [[output]] only"));
        }
        (Some(Value::Array(list)), None) | (None, Some(Value::Array(list))) => list,
        (None, None) => {
            return Err(fault(
                name,
                "output",
                "there is none; add at least one [[output]] with a path",
            ));
        }
        _ => return Err(fault(name, "output", "a list is needed; write [[output]]")),
    };
    let work: JobFlags =
        serde_json::from_value(Value::Object(root)).map_err(|e| fault(name, "", &e.to_string()))?;
    if let Some(how) = &work.verify
        && !["standard", "full"].contains(&how.as_str())
    {
        return Err(fault(name, "verify", "write \"standard\" or \"full\""));
    }
    if work.priority.is_some_and(|p| p > 100) {
        return Err(fault(name, "priority", "0 to 100 is possible"));
    }
    let outputs = outputs
        .into_iter()
        .enumerate()
        .map(|(i, value)| {
            let at = format!("output {}", i + 1);
            let Value::Object(own) = value else {
                return Err(fault(name, &at, "a table of keys is needed"));
            };
            let flags: OutputFlags =
                serde_json::from_value(Value::Object(with_defaults(own, &defaults)))
                    .map_err(|e| fault(name, &at, &e.to_string()))?;
            match flags.path {
                Some(_) => Ok(flags),
                None => Err(fault(name, &at, "it has no path")),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(JobFile {
        input,
        work,
        outputs,
    })
}

/// The keys of a file: JSON when its name ends so, else TOML.
/// # Errors
/// It is neither. The sentence names the place.
pub fn table(name: &str, text: &str) -> Result<Map<String, Value>, Fault> {
    let json = name.to_ascii_lowercase().ends_with(".json");
    let root: Value = if json {
        serde_json::from_str(text).map_err(|e| fault(name, "", &e.to_string()))?
    } else {
        toml::from_str(text).map_err(|e: toml::de::Error| {
            let line = e
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let at = line.map(|line| format!("line {line}")).unwrap_or_default();
            fault(name, &at, e.message())
        })?
    };
    match root {
        Value::Object(root) => Ok(root),
        _ => Err(fault(name, "", "the file must be a table of keys")),
    }
}

/// An output's own keys, and defaults for the rest. One promise about the rate replaces another.
fn with_defaults(mut own: Map<String, Value>, defaults: &Map<String, Value>) -> Map<String, Value> {
    const RATES: [&str; 3] = ["crf", "bitrate", "size"];
    let own_rate = RATES.iter().any(|key| own.contains_key(*key));
    for (key, value) in defaults {
        if own_rate && RATES.contains(&key.as_str()) {
            continue;
        }
        own.entry(key.clone()).or_insert_with(|| value.clone());
    }
    own
}

/// What is wrong with a file, and where.
pub fn fault(name: &str, at: &str, what: &str) -> Fault {
    let what = what.trim().trim_end_matches('.').replace('\n', " ");
    let at = if at.is_empty() {
        String::new()
    } else {
        format!(", {at}")
    };
    Fault::usage(format!("in the job file {name}{at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{BitRate, Quality, Size};
    use recode_types::{Codec, Metric};

    const LADDER: &str = r#"
input = "film.mkv"
segment = "10s"
score = ["vmaf", "ms-ssim"]
[labels]
team = "news"
[defaults]
codec = "h264"
crf = 21.5
[[output]]
path = "big.mp4"
scale = "1080p"
[[output]]
path = "small.mp4"
scale = "640x360"
bitrate = "800k"
"#;

    #[test]
    fn a_ladder_reads_with_defaults_filled_in() {
        let file = parse("ladder.toml", LADDER).unwrap();
        assert_eq!(file.input.as_deref(), Some("film.mkv"));
        assert_eq!(file.work.score, [Metric::Vmaf, Metric::MsSsim]);
        assert_eq!(file.work.labels["team"], "news");
        assert_eq!(file.outputs[0].crf, Some(Quality(21_500)));
        assert_eq!(file.outputs[0].scale, Some(Size::Height(1080)));
        assert_eq!(file.outputs[1].codec, Some(Codec::H264));
        assert_eq!(file.outputs[1].bitrate, Some(BitRate(800_000)));
        assert_eq!(
            file.outputs[1].crf, None,
            "its own bitrate replaces the default crf"
        );
    }

    #[test]
    fn json_says_the_same() {
        let json = r#"{"input":"film.mkv","segment":"10s","score":["vmaf","ms-ssim"],"labels":{"team":"news"},
            "defaults":{"codec":"h264","crf":21.5},
            "output":[{"path":"big.mp4","scale":"1080p"},{"path":"small.mp4","scale":"640x360","bitrate":"800k"}]}"#;
        assert_eq!(
            parse("l.json", json).unwrap(),
            parse("l.toml", LADDER).unwrap()
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, part) in [
            ("input = ", "line 1"),
            ("input = \"a\"", "[[output]]"),
            ("[[output]]\ncrf = 20", "output 1: it has no path"),
            (
                "[[output]]\npath = \"a.mp4\"\n[[output]]\npath = \"b.mp4\"\ncrv = 3",
                "output 2: unknown field `crv`",
            ),
            (
                "sgment = 3\n[[output]]\npath = \"a.mp4\"",
                "unknown field `sgment`",
            ),
            (
                "[[output]]\npath = \"a.mp4\"\nscale = \"big\"",
                "picture size",
            ),
            ("[[output]]\npath = \"a.mp4\"\ncodec = \"h266\"", "h266"),
            ("verify = \"most\"\n[[output]]\npath = \"a.mp4\"", "verify"),
        ] {
            let message = parse("j.toml", text).unwrap_err().message;
            assert!(
                message.contains(part) && !message.contains('\n'),
                "{text}: {message}"
            );
        }
    }
}
