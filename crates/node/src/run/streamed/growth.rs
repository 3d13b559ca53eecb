//! What is final of an Output that FFmpeg is still writing, and what has been seen of it before it goes.

use super::scan::{Fed, Scan};
use crate::run::shown::Shown;
use recode_media::bytes::Headed;
use recode_media::index::TrackIndex;
use recode_media::matroska::Growing;
use recode_media::mp4;
use recode_media::run::ChildUsage;
use recode_store::{Growth, Settled};
use recode_types::Container;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// What is known of one, by its container.
pub enum Grown {
    /// Behind its front an MP4 is final until its index comes, and the index says everything.
    Quicktime {
        /// Up to where it was final at the last look.
        settled: u64,
    },
    /// A Matroska file is final from its first cluster on, and what it shows is said nowhere but there.
    Matroska(Growing),
    /// All of an MPEG-TS is final, and goes when FFmpeg has read it.
    Ts(Fed),
}

/// An Output that FFmpeg has finished.
pub struct Finished {
    /// What the object will be.
    pub file: Headed,
    seen: Seen,
}

/// What is known of what it holds.
enum Seen {
    /// Its index is there.
    Index,
    /// All of its tracks.
    Tracks(Vec<TrackIndex>),
    /// The packets of one stream; `None`: nobody wanted them.
    Packets(Option<Scan>),
}

impl Grown {
    /// Of a file in which there is nothing yet.
    pub fn of(container: Container) -> Self {
        match container {
            Container::Mp4 | Container::Mov => Self::Quicktime { settled: 0 },
            Container::Mkv | Container::Webm => Self::Matroska(Growing::default()),
            Container::Ts => Self::Ts(Fed::default()),
        }
    }

    /// What has to be read to somebody before it goes.
    pub fn fed(&self) -> Option<Fed> {
        match self {
            Self::Ts(fed) => Some(fed.clone()),
            Self::Quicktime { .. } | Self::Matroska(_) => None,
        }
    }

    /// What it is, now that FFmpeg has ended. `scan`: what somebody has read of it.
    /// # Errors
    /// The file cannot be read. `InvalidData`: FFmpeg left no finished file.
    pub fn finish(&mut self, file: &Arc<File>, scan: Option<Scan>) -> io::Result<Finished> {
        let seen = match self {
            Self::Quicktime { .. } => {
                let file = mp4::index_first(file)?;
                let seen = Seen::Index;
                return Ok(Finished { file, seen });
            }
            Self::Matroska(growing) => Seen::Tracks(std::mem::take(growing).finish(file)?),
            Self::Ts(_) => Seen::Packets(scan),
        };
        let file = Headed {
            head: bytes::Bytes::new(),
            from: 0,
            end: file.metadata()?.len(),
            file: Arc::clone(file),
        };
        Ok(Finished { file, seen })
    }
}

impl Finished {
    /// When its pictures are shown.
    /// # Errors
    /// A sentence: it has none.
    pub async fn shown(&self) -> Result<Shown, String> {
        match &self.seen {
            Seen::Index => Shown::indexed(&self.file).await,
            Seen::Tracks(tracks) => Shown::of_tracks(tracks),
            Seen::Packets(Some(scan)) => Ok(Shown::scanned(scan.time_base, &scan.packets)),
            Seen::Packets(None) => Err("it has no video track".into()),
        }
    }

    /// How many packets FFmpeg finds in the video with this number. `None`: it can still be asked, as what it needs of the file is
    /// there.
    pub fn packets(&self, video: u32) -> Option<u64> {
        let count = match &self.seen {
            Seen::Index => return None,
            Seen::Tracks(tracks) => {
                let track = tracks.iter().find(|track| track.stream == video);
                track.map_or(0, |track| track.packets.len())
            }
            Seen::Packets(scan) => scan.as_ref().map_or(0, |scan| scan.packets.len()),
        };
        Some(count as u64)
    }

    /// What was used to find out.
    pub fn usage(&self) -> ChildUsage {
        match &self.seen {
            Seen::Packets(Some(scan)) => scan.usage,
            Seen::Packets(None) | Seen::Index | Seen::Tracks(_) => ChildUsage::default(),
        }
    }
}

impl Growth for Grown {
    fn settled(&mut self, file: &Arc<File>, size: u64) -> io::Result<Settled> {
        let (front, until, soon) = match self {
            Self::Quicktime { settled } => {
                // After the size was taken: the length of the media is filled in before the index is written.
                if mp4::takes_packets(file)? {
                    *settled = size;
                }
                (0, *settled, *settled)
            }
            Self::Matroska(growing) => match growing.look(file, size)? {
                Some(walked) => (walked.first_cluster, walked.until, walked.until),
                None => (0, 0, 0),
            },
            Self::Ts(fed) => (0, fed.until().min(size), size),
        };
        Ok(Settled { front, until, soon })
    }
}
