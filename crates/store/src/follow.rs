//! Uploads a file while somebody else still writes it, and gives back the room of what has been sent.
//!
//! ```text
//!   0        front          sent           settled      size
//!   |~~~~~~~~~~|..............|==============|- - - - - - |
//!     kept       holes          sent next      may change
//! ```
//!
//! What is written twice lies at the front, and where that ends is known when the first part is sent: it is kept, and sent last, under part numbers that were left free for it. What
//! comes behind it is sent as soon as a [`Growth`] says that it is settled, and then becomes a hole. So the disk holds the
//! front and a few parts, however long the file becomes.
//!
//! The digest of the whole is not known when the upload begins, and cannot be had in one pass, as the front comes last. The
//! object is told from others by a mark that no other upload has, or by the digests of its parts.

use crate::error::Error;
use crate::local::{self, blocking};
use crate::objects::{
    Content, MOST_PARTS, Objects, PART, PARTS_IN_FLIGHT, PartDigest, Upload, Written, marked,
    part_size,
};
use crate::ranges;
use crate::uploads::Ledger;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use object_store::multipart::PartId;
use recode_types::Digest;
use rustix::fs::FallocateFlags;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a growing file is looked at: a fast disk takes a few megabytes meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What is known of a file while it grows.
pub trait Growth: Send {
    /// How much of a file that has `size` bytes now may be sent.
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    fn settled(&mut self, file: &Arc<File>, size: u64) -> io::Result<Settled>;
}

/// How much of a growing file may be sent.
/// # Shape
/// `front` is what it is as soon as `until` is more than it; `until` never becomes less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What lies before this may change. More parts than the [`Layout`] says are kept where it ends behind them.
    pub front: u64,
    /// Nothing between the front and here will change, and nobody else needs it.
    pub until: u64,
    /// `until` comes to this even if nothing more is written. It is no less.
    pub soon: u64,
}

/// How a file is cut into parts.
/// # Shape
/// `front_parts` parts, then any number of `part_bytes` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a part.
    pub part_bytes: u64,
    /// Parts that are sent last, or more ([`Settled::front`]).
    pub front_parts: u32,
}

impl Layout {
    /// For a file of about so many bytes, of which the first `front` are written again, or come to so much more.
    ///
    /// Parts of the front are at least as large as all others then, and at most twice that.
    pub fn of(expected_bytes: u64, front: u64) -> Self {
        let part_bytes = part_size(expected_bytes.saturating_mul(2)).max(PART);
        Self {
            part_bytes,
            front_parts: u32::try_from(front.div_ceil(part_bytes)).unwrap_or(u32::MAX),
        }
    }

    /// Bytes of the file that are kept until the end.
    pub fn front_bytes(&self) -> u64 {
        self.part_bytes * u64::from(self.front_parts)
    }

    /// Bytes behind the front that are held while they are sent, where nobody is slow.
    pub fn moving_bytes(&self) -> u64 {
        self.part_bytes * PARTS_IN_FLIGHT as u64
    }
}

/// What the object is in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// What it begins with, in the place of the file's first bytes.
    pub head: Bytes,
    /// Where the file's bytes go on behind that: in the front.
    pub from: u64,
    /// Where they end.
    pub end: u64,
}

impl Ending {
    /// Its length.
    pub fn size_bytes(&self) -> u64 {
        self.head.len() as u64 + self.end.saturating_sub(self.from)
    }
}

/// An upload under way. Dropping it leaves the upload to the sweeper; see [`Follower::abort`].
pub struct Follower {
    upload: Arc<Upload>,
    mark: String,
    file: Arc<File>,
    path: Arc<PathBuf>,
    layout: Layout,
    /// Where the next part begins.
    next: u64,
    /// Bytes behind the front that are holes.
    gone: u64,
    sending: FuturesUnordered<BoxFuture<'static, Result<Sent, Error>>>,
    sent: BTreeMap<u64, Sent>,
}

/// A part that has arrived.
struct Sent {
    number: u64,
    /// Of the file; `None`: of the front.
    range: Option<Range<u64>>,
    id: PartId,
    digest: PartDigest,
}

