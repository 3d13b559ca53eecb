//! The node's side of an exchange over NATS.

use super::Nats;
use super::frame::{open, seal, split};
use super::inbox::Inbox;
use crate::Error;
use crate::subjects::is_office;
use async_nats::Subscriber;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use recode_proto::v1;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Orders that wait for the node. One that does not take them for that long loses its exchange.
const WAITING_ORDERS: usize = 64;

/// A Leader that does not answer reports for this long is gone, or cannot be reached.
const SILENCE: Duration = Duration::from_secs(5);

/// How often the first report is said until it is answered, and silence is looked for.
const ROUND: Duration = Duration::from_millis(250);

/// What the rest of the node hears of an exchange.
pub(crate) type Hearing = mpsc::Receiver<Result<v1::NodeOrders, Error>>;

struct Exchange {
    nats: Nats,
    office: String,
    session: u64,
    incoming: Subscriber,
    reports: mpsc::Receiver<v1::NodeReport>,
    orders: mpsc::Sender<Result<v1::NodeOrders, Error>>,
    inbox: Inbox,
    /// Number of the last report.
    number: u64,
    /// Since when reports were said and none was answered.
    unanswered: Option<Instant>,
}

/// Looks for the Leader and opens an exchange with it. It ends when `reports` does.
/// # Errors
/// [`Error::Unavailable`]: no server, no Leader, or it does not want this node now. Back off and try again.
pub(crate) async fn begin(
    nats: &Nats,
    first: v1::NodeReport,
    reports: mpsc::Receiver<v1::NodeReport>,
) -> Result<Hearing, Error> {
    if !nats.is_connected_soon().await {
        return Err(nats.unavailable(super::UNREACHED));
    }
    let hello = v1::LinkHello {
        instance: first.instance.clone(),
    };
    let asked = nats.client.request(nats.subjects.hello(), seal(&hello));
    let answer = asked.await.map_err(|error| {
        nats.unavailable(match error.kind() {
            RequestErrorKind::NoResponders => {
                "no coordinator that leads listens on this NATS server".to_owned()
            }
            RequestErrorKind::TimedOut => "no coordinator answers".to_owned(),
            _ => error.to_string(),
        })
    })?;
    let offer: v1::LinkOffer = open(&answer.payload)
        .filter(|offer: &v1::LinkOffer| is_office(&offer.office))
        .ok_or_else(|| nats.unavailable("what answers is no coordinator"))?;
    let subject = nats.subjects.orders(&offer.office, offer.session);
    let incoming = nats.client.subscribe(subject).await;
    let incoming = incoming.map_err(|error| nats.unavailable(error.to_string()))?;
    let (orders, hearing) = mpsc::channel(WAITING_ORDERS);
    let mut exchange = Exchange {
        nats: nats.clone(),
        office: offer.office,
        session: offer.session,
        incoming,
        reports,
        orders,
        inbox: Inbox::default(),
        number: 0,
        unanswered: None,
    };
    exchange.open(first).await?;
    // Ends by itself, soon after the exchange is dropped.
    tokio::spawn(exchange.run());
    Ok(hearing)
}

impl Exchange {
    /// Says the first report until there are orders: the first ones tell that the log knows the node.
    async fn open(&mut self, first: v1::NodeReport) -> Result<(), Error> {
        let body = Bytes::from(first.encode_to_vec());
        self.number = 1;
        let mut round = tokio::time::interval(ROUND);
        while self.inbox.heard() == 0 {
            tokio::select! {
                _ = round.tick() => {
                    self.check()?;
                    self.say_report(&body).await;
                }
                message = self.incoming.next() => self.on_message(message)?,
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        let mut round = tokio::time::interval(ROUND);
        let ended = loop {
            let over = tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => {
                        self.number += 1;
                        self.say_report(&Bytes::from(report.encode_to_vec())).await;
                        Ok(())
                    }
                    None => {
                        self.say_over().await;
                        return;
                    }
                },
                message = self.incoming.next() => self.on_message(message),
                _ = round.tick() => self.check(),
            };
            if let Err(error) = over {
                break error;
            }
        };
        // A node that takes nothing any more finds the end of the stream.
        let _ = self.orders.try_send(Err(ended));
    }

    /// # Errors
    /// The exchange is over, and why.
    fn on_message(&mut self, message: Option<async_nats::Message>) -> Result<(), Error> {
        let over = |reason: &str| Err(self.nats.unavailable(reason));
        let Some(message) = message else {
            return over("the subscription ended");
        };
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return over("the coordinator that led has gone");
        }
        let Some(said) = open::<v1::LinkOrders>(&message.payload) else {
            return Ok(());
        };
        if said.session != self.session {
            return Ok(());
        }
        if !said.over.is_empty() {
            return over(&said.over);
        }
        self.unanswered = None;
        for body in self.inbox.take(said) {
            let Ok(orders) = v1::NodeOrders::decode(body) else {
                return over("its orders do not read");
            };
            if self.orders.try_send(Ok(orders)).is_err() {
                return over("the node does not take its orders");
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        match self
            .unanswered
            .is_some_and(|since| since.elapsed() > SILENCE)
        {
            true => Err(self.nats.unavailable("the coordinator that led is silent")),
            false => Ok(()),
        }
    }

    async fn say_report(&mut self, body: &Bytes) {
        self.unanswered.get_or_insert_with(Instant::now);
        let parts = split(body, self.nats.part_bytes());
        for (part, body) in (0..).zip(&parts) {
            let report = v1::LinkReport {
                session: self.session,
                number: self.number,
                part,
                parts: parts.len() as u32,
                body: body.to_vec(),
                heard: self.inbox.heard(),
                over: false,
            };
            self.say(&report).await;
        }
    }

    async fn say_over(&self) {
        let over = v1::LinkReport {
            session: self.session,
            over: true,
            ..v1::LinkReport::default()
        };
        self.say(&over).await;
    }

    async fn say(&self, report: &v1::LinkReport) {
        let subjects = &self.nats.subjects;
        let reply = subjects.orders(&self.office, self.session);
        // With the subject of the orders as reply: a server that knows no Leader says so there.
        let to = subjects.reports(&self.office);
        self.nats.say(to, Some(reply), seal(report)).await;
    }
}
