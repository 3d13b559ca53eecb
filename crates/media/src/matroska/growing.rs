//! A Matroska file that FFmpeg is still writing: where its pictures are, found out as they come.
//!
//! FFmpeg keeps a cluster in memory until it knows its length, so from the first cluster on all bytes are final as they
//! are written, and Cues come behind the last one. What it writes again at the end lies before the first cluster: the length
//! of the whole, SeekHead, Info, codec headers, durations in Tags. Attached files lie between these. This was seen in the
//! system calls of 5.1.9 and 9.0.2.

use super::head;
use super::read;
use super::walk::{Place, Walker};
use crate::bytes::{FileSource, Window, ready};
use crate::index::{Error, TrackIndex};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// What has been read of such a file. Nothing is read twice but what lies before the first cluster.
#[derive(Default)]
pub struct Growing(Option<Reading>);

struct Reading {
    entries: Vec<head::Entry>,
    tracks: Vec<TrackIndex>,
    first_cluster: u64,
    place: Place,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where the first cluster begins.
    pub first_cluster: u64,
    /// Nothing between the first cluster and here will be written or read again.
    pub until: u64,
}

impl Growing {
    /// Reads on in a file that has `size` bytes now. `None`: no cluster has begun.
    /// # Errors
    /// The file cannot be read. `InvalidData`: FFmpeg would not write such a one.
    pub fn look(&mut self, file: &Arc<File>, size: u64) -> io::Result<Option<Walked>> {
        let source = FileSource::written(Arc::clone(file), size).in_place();
        if self.0.is_none() {
            self.0 = Reading::begin(&source)?;
        }
        let Some(reading) = &mut self.0 else {
            return Ok(None);
        };
        let window = Window::new(&source, 4 << 10);
        let mut walker = Walker::resume(window, reading.place, size);
        let walked = ready(read::walk_on(
            &mut walker,
            &reading.entries,
            &mut reading.tracks,
        ))?;
        reading.place = walker.place();
        if !walked {
            return Err(wrong("it holds blocks that are not understood"));
        }
        Ok(Some(Walked {
            first_cluster: reading.first_cluster,
            until: reading.place.at,
        }))
    }

    /// Its tracks, now that FFmpeg has ended, with the packets that [`crate::index::read`] would find if all of it were still
    /// there.
    /// # Errors
    /// As [`Growing::look`]. `InvalidData`: FFmpeg did not finish it.
    pub fn finish(mut self, file: &Arc<File>) -> io::Result<Vec<TrackIndex>> {
        let size = file.metadata()?.len();
        self.look(file, size)?;
        let Some(reading) = self.0 else {
            return Err(wrong("it has no cluster"));
        };
        let source = FileSource::written(Arc::clone(file), size).in_place();
        let head = ready(head::read(&source)).map_err(of_index)?;
        let head = head.ok_or_else(|| wrong("it has no head"))?;
        let now = read::tracks(&head).ok_or_else(|| wrong("its head is not understood"))?;
        let same = |(then, now): (&TrackIndex, &TrackIndex)| {
            (then.id, then.kind, &then.codec) == (now.id, now.kind, &now.codec)
                && then.time_base == now.time_base
                && read::delay(then) == read::delay(now)
        };
        // Where the first cluster was may be nothing any more.
        let mut both = reading.tracks.iter().zip(&now);
        if now.len() != reading.tracks.len() || !both.all(same) {
            return Err(wrong("its head has become another one"));
        }
        if reading.place.at < head.segment_end {
            return Err(wrong("its clusters end too soon"));
        }
        Ok(reading.tracks)
    }
}

impl Reading {
    /// `None`: what lies before the first cluster is not all there.
    fn begin(source: &crate::bytes::InPlace) -> io::Result<Option<Self>> {
        let Some(head) = ready(head::read(source)).map_err(of_index)? else {
            return Ok(None);
        };
        if head.first_cluster >= head.segment_end {
            return Ok(None);
        }
        let tracks = read::tracks(&head).ok_or_else(|| wrong("its head is not understood"))?;
        Ok(Some(Self {
            tracks,
            first_cluster: head.first_cluster,
            place: Place::between_clusters(head.first_cluster),
            entries: head.tracks,
        }))
    }
}

fn wrong(what: &str) -> io::Error {
    let text = format!("the file is not a finished Matroska file: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn of_index(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => wrong(&other.to_string()),
    }
}
