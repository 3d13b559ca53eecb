//! A whole command: read from a request, written as FFmpeg's arguments.

use crate::format::{self, DEMUXERS, Files};
use crate::graph::Graph;
use crate::kind::{self, Kind};
use crate::map::Map;
use crate::numbered::{MOST_FILES, Numbered, name_of};
use crate::option::{GLOBAL, IGNORED, INPUT, OUTPUT, REFUSED, Spec};
use crate::refused::{Place, Refused, shown};
use crate::specifier::Specifier;
use crate::value::Value;
use crate::words::{Word, words};
use crate::{MOST_INPUTS, MOST_OUTPUTS};
use recode_types::CommandRequest;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// A command, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub(crate) globals: Vec<Opt>,
    pub(crate) inputs: Vec<Vec<Opt>>,
    pub(crate) outputs: Vec<Output>,
    /// Outputs that exist are replaced.
    pub overwrite: bool,
}

/// An output and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub options: Vec<Opt>,
    pub made: Made,
}

/// What is made for one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// FFmpeg's muxer.
    pub muxer: &'static str,
    /// How its files come.
    pub(crate) files: Files,
    /// Ending of its files in scratch.
    pub(crate) ending: &'static str,
    /// Where the number stands in the names of its files, where there are many.
    pub numbered: Option<Numbered>,
}

/// An option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    pub name: &'static str,
    /// What metadata is about: `g`, `s` or `c`.
    pub about: Option<char>,
    pub streams: Specifier,
    pub value: Option<Value>,
}

impl fmt::Display for Opt {
    /// Without its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-{}", self.name)?;
        if let Some(about) = self.about {
            write!(f, ":{about}")?;
        }
        self.streams.fmt(f)
    }
}

/// Reads a command.
/// # Errors
/// [`Refused`] names the text, the place in it and the remedy.
pub fn parse(request: &CommandRequest) -> Result<CommandLine, Refused> {
    count(request)?;
    let mut line = CommandLine {
        globals: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        overwrite: request.overwrite,
    };
    let tables = [IGNORED, GLOBAL];
    let globals = read(Place::Global, &request.global, &tables, &mut line.overwrite)?;
    let inputs = request.inputs.len();
    for (_, opt) in &globals {
        check_inputs(Place::Global, opt, inputs)?;
    }
    line.globals = globals.into_iter().map(|(_, opt)| opt).collect();
    for (n, input) in request.inputs.iter().enumerate() {
        let tables = [IGNORED, INPUT];
        let options = read(
            Place::Input(n),
            &input.options,
            &tables,
            &mut line.overwrite,
        )?;
        line.inputs
            .push(options.into_iter().map(|(_, opt)| opt).collect());
        check_url(Place::Input(n), &input.url)?;
    }
    for (n, output) in request.outputs.iter().enumerate() {
        let place = Place::Output(n);
        // FFmpeg takes graphs anywhere, and people write them with the output that they lead to.
        let tables = [IGNORED, OUTPUT, GLOBAL];
        let mut options = Vec::new();
        for (word, opt) in read(place, &output.options, &tables, &mut line.overwrite)? {
            check_inputs(place, &opt, inputs)?;
            let is_global = GLOBAL.iter().any(|spec| spec.name == opt.name)
                && !OUTPUT.iter().any(|spec| spec.name == opt.name);
            match is_global {
                true => line.globals.push(opt),
                false => options.push((word, opt)),
            }
        }
        check_url(place, &output.url)?;
        let made = Made::of(place, &output.url, &options)?;
        let options = options.into_iter().map(|(_, opt)| opt).collect();
        line.outputs.push(Output { options, made });
    }
    Ok(line)
}

fn count(request: &CommandRequest) -> Result<(), Refused> {
    let whole = |why: String| Err(Refused::new(Place::Whole, 0, why));
    let (inputs, outputs) = (request.inputs.len(), request.outputs.len());
    if inputs == 0 || outputs == 0 {
        return whole("it needs at least one input and one output: name them".to_owned());
    }
    if inputs > MOST_INPUTS || outputs > MOST_OUTPUTS {
        return whole(format!(
            "it has {inputs} inputs and {outputs} outputs, at most {MOST_INPUTS} and {MOST_OUTPUTS} are taken: make several jobs \
             of it"
        ));
    }
    let mut names: Vec<&str> = request.outputs.iter().map(|o| o.url.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return whole(format!(
            "two outputs are named {}: name them differently",
            shown(twice[0])
        ));
    }
    if let Some(input) = request
        .inputs
        .iter()
        .find(|input| names.contains(&input.url.as_str()))
    {
        return whole(format!(
            "{} is input and output: name another output",
            shown(&input.url)
        ));
    }
    Ok(())
}

fn check_url(place: Place, url: &str) -> Result<(), Refused> {
    let refused = |why: &str| Err(Refused::new(place, 0, why));
    let name = name_of(url);
    if name.is_empty() || name == "." || name == ".." {
        return refused("its URL names no file: end it with a file's name");
    }
    if url.chars().chain(name.chars()).any(char::is_control) {
        return refused(
            "its URL has a control character: in a file URL write %25 for each %, or give a plain path",
        );
    }
    Ok(())
}

