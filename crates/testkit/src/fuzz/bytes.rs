//! Mutations of bytes whose structure nobody looks at.

use fastrand::Rng;

/// Numbers at which code tends to turn.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    i32::MAX as u64,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// A number at which code tends to turn, or any.
pub fn edge(rng: &mut Rng) -> u64 {
    match rng.u8(..4) {
        0 => rng.u64(..),
        1 => rng.u64(..300),
        _ => EDGES[rng.usize(..EDGES.len())],
    }
}

/// `value` in groups of seven bits, as both protobuf and postcard write numbers.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Changes `bytes` in one to six places; `others` lend parts of theirs.
pub fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..rng.usize(1..=6) {
        let at = rng.usize(..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 40));
        match rng.u8(..10) {
            0..=2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            3 if at < bytes.len() => bytes[at] = rng.u8(..),
            4 => {
                bytes.drain(at..end);
            }
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 => bytes.truncate(at),
            7 => {
                let mut number = Vec::new();
                push_varint(&mut number, edge(rng));
                let end = end.min(at + usize::from(rng.bool()));
                bytes.splice(at..end, number);
            }
            8 => {
                let length = rng.usize(..20);
                let noise: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
                bytes.splice(at..end, noise);
            }
            _ => {
                if let Some(other) = rng.choice(others)
                    && !other.is_empty()
                {
                    let from = rng.usize(..other.len());
                    let to = rng.usize(from..=other.len().min(from + 400));
                    let part = other[from..to].to_vec();
                    bytes.splice(at..end, part);
                }
            }
        }
    }
}
