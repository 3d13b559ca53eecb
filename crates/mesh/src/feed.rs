//! Streams that outlive the coordinator that serves them: what was heard is counted, and after a break the next
//! coordinator is asked for the rest.

use crate::retry::Backoff;
use crate::{Error, Leader};
use std::time::{Duration, Instant};
use tonic::{Response, Status, Streaming};

/// What is streamed. The position lies in here, so that opening again goes on where the last message ended.
pub(crate) trait Source {
    /// A message on the wire.
    type Message;
    /// What is made of it.
    type Item;

    /// Asks whoever leads for what was not heard yet.
    async fn open(&self, leader: &Leader) -> Result<Response<Streaming<Self::Message>>, Status>;

    /// Takes in a message; `None` for one that was heard before.
    /// # Errors
    /// It makes no sense.
    fn take(&mut self, message: Self::Message) -> Result<Option<Self::Item>, Error>;

    /// Whether a stream that ends well here has said all.
    fn may_end(&self) -> bool;

    /// Whether a break here ends it too, since more cannot be learnt from a coordinator that is gone.
    fn is_enough(&self) -> bool;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed<S: Source> {
    leader: Leader,
    source: S,
    stream: Option<Streaming<S::Message>>,
    /// Who serves the stream.
    asked: String,
    ended: bool,
    backoff: Backoff,
    broken_since: Option<Instant>,
    pub(crate) patience: Duration,
}

impl<S: Source> Feed<S> {
    pub(crate) fn new(leader: Leader, source: S) -> Self {
        Self {
            leader,
            source,
            stream: None,
            asked: String::new(),
            ended: false,
            // Somebody looks at it: a second after an election, not five.
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(1)),
            broken_since: None,
            patience: Duration::from_secs(60),
        }
    }

    /// The next item; `None` after the last.
    /// # Errors
    /// What may not be retried, or [`Error::Unavailable`] when nobody answered for `patience`.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<S::Item>, Error> {
        while !self.ended {
            match self.step().await {
                Ok(Some(item)) => return Ok(Some(item)),
                Ok(None) => {}
                Err(error) if error.may_retry() && self.source.is_enough() => self.ended = true,
                Err(error) if error.may_retry() => {
                    self.stream = None;
                    let since = *self.broken_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.patience {
                        return Err(error);
                    }
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One message; `None` for one that was heard before.
    async fn step(&mut self) -> Result<Option<S::Item>, Error> {
        if self.stream.is_none() {
            self.asked = self.leader.endpoint();
        }
        let broken = |status| self.leader.heard(&self.asked, status);
        if self.stream.is_none() {
            let opened = self.source.open(&self.leader).await.map_err(broken)?;
            self.stream = Some(opened.into_inner());
        }
        let stream = self.stream.as_mut().expect("it was just opened");
        let Some(message) = stream.message().await.map_err(broken)? else {
            if self.source.may_end() {
                self.ended = true;
                return Ok(None);
            }
            let what = "the stream of events ended early";
            return Err(self.leader.lost(&self.asked, what));
        };
        self.broken_since = None;
        self.backoff.reset();
        self.source.take(message)
    }
}