impl Follower {
    /// Begins. `None`: the file system of `path` makes no holes, and nothing would be won.
    pub(crate) async fn begin(
        objects: &Objects,
        key: &str,
        path: &Path,
        layout: Layout,
        ledger: Option<&Ledger>,
    ) -> Result<Option<Self>, Error> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(|e| Error::io("open", path, e))?;
        if let Err(error) = punch(&file, &(0..PART)) {
            tracing::info!(%error, "an output is not sent while it is made: its scratch makes no holes");
            return Ok(None);
        }
        let mark = format!("{}-{:016x}", local::unique_suffix(), fastrand::u64(..));
        let upload = objects.begin_upload(key, marked(&mark), ledger).await?;
        Ok(Some(Self {
            upload: Arc::new(upload),
            mark,
            file: Arc::new(file),
            path: Arc::new(path.to_owned()),
            layout,
            next: layout.front_bytes(),
            gone: 0,
            sending: FuturesUnordered::new(),
            sent: BTreeMap::new(),
        }))
    }

    /// How the file is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The file. Ranges that have been sent read as zeroes.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Sends what settles, for as long as it is polled. `on_backlog` hears again and again how many bytes that can be
    /// sent are on the disk, and how long the file was when they were counted: whoever makes them should wait while they are many.
    /// Others do not count, since waiting does not make them fewer.
    ///
    /// # Errors
    /// A part could not be sent, or the file not be read: call [`Follower::abort`].
    /// # Cancel safety
    /// Parts that are on their way go on when the Output is committed.
    pub async fn run(
        &mut self,
        growth: &mut dyn Growth,
        mut on_backlog: impl FnMut(u64, u64),
    ) -> Result<Infallible, Error> {
        loop {
            let failed = |e| Error::io("read", &self.path, e);
            let size = self.file.metadata().map_err(failed)?.len();
            let settled = growth.settled(&self.file, size).map_err(failed)?;
            self.keep(settled.front);
            while self.sending.len() < PARTS_IN_FLIGHT
                && self.next + self.layout.part_bytes <= settled.until
            {
                self.send_next(self.next + self.layout.part_bytes)?;
            }
            let behind = settled.soon.saturating_sub(self.layout.front_bytes());
            on_backlog(behind.saturating_sub(self.gone), size);
            tokio::select! {
                Some(sent) = self.sending.next() => self.arrived(sent?),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Makes the front so long, as long as nothing behind it has been sent.
    fn keep(&mut self, front: u64) {
        let layout = &mut self.layout;
        if self.next == layout.front_bytes() && front > self.next {
            let parts = front.div_ceil(layout.part_bytes);
            layout.front_parts = u32::try_from(parts).unwrap_or(u32::MAX);
            self.next = layout.front_bytes();
        }
    }

    /// Sends the part that ends at `end`.
    fn send_next(&mut self, end: u64) -> Result<(), Error> {
        let range = self.next..end;
        let before = (self.next - self.layout.front_bytes()) / self.layout.part_bytes;
        let number = u64::from(self.layout.front_parts) + before;
        if number >= MOST_PARTS {
            return Err(Error::Other {
                what: format!("sending {} while it is made", self.upload.name()),
                detail: "it is more than twice as long as expected".into(),
            });
        }
        let bytes = Piece::File(range.clone());
        self.send(number, bytes, Some(range));
        self.next = end;
        Ok(())
    }

    fn send(&mut self, number: u64, piece: Piece, range: Option<Range<u64>>) {
        let (upload, file, path) = (self.upload.clone(), self.file.clone(), self.path.clone());
        self.sending.push(Box::pin(async move {
            let read = {
                let (file, path) = (file.clone(), path.clone());
                blocking(move || {
                    let bytes = piece.read(&file);
                    let bytes = bytes.map_err(|e| Error::io("read", &path, e))?;
                    let digest = Digest::of(&bytes);
                    Ok((bytes, digest))
                })
            };
            let (bytes, digest) = read.await?;
            let size = bytes.len() as u64;
            let id = upload.put_part(number as usize, bytes).await?;
            if let Some(range) = range.clone() {
                // Some file systems write a range before they make it a hole, which takes as long as the disk takes.
                let punched =
                    move || punch(&file, &range).map_err(|e| Error::io("make room in", &path, e));
                blocking(punched).await?;
            }
            Ok(Sent {
                number,
                range,
                id,
                digest: PartDigest { size, digest },
            })
        }));
    }

    fn arrived(&mut self, sent: Sent) {
        self.gone += sent
            .range
            .as_ref()
            .map_or(0, |range| range.end - range.start);
        self.sent.insert(sent.number, sent);
    }

    /// Sends the rest and makes it an object of its own. With `create_only` an object that is there is left alone.
    pub(crate) async fn finish(
        mut self,
        ending: &Ending,
        create_only: bool,
    ) -> Result<(Written, u64), Error> {
        if let Err(e) = self.send_rest(ending).await {
            self.abort().await;
            return Err(e);
        }
        let size = ending.size_bytes();
        let sent = std::mem::take(&mut self.sent);
        let (parts, ids) = sent
            .into_values()
            .map(|sent| (sent.digest, sent.id))
            .unzip();
        let content = Content::Parts {
            mark: self.mark.clone(),
            parts,
        };
        let written = self.upload.complete(ids, size, &content, create_only);
        Ok((written.await?, size))
    }

    async fn send_rest(&mut self, ending: &Ending) -> Result<(), Error> {
        let front = self.layout.front_bytes();
        let overtaken = self.next > front && ending.end < self.next;
        if overtaken || ending.from > ending.end || (ending.from > front && self.next > front) {
            return Err(Error::Other {
                what: format!("sending {} while it was made", self.upload.name()),
                detail: "bytes that were sent turned out to be none of it".into(),
            });
        }
        while self.next < ending.end {
            let end = ending.end.min(self.next + self.layout.part_bytes);
            self.send_next(end)?;
            self.make_way(PARTS_IN_FLIGHT).await?;
        }
        let head = ending.head.len() as u64;
        let in_front = front.min(ending.end).saturating_sub(ending.from);
        let pieces = front_pieces(head + in_front, &self.layout, ending.end > front);
        for (number, range) in pieces.into_iter().enumerate() {
            let of_head = range.start.min(head) as usize..range.end.min(head) as usize;
            let at = |n: u64| ending.from + n.saturating_sub(head);
            let piece = Piece::Front(ending.head.slice(of_head), at(range.start)..at(range.end));
            self.send(number as u64, piece, None);
            self.make_way(PARTS_IN_FLIGHT).await?;
        }
        self.make_way(1).await
    }

    /// Waits until fewer than so many parts are on their way.
    async fn make_way(&mut self, fewer_than: usize) -> Result<(), Error> {
        while self.sending.len() >= fewer_than {
            match self.sending.next().await {
                Some(sent) => self.arrived(sent?),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Gives the upload up and throws away what was sent.
    pub async fn abort(self) {
        // A part that arrives after its upload was given up would stay.
        drop(self.sending);
        self.upload.abort().await;
    }
}

/// Where a part's bytes come from.
enum Piece {
    File(Range<u64>),
    /// Some bytes, and then some of the file.
    Front(Bytes, Range<u64>),
}

impl Piece {
    fn read(self, file: &File) -> io::Result<Bytes> {
        let (mut bytes, range) = match self {
            Piece::File(range) => (Vec::new(), range),
            Piece::Front(head, range) => (head.to_vec(), range),
        };
        let before = bytes.len();
        bytes.resize(before + (range.end - range.start) as usize, 0);
        file.read_exact_at(&mut bytes[before..], range.start)?;
        Ok(bytes.into())
    }
}

/// The front of an object, `size` bytes, in parts: as many as were left free for it, or as few as it takes where no part
/// comes after them. Pure.
fn front_pieces(size: u64, layout: &Layout, followed: bool) -> Vec<Range<u64>> {
    match followed {
        true if layout.front_parts == 0 => Vec::new(),
        true => ranges::split(0..size, size.div_ceil(u64::from(layout.front_parts))),
        false => ranges::split(0..size, layout.part_bytes),
    }
}

/// Gives back the room of some bytes.
fn punch(file: &File, range: &Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(
        file,
        flags,
        range.start,
        range.end - range.start,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_front_fills_the_parts_that_were_left_free_for_it() {
        for (front, index) in [
            (1, 1),
            (PART, PART),
            (PART + 1, 5 * MIB),
            (60 * MIB, 60 * MIB),
        ] {
            let layout = Layout::of(1 << 30, front);
            let pieces = front_pieces(layout.front_bytes() + index, &layout, true);
            assert_eq!(pieces.len(), layout.front_parts as usize, "{front}");
            for piece in &pieces {
                let size = piece.end - piece.start;
                assert!((PART..=2 * PART).contains(&size), "{front}: {size}");
            }
            assert_eq!(pieces.last().unwrap().end, layout.front_bytes() + index);
        }
        let none = Layout::of(1 << 30, 0);
        assert_eq!(front_pieces(0, &none, true), []);
        // A file that ends in its front.
        let layout = Layout::of(1 << 30, 3 * PART);
        assert_eq!(
            front_pieces(PART + 5, &layout, false),
            [0..PART, PART..PART + 5]
        );
    }

    #[test]
    fn no_file_as_long_as_expected_needs_more_parts_than_s3_allows() {
        for expected in [0, PART, 80 << 30, 1 << 40, 2 << 40] {
            let layout = Layout::of(expected, 20 * MIB);
            let parts = expected.div_ceil(layout.part_bytes) + u64::from(layout.front_parts);
            assert!(parts <= MOST_PARTS, "{expected}: {parts}");
            assert!(layout.part_bytes >= PART && layout.part_bytes.is_multiple_of(MIB));
        }
    }
}
