//! Filter graphs: read by FFmpeg's rules of quoting, but more forgiving, and written with every argument under its name.
//!
//! FFmpeg reads a graph twice, each time taking quotes and backslashes away, and users never agree how many are needed. Here
//! quotes and backslashes only keep a character from ending an argument, and commas within brackets never do. What is left is
//! read by the argument's kind, none of which takes a quote or a backslash.

use crate::filter::{self, Arg, Filter, Works};
use crate::kind;
use crate::map::is_label;
use crate::refused::shown;
use crate::specifier::{Specifier, read_number};
use crate::value::Value;
use std::fmt;

/// Where a graph stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `-vf`.
    Video,
    /// `-af`.
    Audio,
    /// `-filter_complex`.
    Complex,
}

/// Filters in all chains of a graph at most.
const MOST_FILTERS: usize = 128;

/// Chains of filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    chains: Vec<Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    inputs: Vec<Link>,
    name: &'static str,
    args: Vec<(&'static str, Value)>,
    outputs: Vec<Link>,
}

/// What stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// A name within the graph.
    Label(String),
    /// Streams of an input.
    Input(u16, Specifier),
}

impl Graph {
    /// Reads a graph.
    pub fn read(text: &str, purpose: Use) -> Result<Self, String> {
        let mut reader = Reader {
            letters: text.chars().collect(),
            at: 0,
            purpose,
        };
        let mut chains = vec![Vec::new()];
        let mut filters = 0;
        loop {
            let node = reader.node()?;
            chains.last_mut().expect("there is always one").push(node);
            filters += 1;
            if filters > MOST_FILTERS {
                return Err(format!(
                    "a graph has at most {MOST_FILTERS} filters: make two jobs of it"
                ));
            }
            reader.blanks();
            match reader.next() {
                None => return Ok(Self { chains }),
                Some(',') => {}
                Some(';') => {
                    reader.blanks();
                    // A last semicolon ends nothing.
                    if reader.peek().is_none() {
                        return Ok(Self { chains });
                    }
                    chains.push(Vec::new());
                }
                Some(other) => {
                    return Err(format!("after a filter stands {other:?}: write , or ;"));
                }
            }
        }
    }

    /// Numbers of the inputs that it names.
    pub fn inputs(&self) -> impl Iterator<Item = u16> + '_ {
        let links = self
            .chains
            .iter()
            .flatten()
            .flat_map(|node| node.inputs.iter().chain(&node.outputs));
        links.filter_map(|link| match link {
            Link::Input(input, _) => Some(*input),
            Link::Label(_) => None,
        })
    }
}

struct Reader {
    letters: Vec<char>,
    at: usize,
    purpose: Use,
}

/// An argument as it is written: its name, where it has one, and its text.
type Written = (Option<String>, String);

