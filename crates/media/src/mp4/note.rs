//! Boxes of our own at the end of an MP4 file: what we know of it beside what players read. They skip such boxes.

use super::boxes::{measure, put};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Appends a box of this kind.
/// # Errors
/// What the operating system says.
pub fn append(path: &Path, kind: &[u8; 4], body: &[u8]) -> std::io::Result<()> {
    let mut boxed = Vec::with_capacity(8 + body.len());
    put(&mut boxed, kind, |out| out.extend_from_slice(body));
    let mut file = File::options().append(true).open(path)?;
    file.write_all(&boxed)
}

/// The content of the first box of this kind; `None`: there is none that is whole.
/// # Errors
/// What the operating system says.
pub fn read(path: &Path, kind: &[u8; 4]) -> std::io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let Some((at, header, length)) = place(&file, kind)? else {
        return Ok(None);
    };
    let mut body = vec![0; (length - header) as usize];
    file.read_exact_at(&mut body, at + header)?;
    Ok(Some(body))
}

/// Where the first box of this kind begins, and the lengths of its header and of all of it; `None`: there is none that is whole.
pub(super) fn place(file: &File, kind: &[u8; 4]) -> std::io::Result<Option<(u64, u64, u64)>> {
    let size = file.metadata()?.len();
    let mut at = 0;
    while at + 8 <= size {
        let mut start = vec![0; 16.min(size - at) as usize];
        file.read_exact_at(&mut start, at)?;
        let Some((found, header, length)) = measure(&start, size - at) else {
            break;
        };
        if &found == kind && length <= size - at {
            return Ok(Some((at, header, length)));
        }
        at = at.saturating_add(length);
    }
    Ok(None)
}
