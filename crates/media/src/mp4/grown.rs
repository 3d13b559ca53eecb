//! Reading a Chunk while its encoder still writes it, in fragments.

use super::boxes::measure;
use super::chunk::{ChunkError, ChunkIndex, read_chunk_from};
use crate::bytes::FileSource;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The frames of all fragments that are whole so far; `None`: of none. A fragment ends before a key frame, or with the file.
/// # Errors
/// [`ChunkError`].
pub fn read_grown(path: &Path) -> Result<Option<ChunkIndex>, ChunkError> {
    let whole = whole_bytes(&File::open(path)?)?;
    if whole == 0 {
        return Ok(None);
    }
    let source = FileSource::open(path)?.until(whole).in_place();
    read_chunk_from(&source).map(Some)
}

/// Where the last fragment that is all there ends; 0: there is none.
fn whole_bytes(file: &File) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let (mut at, mut whole, mut described) = (0, 0, false);
    while at + 8 <= size {
        let mut start = vec![0; 16.min(size - at) as usize];
        file.read_exact_at(&mut start, at)?;
        let Some((kind, _, length)) = measure(&start, size - at) else {
            break;
        };
        at = at.saturating_add(length);
        if at > size {
            break;
        }
        match &kind {
            b"moof" => described = true,
            b"mdat" if described => (whole, described) = (at, false),
            _ => {}
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{put, put_u32};
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_fragment_counts_when_all_of_its_frames_are_there() {
        let boxed = |kind: &[u8; 4], bytes: usize| {
            let mut out = Vec::new();
            put(&mut out, kind, |out| out.resize(out.len() + bytes, 0));
            out
        };
        let mut file = tempfile::tempfile().unwrap();
        let mut expected = 0;
        let mut size = 0;
        for (kind, bytes) in [
            (b"ftyp", 8),
            (b"moov", 40),
            // Data that nothing describes.
            (b"mdat", 5),
            (b"moof", 30),
            (b"mdat", 100),
            (b"moof", 30),
            (b"mdat", 7),
            (b"mfra", 3),
        ] {
            for piece in boxed(kind, bytes).chunks(6) {
                assert_eq!(whole_bytes(&file).unwrap(), expected);
                file.write_all(piece).unwrap();
                size += piece.len() as u64;
            }
            if kind == b"mdat" && bytes != 5 {
                expected = size;
            }
        }
        assert!(expected > 0);
        assert_eq!(whole_bytes(&file).unwrap(), expected);
        let mut rubbish = Vec::new();
        put_u32(&mut rubbish, 3);
        file.write_all(&rubbish).unwrap();
        file.write_all(b"junk").unwrap();
        assert_eq!(whole_bytes(&file).unwrap(), expected);
    }
}