impl Reader {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(letter)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    fn node(&mut self) -> Result<Node, String> {
        let inputs = self.links()?;
        let mut name = String::new();
        while let Some(letter) = self
            .peek()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(letter);
            self.at += 1;
        }
        let filter = filter::find(&name).ok_or_else(|| match name.as_str() {
            "" => "a filter's name is missing".to_owned(),
            _ => format!("the filter {} is not among those that command jobs know: docs/command-jobs.md lists them", shown(&name)),
        })?;
        let fits = match self.purpose {
            Use::Complex => true,
            Use::Video => filter.works != Works::Audio,
            Use::Audio => filter.works != Works::Video,
        };
        if !fits {
            return Err(format!(
                "the filter {name} does not belong here: sound goes into -af, pictures into -vf"
            ));
        }
        let written = match self.peek() {
            Some('=') => {
                self.at += 1;
                self.arguments()?
            }
            _ => Vec::new(),
        };
        let args = arguments(filter, written)?;
        let outputs = self.links()?;
        Ok(Node {
            inputs,
            name: filter.name,
            args,
            outputs,
        })
    }

    fn links(&mut self) -> Result<Vec<Link>, String> {
        let mut links = Vec::new();
        loop {
            self.blanks();
            if self.peek() != Some('[') {
                return Ok(links);
            }
            self.at += 1;
            let mut text = String::new();
            loop {
                match self.next() {
                    None => return Err("a [ is not closed: add ]".to_owned()),
                    Some(']') => break,
                    Some(letter) => text.push(letter),
                }
            }
            links.push(self.link(&text)?);
        }
    }

    fn link(&self, text: &str) -> Result<Link, String> {
        let (number, streams) = match text.split_once(':') {
            Some((number, streams)) => (number, Some(streams)),
            None => (text, None),
        };
        let input = read_number(number).and_then(|input| match streams {
            None => Some((input, Specifier::default())),
            Some(streams) => Some((input, Specifier::read(streams)?)),
        });
        match input {
            Some((input, streams)) if self.purpose == Use::Complex => {
                Ok(Link::Input(input, streams))
            }
            Some(_) => Err(format!(
                "[{text}] names an input, which only -filter_complex can: write it there"
            )),
            None if is_label(text) => Ok(Link::Label(text.to_owned())),
            None => Err(format!(
                "{} is neither a label nor a stream such as [0:v]",
                shown(text)
            )),
        }
    }

    /// All arguments of a filter, up to what ends them.
    fn arguments(&mut self) -> Result<Vec<Written>, String> {
        let mut written = Vec::new();
        let (mut name, mut text, mut open, mut quoted) = (None, String::new(), 0_u32, false);
        while let Some(letter) = self.peek() {
            match letter {
                '\'' => quoted = !quoted,
                '\\' => {
                    while self.peek() == Some('\\') {
                        self.at += 1;
                    }
                    let kept = self
                        .peek()
                        .ok_or("a backslash stands at the end: remove it")?;
                    text.push(kept);
                }
                ',' | ';' | '[' if !quoted && open == 0 => break,
                ':' if !quoted && open == 0 => {
                    written.push((name.take(), std::mem::take(&mut text)))
                }
                '=' if !quoted && name.is_none() => name = Some(std::mem::take(&mut text)),
                letter => {
                    match letter {
                        '(' => open += 1,
                        ')' => open = open.saturating_sub(1),
                        _ => {}
                    }
                    text.push(letter);
                }
            }
            self.at += 1;
        }
        if quoted {
            return Err("a ' in a filter is not closed: add one".to_owned());
        }
        written.push((name, text));
        if written.len() > 64 {
            return Err("a filter has at most 64 arguments".to_owned());
        }
        Ok(written)
    }
}

