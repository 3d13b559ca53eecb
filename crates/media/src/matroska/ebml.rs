//! EBML: the element structure of Matroska, read with bounds and written.

/// Elements this crate looks at.
pub(crate) mod id {
    pub(crate) const EBML: u32 = 0x1a45_dfa3;
    pub(crate) const SEGMENT: u32 = 0x1853_8067;
    pub(crate) const SEEK_HEAD: u32 = 0x114d_9b74;
    pub(crate) const SEEK: u32 = 0x4dbb;
    pub(crate) const SEEK_ID: u32 = 0x53ab;
    pub(crate) const SEEK_POSITION: u32 = 0x53ac;
    pub(crate) const INFO: u32 = 0x1549_a966;
    pub(crate) const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub(crate) const DURATION: u32 = 0x4489;
    pub(crate) const TRACKS: u32 = 0x1654_ae6b;
    pub(crate) const TRACK_ENTRY: u32 = 0xae;
    pub(crate) const TRACK_NUMBER: u32 = 0xd7;
    pub(crate) const TRACK_TYPE: u32 = 0x83;
    pub(crate) const CODEC_ID: u32 = 0x86;
    pub(crate) const CODEC_DELAY: u32 = 0x56aa;
    pub(crate) const DEFAULT_DURATION: u32 = 0x23_e383;
    pub(crate) const TRACK_TIMESTAMP_SCALE: u32 = 0x23_314f;
    pub(crate) const CONTENT_ENCODINGS: u32 = 0x6d80;
    pub(crate) const CUES: u32 = 0x1c53_bb6b;
    pub(crate) const CUE_POINT: u32 = 0xbb;
    pub(crate) const CUE_TIME: u32 = 0xb3;
    pub(crate) const CUE_TRACK_POSITIONS: u32 = 0xb7;
    pub(crate) const CUE_TRACK: u32 = 0xf7;
    pub(crate) const CUE_CLUSTER_POSITION: u32 = 0xf1;
    pub(crate) const CLUSTER: u32 = 0x1f43_b675;
    pub(crate) const TIMESTAMP: u32 = 0xe7;
    pub(crate) const SIMPLE_BLOCK: u32 = 0xa3;
    pub(crate) const BLOCK_GROUP: u32 = 0xa0;
    pub(crate) const BLOCK: u32 = 0xa1;
    pub(crate) const REFERENCE_BLOCK: u32 = 0xfb;
    pub(crate) const ATTACHMENTS: u32 = 0x1941_a469;
    pub(crate) const CHAPTERS: u32 = 0x1043_a770;
    pub(crate) const TAGS: u32 = 0x1254_c367;

    /// Elements that end a cluster of unknown size.
    pub(crate) fn is_top_level(id: u32) -> bool {
        matches!(
            id,
            CLUSTER
                | CUES
                | SEEK_HEAD
                | INFO
                | TRACKS
                | ATTACHMENTS
                | CHAPTERS
                | TAGS
                | SEGMENT
                | EBML
        )
    }
}

/// Longest header of an element: 4 bytes of ID and 8 of size.
pub(super) const LONGEST_HEADER: u64 = 12;

/// An element's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u32,
    /// Bytes of the header itself.
    pub(super) length: u64,
    /// Bytes of content; `None`: unknown.
    pub(super) size: Option<u64>,
}

/// A variable-length integer without its length marker, and its length. The second value says that all its bits are set.
pub(super) fn vint(bytes: &[u8]) -> Option<(u64, usize, bool)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let raw = bytes
        .get(..length)?
        .iter()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = (1u64 << (7 * length)) - 1;
    Some((raw & mask, length, raw & mask == mask))
}

/// The header at the start of `bytes`.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let (_, id_length, _) = vint(bytes)?;
    if id_length > 4 {
        return None;
    }
    let id = bytes[..id_length]
        .iter()
        .fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    let (size, size_length, unknown) = vint(&bytes[id_length..])?;
    Some(Header {
        id,
        length: (id_length + size_length) as u64,
        size: (!unknown).then_some(size),
    })
}

/// The child elements of `body` as (id, content, whole). Ends silently at the first thing that is none.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let header = header(rest)?;
        let length = header.length as usize;
        let size = usize::try_from(header.size?).ok()?;
        let (whole, tail) = rest.split_at_checked(length.checked_add(size)?)?;
        rest = tail;
        Some((header.id, &whole[length..], whole))
    })
}

/// The content of the first child with this ID.
pub(super) fn child(body: &[u8], wanted: u32) -> Option<&[u8]> {
    children(body)
        .find(|(id, _, _)| *id == wanted)
        .map(|(_, content, _)| content)
}

/// An unsigned integer element's value.
pub(super) fn unsigned(content: &[u8]) -> Option<u64> {
    (content.len() <= 8).then(|| {
        content
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    })
}

/// A float element's value.
pub(super) fn float(content: &[u8]) -> Option<f64> {
    match content.len() {
        0 => Some(0.0),
        4 => Some(f32::from_be_bytes(*content.first_chunk()?).into()),
        8 => Some(f64::from_be_bytes(*content.first_chunk()?)),
        _ => None,
    }
}

/// Appends an element.
pub(crate) fn put(out: &mut Vec<u8>, id: u32, content: &[u8]) {
    put_header(out, id, content.len() as u64);
    out.extend_from_slice(content);
}

/// Appends an element's header, with a size of eight bytes.
pub(crate) fn put_header(out: &mut Vec<u8>, id: u32, size: u64) {
    let id = id.to_be_bytes();
    let skip = id.iter().take_while(|byte| **byte == 0).count();
    out.extend_from_slice(&id[skip..]);
    out.extend_from_slice(&(1 << 56 | size).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_read_back_what_was_written() {
        let mut out = Vec::new();
        put(&mut out, id::TIMESTAMP, &[1, 2]);
        put(&mut out, id::CLUSTER, b"x");
        let all: Vec<_> = children(&out)
            .map(|(id, content, _)| (id, content))
            .collect();
        assert_eq!(
            all,
            [(id::TIMESTAMP, &[1u8, 2][..]), (id::CLUSTER, &b"x"[..])]
        );
        assert_eq!(unsigned(child(&out, id::TIMESTAMP).unwrap()), Some(258));
    }

    #[test]
    fn sizes_may_be_unknown_and_headers_cut() {
        let live = [
            0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        let header = super::header(&live).unwrap();
        assert_eq!(
            (header.id, header.length, header.size),
            (id::CLUSTER, 12, None)
        );
        assert_eq!(super::header(&live[..7]), None);
        assert_eq!(super::header(&[0]), None);
        assert_eq!(super::header(&[]), None);
    }
}
