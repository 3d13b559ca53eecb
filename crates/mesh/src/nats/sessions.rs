//! The exchanges of nodes with one Leader over NATS, as the Leader keeps them. Pure: time is an argument, and
//! [`super::reception`] owns the one instance.
//!
//! ```text
//!   offered ──first report──► live ──over, silence──► gone
//! ```
//!
//! Whatever comes twice, late, out of order or from nowhere must change nothing. So a session is opened by its first report
//! alone, and only once: its number was offered by this office and is not used again. Of reports only newer ones count, since
//! each says everything; orders are kept until the node has said that it heard them.

use super::frame::Joiner;
use bytes::Bytes;
use recode_proto::v1;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Exchanges of one Leader at the same time.
const MOST_SESSIONS: usize = 4096;

/// How far behind the newest one an offer may be used.
const WINDOW: u64 = 1 << 16;

/// Orders of one exchange that were not heard yet. The dispatcher cuts off a node with fewer.
const MOST_UNHEARD: usize = 128;

/// Bytes of reports that are there in parts, all exchanges together.
const MOST_JOINING: usize = 256 << 20;

/// A node that says nothing for this long has hung up.
pub(crate) const SILENCE: Duration = Duration::from_secs(15);

/// Orders that are not heard after this are said again with the next report.
pub(crate) const AGAIN: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Number of the last offer.
    offered: u64,
    /// Offers that were used, as far as the window reaches.
    opened: BTreeSet<u64>,
    live: BTreeMap<u64, Session>,
    joining: usize,
}

#[derive(Debug)]
struct Session {
    heard_at: Instant,
    /// Number of the last whole report.
    report: u64,
    joining: Option<(u64, Joiner)>,
    /// Number of the last orders.
    orders: u64,
    unheard: VecDeque<Unheard>,
}

#[derive(Debug)]
struct Unheard {
    number: u64,
    body: Bytes,
    said_at: Instant,
}

/// What a message of a node comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// To nothing.
    Nothing,
    /// To a report of a live exchange.
    Report {
        /// It opened the exchange. Without it, this is a copy of one that came before: `None`.
        report: Option<(bool, Bytes)>,
        /// The last report heard, for the answer.
        answers: u64,
        /// Orders to say again, with their numbers.
        again: Vec<(u64, Bytes)>,
    },
    /// To the end of an exchange.
    Over,
    /// It is of an exchange that is gone: the node should be told.
    Gone,
}

impl Sessions {
    /// A number for a new exchange; `None`: there are too many.
    pub(crate) fn offer(&mut self) -> Option<u64> {
        if self.live.len() >= MOST_SESSIONS {
            return None;
        }
        self.offered += 1;
        let first = self.offered.saturating_sub(WINDOW) + 1;
        while self.opened.first().is_some_and(|number| *number < first) {
            self.opened.pop_first();
        }
        Some(self.offered)
    }

    /// Takes a message of a node.
    pub(crate) fn take(&mut self, said: v1::LinkReport, now: Instant) -> Heard {
        let number = said.session;
        if !self.live.contains_key(&number) {
            if number == 0 || number > self.offered {
                return Heard::Nothing;
            }
            if self.opened.contains(&number) || number + WINDOW <= self.offered {
                return match said.over {
                    true => Heard::Nothing,
                    false => Heard::Gone,
                };
            }
            if said.over || said.number != 1 || self.live.len() >= MOST_SESSIONS {
                return Heard::Nothing;
            }
            self.opened.insert(number);
            self.live.insert(number, Session::new(now));
        }
        if said.over {
            self.close(number);
            return Heard::Over;
        }
        let room = MOST_JOINING.saturating_sub(self.joining);
        let session = self.live.get_mut(&number).expect("it was just looked for");
        session.heard_at = now;
        let before = session.joining_bytes();
        let again = session.orders_heard(said.heard, now);
        let first = session.report == 0;
        let report = session.take(said, room);
        self.joining = self.joining + session.joining_bytes() - before;
        match report {
            Taken::Part => Heard::Nothing,
            Taken::Copy => Heard::Report {
                report: None,
                answers: session.report,
                again,
            },
            Taken::Whole(body) => Heard::Report {
                report: Some((first, body)),
                answers: session.report,
                again,
            },
        }
    }

