//! Random access to the bytes of a Source, wherever it is.
//!
//! Everything in this crate that reads an index or cuts a clip does so through [`ByteSource`], so local files, objects
//! and HTTP resources take one path. This module promises exact ranges or an error; it does not cache or retry.

use bytes::Bytes;
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A boxed future, so that [`ByteSource`] can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes that can be read by range.
pub trait ByteSource: Send + Sync {
    /// Length of the whole in bytes.
    fn size(&self) -> u64;

    /// Exactly the bytes of `range`.
    /// # Errors
    /// `UnexpectedEof` when the range ends beyond [`ByteSource::size`] or the Source has become shorter.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>>;

    /// A read costs a round trip: small reads are then joined, and nothing walks the file block by block.
    fn is_remote(&self) -> bool;
}

/// Reads up to this size are done in place: from the page cache they take less time than handing them to another
/// thread does.
const IN_PLACE_BYTES: u64 = 256 * 1024;

/// A local file. Reads by position, so it can be shared by any number of tasks.
pub struct FileSource {
    file: Arc<File>,
    size: u64,
    bytes_read: AtomicU64,
}

impl FileSource {
    /// Opens `path` for reading.
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(Self {
            file: Arc::new(file),
            size: meta.len(),
            bytes_read: AtomicU64::new(0),
        })
    }

    /// A file that somebody may be writing behind its first `size` bytes, as if it ended there.
    pub(crate) fn written(file: Arc<File>, size: u64) -> Self {
        Self {
            file,
            size,
            bytes_read: AtomicU64::new(0),
        }
    }

    /// How many bytes all reads so far have returned.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

/// A [`FileSource`] whose reads never leave the thread.
pub(crate) struct InPlace(FileSource);

impl FileSource {
    /// The same, as if it ended after `size` bytes: somebody may be writing behind them.
    pub(crate) fn until(self, size: u64) -> Self {
        let size = size.min(self.size);
        Self { size, ..self }
    }

    /// For callers that are no futures themselves.
    pub(crate) fn in_place(self) -> InPlace {
        InPlace(self)
    }
}

impl ByteSource for InPlace {
    fn size(&self) -> u64 {
        self.0.size
    }
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let bytes = if range.start <= range.end && range.end <= self.0.size {
            read_at(&self.0.file, range)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        Box::pin(std::future::ready(bytes))
    }
    fn is_remote(&self) -> bool {
        false
    }
}

fn read_at(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let mut buffer = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut buffer, range.start)?;
    Ok(buffer.into())
}

impl ByteSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            if range.start > range.end || range.end > self.size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let length = range.end - range.start;
            let bytes = match tokio::runtime::Handle::try_current() {
                Ok(runtime) if length > IN_PLACE_BYTES => {
                    let file = self.file.clone();
                    runtime
                        .spawn_blocking(move || read_at(&file, range))
                        .await
                        .map_err(io::Error::other)??
                }
                _ => read_at(&self.file, range)?,
            };
            self.bytes_read.fetch_add(length, Ordering::Relaxed);
            Ok(bytes)
        })
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// A file whose first bytes are replaced by others, and whose end may be left out: what it is once it is put together elsewhere.
#[derive(Clone, Debug)]
pub struct Headed {
    /// What comes first.
    pub head: Bytes,
    /// The file.
    pub file: Arc<File>,
    /// Where its bytes go on behind `head`.
    pub from: u64,
    /// Where they end.
    pub end: u64,
}

