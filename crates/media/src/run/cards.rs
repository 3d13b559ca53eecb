//! Which devices a run on graphics cards opens.

use recode_types::Engine;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The devices of this machine that serve `engines`, each once. None: there is no such card, and FFmpeg will say so.
pub(super) fn devices(engines: impl IntoIterator<Item = Engine>) -> BTreeSet<PathBuf> {
    let wanted: BTreeSet<_> = engines.into_iter().map(family).collect();
    let mut found = BTreeSet::new();
    for (family, dir) in [
        (Family::Nvidia, "/dev"),
        (Family::Nvidia, "/dev/nvidia-caps"),
        (Family::Render, "/dev/dri"),
    ] {
        if wanted.contains(&family) {
            found.extend(names(dir).filter_map(|name| device(family, dir, &name)));
        }
    }
    found
}

/// Drivers that open the same kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    /// NVIDIA's own.
    Nvidia,
    /// The kernel's render nodes.
    Render,
    /// None in `/dev`.
    None,
}

fn family(engine: Engine) -> Family {
    match engine {
        Engine::Nvenc => Family::Nvidia,
        Engine::Qsv | Engine::Vaapi | Engine::Amf => Family::Render,
        Engine::Videotoolbox => Family::None,
    }
}

/// Whether the device `name` of a folder is one of a family. `card0` and its like are not: whoever holds one may set modes of a screen.
fn device(family: Family, dir: &str, name: &str) -> Option<PathBuf> {
    let of_family = match family {
        Family::Nvidia => name.starts_with("nvidia"),
        Family::Render => name.starts_with("renderD"),
        Family::None => false,
    };
    of_family.then(|| Path::new(dir).join(name))
}

fn names(dir: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_opened_by_its_own_devices_and_no_screen_is() {
        let is =
            |engine: Engine, dir: &str, name: &str| device(family(engine), dir, name).is_some();
        for name in ["nvidia0", "nvidiactl", "nvidia-uvm"] {
            assert!(is(Engine::Nvenc, "/dev", name));
            assert!(!is(Engine::Vaapi, "/dev", name));
        }
        for engine in [Engine::Qsv, Engine::Vaapi, Engine::Amf] {
            assert!(is(engine, "/dev/dri", "renderD128"));
            assert!(!is(engine, "/dev/dri", "card0"));
        }
        assert!(!is(Engine::Videotoolbox, "/dev/dri", "renderD128"));
        assert!(devices([]).is_empty());
    }
}
