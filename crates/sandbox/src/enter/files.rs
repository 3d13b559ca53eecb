//! Landlock: only named files can be opened.

use super::Error;
use crate::{Layer, Profile};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, Scope,
};
use std::io;
use std::path::Path;

/// Rights without which there is no sandbox: everything the first Landlock knew. Truncation came later; until then
/// [`super::syscalls`] sees to it.
const REQUIRED: ABI = ABI::V1;
/// The newest rights that are asked for where the kernel has them.
const WANTED: ABI = ABI::V6;

/// What any program reads from the system to begin, and what encoders and scorers look at: libraries, processors, huge
/// pages, data that belong to packages. Nothing that differs from user to user. A missing one is no harm.
const SYSTEM: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/share",
    "/usr/local/lib",
    "/usr/local/share",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system",
    "/sys/kernel/mm/transparent_hugepage",
];
/// Where the drivers of graphics cards look up which card a device is, and how to talk to it.
const CARDS: &[&str] = &[
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/dev/char",
    "/sys/devices",
    "/proc/driver/nvidia",
    "/proc/devices",
    "/proc/modules",
    "/etc/OpenCL",
    "/etc/libva.conf",
    "/etc/vulkan",
];
/// What loads programs that are not static.
const LOADERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Closes the file system but for what `profile` names and what `program` needs.
/// # Errors
/// [`Error::Layer`]: the kernel has no Landlock, or a named file may not be looked at.
pub(super) fn close(profile: &Profile, program: Option<&Path>) -> Result<(), Error> {
    let mut rules = begin().map_err(|e| refused("the kernel does not enforce it", e))?;
    for path in SYSTEM {
        rules = allow(rules, Path::new(path), read())?;
    }
    rules = allow(rules, Path::new("/dev/null"), write())?;
    // Its own: the C library asks for the bounds of its stack.
    rules = allow(rules, Path::new("/proc/self"), read())?;
    for path in LOADERS {
        rules = allow(rules, Path::new(path), execute())?;
    }
    if let Some(program) = program {
        rules = allow(rules, program, execute())?;
        // Libraries that a build brings along, beside itself or beside its folder.
        for library in ["lib", "../lib"].map(|name| program.with_file_name(name)) {
            rules = allow(rules, &library, read())?;
        }
    }
    for path in &profile.reads {
        rules = allow(rules, path, read())?;
    }
    for path in &profile.writes {
        rules = allow(rules, path, write())?;
    }
    for path in &profile.devices {
        rules = allow(rules, path, command())?;
    }
    let drivers = CARDS.iter().filter(|_| !profile.devices.is_empty());
    for path in drivers {
        rules = allow(rules, Path::new(path), read())?;
    }
    let status = rules
        .restrict_self()
        .map_err(|e| refused("the kernel does not enforce it", e))?;
    match status.ruleset {
        landlock::RulesetStatus::NotEnforced => Err(refused(
            "the kernel does not enforce it",
            io::Error::from(io::ErrorKind::Unsupported),
        )),
        _ => Ok(()),
    }
}

fn begin() -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn execute() -> BitFlags<AccessFs> {
    AccessFs::Execute | AccessFs::ReadFile
}

fn write() -> BitFlags<AccessFs> {
    read() | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg
}

fn command() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev
}

/// Adds a rule for what is there. What is not there cannot be opened either.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Error> {
    let is_dir = match std::fs::metadata(path) {
        Ok(meta) => meta.is_dir(),
        Err(e) if is_absent(&e) => return Ok(rules),
        Err(e) => return Err(refused(&format!("{} cannot be named", path.display()), e)),
    };
    let access = match is_dir {
        true => access,
        false => access & AccessFs::from_file(WANTED),
    };
    let named = PathFd::new(path)
        .map_err(|e| refused(&format!("{} cannot be named", path.display()), e))?;
    rules
        .add_rule(PathBeneath::new(named, access))
        .map_err(|e| refused(&format!("{} cannot be named", path.display()), e))
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

fn refused(what: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::layer(Layer::Landlock, what, io::Error::other(e))
}
