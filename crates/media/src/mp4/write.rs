//! Writing an MP4 with one video track: header first, payload as it comes.

use super::boxes::{put, put_full, put_u16, put_u32, put_u64};

/// Sample tables of the track being written, run-length coded as they grow.
#[derive(Default)]
pub(crate) struct Tables {
    /// (count, delta)
    times: Vec<(u32, u32)>,
    /// (count, composition offset)
    shifts: Vec<(u32, i32)>,
    sizes: Vec<u32>,
    /// Numbers of key samples, from 1.
    keys: Vec<u32>,
    /// (first sample from 0, description) wherever the description changes.
    descriptions: Vec<(u32, u32)>,
    duration: u64,
    payload: u64,
}

/// One sample to be written.
#[derive(Clone, Copy)]
pub(crate) struct NewSample {
    pub(crate) size: u32,
    /// Ticks until the next sample is decoded.
    pub(crate) duration: u32,
    /// Presentation less decode time.
    pub(crate) shift: i32,
    pub(crate) key: bool,
    pub(crate) description: u32,
}

/// What stands beside the tables.
pub(crate) struct Description<'a> {
    /// Verbatim box; may be empty.
    pub(crate) ftyp: &'a [u8],
    /// Matrix of the movie, 36 bytes; empty for the unit matrix.
    pub(crate) matrix: &'a [u8],
    /// Verbatim boxes.
    pub(crate) tkhd: &'a [u8],
    pub(crate) stsd: &'a [u8],
    /// Ticks per second of movie and track.
    pub(crate) timescale: u32,
    /// The first presented media time and how long the presentation is. `None`: no edit list.
    pub(crate) edit: Option<(i64, u64)>,
}

const UNIT_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

impl Tables {
    pub(crate) fn push(&mut self, sample: NewSample) {
        let number = self.sizes.len() as u32;
        match self.times.last_mut() {
            Some((count, delta)) if *delta == sample.duration => *count += 1,
            _ => self.times.push((1, sample.duration)),
        }
        match self.shifts.last_mut() {
            Some((count, shift)) if *shift == sample.shift => *count += 1,
            _ => self.shifts.push((1, sample.shift)),
        }
        if sample.key {
            self.keys.push(number + 1);
        }
        if self
            .descriptions
            .last()
            .is_none_or(|(_, description)| *description != sample.description)
        {
            self.descriptions.push((number, sample.description));
        }
        self.sizes.push(sample.size);
        self.duration += u64::from(sample.duration);
        self.payload += u64::from(sample.size);
    }

    /// Bytes of all samples.
    pub(crate) fn payload(&self) -> u64 {
        self.payload
    }

    /// Everything before the payload.
    pub(crate) fn header(&self, description: &Description<'_>) -> Vec<u8> {
        let mut out = description.ftyp.to_vec();
        let mut offsets_at = 0;
        put(&mut out, b"moov", |out| {
            self.put_mvhd(out, description);
            put(out, b"trak", |out| {
                out.extend_from_slice(description.tkhd);
                if let Some((media_time, duration)) = description.edit {
                    put(out, b"edts", |out| {
                        put_full(out, b"elst", 1, 0, |out| {
                            put_u32(out, 1);
                            put_u64(out, duration);
                            put_u64(out, media_time as u64);
                            put_u32(out, 0x1_0000);
                        });
                    });
                }
                put(out, b"mdia", |out| {
                    put_full(out, b"mdhd", 1, 0, |out| {
                        out.extend_from_slice(&[0; 16]);
                        put_u32(out, description.timescale);
                        put_u64(out, self.duration);
                        // Language "und".
                        put_u16(out, 0x55c4);
                        put_u16(out, 0);
                    });
                    put_full(out, b"hdlr", 0, 0, |out| {
                        put_u32(out, 0);
                        out.extend_from_slice(b"vide");
                        out.extend_from_slice(&[0; 13]);
                    });
                    put(out, b"minf", |out| {
                        put_full(out, b"vmhd", 0, 1, |out| out.extend_from_slice(&[0; 8]));
                        put(out, b"dinf", |out| {
                            put_full(out, b"dref", 0, 0, |out| {
                                put_u32(out, 1);
                                put_full(out, b"url ", 0, 1, |_| {});
                            });
                        });
                        put(out, b"stbl", |out| {
                            out.extend_from_slice(description.stsd);
                            offsets_at = self.put_tables(out);
                        });
                    });
                });
            });
        });
        // Offsets are known now that the header's length is: 16 bytes of `mdat` header follow.
        let payload_at = out.len() as u64 + 16;
        for (i, offset) in self.chunk_offsets().enumerate() {
            let at = offsets_at + 8 * i;
            out[at..at + 8].copy_from_slice(&(payload_at + offset).to_be_bytes());
        }
        put_u32(&mut out, 1);
        out.extend_from_slice(b"mdat");
        put_u64(&mut out, 16 + self.payload);
        out
    }

