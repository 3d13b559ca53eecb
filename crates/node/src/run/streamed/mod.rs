//! A large Output that does not stay on this machine is sent while FFmpeg writes it, so that scratch holds a few parts of it
//! and never the whole.
//!
//! [`Size::layout`] decides, without IO.

mod growth;
mod scan;
mod watch;

use super::{Cut, failure, from_store, resources};
use growth::{Finished, Grown};
use recode_media::run::Brake;
use recode_media::toolchain::Ffmpeg;
use recode_store::{Ending, Follower, Layout, Location, Publication};
use recode_types::request::OutputRequest;
use recode_types::task::{ChunkFacts, Failure, FailureClass, StitchWork};
use recode_types::{Container, SourceFacts};
use scan::Scan;
use std::io;
use std::sync::Arc;
use watch::Watch;

/// Outputs of this size are large on any node.
const LARGE: u64 = 512 << 20;

/// And those that would take more than one part in so many of what a node may use of scratch.
const PART_OF_BUDGET: u64 = 4;

/// What an index usually says of one packet: how long it is, when it is shown and decoded, and where it is where none of its
/// track lies beside it. An index that is larger makes its parts larger, and nothing else.
const INDEX_PACKET: u64 = 24;

/// Pictures of a second where nobody has counted them.
const PICTURES: u64 = 60;

/// Packets of a second of sound.
const SOUND_PACKETS: u64 = 50;

/// What is in an index besides, and comes first in a file whose index is elsewhere: covers, titles, descriptions.
const INDEX_HEAD: u64 = 1 << 20;

/// Parts that may lie there settled besides those that are being sent.
const PARTS_AHEAD: u64 = 1;

/// Parts that FFmpeg may write before it stands still.
const PARTS_BEYOND: u64 = 1;

/// How large an Output is likely to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// All of it.
    pub bytes: u64,
    /// Its index, where that comes first.
    pub index_bytes: u64,
}

impl Size {
    /// From what goes into it.
    pub fn of(facts: &SourceFacts, work: &StitchWork, chunks: &[ChunkFacts]) -> Self {
        let video: u64 = chunks.iter().map(|chunk| chunk.artifact.size_bytes).sum();
        let whole = work.whole.iter().map(|(_, artifact)| artifact.size_bytes);
        let sound = work.audio.as_ref().map_or(0, |audio| audio.size_bytes);
        let frames: u64 = chunks.iter().map(|chunk| u64::from(chunk.frames)).sum();
        let us = work.duration_us.or(facts.duration_us).unwrap_or(0).max(0);
        let others = facts.tracks.len().saturating_sub(1) as u64;
        let packets = frames + others * (us as u64 / 1_000_000 + 1) * SOUND_PACKETS;
        Self {
            bytes: video + whole.sum::<u64>() + sound,
            index_bytes: INDEX_HEAD + packets * INDEX_PACKET,
        }
    }

    /// Of a copy, from what it is a copy of.
    pub fn of_copy(facts: &SourceFacts, cut: Cut) -> Self {
        let whole = facts.duration_us.unwrap_or(0).max(0) as u64;
        let us = cut.duration_us.map_or(whole, |us| us.max(0) as u64);
        let part = |bytes: u64| match us < whole {
            true => (u128::from(bytes) * u128::from(us) / u128::from(whole)) as u64,
            false => bytes,
        };
        let packets = PICTURES + facts.tracks.len() as u64 * SOUND_PACKETS;
        Self {
            bytes: part(facts.identity.size_bytes),
            index_bytes: INDEX_HEAD + (us / 1_000_000 + 1) * packets * INDEX_PACKET,
        }
    }

    /// How an Output of this size is sent while it is made, on a node that may use so much of scratch. `None`: it is
    /// small, or stays here.
    pub fn layout(&self, output: &OutputRequest, budget_bytes: Option<u64>) -> Option<Layout> {
        let front_bytes = match output.container {
            Container::Mp4 | Container::Mov => self.index_bytes,
            Container::Mkv | Container::Webm => INDEX_HEAD,
            Container::Ts => 0,
        };
        let remote = Location::parse(&output.url).is_ok_and(|location| !location.is_local());
        let layout = Layout::of(self.bytes, front_bytes);
        let share = budget_bytes.map_or(u64::MAX, |bytes| bytes / PART_OF_BUDGET);
        let large = self.bytes >= LARGE.min(share) && self.bytes >= 2 * held_bytes(&layout);
        (remote && large).then_some(layout)
    }
}

/// What an Output that is sent while it is made takes of scratch.
pub fn held_bytes(layout: &Layout) -> u64 {
    layout.front_bytes() + most_backlog(layout) + PARTS_BEYOND * layout.part_bytes
}