fn arguments(filter: &Filter, written: Vec<Written>) -> Result<Vec<(&'static str, Value)>, String> {
    let mut read: Vec<(&'static str, Value)> = Vec::new();
    let mut turn = filter.args.iter().filter(|arg| arg.in_turn);
    let mut by_name = false;
    for (name, text) in written {
        let arg: &Arg =
            match &name {
                None if by_name => {
                    return Err(format!(
                        "{} of {} needs its name, since one before it has one",
                        shown(&text),
                        filter.name
                    ));
                }
                None => turn.next().ok_or_else(|| {
                    format!(
                        "{} takes no argument such as {}: give it by its name",
                        filter.name,
                        shown(&text)
                    )
                })?,
                Some(name) => {
                    by_name = true;
                    let name = name.trim();
                    filter.args.iter().find(|arg| arg.names.contains(&name)).ok_or_else(|| {
                    let known: Vec<&str> = filter.args.iter().map(|arg| arg.names[0]).collect();
                    match known.is_empty() {
                        true => format!("{} takes no arguments here", filter.name),
                        false => format!(
                            "{} of {} is not among the arguments that command jobs know: {}",
                            shown(name),
                            filter.name,
                            known.join(", ")
                        ),
                    }
                })?
                }
            };
        let first = arg.names[0];
        if read.iter().any(|(known, _)| *known == first) {
            return Err(format!(
                "{first} of {} is given twice: leave one out",
                filter.name
            ));
        }
        let value = kind::read(&arg.kind, text.trim());
        let value = value.map_err(|why| format!("in {first} of {}, {why}", filter.name))?;
        read.push((first, value));
    }
    Ok(read)
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "[{label}]"),
            Self::Input(input, streams) => write!(f, "[{input}{streams}]"),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inputs.iter().try_for_each(|link| link.fmt(f))?;
        f.write_str(self.name)?;
        for (n, (name, value)) in self.args.iter().enumerate() {
            let before = if n == 0 { '=' } else { ':' };
            let quote = match value {
                Value::Expression(expression) if !expression.is_plain() => "'",
                _ => "",
            };
            write!(f, "{before}{name}={quote}{value}{quote}")?;
        }
        self.outputs.iter().try_for_each(|link| link.fmt(f))
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, chain) in self.chains.iter().enumerate() {
            if n > 0 {
                f.write_str(";")?;
            }
            for (n, node) in chain.iter().enumerate() {
                if n > 0 {
                    f.write_str(",")?;
                }
                node.fmt(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_are_written_with_named_arguments_and_read_back() {
        for (purpose, text, shown) in [
            (Use::Video, "scale=1280:-2", "scale=w=1280:h=-2"),
            (
                Use::Video,
                "scale=w=min(1280,iw):h=-2",
                "scale=w='min(1280,iw)':h=-2",
            ),
            (Use::Video, r"scale='min(1280\,iw)':-2, fps = 25", ""),
            (
                Use::Video,
                "scale='min(1280,iw)':-2, fps=25",
                "scale=w='min(1280,iw)':h=-2,fps=fps=25/1",
            ),
            (
                Use::Video,
                r"select=not(mod(n\,100)),setpts=N/TB",
                "select=expr='not(mod(n,100))',setpts=expr=N/TB",
            ),
            (
                Use::Video,
                r"trim=start=00\:01\:00:end=90",
                "trim=start=60:end=90",
            ),
            (
                Use::Video,
                "split[a][b];[a]palettegen[p];[b][p]paletteuse",
                "split[a][b];[a]palettegen[p];[b][p]paletteuse",
            ),
            (
                Use::Complex,
                "[0:v][1:v] overlay=W-w-10:10:enable='between(t,0,5)' [out];",
                "[0:v][1:v]overlay=x=W-w-10:y=10:enable='between(t,0,5)'[out]",
            ),
            (
                Use::Complex,
                "[0:a][1:a]amix=inputs=2:duration=longest[a]",
                "[0:a][1:a]amix=inputs=2:duration=longest[a]",
            ),
            (
                Use::Audio,
                "volume=-3dB,aresample=48000",
                "volume=volume=-3dB,aresample=sample_rate=48000",
            ),
            (
                Use::Video,
                "format=yuv420p|nv12",
                "format=pix_fmts=yuv420p|nv12",
            ),
            (Use::Video, "tile=4x4:margin=2", "tile=layout=4x4:margin=2"),
        ] {
            let read = Graph::read(text, purpose);
            if shown.is_empty() {
                // A blank around = is FFmpeg's own mistake to make.
                assert!(read.is_err());
                continue;
            }
            let read = read.unwrap();
            assert_eq!(read.to_string(), shown, "{text}");
            assert_eq!(Graph::read(shown, purpose), Ok(read), "{shown}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_by_name() {
        for (purpose, text, part) in [
            (Use::Video, "", "name is missing"),
            (Use::Video, "movie=/etc/passwd", "\"movie\" is not among"),
            (Use::Video, "drawtext=textfile=/etc/passwd", "\"drawtext\""),
            (Use::Video, "scale=1:2,", "name is missing"),
            (
                Use::Video,
                "scale=1:2:flags=lanczos:sws_dither=auto",
                "\"sws_dither\" of scale",
            ),
            (Use::Video, "scale=w=1:2", "needs its name"),
            (Use::Video, "scale=w=1:width=2", "given twice"),
            (Use::Video, "scale=1:2:bicubic:0:9", "give it by its name"),
            (Use::Video, "hflip=1", "hflip takes no argument"),
            (Use::Video, "volume=1", "does not belong here"),
            (Use::Audio, "scale=1:2", "does not belong here"),
            (Use::Video, "[0:v]scale=1:2", "only -filter_complex"),
            (Use::Complex, "[0:v scale=1:2", "not closed"),
            (Use::Complex, "[a b]null", "neither a label"),
            (Use::Video, "scale='1:2", "not closed"),
            (Use::Video, "null]", "stands ']'"),
            (Use::Video, "scale@x=1:2", "stands '@'"),
            (
                Use::Audio,
                "loudnorm=stats_file=/tmp/x",
                "\"stats_file\" of loudnorm",
            ),
        ] {
            let error = Graph::read(text, purpose).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = vec!["null"; 200].join(",");
        assert!(
            Graph::read(&long, Use::Video)
                .unwrap_err()
                .contains("at most")
        );
    }
}
