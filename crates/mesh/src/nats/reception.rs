//! The Leader's side of the exchanges over NATS. Lives as long as a coordinator leads.

use super::Nats;
use super::frame::{open, seal, split};
use super::sessions::{Heard, Sessions};
use crate::Error;
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use recode_proto::v1;
use recode_types::JobId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Reports that wait for one exchange's reader: each says everything, so one more than is being read would do.
const WAITING_REPORTS: usize = 4;

/// Orders of all exchanges that wait to be said.
const WAITING_ORDERS: usize = 256;

/// How long farewells may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often silence is looked for.
const ROUND: Duration = Duration::from_secs(1);

/// An exchange that a node has opened.
#[derive(Debug)]
pub struct Opened {
    /// What it says, from the report that opened the exchange on. Ends with the exchange.
    pub reports: ReceiverStream<v1::NodeReport>,
    /// Where orders go.
    pub orders: Orders,
}

/// The way of orders to one node.
#[derive(Debug)]
pub struct Orders {
    session: u64,
    outgoing: mpsc::Sender<(u64, Outgoing)>,
}

#[derive(Debug)]
enum Outgoing {
    Orders(v1::NodeOrders),
    Over(String),
}

impl Orders {
    /// Says them; they are said again until they are heard. `false`: nobody leads here any more.
    pub async fn say(&self, orders: v1::NodeOrders) -> bool {
        let outgoing = Outgoing::Orders(orders);
        self.outgoing.send((self.session, outgoing)).await.is_ok()
    }

    /// Ends the exchange, with a reason for the node's log.
    pub async fn over(self, reason: &str) {
        let outgoing = Outgoing::Over(reason.to_owned());
        // Where nobody leads any more the node was told.
        let _ = self.outgoing.send((self.session, outgoing)).await;
    }
}

/// Receives nodes until `stop`, and hands each exchange to `door`. `leads` is asked before one is offered.
/// # Errors
/// [`Error::Unavailable`]: the subscriptions ended, which they do not while the connection is only broken.
pub async fn receive(
    nats: &Nats,
    leads: impl Fn() -> bool,
    door: mpsc::Sender<Opened>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    // Like no other: what was said to another Leader, or to this coordinator when it led before, does not come here.
    let office = format!("{:032x}", JobId::generate().0);
    let failed = |error: async_nats::SubscribeError| nats.unavailable(error.to_string());
    let subscribe = |subject| nats.client.subscribe(subject);
    let mut hellos = subscribe(nats.subjects.hello()).await.map_err(failed)?;
    let mut reports = subscribe(nats.subjects.reports(&office))
        .await
        .map_err(failed)?;
    let (outgoing, mut orders) = mpsc::channel(WAITING_ORDERS);
    let mut reception = Reception {
        nats,
        office,
        sessions: Sessions::default(),
        readers: BTreeMap::new(),
        door,
        outgoing,
    };
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            hello = hellos.next() => match hello {
                Some(hello) if leads() => reception.on_hello(hello).await,
                Some(_) => {}
                None => return Err(nats.unavailable("the subscription ended")),
            },
            report = reports.next() => match report {
                Some(report) => reception.on_report(&report.payload).await,
                None => return Err(nats.unavailable("the subscription ended")),
            },
            Some((session, outgoing)) = orders.recv() => reception.on_outgoing(session, outgoing).await,
            _ = round.tick() => reception.on_round(),
        }
    }
    reception.farewell().await;
    Ok(())
}

struct Reception<'a> {
    nats: &'a Nats,
    office: String,
    sessions: Sessions,
    readers: BTreeMap<u64, mpsc::Sender<v1::NodeReport>>,
    door: mpsc::Sender<Opened>,
    outgoing: mpsc::Sender<(u64, Outgoing)>,
}

