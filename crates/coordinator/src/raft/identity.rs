//! Who a coordinator is: written once into its data folder, before it takes part in anything.

use super::type_config::CoordinatorId;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

const NAME: &str = "identity.json";

/// A name for a cluster that no other has.
pub fn new_cluster() -> String {
    format!("{:032x}", recode_types::JobId::generate().0)
}

/// Cluster, number and address of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its number there; never another's, also not after it is gone.
    pub id: CoordinatorId,
}

impl Identity {
    /// What is written in `dir`; `None`: nothing yet.
    /// # Errors
    /// What the disk said, or `InvalidData`.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(dir.join(NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{NAME} is damaged: {e}"),
                )
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes it durably: a coordinator that forgot who it is could vote twice.
    /// # Errors
    /// What the disk said.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let part = dir.join(format!("{NAME}.part"));
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec_pretty(self).expect("plain data always serialises"))?;
        file.sync_all()?;
        std::fs::rename(&part, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    }
}
