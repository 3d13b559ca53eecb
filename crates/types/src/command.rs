//! Command jobs: FFmpeg's own options, files by URL, and what a Node must have to run them.
//!
//! The options are text here. What they may say is the grammar of `recode-command`; whoever takes such a request in, and
//! whoever runs it, reads it with that grammar and builds the argument list from what was read, never from the text.

use crate::making::Making;
use crate::node::NodeHello;
use crate::request::{JobRequest, SegmentLength};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run of FFmpeg, unsplit, on one Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Options of the whole run.
    pub global: String,
    /// What is read. Non-empty.
    pub inputs: Vec<CommandFile>,
    /// What is made. Non-empty; URLs differ. A number such as `%03d` in the name of one stands for many files.
    pub outputs: Vec<CommandFile>,
    /// Family of machines that may run it, as in `intel`, `arm`, `amd`, `nvidia`; `None`: any.
    pub compute: Option<String>,
    /// Type of machine that may run it, as in `c6i.4xlarge`; `None`: any.
    pub instance_type: Option<String>,
    /// Replace Outputs that exist.
    pub overwrite: bool,
    /// Free labels for people.
    pub labels: BTreeMap<String, String>,
    /// 0 to 100; higher first.
    pub priority: u8,
}

impl CommandRequest {
    /// What all kinds of Jobs have in common, for whoever asks about Jobs: where the first input is, labels, priority. It has no
    /// Outputs of that kind.
    pub fn in_common(&self) -> JobRequest {
        let first = self.inputs.first();
        JobRequest {
            source: first.map(|input| input.url.clone()).unwrap_or_default(),
            start_us: None,
            duration_us: None,
            outputs: Vec::new(),
            segment: SegmentLength::Usual,
            score: Vec::new(),
            making: Making::Usual,
            strict: false,
            overwrite: self.overwrite,
            labels: self.labels.clone(),
            priority: self.priority,
        }
    }
}

/// A file and the options that stand before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandFile {
    /// Options of this file.
    pub options: String,
    /// Where it is.
    pub url: String,
}

/// What a Node must have to run a command job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Capabilities, as Nodes announce them: encoders, and [`CAPABILITY`] itself. Sorted, without repetition.
    pub capabilities: Vec<String>,
    /// Labels that a Node must have, with these values; a value that ends in `*` stands for all that begin like it.
    pub labels: BTreeMap<String, String>,
    /// It encodes pictures and fills a slot.
    pub heavy: bool,
}

impl Needs {
    /// A Node that says this of itself has it all.
    pub fn fits(&self, hello: &NodeHello) -> bool {
        let can = |wanted: &String| hello.capabilities.contains(wanted);
        let is = |(label, wanted): (&String, &String)| {
            hello
                .labels
                .get(label)
                .is_some_and(|value| is_like(value, wanted))
        };
        self.capabilities.iter().all(can) && self.labels.iter().all(is)
    }
}

/// A value of a label is the wanted one, or begins like it where that ends in `*`.
fn is_like(value: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => value == wanted,
    }
}

impl std::fmt::Display for Needs {
    /// For people: encoders and labels.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encoders = self.capabilities.iter().filter(|name| *name != CAPABILITY);
        let encoders = encoders.map(|name| format!("the encoder {name}"));
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("the label {key}={value}"));
        let all: Vec<String> = encoders.chain(labels).collect();
        match all.is_empty() {
            true => f.write_str("command jobs among its work"),
            false => f.write_str(&all.join(" and ")),
        }
    }
}

/// Announced by Nodes that can run command jobs: earlier builds do not know the work.
pub const CAPABILITY: &str = "recode:command";

/// Label of a Node that [`CommandRequest::compute`] is compared with.
pub const COMPUTE: &str = "compute";

/// Label of a Node that [`CommandRequest::instance_type`] is compared with.
pub const INSTANCE_TYPE: &str = "instance-type";

/// One finished Output of a command job: one file, or numbered ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutput {
    /// Where it is; of numbered files the name with their number's place in it.
    pub url: String,
    /// How many files.
    pub files: u32,
    /// Bytes of all of them.
    pub size_bytes: u64,
    /// Video frames; of numbered pictures one each; 0 where they are not counted.
    pub frames: u64,
    /// Duration in microseconds; 0 where none is known.
    pub duration_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fits_that_has_every_capability_and_label() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect()
        };
        let needs = Needs {
            capabilities: vec!["libx264".to_owned(), CAPABILITY.to_owned()],
            labels: map(&[("compute", "intel"), ("instance-type", "c6i.*")]),
            heavy: true,
        };
        let hello = |capabilities: &[&str], labels| NodeHello {
            capabilities: capabilities.iter().map(|c| (*c).to_owned()).collect(),
            labels,
            ..NodeHello::default()
        };
        let all = ["libx264", CAPABILITY];
        let right = [
            ("compute", "intel"),
            ("instance-type", "c6i.4xlarge"),
            ("site", "a"),
        ];
        assert!(needs.fits(&hello(&all, map(&right))));
        assert!(!needs.fits(&hello(&all[..1], map(&right))));
        assert!(!needs.fits(&hello(&all, map(&right[..1]))));
        for wrong in [
            ("compute", "amd"),
            ("instance-type", "c6a.large"),
            ("instance-type", "c6i"),
        ] {
            let mut labels = map(&right);
            labels.insert(wrong.0.to_owned(), wrong.1.to_owned());
            assert!(!needs.fits(&hello(&all, labels)), "{wrong:?}");
        }
        let said =
            "the encoder libx264 and the label compute=intel and the label instance-type=c6i.*";
        assert_eq!(needs.to_string(), said);
    }
}