impl Reception<'_> {
    async fn on_hello(&mut self, message: async_nats::Message) {
        let (Some(reply), Some(hello)) = (message.reply, open::<v1::LinkHello>(&message.payload))
        else {
            return;
        };
        if let Some(session) = self.sessions.offer() {
            tracing::debug!(instance = hello.instance, session, "offered over NATS");
            let offer = v1::LinkOffer {
                office: self.office.clone(),
                session,
            };
            self.nats.say(reply.to_string(), None, seal(&offer)).await;
        }
    }

    async fn on_report(&mut self, payload: &Bytes) {
        let Some(said) = open::<v1::LinkReport>(payload) else {
            return;
        };
        let session = said.session;
        match self.sessions.take(said, Instant::now()) {
            Heard::Nothing => {}
            Heard::Over => drop(self.readers.remove(&session)),
            Heard::Gone => self.say_over(session, "this exchange is over").await,
            Heard::Report {
                report,
                answers,
                again,
            } => {
                if let Some((first, body)) = report
                    && let Err(reason) = self.hand_on(session, first, body)
                {
                    self.end(session, reason).await;
                    return;
                }
                let answer = v1::LinkOrders {
                    session,
                    answers,
                    ..v1::LinkOrders::default()
                };
                self.say(session, &answer).await;
                for (number, body) in again {
                    tracing::debug!(session, number, "orders are said again");
                    self.say_orders(session, number, &body).await;
                }
            }
        }
    }

    /// # Errors
    /// Why the exchange has to end.
    fn hand_on(&mut self, session: u64, first: bool, body: Bytes) -> Result<(), &'static str> {
        let report = v1::NodeReport::decode(body).map_err(|_| "a report does not read")?;
        if first {
            let (reports, incoming) = mpsc::channel(WAITING_REPORTS);
            self.readers.insert(session, reports);
            let opened = Opened {
                reports: ReceiverStream::new(incoming),
                orders: Orders {
                    session,
                    outgoing: self.outgoing.clone(),
                },
            };
            self.door
                .try_send(opened)
                .map_err(|_| "too many nodes come at once")?;
        }
        let reader = self.readers.get(&session).ok_or("this exchange is over")?;
        match reader.try_send(report) {
            // The next one says what this one does, and more.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err("this exchange is over"),
        }
    }

    async fn on_outgoing(&mut self, session: u64, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Over(reason) => self.end(session, &reason).await,
            Outgoing::Orders(orders) => {
                let body = Bytes::from(orders.encode_to_vec());
                match self.sessions.order(session, body.clone(), Instant::now()) {
                    Some(number) => self.say_orders(session, number, &body).await,
                    None => self.end(session, "the node does not hear its orders").await,
                }
            }
        }
    }

    fn on_round(&mut self) {
        for session in self.sessions.silent(Instant::now()) {
            tracing::debug!(session, "a node on NATS is silent");
            self.sessions.close(session);
            self.readers.remove(&session);
        }
    }

    async fn farewell(&mut self) {
        let live: Vec<u64> = self.sessions.live().collect();
        for session in live {
            self.end(session, "this coordinator leads no longer").await;
        }
        // The process may end with this. Where the server does not take it, nodes find out.
        let _ = tokio::time::timeout(FAREWELL, self.nats.client.flush()).await;
    }

    async fn end(&mut self, session: u64, reason: &str) {
        self.readers.remove(&session);
        if self.sessions.close(session) {
            self.say_over(session, reason).await;
        }
    }

    async fn say_over(&self, session: u64, reason: &str) {
        let over = v1::LinkOrders {
            session,
            over: reason.to_owned(),
            ..v1::LinkOrders::default()
        };
        self.say(session, &over).await;
    }

    async fn say_orders(&self, session: u64, number: u64, body: &Bytes) {
        let parts = split(body, self.nats.part_bytes());
        for (part, body) in (0..).zip(&parts) {
            let orders = v1::LinkOrders {
                session,
                number,
                part,
                parts: parts.len() as u32,
                body: body.to_vec(),
                answers: self.sessions.answers(session),
                over: String::new(),
            };
            self.say(session, &orders).await;
        }
    }

    async fn say(&self, session: u64, message: &v1::LinkOrders) {
        let subject = self.nats.subjects.orders(&self.office, session);
        self.nats.say(subject, None, seal(message)).await;
    }
}
