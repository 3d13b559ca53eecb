//! The way back from a copy in the work store, for a cluster that has lost all its disks, or more than it can bear.
//!
//! It founds a new cluster: a new name, one coordinator, the term after the last one known. So nothing that is left of the
//! lost cluster is taken for a part of it, and `recode-client cluster add` brings it back to three.

use crate::actor::copier::{self, Copy};
use crate::raft;
use bytes::Bytes;
use recode_store::WorkStore;
use std::path::Path;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster.
    pub cluster: String,
    /// The lost one.
    pub from: String,
    /// Its last entry in the copy; what came later is not known.
    pub index: u64,
    /// Jobs, ended ones that were not archived included.
    pub jobs: usize,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work store.
    #[error(transparent)]
    Store(#[from] recode_store::Error),
    /// There is none.
    #[error("there is no copy of a state in {0}: name the work store of the lost cluster")]
    NoCopy(String),
    /// Which one?
    #[error("the work store has copies of several clusters: choose one with --cluster: {}", .0.join(", "))]
    WhichCluster(Vec<String>),
    /// The folder, or what is in the copy.
    #[error(transparent)]
    Raft(#[from] raft::Error),
}

/// Makes `dir` the data folder of a new cluster, with the newest state that is copied in the work store at `from`; of the
/// lost cluster that is named, where there are copies of several.
/// # Errors
/// [`Error`]; a folder that was begun has to go.
pub async fn restore(from: &str, cluster: Option<&str>, dir: &Path) -> Result<Restored, Error> {
    let store = WorkStore::open(from).await?;
    let copies = copier::list(&store, cluster).await?;
    let mut clusters: Vec<String> = copies.iter().map(|copy| copy.cluster.clone()).collect();
    clusters.dedup();
    if clusters.len() > 1 {
        return Err(Error::WhichCluster(clusters));
    }
    let (newest, file) = newest_sound(&store, &copies)
        .await?
        .ok_or_else(|| Error::NoCopy(from.to_owned()))?;
    let name = raft::new_cluster();
    let jobs = raft::restore(&raft::disk::Real::shared(), dir, &name, file.into())?;
    Ok(Restored {
        cluster: name,
        from: newest.cluster.clone(),
        index: newest.index,
        jobs,
    })
}

/// The newest copy whose bytes are those that its name tells of; where there are only others, what is wrong with the newest.
async fn newest_sound<'a>(
    store: &WorkStore,
    copies: &'a [Copy],
) -> Result<Option<(&'a Copy, Bytes)>, recode_store::Error> {
    let mut damage = None;
    for copy in copies.iter().rev() {
        match store.get(&copy.artifact).await {
            Ok(file) => return Ok(Some((copy, file))),
            Err(error @ recode_store::Error::Damaged { .. }) => {
                tracing::warn!(%error, "a copy is damaged; the one before it is older");
                damage.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    damage.map_or(Ok(None), Err)
}
