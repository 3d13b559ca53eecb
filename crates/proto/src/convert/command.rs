//! Command jobs.

use super::{Error, MAX_REQUEST_BYTES, MAX_TEXT_BYTES, at_most, invalid, text};
use crate::v1;
use recode_types::{CommandFile, CommandRequest};

/// Inputs or outputs of one command at most.
const MAX_FILES: usize = 32;

impl From<CommandFile> for v1::CommandFile {
    fn from(value: CommandFile) -> Self {
        Self {
            options: value.options,
            url: value.url,
        }
    }
}

impl From<CommandRequest> for v1::CommandRequest {
    fn from(value: CommandRequest) -> Self {
        let files = |files: Vec<CommandFile>| files.into_iter().map(Into::into).collect();
        Self {
            global: value.global,
            inputs: files(value.inputs),
            outputs: files(value.outputs),
            compute: value.compute.unwrap_or_default(),
            instance_type: value.instance_type.unwrap_or_default(),
            overwrite: value.overwrite,
            labels: value.labels.into_iter().collect(),
            priority: value.priority.into(),
        }
    }
}

fn files(
    (name, options, url): (&'static str, &'static str, &'static str),
    files: Vec<v1::CommandFile>,
) -> Result<Vec<CommandFile>, Error> {
    if files.is_empty() {
        return Err(Error::Missing(name));
    }
    at_most(name, files.len(), MAX_FILES)?;
    let files = files.into_iter().map(|file| {
        if file.url.is_empty() {
            return Err(Error::Missing(url));
        }
        Ok(CommandFile {
            options: text(options, file.options)?,
            url: text(url, file.url)?,
        })
    });
    files.collect()
}

impl TryFrom<v1::CommandRequest> for CommandRequest {
    type Error = Error;
    fn try_from(value: v1::CommandRequest) -> Result<Self, Error> {
        if value.priority > 100 {
            let problem = format!("{} is not between 0 and 100", value.priority);
            return Err(invalid("command.priority", problem));
        }
        at_most("command.labels", value.labels.len(), 64)?;
        for (key, label) in &value.labels {
            at_most("command.labels", key.len() + label.len(), MAX_TEXT_BYTES)?;
        }
        let bytes = prost::Message::encoded_len(&value);
        let given = |text: String| (!text.is_empty()).then_some(text);
        let request = Self {
            global: text("command.global", value.global)?,
            inputs: files(
                (
                    "command.inputs",
                    "command.inputs.options",
                    "command.inputs.url",
                ),
                value.inputs,
            )?,
            outputs: files(
                (
                    "command.outputs",
                    "command.outputs.options",
                    "command.outputs.url",
                ),
                value.outputs,
            )?,
            compute: given(text("command.compute", value.compute)?),
            instance_type: given(text("command.instance_type", value.instance_type)?),
            overwrite: value.overwrite,
            labels: value.labels.into_iter().collect(),
            priority: value.priority as u8,
        };
        // Last, since a single field that is too long says more.
        at_most("command", bytes, MAX_REQUEST_BYTES)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> CommandRequest {
        let file = |options: &str, url: &str| CommandFile {
            options: options.into(),
            url: url.into(),
        };
        CommandRequest {
            global: "-xerror".into(),
            inputs: vec![file("-ss 5", "s3://b/a.mp4"), file("", "s3://b/b.png")],
            outputs: vec![file("-c copy", "s3://b/c%03d.ts")],
            compute: Some("intel".into()),
            instance_type: Some("c6i.*".into()),
            overwrite: true,
            labels: [("team".to_owned(), "news".to_owned())].into(),
            priority: 70,
        }
    }

    #[test]
    fn a_command_survives_the_wire() {
        let wire = v1::CommandRequest::from(full());
        assert_eq!(CommandRequest::try_from(wire).unwrap(), full());
    }

    #[test]
    fn a_command_that_is_not_whole_is_refused_by_name() {
        let check = |change: fn(&mut v1::CommandRequest), expected: &str| {
            let mut wire = v1::CommandRequest::from(full());
            change(&mut wire);
            let error = CommandRequest::try_from(wire).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not name {expected}");
        };
        check(|c| c.inputs.clear(), "command.inputs is missing");
        check(|c| c.outputs.clear(), "command.outputs is missing");
        check(|c| c.inputs[1].url.clear(), "command.inputs.url is missing");
        check(|c| c.priority = 101, "command.priority is not valid");
        check(
            |c| c.global = "x".repeat(5000),
            "command.global is too long",
        );
        check(
            |c| c.outputs[0].options = "x".repeat(5000),
            "command.outputs.options is too long",
        );
        check(
            |c| c.inputs = vec![c.inputs[0].clone(); 33],
            "command.inputs is too long",
        );
        check(
            |c| {
                let mut file = c.inputs[0].clone();
                file.url = "x".repeat(4000);
                c.inputs = vec![file; 20];
            },
            "command is too long",
        );
    }
}