impl ByteSource for Headed {
    fn size(&self) -> u64 {
        self.head.len() as u64 + self.end.saturating_sub(self.from)
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let head = self.head.len() as u64;
        let read = || {
            if range.start > range.end || range.end > self.size() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            if range.end <= head {
                return Ok(self.head.slice(range.start as usize..range.end as usize));
            }
            let at = |n: u64| self.from + n.saturating_sub(head);
            let rest = read_at(&self.file, at(range.start)..at(range.end))?;
            match range.start < head {
                true => Ok([&self.head[range.start as usize..], &rest].concat().into()),
                false => Ok(rest),
            }
        };
        Box::pin(std::future::ready(read()))
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// Bytes in memory, for tests and for parts that were fetched already.
impl ByteSource for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let slice = (range.start <= range.end && range.end <= self.len() as u64)
            .then(|| self.slice(range.start as usize..range.end as usize))
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof));
        Box::pin(std::future::ready(slice))
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// A forward-moving view of a [`ByteSource`] that reads in windows, so that walking over headers costs few requests, and
/// no byte is read twice while the walk moves on.
pub(crate) struct Window<'a> {
    source: &'a dyn ByteSource,
    start: u64,
    bytes: Bytes,
    /// How much to read at least at once.
    step: u64,
    /// Where reading ahead stops: only bytes that are asked for are read beyond.
    limit: u64,
    bytes_read: u64,
}

impl<'a> Window<'a> {
    /// Reads at least `step` bytes at once.
    pub(crate) fn new(source: &'a dyn ByteSource, step: u64) -> Self {
        Self {
            source,
            start: 0,
            bytes: Bytes::new(),
            step,
            limit: u64::MAX,
            bytes_read: 0,
        }
    }

    /// Reads ahead in steps of `step`, up to `limit`.
    pub(crate) fn pace(&mut self, step: u64, limit: u64) {
        (self.step, self.limit) = (step, limit);
    }

    /// Bytes read from the source so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Up to `length` bytes from `at`; fewer only at the end of the source.
    pub(crate) async fn get(&mut self, at: u64, length: u64) -> io::Result<Bytes> {
        let size = self.source.size();
        let end = at.saturating_add(length).min(size);
        let at = at.min(end);
        let have = self.start..self.start + self.bytes.len() as u64;
        if at < have.start || end > have.end {
            let ahead = at.saturating_add(self.step).min(self.limit);
            let until = ahead.max(end).min(size);
            if have.contains(&at) {
                let fresh = self.source.read(have.end..until).await?;
                let kept = self.bytes.slice((at - have.start) as usize..);
                self.bytes_read += fresh.len() as u64;
                self.bytes = [kept, fresh].concat().into();
            } else {
                self.bytes = self.source.read(at..until).await?;
                self.bytes_read += self.bytes.len() as u64;
            }
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.slice(from..from + (end - at) as usize))
    }
}

/// Runs a future that never waits: one over [`InPlace`] or bytes in memory.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a future over local bytes does not wait"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_exact_ranges_and_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"0123456789").unwrap();
        let source = FileSource::open(&path).unwrap();
        assert_eq!(&ready(source.read(2..5)).unwrap()[..], b"234");
        assert_eq!(source.bytes_read(), 3);
        assert!(ready(source.read(8..11)).is_err());
        assert!(FileSource::open(dir.path()).is_err());
    }

    #[test]
    fn a_file_with_another_head_reads_as_one() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
        let source = Headed {
            head: Bytes::from_static(b"abcd"),
            file: Arc::new(file),
            from: 2,
            end: 9,
        };
        assert_eq!(source.size(), 11);
        for range in [0..11, 1..3, 2..4, 3..6, 4..11, 5..5] {
            let wanted = &b"abcd2345678"[range.start as usize..range.end as usize];
            assert_eq!(&ready(source.read(range)).unwrap()[..], wanted);
        }
        assert!(ready(source.read(8..12)).is_err());
    }

    #[test]
    fn a_window_reads_ahead_and_stops_at_the_end() {
        let source = Bytes::from_static(b"0123456789");
        let mut window = Window::new(&source, 4);
        assert_eq!(&ready(window.get(1, 2)).unwrap()[..], b"12");
        assert_eq!(&ready(window.get(3, 2)).unwrap()[..], b"34");
        assert_eq!(&ready(window.get(8, 9)).unwrap()[..], b"89");
        assert_eq!(ready(window.get(20, 1)).unwrap().len(), 0);
    }
}