/// More than this behind the front, and FFmpeg has to wait.
fn most_backlog(layout: &Layout) -> u64 {
    layout.moving_bytes() + PARTS_AHEAD * layout.part_bytes
}

/// An Output that is being sent.
pub struct Streamed {
    follower: Follower,
    grown: Grown,
    scan: Option<Result<Scan, Failure>>,
}

impl Streamed {
    /// Begins to send what will be written. `None`: it stays here, or its file system makes no holes.
    /// # Errors
    /// The store does not take it.
    pub async fn begin(
        publication: &Publication,
        layout: Option<Layout>,
        container: Container,
    ) -> Result<Option<Self>, Failure> {
        let Some(layout) = layout else {
            return Ok(None);
        };
        tracing::debug!(?layout, "sending the output while it is made");
        let follower = publication.follow(layout).await.map_err(from_store)?;
        Ok(follower.map(|follower| Self {
            follower,
            grown: Grown::of(container),
            scan: None,
        }))
    }

    /// Sends while it is made. FFmpeg stands still while its file is too far ahead: holding back what it reads would not do, as
    /// it keeps seconds of film to itself where a track says little, and writes them when all others have ended. `make` is
    /// dropped when sending fails. `video`: FFmpeg's number of the Output's main video.
    /// # Errors
    /// Sending failed, not the making.
    pub async fn beside<T>(
        &mut self,
        ffmpeg: &Ffmpeg,
        video: Option<u32>,
        brake: &Brake,
        make: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let most = most_backlog(&self.follower.layout());
        let file = Arc::clone(self.follower.file());
        let fed = self.grown.fed();
        let making = async {
            let made = make.await;
            if let Some(fed) = &fed {
                fed.end();
            }
            made
        };
        let scanning = async {
            let fed = fed.as_ref()?;
            match video {
                // Boxed, as most have none and all would carry it.
                Some(video) => Some(Box::pin(fed.scan(ffmpeg, &file, video)).await),
                None => {
                    fed.waive();
                    None
                }
            }
        };
        let both = async { tokio::join!(making, scanning) };
        let front = self.follower.layout().front_bytes();
        let watch = Watch::begin(&file, brake, front, most).map_err(resources)?;
        let sending = self
            .follower
            .run(&mut self.grown, |held, size| watch.holds(held, size));
        tokio::select! {
            (made, scan) = both => {
                self.scan = scan;
                Ok(made)
            }
            failed = sending => match failed {
                Err(failed) => Err(from_store(failed)),
            },
        }
    }

    /// What it is, now that FFmpeg has ended.
    /// # Errors
    /// FFmpeg left no finished file, or another one could not read it.
    pub fn finished(&mut self) -> Result<Finished, Failure> {
        let scan = self.scan.take().transpose()?;
        let finished = self.grown.finish(self.follower.file(), scan);
        finished.map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => failure(FailureClass::Unknown, e),
            _ => resources(e),
        })
    }

    /// Sends what is left and gives it its name.
    /// # Errors
    /// As [`Publication::commit`].
    pub async fn commit(
        self,
        publication: Publication,
        finished: Finished,
    ) -> Result<recode_store::publish::Published, Failure> {
        let ending = Ending {
            head: finished.file.head,
            from: finished.file.from,
            end: finished.file.end,
        };
        let committed = publication.commit_followed(self.follower, &ending).await;
        committed.map_err(from_store)
    }

    /// Throws away what was sent.
    pub async fn abort(self) {
        self.follower.abort().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_testkit::request;

    const MIB: u64 = 1 << 20;

    #[test]
    fn only_a_large_output_that_does_not_stay_here_is_sent_while_it_is_made() {
        let sent = |megabytes: u64, url: &str, container: &str, budget: Option<u64>| {
            let size = Size {
                bytes: megabytes * MIB,
                index_bytes: 2 * MIB,
            };
            let layout = size.layout(
                &request::h264(url, container, 23_000),
                budget.map(|mb| mb * MIB),
            );
            layout.is_some()
        };
        let s3 = "s3://films/out.mp4";
        assert!(sent(600, s3, "mp4", None) && sent(600, s3, "mov", Some(10_000)));
        assert!(!sent(500, s3, "mp4", None), "it is small");
        assert!(!sent(600, "file:///out.mp4", "mp4", None), "it stays here");
        for container in ["mkv", "webm", "ts"] {
            assert!(sent(600, s3, container, None), "{container}");
        }
        // A quarter of what the node may use.
        assert!(sent(250, s3, "mp4", Some(1000)) && !sent(249, s3, "mp4", Some(1000)));
        // Nothing would be won: sending takes 56 MiB itself.
        assert!(sent(112, s3, "mp4", Some(100)) && !sent(111, s3, "mp4", Some(100)));
    }
}