    /// Notes orders that are said now. Answers their number; `None`: the exchange is gone, or so far behind that it has to end.
    pub(crate) fn order(&mut self, session: u64, body: Bytes, now: Instant) -> Option<u64> {
        let session = self.live.get_mut(&session)?;
        if session.unheard.len() >= MOST_UNHEARD {
            return None;
        }
        session.orders += 1;
        session.unheard.push_back(Unheard {
            number: session.orders,
            body,
            said_at: now,
        });
        Some(session.orders)
    }

    /// The last report heard of an exchange.
    pub(crate) fn answers(&self, session: u64) -> u64 {
        self.live.get(&session).map_or(0, |session| session.report)
    }

    /// Exchanges whose nodes have been silent for too long.
    pub(crate) fn silent(&self, now: Instant) -> Vec<u64> {
        let silent = |session: &Session| now.saturating_duration_since(session.heard_at) > SILENCE;
        let live = self.live.iter().filter(|(_, session)| silent(session));
        live.map(|(number, _)| *number).collect()
    }

    /// Ends an exchange. `false`: it was gone.
    pub(crate) fn close(&mut self, session: u64) -> bool {
        let closed = self.live.remove(&session);
        self.joining -= closed.as_ref().map_or(0, Session::joining_bytes);
        closed.is_some()
    }

    /// All live exchanges.
    pub(crate) fn live(&self) -> impl Iterator<Item = u64> {
        self.live.keys().copied()
    }
}

enum Taken {
    /// Of a report that is not whole, or nothing that counts.
    Part,
    /// Of a report that was whole before.
    Copy,
    Whole(Bytes),
}