    fn put_mvhd(&self, out: &mut Vec<u8>, description: &Description<'_>) {
        put_full(out, b"mvhd", 1, 0, |out| {
            out.extend_from_slice(&[0; 16]);
            put_u32(out, description.timescale);
            put_u64(out, description.edit.map_or(self.duration, |edit| edit.1));
            put_u32(out, 0x1_0000);
            put_u16(out, 0x100);
            out.extend_from_slice(&[0; 10]);
            if description.matrix.len() == 36 {
                out.extend_from_slice(description.matrix);
            } else {
                UNIT_MATRIX.iter().for_each(|word| put_u32(out, *word));
            }
            out.extend_from_slice(&[0; 24]);
            put_u32(out, u32::MAX);
        });
    }

    /// Returns where the chunk offsets stand.
    fn put_tables(&self, out: &mut Vec<u8>) -> usize {
        put_full(out, b"stts", 0, 0, |out| {
            put_u32(out, self.times.len() as u32);
            for (count, delta) in &self.times {
                put_u32(out, *count);
                put_u32(out, *delta);
            }
        });
        if self.shifts.iter().any(|(_, shift)| *shift != 0) {
            let version = u8::from(self.shifts.iter().any(|(_, shift)| *shift < 0));
            put_full(out, b"ctts", version, 0, |out| {
                put_u32(out, self.shifts.len() as u32);
                for (count, shift) in &self.shifts {
                    put_u32(out, *count);
                    put_u32(out, *shift as u32);
                }
            });
        }
        if self.keys.len() < self.sizes.len() {
            put_full(out, b"stss", 0, 0, |out| {
                put_u32(out, self.keys.len() as u32);
                self.keys.iter().for_each(|key| put_u32(out, *key));
            });
        }
        put_full(out, b"stsc", 0, 0, |out| {
            put_u32(out, self.descriptions.len() as u32);
            for (i, (first, description)) in self.descriptions.iter().enumerate() {
                let next = self
                    .descriptions
                    .get(i + 1)
                    .map_or(self.sizes.len() as u32, |(next, _)| *next);
                put_u32(out, i as u32 + 1);
                put_u32(out, next - first);
                put_u32(out, *description);
            }
        });
        put_full(out, b"stsz", 0, 0, |out| {
            put_u32(out, 0);
            put_u32(out, self.sizes.len() as u32);
            self.sizes.iter().for_each(|size| put_u32(out, *size));
        });
        let mut at = 0;
        put_full(out, b"co64", 0, 0, |out| {
            put_u32(out, self.descriptions.len() as u32);
            at = out.len();
            out.resize(at + 8 * self.descriptions.len(), 0);
        });
        at
    }

    /// Where each chunk (a run of samples with one description) begins in the payload.
    fn chunk_offsets(&self) -> impl Iterator<Item = u64> {
        let mut done = 0;
        let mut offset = 0;
        self.descriptions.iter().map(move |(first, _)| {
            offset += self.sizes[done..*first as usize]
                .iter()
                .map(|size| u64::from(*size))
                .sum::<u64>();
            done = *first as usize;
            offset
        })
    }
}
