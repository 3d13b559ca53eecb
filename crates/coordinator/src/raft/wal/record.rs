//! The bytes of one record.
//!
//! ```text
//!   0  magic "RWAL"           16  synced: the highest sequence known durable when this was written
//!   4  length of the body     24  link: checksum of the record before (0 for the first of all)
//!   8  sequence, from 1       28  CRC-32 of the body      32  CRC-32 of bytes 0..32      36  body
//! ```
//!
//! `synced` is what tells a torn tail from damage: a broken record that a later, sound one says was durable has been
//! acknowledged and must not be dropped.

/// Bytes before the body.
pub const HEADER: usize = 36;

/// Nothing we write is this large; a length beyond it is damage.
pub const MAX_BODY: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"RWAL";

/// A sound record found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position in the whole log.
    pub sequence: u64,
    /// See the layout.
    pub synced: u64,
    /// See the layout.
    pub link: u32,
    /// The link that the next record must carry.
    pub checksum: u32,
    /// Length of the body.
    pub body: usize,
}

impl Found {
    /// Header and body together.
    pub fn len(&self) -> usize {
        HEADER + self.body
    }
}

/// Appends a record to `out`; returns the link for the next one.
pub fn write(out: &mut Vec<u8>, sequence: u64, synced: u64, link: u32, body: &[u8]) -> u32 {
    assert!(
        body.len() <= MAX_BODY,
        "log entries are capped far below this"
    );
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&link.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
    checksum
}

/// The record that starts at the first byte; `None`: there is no sound one.
pub fn read(bytes: &[u8]) -> Option<Found> {
    let header = bytes.get(..HEADER)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if header[..4] != MAGIC || word(32) != crc32fast::hash(&header[..32]) {
        return None;
    }
    let body = word(4) as usize;
    let sound = |bytes: &[u8]| crc32fast::hash(bytes) == word(28) || planted!(TornTailTaken);
    if body > MAX_BODY || !sound(bytes.get(HEADER..HEADER + body)?) {
        return None;
    }
    Some(Found {
        sequence: long(8),
        synced: long(16),
        link: word(24),
        checksum: word(32),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_no_flipped_bit_passes() {
        let mut out = Vec::new();
        let checksum = write(&mut out, 7, 5, 99, b"body");
        let found = read(&out).unwrap();
        assert_eq!(
            found,
            Found {
                sequence: 7,
                synced: 5,
                link: 99,
                checksum,
                body: 4
            }
        );
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bad), None, "bit {bit}");
        }
        assert_eq!(read(&out[..out.len() - 1]), None);
    }
}
