//! The frame table: one row per video frame that a viewer gets from the Source, in presentation order.
//!
//! Stored delta-coded as an artifact (about 4 bytes a frame); log and messages carry its digest only.

use crate::time::TimeBase;
use serde::{Deserialize, Serialize};

/// One frame as presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRow {
    /// Presentation time in the table's time base.
    pub pts: i64,
    /// A decoder can start here: every frame at or after this one, in presentation order, decodes from this key frame.
    pub key: bool,
    /// CRC-32 of the frame's small grey signature picture, where a deep probe has decoded it.
    pub signature: Option<u32>,
}

/// All frames of one video track.
/// # Shape
/// Rows in presentation order. `pts` strictly increases (a Source that repeats a timestamp is nudged by one tick when
/// the table is made).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTable {
    /// Seconds per tick of every `pts`.
    pub time_base: TimeBase,
    /// The frames.
    pub rows: Vec<FrameRow>,
    /// How long the last frame stays, in ticks; at least 1.
    pub last_duration: i64,
}

/// A stored table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are not those of a frame table, or of a later version.
    #[error("not a frame table of version 1")]
    Version,
    /// The bytes end too early or contradict themselves.
    #[error("frame table is damaged at byte {0}")]
    Damaged(usize),
}

const MAGIC: &[u8; 4] = b"RFT1";

impl FrameTable {
    /// PTS one past the last frame: its own time plus how long it stays.
    pub fn end_pts(&self) -> i64 {
        self.rows
            .last()
            .map_or(0, |row| row.pts + self.last_duration)
    }

    /// Delta-coded bytes: second differences of `pts`, zig-zag and variable length, the key flag in the lowest bit.
    pub fn encode(&self) -> Vec<u8> {
        let signed = self.rows.iter().all(|row| row.signature.is_some()) && !self.rows.is_empty();
        let mut out = Vec::with_capacity(32 + self.rows.len() * 4);
        out.extend_from_slice(MAGIC);
        put(&mut out, zigzag(self.time_base.num));
        put(&mut out, zigzag(self.time_base.den));
        put(&mut out, zigzag(self.last_duration));
        put(&mut out, self.rows.len() as u64);
        out.push(u8::from(signed));
        let (mut last, mut step) = (0i64, 0i64);
        for row in &self.rows {
            let delta = row.pts.wrapping_sub(last);
            let second = delta.wrapping_sub(step);
            // Two values rather than one shifted value: a first PTS may need all 64 bits.
            put(&mut out, zigzag(second));
            out.push(u8::from(row.key));
            (last, step) = (row.pts, delta);
        }
        if signed {
            for row in &self.rows {
                out.extend_from_slice(&row.signature.unwrap_or_default().to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`FrameTable::encode`] wrote.
    /// # Errors
    /// [`DecodeError`]: the bytes are not a table; fetch the artifact again or probe again.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.get(..4) != Some(MAGIC) {
            return Err(DecodeError::Version);
        }
        let mut at = 4;
        let num = unzigzag(take(bytes, &mut at)?);
        let den = unzigzag(take(bytes, &mut at)?);
        let last_duration = unzigzag(take(bytes, &mut at)?);
        let count = take(bytes, &mut at)? as usize;
        let signed = *bytes.get(at).ok_or(DecodeError::Damaged(at))? == 1;
        at += 1;
        if den <= 0 || num <= 0 || count > bytes.len() {
            return Err(DecodeError::Damaged(at));
        }
        let mut rows = Vec::with_capacity(count);
        let (mut last, mut step) = (0i64, 0i64);
        for _ in 0..count {
            let delta = step.wrapping_add(unzigzag(take(bytes, &mut at)?));
            let key = *bytes.get(at).ok_or(DecodeError::Damaged(at))? == 1;
            at += 1;
            let pts = last.wrapping_add(delta);
            rows.push(FrameRow {
                pts,
                key,
                signature: None,
            });
            (last, step) = (pts, delta);
        }
        if signed {
            for row in &mut rows {
                let word = bytes.get(at..at + 4).ok_or(DecodeError::Damaged(at))?;
                row.signature = Some(u32::from_le_bytes(
                    word.try_into().expect("four bytes were asked for"),
                ));
                at += 4;
            }
        }
        if at != bytes.len() {
            return Err(DecodeError::Damaged(at));
        }
        Ok(Self {
            time_base: TimeBase::new(num, den),
            rows,
            last_duration,
        })
    }
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}
fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}
fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}
fn take(bytes: &[u8], at: &mut usize) -> Result<u64, DecodeError> {
    let (mut v, mut shift) = (0u64, 0u32);
    loop {
        let byte = *bytes.get(*at).ok_or(DecodeError::Damaged(*at))?;
        *at += 1;
        if shift > 63 {
            return Err(DecodeError::Damaged(*at));
        }
        v |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(v);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pts: &[i64], signature: Option<u32>) -> FrameTable {
        FrameTable {
            time_base: TimeBase::new(1, 90000),
            rows: pts
                .iter()
                .enumerate()
                .map(|(i, &pts)| FrameRow {
                    pts,
                    key: i % 3 == 0,
                    signature,
                })
                .collect(),
            last_duration: 3003,
        }
    }

    #[test]
    fn a_table_reads_back_what_was_written() {
        for t in [
            table(&[], None),
            table(&[-9_000_000_000, 0, 5], None),
            table(&[1, 3004, 6007, 9010], Some(0xdead_beef)),
            table(&[i64::MAX - 1, i64::MAX], None),
        ] {
            assert_eq!(FrameTable::decode(&t.encode()).unwrap(), t);
        }
    }

    #[test]
    fn a_regular_table_is_small_and_a_cut_one_is_refused() {
        let pts: Vec<i64> = (0..10_000).map(|i| i * 3003).collect();
        let bytes = table(&pts, None).encode();
        assert!(bytes.len() < 4 * pts.len(), "{} bytes", bytes.len());
        for cut in [0, 3, 7, bytes.len() / 2, bytes.len() - 1] {
            assert!(
                FrameTable::decode(&bytes[..cut]).is_err(),
                "cut at {cut} was accepted"
            );
        }
    }
}
