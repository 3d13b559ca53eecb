//! Namespaces: all in one call, inside a user namespace where the process has no right of its own to make them.

use super::Error;
use crate::{Layer, Layers};
use rustix::thread::CapabilitySet;
use std::io;

/// Enters the namespaces of `layers`.
/// # Errors
/// [`Error::Layer`]: this machine does not let us.
pub(super) fn enter(layers: &Layers) -> Result<(), Error> {
    let mut flags = 0;
    let mut first = None;
    for (layer, flag) in [
        (Layer::Mount, libc::CLONE_NEWNS),
        (Layer::Pid, libc::CLONE_NEWPID),
        (Layer::Network, libc::CLONE_NEWNET),
    ] {
        if layers.contains(&layer) {
            flags |= flag;
            first = first.or(Some(layer));
        }
    }
    let Some(first) = first else { return Ok(()) };
    // Shared memory segments and message queues of other programs.
    flags |= libc::CLONE_NEWIPC;
    let refused = |what: &str, e: io::Error| Error::layer(first, what, e);
    let capabilities = rustix::thread::capabilities(None);
    let capabilities =
        capabilities.map_err(|e| refused("capabilities cannot be read", e.into()))?;
    // A user namespace would take root's right to open other users' files away, and Sources belong to anyone. Whoever has
    // no such right loses nothing.
    let own = !capabilities.effective.contains(CapabilitySet::SYS_ADMIN);
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if own {
        flags |= libc::CLONE_NEWUSER;
    }
    // SAFETY: the helper has one thread, so no other thread is left in another namespace.
    #[allow(unsafe_code)]
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(refused(
            "the system makes no namespaces for this user",
            io::Error::last_os_error(),
        ));
    }
    if own {
        // Files keep their owners: the user is mapped to itself, and nobody else is mapped.
        let maps = [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{0} {0} 1", uid.as_raw())),
            ("gid_map", format!("{0} {0} 1", gid.as_raw())),
        ];
        for (file, text) in maps {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| refused("the user namespace takes no user", e))?;
        }
    }
    Ok(())
}