/// Reads options. Answers where each of them stands.
fn read(
    place: Place,
    text: &str,
    tables: &[&'static [Spec]],
    overwrite: &mut bool,
) -> Result<Vec<(Word, Opt)>, Refused> {
    let mut options = Vec::new();
    let mut rest = words(place, text)?.into_iter();
    while let Some(word) = rest.next() {
        let (spec, opt) = named(place, &word, tables)?;
        let opt = match spec.kind {
            Kind::Flag => opt,
            kind => {
                let Some(value) = rest.next() else {
                    return Err(Refused::new(
                        place,
                        word.at,
                        format!("-{} needs a value: add one", spec.name),
                    ));
                };
                let read = kind::read(&kind, &value.text);
                let read = read.map_err(|why| {
                    Refused::new(place, value.at, format!("in -{}, {why}", spec.name))
                })?;
                Opt {
                    value: Some(read),
                    ..opt
                }
            }
        };
        match opt.name {
            "y" => *overwrite = true,
            name if IGNORED.iter().any(|spec| spec.name == name) => {}
            _ => options.push((word, opt)),
        }
    }
    Ok(options)
}

/// The option that a word names.
fn named(
    place: Place,
    word: &Word,
    tables: &[&'static [Spec]],
) -> Result<(&'static Spec, Opt), Refused> {
    let refused = |why: String| Err(Refused::new(place, word.at, why));
    let Some(text) = word.text.strip_prefix('-') else {
        return refused(format!(
            "{} stands where an option should: options begin with -, and URLs are named beside them",
            shown(&word.text)
        ));
    };
    let (name, behind) = match text.split_once(':') {
        Some((name, behind)) => (name, Some(behind)),
        None => (text, None),
    };
    let specs = || tables.iter().flat_map(|table| table.iter());
    let found = specs().find_map(|spec| match spec.name == name {
        true => Some((spec, "")),
        false => {
            let alias = spec.aliases.iter().find(|(alias, _)| *alias == name);
            alias.map(|(_, streams)| (spec, *streams))
        }
    });
    let Some((spec, meant)) = found else {
        return refused(unknown(name, tables));
    };
    let mut opt = Opt {
        name: spec.name,
        about: None,
        streams: Specifier::read(meant).unwrap_or_default(),
        value: None,
    };
    let Some(behind) = behind else {
        return Ok((spec, opt));
    };
    let wrong = format!(
        "{} is no stream specifier such as v, a:0 or 1: change it or leave it out",
        shown(behind)
    );
    if !spec.streams || !meant.is_empty() {
        return refused(format!(
            "-{name} is not for single streams: leave out :{}",
            shown(behind)
        ));
    }
    if matches!(spec.kind, Kind::Metadata) {
        let (about, streams) = behind.split_once(':').unwrap_or((behind, ""));
        opt.about = match about {
            "g" | "s" | "c" => about.chars().next(),
            _ => return refused(wrong),
        };
        if streams.is_empty() && about != "c" && !behind.ends_with(':') {
            return Ok((spec, opt));
        }
        match Specifier::read(streams)
            .filter(|s| about == "s" || (about == "c" && s.kind.is_none()))
        {
            Some(streams) => opt.streams = streams,
            None => return refused(wrong),
        }
        return Ok((spec, opt));
    }
    match Specifier::read(behind) {
        Some(streams) => opt.streams = streams,
        None => return refused(wrong),
    }
    Ok((spec, opt))
}

fn unknown(name: &str, tables: &[&'static [Spec]]) -> String {
    if let Some((_, why)) = REFUSED.iter().find(|(known, _)| *known == name) {
        return format!("-{name} cannot be used in a command job, since {why}");
    }
    let has = |table: &'static [Spec]| {
        let is =
            |spec: &Spec| spec.name == name || spec.aliases.iter().any(|(alias, _)| *alias == name);
        table.iter().any(is) && !tables.iter().any(|t| std::ptr::eq(*t, table))
    };
    for (table, place) in [
        (GLOBAL, "the global options"),
        (INPUT, "an input"),
        (OUTPUT, "an output"),
    ] {
        if has(table) {
            return format!("-{name} belongs to {place}: write it there");
        }
    }
    format!(
        "{} is not among the options that command jobs know: leave it out; docs/command-jobs.md lists them",
        shown(&format!("-{name}"))
    )
}

fn check_inputs(place: Place, opt: &Opt, inputs: usize) -> Result<(), Refused> {
    let wanted = match &opt.value {
        Some(Value::Map(map)) => Map::names(map),
        Some(Value::Graph(graph)) => Graph::inputs(graph).max(),
        _ => None,
    };
    match wanted {
        Some(input) if usize::from(input) >= inputs => Err(Refused::new(
            place,
            0,
            format!(
                "{opt} names input {input}, and inputs are counted from 0 to {}: name another",
                inputs - 1
            ),
        )),
        _ => Ok(()),
    }
}

impl Made {
    fn of(place: Place, url: &str, options: &[(Word, Opt)]) -> Result<Self, Refused> {
        let refused = |at: usize, why: String| Err(Refused::new(place, at, why));
        let name = name_of(url);
        let numbered = Numbered::of(&name).map_err(|why| Refused::new(place, 0, why))?;
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let by_ending = format::muxer_of(ending);
        let given = options.iter().rev().find(|(_, opt)| opt.name == "f");
        let (at, row) = match given {
            Some((word, opt)) => match &opt.value {
                Some(Value::Name(name)) => (word.at, format::muxer(name)),
                _ => (word.at, None),
            },
            None => (0, by_ending),
        };
        let Some(&(muxer, endings, files)) = row else {
            return refused(
                at,
                format!(
                    "the ending of {} stands for no format that command jobs write: add -f",
                    shown(&name)
                ),
            );
        };
        let has = |name: &str| options.iter().any(|(_, opt)| opt.name == name);
        let one_frame = options.iter().any(|(_, opt)| {
            opt.name == "frames"
                && opt.streams.kind != Some('a')
                && opt.value == Some(Value::Int(1))
        });
        match (files, &numbered) {
            (Files::One, Some(_)) => {
                return refused(
                    0,
                    format!(
                        "{muxer} makes one file, and {} has a number's place: remove it, or use -f segment",
                        shown(&name)
                    ),
                );
            }
            (Files::Pieces, None) => {
                return refused(
                    0,
                    format!(
                        "-f segment makes many files: put a number such as %03d into the name {}",
                        shown(&name)
                    ),
                );
            }
            (Files::Pictures, None) if !one_frame && !has("update") => {
                return refused(
                    0,
                    format!(
                        "{} is one picture: add -frames:v 1, or put a number such as %03d into the name for many",
                        shown(&name)
                    ),
                );
            }
            _ => {}
        }
        let same =
            by_ending.filter(|(by_ending, ..)| *by_ending == muxer || files == Files::Pieces);
        let known = same.and_then(|(_, endings, _)| {
            let ending = ending.to_ascii_lowercase();
            endings.iter().find(|known| **known == ending)
        });
        Ok(Self {
            muxer,
            files,
            ending: known.or(endings.first()).copied().unwrap_or("mkv"),
            numbered,
        })
    }

    /// Name of its file in scratch, or of all of them: then six digits stand for the number.
    pub fn scratch_name(&self, output: usize) -> String {
        match self.numbered {
            Some(_) => format!("output{output}-%06d.{}", self.ending),
            None => format!("output{output}.{}", self.ending),
        }
    }

    /// The number in the name of a file that FFmpeg made for this output; `None`: it is not one of them.
    pub fn number(&self, output: usize, name: &str) -> Option<u32> {
        let name = name.strip_prefix(&format!("output{output}-"))?;
        let digits = name.strip_suffix(self.ending)?.strip_suffix('.')?;
        let plain = digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }

    /// Each of its files is one picture.
    pub fn is_pictures(&self) -> bool {
        self.files == Files::Pictures
    }
}

impl CommandLine {
    /// What is made, in the order of the request.
    pub fn made(&self) -> impl ExactSizeIterator<Item = &Made> {
        self.outputs.iter().map(|output| &output.made)
    }

    /// FFmpeg's arguments. `inputs` and `outputs` are this machine's paths, in the order of the request; of a numbered output
    /// the path has [`Made::scratch_name`] as its last part.
    pub fn argv(&self, inputs: &[PathBuf], outputs: &[PathBuf]) -> Vec<OsString> {
        let mut args = Vec::new();
        self.globals.iter().for_each(|opt| push(&mut args, opt));
        let readable = DEMUXERS.join(",");
        for (options, path) in self.inputs.iter().zip(inputs) {
            // What is read is one file, and what it is shows its content.
            for word in [
                "-protocol_whitelist",
                "file,pipe",
                "-format_whitelist",
                &readable,
            ] {
                args.push(word.into());
            }
            options.iter().for_each(|opt| push(&mut args, opt));
            args.push("-i".into());
            args.push(file(path));
        }
        for (output, path) in self.outputs.iter().zip(outputs) {
            output.options.iter().for_each(|opt| push(&mut args, opt));
            let has = |name: &str| output.options.iter().any(|opt| opt.name == name);
            if output.made.numbered.is_some() && output.made.is_pictures() && !has("frames") {
                // One more than may be: that there are too many is seen before the disk is full.
                args.push("-frames:v".into());
                args.push((MOST_FILES + 1).to_string().into());
            }
            if !has("f") {
                args.push("-f".into());
                args.push(output.made.muxer.into());
            }
            args.push(file(path));
        }
        args
    }
}

/// `file:` keeps FFmpeg from reading a protocol or an option out of the name.
fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

fn push(args: &mut Vec<OsString>, opt: &Opt) {
    args.push(opt.to_string().into());
    if let Some(value) = &opt.value {
        args.push(value.to_string().into());
    }
}
