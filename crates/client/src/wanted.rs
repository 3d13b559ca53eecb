//! What is asked for, from flags and job file together: for one input, or for each of many.

use crate::fault::Fault;
use crate::flags::{JobFlags, OutputFlags, Recipe};
use crate::place::{Place, Use};
use crate::{job_file, request, template};
use recode_types::JobRequest;
use std::path::{Path, PathBuf};

/// What is to be made, the input left open.
pub struct Order {
    /// The job file and its input.
    file: Option<(PathBuf, Option<Place>)>,
    work: JobFlags,
    outputs: Vec<OutputFlags>,
    /// Where relative output names start.
    base: PathBuf,
}

impl Order {
    /// Puts flags and job file together.
    /// # Errors
    /// The job file cannot be used.
    pub fn read(recipe: &Recipe, cwd: &Path) -> Result<Self, Fault> {
        let Some(path) = &recipe.job else {
            return Ok(Self {
                file: None,
                work: recipe.work.clone(),
                outputs: vec![recipe.output.clone()],
                base: cwd.to_owned(),
            });
        };
        if recipe.output != OutputFlags::default() {
            return Err(Fault::usage(
                "flags that describe an output cannot be used with --job; write them into the job file",
            ));
        }
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fault::usage(format!(
                "the job file {} cannot be read ({}); check the path",
                path.display(),
                plain(&e)
            ))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = job_file::parse(&name, &text)?;
        let base = cwd.join(path.parent().unwrap_or(Path::new("")));
        let input = file.input.as_deref();
        let input = input.map(|input| Place::parse(input, &base, Use::Read));
        Ok(Self {
            file: Some((path.clone(), input.transpose()?)),
            work: over(file.work, &recipe.work),
            outputs: file.outputs,
            base,
        })
    }

    /// The input where the command line names none: that of the job file.
    /// # Errors
    /// It has none.
    pub fn input(&self) -> Result<Place, Fault> {
        let (path, input) = self.file.as_ref().expect("clap asks for one without --job");
        input.clone().ok_or_else(|| {
            Fault::usage(format!(
                "the job file {} has no input; add input = \"FILE\", or name it on the command line",
                path.display()
            ))
        })
    }

    /// For one input, whose name is of no matter to the outputs' names.
    pub fn of(self, source: Place) -> Wanted {
        Wanted {
            source,
            work: self.work,
            outputs: self.outputs,
            base: self.base,
        }
    }

    /// For one input of several; `path` fills in what the outputs' names leave open.
    /// # Errors
    /// A name holds a field that nobody knows.
    pub fn filled(&self, source: Place, path: &str) -> Result<Wanted, Fault> {
        let mut outputs = self.outputs.clone();
        for output in &mut outputs {
            let name = output.path.as_deref();
            output.path = name.map(|name| template::fill(name, path)).transpose()?;
        }
        Ok(Wanted {
            source,
            work: self.work.clone(),
            outputs,
            base: self.base.clone(),
        })
    }

    /// A name of an output that is the same for every input.
    pub fn fixed_name(&self) -> Option<&str> {
        let mut names = self.outputs.iter().filter_map(|o| o.path.as_deref());
        names.find(|name| !template::is_one(name))
    }
}

/// What is asked for one input.
pub struct Wanted {
    /// The input.
    pub source: Place,
    work: JobFlags,
    outputs: Vec<OutputFlags>,
    base: PathBuf,
}

impl Wanted {
    /// As a coordinator is asked.
    /// # Errors
    /// What contradicts itself.
    pub fn request(&self) -> Result<JobRequest, Fault> {
        request::build(&self.source, &self.work, &self.outputs, &self.base)
    }

    /// Refuses plain paths: the nodes of a cluster may not see them. Who writes `file://` says that they do, and an input that
    /// is `sent` along need not be seen.
    /// # Errors
    /// Which path, and what to do.
    pub fn refuse_local(
        &self,
        request: &JobRequest,
        sent: bool,
        endpoint: &str,
    ) -> Result<(), Fault> {
        let source = &self.source;
        if self.is_sent() && !sent {
            return Err(Fault::usage(format!(
                "{} is on this machine, where the nodes of {endpoint} may not see it; send it along with --upload, name an \
                 s3:// URL, or write {} where all nodes share that disk",
                source.typed, source.url
            )));
        }
        for (typed, output) in self.outputs.iter().zip(&request.outputs) {
            let typed = typed.path.as_deref().unwrap_or(&output.url);
            if is_plain(typed, &output.url) {
                return Err(Fault::usage(format!(
                    "{typed} is on this machine, where the nodes of {endpoint} may not see it; name an s3:// URL, or write {} \
                     where all nodes share that disk",
                    output.url
                )));
            }
        }
        Ok(())
    }

    /// Whether the input is one that only this machine sees.
    pub fn is_sent(&self) -> bool {
        is_plain(&self.source.typed, &self.source.url)
    }
}

/// A path of this machine, rather than a URL that says that others see it too.
fn is_plain(typed: &str, url: &str) -> bool {
    let named = typed
        .get(..7)
        .is_some_and(|s| s.eq_ignore_ascii_case("file://"));
    url.starts_with("file://") && !named
}

/// The job file's keys, with flags given on the command line in their place.
fn over(file: JobFlags, line: &JobFlags) -> JobFlags {
    // Two ways to say how long pieces are: whoever says either on the command line means none of the file's.
    let pieces = match line.segment.is_some() || line.spread {
        true => line,
        false => &file,
    };
    let (segment, spread) = (pieces.segment, pieces.spread);
    JobFlags {
        start: line.start.or(file.start),
        duration: line.duration.or(file.duration),
        segment,
        spread,
        score: if line.score.is_empty() {
            file.score
        } else {
            line.score.clone()
        },
        verify: line.verify.clone().or(file.verify),
        split_tail: line.split_tail || file.split_tail,
        strict: line.strict || file.strict,
        force: line.force || file.force,
        label: line.label.clone(),
        labels: file.labels,
        priority: line.priority.or(file.priority),
    }
}

/// An error of the system without its number.
pub fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    #[test]
    fn a_length_on_the_command_line_takes_the_place_of_the_files_whichever_way_it_is_said() {
        let long = JobFlags {
            segment: Some(Span(10_000_000)),
            ..JobFlags::default()
        };
        let spread = JobFlags {
            spread: true,
            ..JobFlags::default()
        };
        let silent = JobFlags::default();
        for (file, line, expected) in [
            (&long, &spread, &spread),
            (&spread, &long, &long),
            (&spread, &silent, &spread),
            (&long, &silent, &long),
        ] {
            assert_eq!(over(file.clone(), line), *expected);
        }
    }
}
