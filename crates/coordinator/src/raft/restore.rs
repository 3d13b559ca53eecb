//! A new cluster from the snapshot of one that is lost.

use super::disk::Disk;
use super::identity::Identity;
use super::log_store::{Founding, LogStore};
use super::snapshot::{Kept, Snapshots};
use super::state_machine;
use super::type_config::alias::{Membership, Vote};
use super::{Error, FIRST, Keep};
use openraft::BasicNode;
use recode_core::{Command, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Makes an empty folder that of the first and only coordinator of the cluster `name`, with the state in `file`, a whole
/// snapshot. Nodes are forgotten: they belong to the lost cluster until they start anew. Answers how many Jobs it holds.
/// # Errors
/// The folder holds something, cannot be written, or the snapshot does not read; nothing in it runs then.
pub fn restore(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    name: &str,
    file: Vec<u8>,
) -> Result<usize, Error> {
    let folder = |source| Error::Folder {
        path: dir.to_owned(),
        source,
    };
    disk.create_dir_all(dir).map_err(folder)?;
    if !disk.list(dir).map_err(folder)?.is_empty() {
        return Err(Error::NotEmpty(dir.to_owned()));
    }
    let damaged = || {
        folder(io::Error::new(
            io::ErrorKind::InvalidData,
            "the copy does not read",
        ))
    };
    let kept = Kept::read(file).ok_or_else(damaged)?;
    let mut applied = state_machine::restore(&kept.meta, kept.state()).map_err(folder)?;
    let mut meta = kept.meta;
    let nodes: Vec<_> = applied.state.nodes.keys().copied().collect();
    for node in nodes {
        let command = Command::ForgetNode { node };
        let at_ms = applied.at_ms;
        applied.state.apply(&Entry { at_ms, command });
    }
    let last = meta.last_log_id.ok_or_else(damaged)?;
    let members = BTreeMap::from([(FIRST, BasicNode::new(""))]);
    let voters = vec![BTreeSet::from([FIRST])];
    meta.last_membership = Membership::new(Some(last), openraft::Membership::new(voters, members));
    Snapshots::open(disk, dir)
        .and_then(|snapshots| state_machine::write(&snapshots, &meta, &applied))
        .map_err(folder)?;
    let founding = Founding {
        // Alone, so its own vote is the quorum; of a term that nobody has had.
        vote: Some(Vote::new_committed(last.leader_id.term + 1, FIRST)),
        purged: Some(last),
        entries: Vec::new(),
    };
    LogStore::open(disk, dir, founding, Keep::default().segment_bytes)?.close();
    // Last: without it the folder belongs to nobody.
    let identity = Identity {
        cluster: name.to_owned(),
        id: FIRST,
    };
    identity.write(dir).map_err(folder)?;
    Ok(applied.state.jobs.len())
}
