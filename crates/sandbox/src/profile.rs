//! What one run may touch, as plain data. It travels as the helper's arguments, so that `ps` and a log line show what a child
//! was given and anyone can try it by hand.

use crate::{Layer, Layers, Limits};
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// The first argument of the helper that runs a program.
pub const RUN: &str = "run";

/// What one run may touch. Whatever is not named it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// What holds it back.
    pub layers: Layers,
    /// Files and folders it may read.
    pub reads: Vec<PathBuf>,
    /// Files it may read and write, and folders in which it may make such files. A file that is not there yet is made, empty.
    pub writes: Vec<PathBuf>,
    /// Devices it may read, write and command: those of graphics cards.
    pub devices: Vec<PathBuf>,
    /// Resource limits.
    pub limits: Limits,
    /// The whole environment, as `NAME=VALUE`.
    pub environment: Vec<OsString>,
    /// Where the helper tells what became of its start; see [`crate::sandbox::Start`]. Closed when the program begins.
    pub status: Option<RawFd>,
    /// The folder of a control group of the second version that the program is to begin in. Closed likewise.
    pub group: Option<RawFd>,
}

/// What the helper is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What the program may touch.
    pub profile: Profile,
    /// The program: an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// An argument list that is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; this program is started by recode and takes: run [PROFILE] -- PROGRAM [ARGS]")]
pub struct Unreadable(String);

impl Profile {
    /// The arguments of a helper that runs a program under this profile: the program and its own arguments follow.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![RUN.into()];
        let mut push = |name: &str, value: &OsStr| {
            args.push(name.into());
            args.push(value.to_owned());
        };
        for layer in &self.layers {
            push("--layer", OsStr::new(layer.name()));
        }
        for path in &self.reads {
            push("--read", path.as_os_str());
        }
        for path in &self.writes {
            push("--write", path.as_os_str());
        }
        for path in &self.devices {
            push("--device", path.as_os_str());
        }
        for (name, limit) in [
            ("--file-bytes", self.limits.file_bytes),
            ("--memory-bytes", self.limits.memory_bytes),
            ("--cpu-seconds", self.limits.cpu_seconds),
            ("--descriptors", self.limits.descriptors),
        ] {
            if let Some(limit) = limit {
                push(name, OsStr::new(&limit.to_string()));
            }
        }
        for entry in &self.environment {
            push("--env", entry);
        }
        for (name, fd) in [("--status", self.status), ("--group", self.group)] {
            if let Some(fd) = fd {
                push(name, OsStr::new(&fd.to_string()));
            }
        }
        args.push("--".into());
        args
    }
}

impl Order {
    /// Reads what [`Profile::to_args`] wrote, without the leading [`RUN`].
    /// # Errors
    /// [`Unreadable`]: an argument that is none, or no program.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Unreadable> {
        let mut args = args.into_iter();
        let mut profile = Profile {
            limits: Limits {
                descriptors: None,
                ..Limits::default()
            },
            ..Profile::default()
        };
        while let Some(name) = args.next() {
            if name == "--" {
                let program = args
                    .next()
                    .filter(|program| !program.is_empty())
                    .ok_or_else(|| Unreadable("no program is named after --".to_owned()))?;
                return Ok(Self {
                    profile,
                    program: program.into(),
                    args: args.collect(),
                });
            }
            let name = name.to_string_lossy().into_owned();
            let value = args
                .next()
                .ok_or_else(|| Unreadable(format!("{name} lacks its value")))?;
            match name.as_str() {
                "--layer" => {
                    profile.layers.insert(read::<Layer>(&name, &value)?);
                }
                "--read" => profile.reads.push(value.into()),
                "--write" => profile.writes.push(value.into()),
                "--device" => profile.devices.push(value.into()),
                "--file-bytes" => profile.limits.file_bytes = Some(read(&name, &value)?),
                "--memory-bytes" => profile.limits.memory_bytes = Some(read(&name, &value)?),
                "--cpu-seconds" => profile.limits.cpu_seconds = Some(read(&name, &value)?),
                "--descriptors" => profile.limits.descriptors = Some(read(&name, &value)?),
                "--env" => profile.environment.push(value),
                "--status" => profile.status = Some(read(&name, &value)?),
                "--group" => profile.group = Some(read(&name, &value)?),
                _ => return Err(Unreadable(format!("{name} is no argument"))),
            }
        }
        Err(Unreadable("there is no -- before the program".to_owned()))
    }
}

fn read<T: FromStr>(name: &str, value: &OsStr) -> Result<T, Unreadable> {
    let value = value.to_string_lossy();
    let bad = |_| Unreadable(format!("{value} is no value for {name}"));
    value.parse().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = Vec<PathBuf>> {
        proptest::collection::vec("[ -~]{1,20}".prop_map(PathBuf::from), 0..4)
    }

    proptest! {
        #[test]
        fn a_profile_arrives_as_it_was_sent(
            layers in proptest::sample::subsequence(Layer::ALL.to_vec(), 0..=5),
            reads in paths(),
            writes in paths(),
            devices in paths(),
            file_bytes in proptest::option::of(any::<u64>()),
            descriptors in proptest::option::of(any::<u64>()),
            environment in proptest::collection::vec("[A-Z]{1,9}=[ -~]{0,9}".prop_map(OsString::from), 0..3),
            status in proptest::option::of(0..99),
            group in proptest::option::of(0..99),
            args in proptest::collection::vec("[ -~]{0,9}".prop_map(OsString::from), 0..5),
        ) {
            let profile = Profile {
                layers: layers.into_iter().collect(),
                reads,
                writes,
                devices,
                limits: Limits { file_bytes, memory_bytes: None, cpu_seconds: Some(7), descriptors },
                environment,
                status,
                group,
            };
            let mut sent = profile.to_args();
            prop_assert_eq!(sent.remove(0), RUN);
            sent.push("/bin/program".into());
            sent.extend(args.clone());
            let order = Order { profile, program: "/bin/program".into(), args };
            prop_assert_eq!(Order::parse(sent), Ok(order));
        }
    }

    #[test]
    fn what_is_no_order_is_refused_by_name() {
        let said = |line: &str| {
            let args = line.split_whitespace().map(OsString::from);
            Order::parse(args).unwrap_err().to_string()
        };
        assert!(said("--raed /x -- p").starts_with("--raed is no argument;"));
        assert!(said("--layer wall -- p").starts_with("wall is no value for --layer;"));
        assert!(said("--file-bytes -1 -- p").starts_with("-1 is no value for --file-bytes;"));
        assert!(said("--read").starts_with("--read lacks its value;"));
        assert!(said("--read /x").starts_with("there is no -- before the program;"));
        assert!(said("--").starts_with("no program is named after --;"));
    }
}
