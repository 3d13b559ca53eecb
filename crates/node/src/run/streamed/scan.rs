//! Has FFmpeg read an MPEG-TS while another one writes it, since what it holds is known only from its packets.

use crate::run::WAITS_FOR_OTHERS;
use recode_media::probe::{self, Packet};
use recode_media::run::ChildUsage;
use recode_media::toolchain::Ffmpeg;
use recode_types::task::{Failure, FailureClass};
use recode_types::time::TimeBase;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

/// Bytes that are written into the pipe at once.
const PIECE: u64 = 256 << 10;

/// How often the end of the file is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What FFmpeg has found.
pub struct Scan {
    /// Seconds per tick.
    pub time_base: TimeBase,
    /// Packets of the wanted stream.
    pub packets: Vec<Packet>,
    /// What the run used.
    pub usage: ChildUsage,
}

/// How far the reader has come, and whether the writer has ended. Clones share it.
#[derive(Clone, Default)]
pub struct Fed {
    at: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Fed {
    /// Nobody needs what lies before this.
    pub fn until(&self) -> u64 {
        self.at.load(Ordering::Acquire)
    }

    /// Nobody needs any of it.
    pub fn waive(&self) {
        self.at.store(u64::MAX, Ordering::Release);
    }

    /// The file grows no more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Lists the packets of one stream of a file that grows until [`Fed::end`] is called. Nobody needs anything of the file
    /// when this has failed.
    /// # Errors
    /// FFmpeg does not read it as it should, or the file cannot be read.
    pub async fn scan(
        &self,
        ffmpeg: &Ffmpeg,
        file: &Arc<File>,
        stream: u32,
    ) -> Result<Scan, Failure> {
        let feed = |stdin| self.feed(file, stdin);
        let scanned = probe::scan_piped(ffmpeg, stream, WAITS_FOR_OTHERS, feed).await;
        self.waive();
        let (time_base, packets, usage, fed) = scanned.map_err(|e| e.failure())?;
        fed.map_err(|e| crate::run::failure(FailureClass::Unknown, e))?;
        Ok(Scan {
            time_base,
            packets,
            usage,
        })
    }

    async fn feed(&self, file: &File, mut to: ChildStdin) -> io::Result<()> {
        let mut at = 0;
        let mut piece = vec![0; PIECE as usize];
        loop {
            // Before the size is taken.
            let ended = self.ended.load(Ordering::Acquire);
            let size = file.metadata()?.len();
            let length = (size - at).min(PIECE);
            if length > 0 {
                let piece = &mut piece[..length as usize];
                file.read_exact_at(piece, at)?;
                to.write_all(piece).await?;
                at += length;
                self.at.store(at, Ordering::Release);
            } else if ended {
                return to.shutdown().await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
