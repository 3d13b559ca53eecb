//! What is final of an Output that FFmpeg is still writing, and what has been seen of it before it goes.

use crate::run::shown::Shown;
use recode_media::bytes::Headed;
use recode_media::matroska::Growing;
use recode_media::mp4;
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
}

impl Grown {
    /// Of a file in which there is nothing yet. `None`: such a container has to be whole.
    pub fn of(container: Container) -> Option<Self> {
        match container {
            Container::Mp4 | Container::Mov => Some(Self::Quicktime { settled: 0 }),
            Container::Mkv | Container::Webm => Some(Self::Matroska(Growing::default())),
            Container::Ts => None,
        }
    }

    /// What the object will be and what it shows, now that FFmpeg has ended.
    /// # Errors
    /// The file cannot be read. `InvalidData`: FFmpeg left no finished file.
    pub async fn finish(&mut self, file: &Arc<File>) -> io::Result<(Headed, Shown)> {
        match self {
            Self::Quicktime { .. } => {
                let finished = mp4::index_first(file)?;
                let shown = Shown::indexed(&finished).await;
                let shown = shown.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                Ok((finished, shown))
            }
            Self::Matroska(growing) => {
                let track = std::mem::take(growing).finish(file)?;
                Ok((as_it_is(file)?, Shown::of_track(&track)))
            }
        }
    }
}

fn as_it_is(file: &Arc<File>) -> io::Result<Headed> {
    Ok(Headed {
        head: bytes::Bytes::new(),
        from: 0,
        end: file.metadata()?.len(),
        file: Arc::clone(file),
    })
}

impl Growth for Grown {
    fn settled(&mut self, file: &Arc<File>, size: u64) -> io::Result<Settled> {
        match self {
            Self::Quicktime { settled } => {
                // After the size was taken: the length of the media is filled in before the index is written.
                if mp4::takes_packets(file)? {
                    *settled = size;
                }
                Ok(Settled {
                    front: 0,
                    until: *settled,
                    soon: *settled,
                })
            }
            Self::Matroska(growing) => {
                let walked = growing.look(file, size)?;
                Ok(walked.map_or_else(Settled::default, |walked| Settled {
                    front: walked.first_cluster,
                    until: walked.until,
                    soon: walked.until,
                }))
            }
        }
    }
}
