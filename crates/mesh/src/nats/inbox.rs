//! Orders as they come to a node over NATS, put in their order: each once, none left out. Pure.

use super::frame::Joiner;
use bytes::Bytes;
use recode_proto::v1;
use std::collections::BTreeMap;

/// How far ahead of the next orders others are kept.
const AHEAD: u64 = 256;

/// Bytes of orders that wait for earlier ones, or for the rest of themselves.
const MOST_WAITING: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// All up to this number were handed on.
    heard: u64,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
enum Waiting {
    Parts(Joiner),
    Whole(Bytes),
}

impl Waiting {
    fn bytes(&self) -> usize {
        match self {
            Self::Parts(joiner) => joiner.bytes(),
            Self::Whole(body) => body.len(),
        }
    }
}

impl Inbox {
    /// All orders up to this number were handed on.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// Takes a message. Answers the orders that are due now, in their order; what cannot be kept is said again.
    pub(crate) fn take(&mut self, said: v1::LinkOrders) -> Vec<Bytes> {
        let number = said.number;
        let near = number > self.heard && number - self.heard <= AHEAD;
        if !near || self.bytes + said.body.len() > MOST_WAITING {
            return Vec::new();
        }
        let waiting = match self.waiting.remove(&number) {
            Some(waiting) => waiting,
            None => match Joiner::new(said.parts) {
                Some(joiner) => Waiting::Parts(joiner),
                None => return Vec::new(),
            },
        };
        self.bytes -= waiting.bytes();
        let waiting = match waiting {
            Waiting::Parts(mut joiner) => {
                let whole = joiner.take(said.part, said.parts, said.body.into());
                whole.map_or(Waiting::Parts(joiner), Waiting::Whole)
            }
            whole => whole,
        };
        self.bytes += waiting.bytes();
        self.waiting.insert(number, waiting);
        let mut due = Vec::new();
        while let Some(Waiting::Whole(_)) = self.waiting.get(&(self.heard + 1))
            && let Some(Waiting::Whole(body)) = self.waiting.remove(&(self.heard + 1))
        {
            self.heard += 1;
            self.bytes -= body.len();
            due.push(body);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(number: u64, part: u32, parts: u32) -> v1::LinkOrders {
        v1::LinkOrders {
            number,
            part,
            parts,
            body: format!("{number}.{part} ").into_bytes(),
            ..v1::LinkOrders::default()
        }
    }

    fn text(due: Vec<Bytes>) -> String {
        due.iter()
            .map(|body| String::from_utf8_lossy(body))
            .collect()
    }

    #[test]
    fn orders_are_handed_on_in_their_order_and_once() {
        let mut inbox = Inbox::default();
        let mut handed_on = Vec::new();
        for number in [2, 2, 4, 1, 1, 2, 3, 4, 3, 6] {
            handed_on.push(text(inbox.take(orders(number, 0, 1))));
        }
        let expected = ["", "", "", "1.0 2.0 ", "", "", "3.0 4.0 ", "", "", ""];
        assert_eq!(handed_on, expected);
        assert_eq!(inbox.heard(), 4);
    }

    #[test]
    fn orders_in_parts_wait_for_all_of_them() {
        let mut inbox = Inbox::default();
        let mut handed_on = String::new();
        for (number, part, parts) in [(1, 1, 2), (2, 0, 1), (1, 1, 2), (1, 0, 2), (1, 0, 2)] {
            handed_on += &text(inbox.take(orders(number, part, parts)));
        }
        assert_eq!(handed_on, "1.0 1.1 2.0 ");
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn what_makes_no_sense_is_not_kept() {
        let mut inbox = Inbox::default();
        for (number, part, parts) in [(0, 0, 1), (AHEAD + 1, 0, 1), (1, 0, 0), (1, 2, 2)] {
            assert_eq!(text(inbox.take(orders(number, part, parts))), "");
        }
        assert_eq!(inbox.bytes, 0);
        assert_eq!(
            text(inbox.take(orders(1, 1, 2))),
            "",
            "a place was kept for two parts"
        );
        assert_eq!(text(inbox.take(orders(1, 0, 2))), "1.0 1.1 ");
    }
}