impl Session {
    fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            report: 0,
            joining: None,
            orders: 0,
            unheard: VecDeque::new(),
        }
    }

    fn joining_bytes(&self) -> usize {
        self.joining
            .as_ref()
            .map_or(0, |(_, joiner)| joiner.bytes())
    }

    /// Forgets the orders that were heard. Answers those that were said too long ago to be still under way.
    fn orders_heard(&mut self, heard: u64, now: Instant) -> Vec<(u64, Bytes)> {
        if heard <= self.orders {
            while self.unheard.front().is_some_and(|one| one.number <= heard) {
                self.unheard.pop_front();
            }
        }
        let late = |one: &&mut Unheard| now.saturating_duration_since(one.said_at) >= AGAIN;
        let again = self.unheard.iter_mut().filter(late).map(|one| {
            one.said_at = now;
            (one.number, one.body.clone())
        });
        again.collect()
    }

    fn take(&mut self, said: v1::LinkReport, room: usize) -> Taken {
        if said.number <= self.report {
            return Taken::Copy;
        }
        let older = self
            .joining
            .as_ref()
            .is_some_and(|(number, _)| *number > said.number);
        if older || said.body.len() > room {
            return Taken::Part;
        }
        let same = self
            .joining
            .take()
            .filter(|(number, _)| *number == said.number);
        let joiner = same
            .map(|(_, joiner)| joiner)
            .or_else(|| Joiner::new(said.parts));
        let Some(mut joiner) = joiner else {
            return Taken::Part;
        };
        match joiner.take(said.part, said.parts, said.body.into()) {
            Some(whole) => {
                self.report = said.number;
                Taken::Whole(whole)
            }
            None => {
                self.joining = Some((said.number, joiner));
                Taken::Part
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(session: u64, number: u64) -> v1::LinkReport {
        part(session, number, 0, 1)
    }

    fn part(session: u64, number: u64, part: u32, parts: u32) -> v1::LinkReport {
        v1::LinkReport {
            session,
            number,
            part,
            parts,
            body: format!("{session}.{number}.{part}").into_bytes(),
            ..v1::LinkReport::default()
        }
    }

    /// What was handed on: whether it opened the exchange, and the report.
    fn handed_on(heard: Heard) -> Option<(bool, String)> {
        let Heard::Report { report, .. } = heard else {
            return None;
        };
        report.map(|(first, body)| (first, String::from_utf8(body.to_vec()).unwrap()))
    }

    #[test]
    fn an_offer_is_used_once_and_a_late_copy_opens_nothing() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        assert_eq!(
            sessions.take(report(1, 1), now),
            Heard::Nothing,
            "not offered"
        );
        assert_eq!(sessions.offer(), Some(1));
        assert_eq!(
            sessions.take(report(1, 2), now),
            Heard::Nothing,
            "not the first"
        );
        assert_eq!(
            handed_on(sessions.take(report(1, 1), now)),
            Some((true, "1.1.0".into()))
        );
        assert_eq!(handed_on(sessions.take(report(1, 1), now)), None, "a copy");
        assert!(sessions.close(1));
        assert_eq!(sessions.take(report(1, 1), now), Heard::Gone);
        for _ in 0..WINDOW {
            sessions.offer();
        }
        assert!(
            sessions.opened.is_empty(),
            "what is behind the window is forgotten"
        );
        assert_eq!(
            sessions.take(report(1, 1), now),
            Heard::Gone,
            "and still opens nothing"
        );
    }

    #[test]
    fn only_newer_reports_count() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        sessions.offer();
        let mut numbers = Vec::new();
        for number in [1, 3, 2, 3, 1, 5, 4] {
            numbers.extend(handed_on(sessions.take(report(1, number), now)).map(|_| number));
        }
        assert_eq!(numbers, [1, 3, 5]);
        assert_eq!(sessions.answers(1), 5);
    }

    #[test]
    fn parts_of_an_older_report_do_not_hold_up_a_newer_one() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        sessions.offer();
        sessions.take(report(1, 1), now);
        assert_eq!(sessions.take(part(1, 2, 0, 2), now), Heard::Nothing);
        assert_eq!(sessions.take(part(1, 3, 1, 2), now), Heard::Nothing);
        assert_eq!(
            sessions.take(part(1, 2, 1, 2), now),
            Heard::Nothing,
            "given up"
        );
        let whole = handed_on(sessions.take(part(1, 3, 0, 2), now));
        assert_eq!(whole, Some((false, "1.3.01.3.1".into())));
        assert_eq!(sessions.joining, 0);
        sessions.take(part(1, 4, 0, 2), now);
        assert!(sessions.joining > 0);
        sessions.close(1);
        assert_eq!(sessions.joining, 0);
    }

    #[test]
    fn orders_are_said_again_until_they_are_heard() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        sessions.offer();
        sessions.take(report(1, 1), start);
        let said = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(sessions.order(1, said("a"), start), Some(1));
        assert_eq!(sessions.order(1, said("b"), start), Some(2));
        let mut again = |number, heard, at| -> Vec<u64> {
            let said = v1::LinkReport {
                heard,
                ..report(1, number)
            };
            match sessions.take(said, start + at) {
                Heard::Report { again, .. } => {
                    again.into_iter().map(|(number, _)| number).collect()
                }
                other => panic!("{other:?}"),
            }
        };
        let none: Vec<u64> = Vec::new();
        assert_eq!(again(2, 0, AGAIN / 2), none, "they may be under way");
        assert_eq!(again(3, 0, AGAIN), [1, 2]);
        assert_eq!(again(4, 0, AGAIN), none, "just said");
        assert_eq!(again(5, 1, AGAIN * 2), [2]);
        assert_eq!(again(6, 77, AGAIN * 3), [2], "there are no 77 orders");
        assert_eq!(again(7, 2, AGAIN * 9), none);
    }

    #[test]
    fn a_node_that_hears_nothing_ends_its_exchange_and_not_our_memory() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        sessions.offer();
        sessions.take(report(1, 1), now);
        for _ in 0..MOST_UNHEARD {
            assert!(sessions.order(1, Bytes::new(), now).is_some());
        }
        assert_eq!(sessions.order(1, Bytes::new(), now), None);
        assert_eq!(sessions.silent(now + SILENCE), Vec::<u64>::new());
        assert_eq!(sessions.silent(now + SILENCE + AGAIN), [1]);
    }

    #[test]
    fn there_are_only_so_many_exchanges() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        for number in 1..=MOST_SESSIONS as u64 {
            assert_eq!(sessions.offer(), Some(number));
            sessions.take(report(number, 1), now);
        }
        assert_eq!(sessions.offer(), None);
        sessions.close(9);
        assert!(sessions.offer().is_some());
    }
}
