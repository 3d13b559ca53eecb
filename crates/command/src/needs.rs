//! What a node must have to run a command.

use crate::codec::{self, DECODERS, HARDWARE, Medium};
use crate::line::{CommandLine, Opt, Output};
use crate::value::Value;
use recode_types::command::{CAPABILITY, COMPUTE, INSTANCE_TYPE};
use recode_types::{CommandRequest, Needs};
use std::collections::{BTreeMap, BTreeSet};

impl CommandLine {
    /// What its node and FFmpeg must be able to do: encoders by name, and an encoder of the card that decodes.
    pub fn capabilities(&self) -> BTreeSet<String> {
        let mut capabilities = BTreeSet::from([CAPABILITY.to_owned()]);
        let inputs = self.inputs.iter().flatten().filter_map(read_with);
        let outputs = self
            .outputs
            .iter()
            .flat_map(|output| &output.options)
            .filter_map(written_with);
        capabilities.extend(inputs.chain(outputs).map(str::to_owned));
        capabilities
    }

    /// What a node must have to run it.
    pub fn needs(&self, request: &CommandRequest) -> Needs {
        let mut labels = BTreeMap::new();
        for (label, value) in [
            (COMPUTE, &request.compute),
            (INSTANCE_TYPE, &request.instance_type),
        ] {
            if let Some(value) = value {
                labels.insert(label.to_owned(), value.clone());
            }
        }
        Needs {
            capabilities: self.capabilities().into_iter().collect(),
            labels,
            heavy: self.outputs.iter().any(encodes_video),
        }
    }
}

/// The encoder of nodes that have the hardware with which an input is to be decoded.
fn read_with(opt: &Opt) -> Option<&'static str> {
    let Some(Value::Name(name)) = opt.value else {
        return None;
    };
    let table = match opt.name {
        "hwaccel" => HARDWARE,
        "c" => DECODERS,
        _ => return None,
    };
    table.iter().find(|(known, _)| *known == name)?.1
}

/// The encoder that an option of an output names.
fn written_with(opt: &Opt) -> Option<&'static str> {
    match opt.value {
        Some(Value::Name(name)) if opt.name == "c" && name != "copy" => Some(name),
        _ => None,
    }
}

/// Whether an output fills a slot: it has pictures that are encoded by more than a few frames' worth of work.
fn encodes_video(output: &Output) -> bool {
    let options = &output.options;
    let has = |name: &str| options.iter().any(|opt| opt.name == name);
    if has("vn") {
        return false;
    }
    let codec = |wanted: Option<char>| {
        let fits = |opt: &&Opt| opt.name == "c" && opt.streams.kind == wanted;
        match options.iter().rev().find(fits).map(|opt| &opt.value) {
            Some(Some(Value::Name(name))) => Some(*name),
            _ => None,
        }
    };
    match codec(Some('v')).or(codec(Some('V'))).or(codec(None)) {
        Some("copy") => false,
        Some(encoder) => codec::medium(encoder) != Some(Medium::Audio),
        None => !SOUND.contains(&output.made.muxer),
    }
}

/// Muxers that take no moving pictures.
const SOUND: &[&str] = &[
    "mp3", "mp2", "adts", "ac3", "eac3", "flac", "wav", "w64", "aiff", "au", "caf", "ogg", "opus",
    "wv", "s16le", "srt", "webvtt", "ass",
];
