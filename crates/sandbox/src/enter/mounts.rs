//! A mount namespace in which everything is read-only but what the run may write.

use super::Error;
use crate::Layer;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::io;
use std::path::PathBuf;

/// Makes the whole tree read-only and lays the writable places over it.
/// # Errors
/// [`Error::Layer`]
pub(super) fn close(writes: &[PathBuf]) -> Result<(), Error> {
    let refused = |what: String, e: io::Error| Error::layer(Layer::Mount, what, e);
    let here = std::env::current_dir();
    // Copies made now keep their right to be written.
    let mut open = Vec::with_capacity(writes.len());
    for path in writes {
        let path = path
            .canonicalize()
            .map_err(|e| refused(format!("{} cannot be looked at", path.display()), e))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &path, flags)
            .map_err(|e| refused(format!("{} cannot be mounted", path.display()), e.into()))?;
        open.push((path, tree));
    }
    set_read_only().map_err(|e| refused("the tree cannot be made read-only".to_owned(), e))?;
    for (path, tree) in open {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, c"", CWD, &path, flags)
            .map_err(|e| refused(format!("{} cannot be mounted", path.display()), e.into()))?;
    }
    // Whoever stood in a writable folder stands below its new mount now, in the old one.
    if let Ok(here) = here {
        std::env::set_current_dir(&here)
            .map_err(|e| refused(format!("{} cannot be entered", here.display()), e))?;
    }
    Ok(())
}

fn set_read_only() -> io::Result<()> {
    let wanted = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        // What is mounted here later must not reach anybody else.
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a null byte, and the structure is as long as we say.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
