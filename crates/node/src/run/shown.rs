//! When the pictures of a finished file are shown: what an Output is checked by, and where that is found.

use recode_media::bytes::ByteSource;
use recode_media::index::{self, TrackIndex};
use recode_media::probe::Packet;
use recode_types::TrackKind;
use recode_types::time::TimeBase;

/// The pictures of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Seconds per tick.
    pub time_base: TimeBase,
    /// When each is shown, ascending.
    pub pts: Vec<i64>,
}

impl Shown {
    /// As the file's own index has it.
    /// # Errors
    /// A sentence: the file cannot be read, or has none.
    pub async fn indexed(file: &dyn ByteSource) -> Result<Self, String> {
        let index = index::read(file).await.map_err(|e| e.to_string())?;
        let index = index.ok_or("it has no index")?;
        Self::of_tracks(&index.tracks)
    }

    /// As the first video track has it.
    /// # Errors
    /// A sentence: there is none.
    pub fn of_tracks(tracks: &[TrackIndex]) -> Result<Self, String> {
        let mut tracks = tracks.iter();
        let video = tracks.find(|track| track.kind == TrackKind::Video);
        let table = video.ok_or("it has no video track")?.frame_table();
        Ok(Self {
            time_base: table.time_base,
            pts: table.rows.iter().map(|row| row.pts).collect(),
        })
    }

    /// As FFmpeg finds it, reading from beginning to end.
    pub fn scanned(time_base: TimeBase, packets: &[Packet]) -> Self {
        let mut pts: Vec<i64> = packets.iter().filter_map(|packet| packet.pts).collect();
        pts.sort_unstable();
        Self { time_base, pts }
    }
}
