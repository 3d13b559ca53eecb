//! Bounds-checked reading of ISO base media boxes, and writing them.

/// A cursor over bytes that answers `None` instead of reading beyond the end.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
    pub(crate) fn fourcc(&mut self) -> Option<[u8; 4]> {
        self.array()
    }
    /// Version and flags of a full box.
    pub(crate) fn full(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some(((word >> 24) as u8, word & 0xff_ffff))
    }
    /// A 32-bit count of entries of `size` bytes each, refused when they are not all there.
    pub(crate) fn count(&mut self, size: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }
}

/// A box: its type, its content, and the whole with its header.
#[derive(Clone, Copy)]
pub(crate) struct Box<'a> {
    pub(crate) kind: [u8; 4],
    pub(crate) body: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The length of a box header and of the whole box, from the box's first (up to 16) bytes and what remains after them.
/// `None`: not a box.
pub(crate) fn measure(start: &[u8], remaining: u64) -> Option<([u8; 4], u64, u64)> {
    let mut cursor = Cursor(start);
    let short = cursor.u32()?;
    let kind = cursor.fourcc()?;
    let (header, size) = match short {
        0 => (8, remaining),
        1 => (16, cursor.u64()?),
        n => (8, u64::from(n)),
    };
    (size >= header).then_some((kind, header, size))
}

/// The child boxes of `body`. Ends silently at the first thing that is no box.
pub(crate) fn children(body: &[u8]) -> impl Iterator<Item = Box<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (kind, header, size) = measure(rest, rest.len() as u64)?;
        // A last box that claims more than there is ends where its parent does, as FFmpeg reads it.
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let (whole, tail) = rest.split_at(size);
        rest = tail;
        Some(Box {
            kind,
            body: whole.get(header as usize..)?,
            whole,
        })
    })
}

/// The first child of type `kind`.
pub(crate) fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<Box<'a>> {
    children(body).find(|b| &b.kind == kind)
}

/// Appends a box whose content `fill` writes.
/// # Panics
/// When the content is 4 GiB or more: only `mdat` may be, and it has a writer of its own.
pub(crate) fn put(out: &mut Vec<u8>, kind: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    fill(out);
    let size = u32::try_from(out.len() - at).expect("index boxes stay below 4 GiB");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a full box.
pub(crate) fn put_full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    put(out, kind, |out| {
        put_u32(out, u32::from(version) << 24 | flags);
        fill(out);
    });
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_read_back_what_was_written() {
        let mut out = Vec::new();
        put(&mut out, b"moov", |out| {
            put_full(out, b"mvhd", 1, 7, |out| put_u64(out, 99));
            put(out, b"free", |_| {});
        });
        let moov = child(&out, b"moov").unwrap();
        let kinds: Vec<_> = children(moov.body).map(|b| b.kind).collect();
        assert_eq!(kinds, [*b"mvhd", *b"free"]);
        let mut cursor = Cursor(child(moov.body, b"mvhd").unwrap().body);
        assert_eq!(cursor.full(), Some((1, 7)));
        assert_eq!(cursor.u64(), Some(99));
        assert_eq!(cursor.array::<1>(), None);
    }

    #[test]
    fn counts_beyond_the_box_are_refused() {
        assert_eq!(Cursor(&[0, 0, 0, 2, 1, 2, 3]).count(4), None);
        assert_eq!(Cursor(&[0xff, 0xff, 0xff, 0xff]).count(usize::MAX), None);
    }
}
