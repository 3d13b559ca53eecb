//! Writing a Matroska file with one video track from blocks as they stand in the Source.

use super::ebml::{self, id, put, put_header};

/// EBML header, Segment, Info and Tracks, all verbatim but for the tracks that are left out. The Segment is of unknown
/// size, as in a live stream.
pub(crate) fn head(ebml: &[u8], info: &[u8], entry: &[u8]) -> Vec<u8> {
    let mut out = ebml.to_vec();
    out.extend_from_slice(&id::SEGMENT.to_be_bytes());
    out.extend_from_slice(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    out.extend_from_slice(info);
    put(&mut out, id::TRACKS, entry);
    out
}

/// Groups blocks into clusters again.
#[derive(Default)]
pub(crate) struct Clusters {
    time: i64,
    blocks: Vec<u8>,
}

impl Clusters {
    /// Adds a SimpleBlock or BlockGroup element whose time on the segment's clock is `at`. Returns the bytes of the
    /// cluster before it, if that is complete now. `None`: not such an element.
    pub(crate) fn add(&mut self, element: &[u8], at: i64) -> Option<Vec<u8>> {
        let time = at.checked_sub(i64::from(relative_time(element)?))?;
        let full = if time == self.time {
            Vec::new()
        } else {
            self.finish()
        };
        self.time = time;
        self.blocks.extend_from_slice(element);
        Some(full)
    }

    /// The bytes of the last cluster.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        if self.blocks.is_empty() {
            return Vec::new();
        }
        let mut content = Vec::with_capacity(self.blocks.len() + 32);
        put(&mut content, id::TIMESTAMP, &self.time.to_be_bytes());
        content.append(&mut self.blocks);
        let mut out = Vec::with_capacity(content.len() + 16);
        put_header(&mut out, id::CLUSTER, content.len() as u64);
        out.append(&mut content);
        out
    }
}

/// The time of a block relative to its cluster.
fn relative_time(element: &[u8]) -> Option<i16> {
    let (kind, content, _) = ebml::children(element).next()?;
    let block = match kind {
        id::SIMPLE_BLOCK => content,
        id::BLOCK_GROUP => ebml::child(content, id::BLOCK)?,
        _ => return None,
    };
    let (_, length, _) = ebml::vint(block)?;
    block
        .get(length..)?
        .first_chunk()
        .map(|time| i16::from_be_bytes(*time))
}

/// Header of a Matroska element that says nothing for `length` bytes. `None`: it would not fit.
pub(crate) fn void(length: u64) -> Option<Vec<u8>> {
    let content = length.checked_sub(9)?;
    let mut header = vec![0xec];
    header.extend_from_slice(&(content | 1 << 56).to_be_bytes());
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_spans_what_it_is_asked_to() {
        assert_eq!(void(8), None);
        assert_eq!(void(9), Some(vec![0xec, 1, 0, 0, 0, 0, 0, 0, 0]));
        let header = vec![0xec, 1, 0, 0, 0, 0, 0, 0x12, 0x34];
        assert_eq!(void(9 + 0x1234), Some(header));
    }
}
