//! Walking over clusters from block to block, reading headers and skipping what they hold.

use super::ebml::{self, LONGEST_HEADER, id};
use crate::bytes::Window;
use std::io;
use std::ops::Range;

/// One block of any track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The whole SimpleBlock or BlockGroup element.
    pub(crate) element: Range<u64>,
    /// What lies behind the block's own header: frames, with their lacing if there is any.
    pub(crate) payload: Range<u64>,
    pub(crate) track: u64,
    /// Ticks of the segment.
    pub(crate) cluster_time: i64,
    /// Relative to the cluster.
    pub(crate) time: i16,
    pub(crate) key: bool,
    pub(crate) laced: bool,
}

impl Block {
    /// Ticks of the segment.
    pub(crate) fn at(&self) -> i64 {
        self.cluster_time.saturating_add(i64::from(self.time))
    }
}

/// Where the walk stands.
pub(crate) struct Walker<'a> {
    pub(crate) window: Window<'a>,
    at: u64,
    /// One past the last byte that may hold clusters.
    end: u64,
    cluster: Option<Cluster>,
}

/// Where a walk was left, to go on there when there is more of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Where the next element begins: the walk needs nothing before it.
    pub(crate) at: u64,
    cluster: Option<Cluster>,
}

impl Place {
    /// At a top-level element.
    pub(crate) fn between_clusters(at: u64) -> Self {
        Self { at, cluster: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// First byte behind its header.
    start: u64,
    /// `None`: unknown, until the next top-level element.
    end: Option<u64>,
    time: Option<i64>,
}

/// What is met next.
pub(crate) enum Met {
    Block(Block),
    /// An element between clusters, already skipped.
    Other,
    End,
}

impl<'a> Walker<'a> {
    /// Starts at a top-level element at `at`; nothing at or beyond `end` is looked at.
    pub(crate) fn new(window: Window<'a>, at: u64, end: u64) -> Self {
        Self {
            window,
            at,
            end,
            cluster: None,
        }
    }

    /// Starts at an element inside a cluster. The times of its blocks are not known and count from 0.
    pub(crate) fn inside_cluster(window: Window<'a>, at: u64, end: u64) -> Self {
        Self {
            cluster: Some(Cluster {
                start: at,
                end: None,
                time: Some(0),
            }),
            ..Self::new(window, at, end)
        }
    }

    /// Goes on at `place`.
    pub(crate) fn resume(window: Window<'a>, place: Place, end: u64) -> Self {
        Self {
            cluster: place.cluster,
            ..Self::new(window, place.at, end)
        }
    }

    /// Where to go on.
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.at,
            cluster: self.cluster,
        }
    }

    /// What lies behind the header of the cluster of the block that was met last. `None`: its size is not known.
    pub(crate) fn cluster(&self) -> Option<Range<u64>> {
        self.cluster
            .and_then(|cluster| Some(cluster.start..cluster.end?))
    }

    /// Where the next element begins.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next block. `None` at the end, and where the file is damaged or cut off: FFmpeg would search for the next
    /// intact cluster there, so the caller has to be careful with what follows.
    pub(crate) async fn block(&mut self) -> io::Result<Option<Block>> {
        loop {
            match self.step().await? {
                Met::Block(block) => return Ok(Some(block)),
                Met::Other => {}
                Met::End => return Ok(None),
            }
        }
    }

    async fn step(&mut self) -> io::Result<Met> {
        if let Some(cluster) = self.cluster
            && cluster.end.is_some_and(|end| self.at >= end)
        {
            self.cluster = None;
        }
        if self.at >= self.end {
            return Ok(Met::End);
        }
        let start = self.window.get(self.at, LONGEST_HEADER).await?;
        let Some(header) = ebml::header(&start) else {
            return Ok(Met::End);
        };
        let content = self.at + header.length;
        let size = header.size;
        if id::is_top_level(header.id) {
            if header.id == id::CLUSTER {
                self.cluster = Some(Cluster {
                    start: content,
                    end: size.map(|size| content.saturating_add(size)),
                    time: None,
                });
                self.at = content;
                return Ok(Met::Other);
            }
            self.cluster = None;
        }
        // Only clusters may be of unknown size here.
        let Some(end) = size.and_then(|size| content.checked_add(size)) else {
            return Ok(Met::End);
        };
        if end > self.end {
            return Ok(Met::End);
        }
        let whole = self.at..end;
        self.at = end;
        let Some(cluster) = self.cluster.as_mut() else {
            return Ok(Met::Other);
        };
        match header.id {
            id::TIMESTAMP => {
                let bytes = self.window.get(content, end - content).await?;
                cluster.time = ebml::unsigned(&bytes).and_then(|time| i64::try_from(time).ok());
                Ok(Met::Other)
            }
            id::SIMPLE_BLOCK => {
                let Some(time) = cluster.time else {
                    return Ok(Met::End);
                };
                let start = self
                    .window
                    .get(content, (end - content).min(BLOCK_HEADER))
                    .await?;
                Ok(parse(&start, whole, content..end, time, None))
            }
            id::BLOCK_GROUP => {
                let Some(time) = cluster.time else {
                    return Ok(Met::End);
                };
                self.group(whole, content..end, time).await
            }
            _ => Ok(Met::Other),
        }
    }

    async fn group(
        &mut self,
        whole: Range<u64>,
        content: Range<u64>,
        time: i64,
    ) -> io::Result<Met> {
        let mut at = content.start;
        let mut block = None;
        let mut key = true;
        while at < content.end {
            let start = self.window.get(at, LONGEST_HEADER).await?;
            let Some(header) = ebml::header(&start) else {
                return Ok(Met::End);
            };
            let from = at + header.length;
            let end = header.size.and_then(|size| from.checked_add(size));
            let Some(end) = end.filter(|end| *end <= content.end) else {
                return Ok(Met::End);
            };
            match header.id {
                // Looked at now, since the window does not move backwards for nothing.
                id::BLOCK => {
                    let start = self
                        .window
                        .get(from, (end - from).min(BLOCK_HEADER))
                        .await?;
                    block = Some((from..end, start));
                }
                id::REFERENCE_BLOCK => key = false,
                _ => {}
            }
            at = end;
        }
        match block {
            Some((block, start)) => Ok(parse(&start, whole, block, time, Some(key))),
            None => Ok(Met::Other),
        }
    }
}

/// Track number (up to 8 bytes), time and flags.
const BLOCK_HEADER: u64 = 11;

/// The block with content at `content` that begins with `start`.
fn parse(
    start: &[u8],
    element: Range<u64>,
    content: Range<u64>,
    cluster_time: i64,
    key: Option<bool>,
) -> Met {
    let parsed = ebml::vint(start).and_then(|(track, length, _)| {
        let rest = start.get(length..)?.first_chunk::<3>()?;
        Some((track, length as u64 + 3, *rest))
    });
    let Some((track, length, [high, low, flags])) = parsed else {
        return Met::End;
    };
    Met::Block(Block {
        element,
        payload: content.start + length..content.end,
        track,
        cluster_time,
        time: i16::from_be_bytes([high, low]),
        key: key.unwrap_or(flags & 0x80 != 0),
        laced: flags & 0x06 != 0,
    })
}
