//! Mutations of protobuf messages that leave them readable: fields change, come twice, go missing or take another's number,
//! at any depth. What a decoder refuses at once is left to [`super::bytes`].

use super::bytes::{edge, push_varint};
use fastrand::Rng;

/// Texts at which code tends to turn.
const TEXTS: [&str; 22] = [
    "",
    " ",
    "\0",
    "x",
    "..",
    "../../etc/passwd",
    "/",
    "jobs/../x",
    "file:///",
    "file://host/a",
    "s3://",
    "s3://bucket/a b",
    "http://[::1]:0/",
    "job_",
    "job_00000000000000000000000000000001",
    "job_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
    "job_00000000000000000000000000000001/encode.0.4294967295",
    "encode.4294967296.-1",
    "-1",
    "99999999999999999999999999",
    "\u{202e}\u{fffd}\u{1f600}",
    "{\"a\":[[[[[[[[[[[[",
];

/// Copies of a field take up no more than this.
const MOST_BYTES: usize = 1 << 20;

/// One field as it is on the wire.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message; `None`: it is none.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Value::Eight(*value)
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value.to_vec())
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Value::Four(*value)
            }
            _ => return None,
        };
        let number = key >> 3;
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn push(out: &mut Vec<u8>, field: &Field) {
    let key = |kind| field.number << 3 | kind;
    match &field.value {
        Value::Varint(value) => {
            push_varint(out, key(0));
            push_varint(out, *value);
        }
        Value::Eight(value) => {
            push_varint(out, key(1));
            out.extend(value);
        }
        Value::Bytes(value) => {
            push_varint(out, key(2));
            push_varint(out, value.len() as u64);
            out.extend(value);
        }
        Value::Four(value) => {
            push_varint(out, key(5));
            out.extend(value);
        }
    }
}

fn text(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..12) {
        0 => vec![0xff, 0xfe],
        1 => "x"
            .repeat([127, 128, 129, 4096, 4097, 70_000][rng.usize(..6)])
            .into(),
        _ => TEXTS[rng.usize(..TEXTS.len())].into(),
    }
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(value) => value.len() + 1,
            Self::Varint(_) | Self::Eight(_) | Self::Four(_) => 8,
        }
    }

    fn mutate(&mut self, rng: &mut Rng) {
        match self {
            Self::Varint(value) => *value = edge(rng),
            Self::Eight(value) => *value = edge(rng).to_le_bytes(),
            Self::Four(value) => *value = (edge(rng) as u32).to_le_bytes(),
            Self::Bytes(value) => match fields(value) {
                Some(inside) if !inside.is_empty() && rng.u8(..8) != 0 => {
                    *value = changed(inside, rng);
                }
                _ if rng.bool() => *value = text(rng),
                // Text in a format of its own, such as JSON: a small change keeps most of it.
                _ => super::bytes::mutate(value, &[], rng),
            },
        }
    }
}

fn changed(mut fields: Vec<Field>, rng: &mut Rng) -> Vec<u8> {
    let at = rng.usize(..fields.len().max(1));
    match rng.u8(..10) {
        _ if fields.is_empty() => fields.push(Field {
            number: rng.u64(1..20),
            value: Value::Varint(edge(rng)),
        }),
        0 => {
            fields.remove(at);
        }
        1 => {
            let times = [1, 1, 2, 65, 5000][rng.usize(..5)];
            let most = MOST_BYTES / fields[at].value.len();
            let again = vec![fields[at].clone(); times.min(most)];
            fields.splice(at..at, again);
        }
        2 => fields[at].number = rng.u64(1..20),
        3 => fields[at].value = Value::Bytes(text(rng)),
        4 => rng.shuffle(&mut fields),
        _ => fields[at].value.mutate(rng),
    }
    let mut out = Vec::new();
    fields.iter().for_each(|field| push(&mut out, field));
    out
}

/// Changes the message in `bytes` in one to four places. Bytes that are no message are left as they are.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=4) {
        let Some(fields) = fields(bytes) else {
            return;
        };
        *bytes = changed(fields, rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_and_writes_back_and_mutations_stay_messages() {
        let mut message = Vec::new();
        for (number, value) in [
            (1, Value::Varint(300)),
            (2, Value::Bytes(b"text".to_vec())),
            (3, Value::Four([1; 4])),
            (16, Value::Eight([2; 8])),
        ] {
            push(&mut message, &Field { number, value });
        }
        let mut again = Vec::new();
        let read = fields(&message).unwrap();
        read.iter().for_each(|field| push(&mut again, field));
        assert_eq!(again, message);
        let mut rng = Rng::with_seed(1);
        let mut others = 0;
        for _ in 0..1000 {
            let mut other = message.clone();
            mutate(&mut other, &mut rng);
            assert!(fields(&other).is_some());
            others += u32::from(other != message);
        }
        assert!(others > 900, "{others}");
    }
}
