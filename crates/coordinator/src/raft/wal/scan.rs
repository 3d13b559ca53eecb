//! What a segment file holds, and whether its end is torn or damaged. Pure: bytes in, verdict out.

use super::record::{self, Found};
use std::ops::Range;

/// Where reading goes on in the next file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Sequence of the next record.
    pub sequence: u64,
    /// Its link.
    pub link: u32,
}

/// The sound part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bodies of the records, in order.
    pub bodies: Vec<Range<usize>>,
    /// Bytes that hold them; whatever follows was never acknowledged.
    pub end: usize,
    /// Where the next record goes on.
    pub next: Position,
}

/// A record that was durable is broken: dropping it could undo what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte offset of the broken record.
    pub at: usize,
}

/// Reads a file. `expected` is `None` for the oldest one, whose first record may have any position. Only the newest file
/// may have a torn tail: `newest`.
/// # Errors
/// [`Damage`]: refuse to start.
pub fn scan(bytes: &[u8], expected: Option<Position>, newest: bool) -> Result<Scan, Damage> {
    let mut bodies = Vec::new();
    let mut at = 0;
    let mut next = expected;
    while let Some(found) = record::read(&bytes[at..]) {
        let fits = next.is_none_or(|p| found.sequence == p.sequence && found.link == p.link);
        if !fits {
            // A sound record of another place: a mixed-up or missing file, or one from before a truncation.
            break;
        }
        bodies.push(at + record::HEADER..at + found.len());
        next = Some(Position {
            sequence: found.sequence + 1,
            link: found.checksum,
        });
        at += found.len();
    }
    let rest = &bytes[at..];
    if rest.iter().any(|byte| *byte != 0) && (!newest || was_durable(rest, next)) {
        return Err(Damage { at });
    }
    let Some(next) = next else {
        // The oldest file holds nothing at all: not even its head became durable.
        return Ok(Scan {
            bodies,
            end: 0,
            next: Position {
                sequence: 1,
                link: 0,
            },
        });
    };
    Ok(Scan {
        bodies,
        end: at,
        next,
    })
}

/// Whether any sound record in `rest` says that the one expected at its beginning was durable.
fn was_durable(rest: &[u8], expected: Option<Position>) -> bool {
    let lost = expected.map_or(1, |p| p.sequence);
    let mut at = 0;
    while at + record::HEADER <= rest.len() {
        if let Some(Found {
            sequence, synced, ..
        }) = record::read(&rest[at..])
            && sequence >= lost
            && synced >= lost
        {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten records; each one but the last is known durable by the next.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut link, mut starts) = (Vec::new(), 0, Vec::new());
        for sequence in 1..=10u64 {
            starts.push(out.len());
            let body = vec![sequence as u8; 5 + sequence as usize];
            link = record::write(&mut out, sequence, sequence - 1, link, &body);
        }
        (out, starts)
    }

    #[test]
    fn a_whole_file_reads_and_zeros_behind_it_are_no_records() {
        let (mut bytes, _) = file();
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        let scan = scan(&bytes, None, true).unwrap();
        assert_eq!(
            (scan.bodies.len(), scan.end, scan.next.sequence),
            (10, end, 11)
        );
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_sound_prefix() {
        let (bytes, starts) = file();
        for cut in 0..bytes.len() {
            let scan = scan(&bytes[..cut], None, true).unwrap();
            let whole = starts.iter().filter(|s| **s > 0 && **s <= cut).count();
            assert_eq!(scan.bodies.len(), whole, "cut at {cut}");
            assert!(scan.end <= cut);
        }
    }

    #[test]
    fn a_flipped_bit_in_a_durable_record_is_damage_and_in_the_last_one_a_torn_tail() {
        let (bytes, starts) = file();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let verdict = scan(&bad, None, true);
            if bit / 8 < starts[9] {
                assert!(verdict.is_err(), "bit {bit} passed");
            } else {
                assert_eq!(verdict.unwrap().bodies.len(), 9, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_torn_batch_is_dropped_even_where_a_later_record_of_it_arrived() {
        // Records 8 to 10 are one batch of which only the last reached the disk whole.
        let (mut out, mut link, mut starts) = (Vec::new(), 0, Vec::new());
        for sequence in 1..=10u64 {
            starts.push(out.len());
            link = record::write(&mut out, sequence, sequence.min(8) - 1, link, b"body");
        }
        out[starts[7] + 3] ^= 1;
        assert_eq!(scan(&out, None, true).unwrap().bodies.len(), 7);
    }

    #[test]
    fn only_the_newest_file_may_be_torn_and_files_must_follow_each_other() {
        let (bytes, _) = file();
        assert!(scan(&bytes[..bytes.len() - 1], None, false).is_err());
        let wrong = Position {
            sequence: 2,
            link: 0,
        };
        assert!(scan(&bytes, Some(wrong), true).is_err());
    }
}
