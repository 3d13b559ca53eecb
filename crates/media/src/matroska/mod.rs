//! Matroska and WebM.

use crate::bytes::ByteSource;
use crate::index::{Error, SourceIndex};

/// The first bytes of every Matroska file.
pub(crate) const EBML_MAGIC: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

/// Reads a Matroska index. See [`crate::index::read`].
pub(crate) async fn read(source: &dyn ByteSource) -> Result<Option<SourceIndex>, Error> {
    let _ = source;
    Ok(None)
}
