//! The make-believe network: calls with an answer, and streams. A message is lost, late, doubled or overtaken as the
//! schedule says; a stream keeps its order, and breaks where it loses something.

use super::machine::Server;
use super::world::{Inner, World};
use crate::faults::Fault;
use futures::future::BoxFuture;
use recode_coordinator::simulated::{Call, Link, LinkError, Peer};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// A process that messages come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Coordinator(u64),
    Node(usize),
    Client(usize),
}

/// What becomes of a message.
enum Passage {
    Lost,
    Arrives {
        after: Duration,
        /// And once more, so much later.
        again: Option<Duration>,
    },
}

/// A call that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nobody listens there.
    Refused,
    /// The connection broke; what became of the call is not known.
    Broken,
}

/// What a coordinator does with a call. Run twice where the call is doubled.
pub type Serve<T> = Arc<dyn Fn(&Arc<Server>) -> BoxFuture<'static, T> + Send + Sync>;

impl Inner {
    fn passage(&mut self, from: Place, to: Place) -> Passage {
        if self.cuts.contains(&(from, to)) {
            return Passage::Lost;
        }
        let rates = self.schedule.rates;
        if !self.calm && self.rng.chance(rates.lose) {
            self.fired.add(Fault::MessageLost);
            return Passage::Lost;
        }
        let mut after = self.rng.within(0, 20);
        if !self.calm && self.rng.chance(rates.delay) {
            self.fired.add(Fault::MessageDelayed);
            after += self.rng.within(200, 8_000);
        } else if !self.calm && self.rng.chance(rates.reorder) {
            after += self.rng.within(20, 1_500);
        }
        let arrives = self.now_ms() + after;
        let last = self.arrivals.entry((from, to)).or_default();
        if arrives + 20 < *last {
            self.fired.add(Fault::MessageReordered);
        }
        *last = (*last).max(arrives);
        let mut again = None;
        if !self.calm && self.rng.chance(rates.duplicate) {
            self.fired.add(Fault::MessageDuplicated);
            again = Some(Duration::from_millis(self.rng.within(0, 5_000)));
        }
        self.trace.note(&[self.now_ms(), after]);
        Passage::Arrives {
            after: Duration::from_millis(after),
            again,
        }
    }
}

/// Calls a coordinator. Never answered where a message is lost: the caller has its own deadline.
pub fn ask<T: Send + 'static>(
    world: &Arc<World>,
    from: Place,
    to: u64,
    serve: Serve<T>,
) -> oneshot::Receiver<Result<T, Silence>> {
    let (tell, answer) = oneshot::channel();
    let carrier = world.clone();
    world.spawn(async move {
        let there = Place::Coordinator(to);
        let passage = carrier.lock().passage(from, there);
        let Passage::Arrives { after, again } = passage else {
            // The caller waits for nothing.
            sleep(Duration::from_secs(60)).await;
            return;
        };
        sleep(after).await;
        if let Some(later) = again {
            let (world, serve) = (carrier.clone(), serve.clone());
            carrier.spawn(async move {
                sleep(later).await;
                if let Some(server) = world.server(to) {
                    // Nobody listens to the second answer.
                    let _ = server.run(serve(&server)).await;
                }
            });
        }
        let answered = match carrier.server(to) {
            None => Err(Silence::Refused),
            Some(server) => server.run(serve(&server)).await.ok_or(Silence::Broken),
        };
        let back = carrier.lock().passage(there, from);
        match back {
            Passage::Lost => sleep(Duration::from_secs(60)).await,
            Passage::Arrives { after, .. } => {
                sleep(after).await;
                // The caller may have given up.
                let _ = tell.send(answered);
            }
        }
    });
    answer
}

/// A stream in one direction. `torn` ends it and its counterpart in the other direction together.
pub fn pipe<T: Send + 'static>(
    world: &Arc<World>,
    from: Place,
    to: Place,
    torn: &CancellationToken,
) -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    let (say, mut said) = mpsc::unbounded_channel::<T>();
    let (hand, heard) = mpsc::unbounded_channel();
    let (carrier, torn) = (world.clone(), torn.clone());
    world.spawn(async move {
        let mut last = Instant::now();
        loop {
            let message = tokio::select! {
                biased;
                () = torn.cancelled() => break,
                () = hand.closed() => break,
                message = said.recv() => message,
            };
            let passage = carrier.lock().passage(from, to);
            let (Some(message), Passage::Arrives { after, .. }) = (message, passage) else {
                break;
            };
            last = last.max(Instant::now() + after);
            sleep_until(last).await;
            if torn.is_cancelled() || hand.send(message).is_err() {
                break;
            }
        }
        if !torn.is_cancelled() {
            carrier.fire_unless_calm(Fault::ExchangeBroken);
        }
        // Each side finds out in its own time.
        drop(said);
        let wait = carrier.lock().rng.within(10, 8_000);
        sleep(Duration::from_millis(wait)).await;
        torn.cancel();
    });
    (say, heard)
}

/// What openraft sends over.
#[derive(Debug)]
pub struct Wire {
    pub world: Weak<World>,
    pub from: u64,
}

impl Link for Wire {
    fn call(
        &self,
        to: Peer,
        call: Call,
        payload: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let gone = LinkError::Unreachable(to.id, "the run is over".to_owned());
        let Some(world) = self.world.upgrade() else {
            return Box::pin(std::future::ready(Err(gone)));
        };
        let witness = self.world.clone();
        let serve: Serve<Result<Vec<u8>, String>> = Arc::new(move |server| {
            let (server, payload, witness) = (server.clone(), payload.clone(), witness.clone());
            Box::pin(async move {
                let consensus = &server.coordinator.consensus;
                let answer = consensus.answer(call, &payload).await?;
                if let Some(world) = witness.upgrade() {
                    world.answered(server.id, call, &payload, &answer);
                }
                Ok(answer)
            })
        });
        let answer = ask(&world, Place::Coordinator(self.from), to.id, serve);
        Box::pin(async move {
            match timeout(within, answer).await {
                Ok(Ok(Ok(Ok(bytes)))) => Ok(bytes),
                Ok(Ok(Ok(Err(error)))) => Err(LinkError::Lost(to.id, error)),
                Ok(Ok(Err(Silence::Refused))) => {
                    Err(LinkError::Unreachable(to.id, "refused".to_owned()))
                }
                Ok(Ok(Err(Silence::Broken)) | Err(_)) => {
                    Err(LinkError::Lost(to.id, "the connection broke".to_owned()))
                }
                Err(_) => Err(LinkError::Lost(to.id, "no answer in time".to_owned())),
            }
        })
    }
}
