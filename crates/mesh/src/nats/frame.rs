//! Payloads: sealed so that damage shows, and split so that a server takes them. Pure.

use bytes::{Bytes, BytesMut};
use prost::Message;
use recode_proto::convert::MAX_MESSAGE_BYTES;

/// The most parts of one message.
pub(crate) const MOST_PARTS: u32 = 1024;

/// Parts are this long at most: far below what servers take by default, so that others get their turn.
pub(crate) const LONGEST_PART: usize = 256 << 10;

/// Parts are at least this long, however little the server takes: 16 MiB in 1,024 parts.
const SHORTEST_PART: usize = 16 << 10;

/// Room for what is in a message besides the part.
const AROUND: usize = 1 << 10;

/// The bytes of a part for a server that takes payloads of `max_payload` bytes.
pub(crate) fn part_bytes(max_payload: usize) -> usize {
    max_payload
        .saturating_sub(AROUND)
        .clamp(SHORTEST_PART, LONGEST_PART)
}

/// A payload: checksum and message.
pub(crate) fn seal(message: &impl Message) -> Bytes {
    let mut payload = BytesMut::with_capacity(4 + message.encoded_len());
    payload.extend_from_slice(&[0; 4]);
    message
        .encode(&mut payload)
        .expect("the buffer grows as it has to");
    let sum = crc32fast::hash(&payload[4..]);
    payload[..4].copy_from_slice(&sum.to_le_bytes());
    payload.freeze()
}

/// The message in a payload; `None`: it was damaged, or is something else.
pub(crate) fn open<M: Message + Default>(payload: &Bytes) -> Option<M> {
    let sum = u32::from_le_bytes(payload.get(..4)?.try_into().ok()?);
    let message = payload.slice(4..);
    if crc32fast::hash(&message) != sum {
        return None;
    }
    M::decode(message).ok()
}

/// `body` in parts of at most `most` bytes; one empty part where there is nothing.
pub(crate) fn split(body: &Bytes, most: usize) -> Vec<Bytes> {
    if body.is_empty() {
        return vec![Bytes::new()];
    }
    (0..body.len())
        .step_by(most)
        .map(|start| body.slice(start..body.len().min(start + most)))
        .collect()
}

/// A message of which some parts are there.
#[derive(Debug)]
pub(crate) struct Joiner {
    parts: Vec<Option<Bytes>>,
    missing: usize,
    bytes: usize,
}

impl Joiner {
    /// Waits for this many parts; `None`: there is no such message.
    pub(crate) fn new(parts: u32) -> Option<Self> {
        (1..=MOST_PARTS).contains(&parts).then(|| Self {
            parts: vec![None; parts as usize],
            missing: parts as usize,
            bytes: 0,
        })
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a part; a second one in the same place, and one that does not fit, changes nothing. The whole, when the last one
    /// has come.
    pub(crate) fn take(&mut self, part: u32, parts: u32, body: Bytes) -> Option<Bytes> {
        let fits = parts as usize == self.parts.len()
            && self.bytes + body.len() <= MAX_MESSAGE_BYTES
            && body.len() <= LONGEST_PART;
        let place = self.parts.get_mut(part as usize).filter(|_| fits)?;
        if place.is_some() {
            return None;
        }
        self.bytes += body.len();
        *place = Some(body);
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        let parts: Vec<Bytes> = self.parts.iter_mut().filter_map(Option::take).collect();
        // It is handed on once; what comes for it after that finds no place.
        self.parts.clear();
        match <[Bytes; 1]>::try_from(parts) {
            Ok([only]) => Some(only),
            Err(parts) => Some(parts.concat().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_proto::v1;

    fn report(body: &'static [u8]) -> v1::LinkReport {
        v1::LinkReport {
            session: 3,
            number: 1,
            parts: 1,
            body: Bytes::from_static(body).to_vec(),
            ..v1::LinkReport::default()
        }
    }

    #[test]
    fn whatever_is_damaged_does_not_open() {
        let payload = seal(&report(b"words"));
        assert_eq!(open(&payload), Some(report(b"words")));
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut damaged = payload.to_vec();
                damaged[at] ^= 1 << bit;
                assert_eq!(open::<v1::LinkReport>(&damaged.into()), None, "{at}.{bit}");
            }
            assert_eq!(open::<v1::LinkReport>(&payload.slice(..at)), None);
        }
    }

    #[test]
    fn parts_in_any_order_and_any_number_of_times_are_one_message() {
        let body: Bytes = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let parts = split(&body, 4096);
        let count = parts.len() as u32;
        let mut joiner = Joiner::new(count).unwrap();
        let mut whole = None;
        let order: Vec<u32> = (0..count).rev().chain(0..count).collect();
        for part in order {
            for _ in 0..2 {
                let joined = joiner.take(part, count, parts[part as usize].clone());
                assert!(joined.is_none() || whole.is_none(), "whole twice");
                whole = whole.or(joined);
            }
        }
        assert_eq!(whole, Some(body));
        assert_eq!(split(&Bytes::new(), 10), [Bytes::new()]);
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        assert!(Joiner::new(0).is_none() && Joiner::new(MOST_PARTS + 1).is_none());
        let mut joiner = Joiner::new(2).unwrap();
        let word = || Bytes::from_static(b"word");
        assert_eq!(joiner.take(0, 3, word()), None, "of another message");
        assert_eq!(joiner.take(2, 2, word()), None, "beyond the end");
        let long = Bytes::from(vec![0; LONGEST_PART + 1]);
        assert_eq!(joiner.take(0, 2, long), None, "too long");
        assert_eq!(joiner.bytes(), 0);
        let mut joiner = Joiner::new(MOST_PARTS).unwrap();
        let part = Bytes::from(vec![0; LONGEST_PART]);
        for place in 0..MOST_PARTS {
            joiner.take(place, MOST_PARTS, part.clone());
        }
        assert!(joiner.bytes() <= MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_part_fits_whatever_a_server_takes() {
        assert_eq!(part_bytes(1 << 20), LONGEST_PART);
        assert_eq!(part_bytes(64 << 10), (64 << 10) - AROUND);
        assert_eq!(part_bytes(0), SHORTEST_PART);
        assert!(part_bytes(0) * MOST_PARTS as usize >= MAX_MESSAGE_BYTES);
    }
}
