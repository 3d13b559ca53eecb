//! The bell: whoever waits before it looks for a Leader again hears that work is waiting.

use super::Nats;
use async_nats::Subscriber;
use futures::StreamExt as _;
use std::time::Duration;

/// Hears the bell from when it is first asked on. A ring that is lost costs a wait of some seconds, no more.
#[derive(Debug)]
pub struct Bell {
    /// `None`: there is none to hear.
    nats: Option<Nats>,
    subscriber: Option<Subscriber>,
}

impl Bell {
    pub(crate) fn of(nats: Option<Nats>) -> Self {
        Self {
            nats,
            subscriber: None,
        }
    }

    /// Waits that long, or an eighth of it from when it rings: not all who wait come at once.
    pub async fn wait(&mut self, wait: Duration) {
        let rung_out = async {
            self.rung().await;
            tokio::time::sleep(wait / 8).await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = rung_out => {}
        }
    }

    /// Resolves when it rings; never, where there is none.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn rung(&mut self) {
        let Some(nats) = &self.nats else {
            return std::future::pending().await;
        };
        if self.subscriber.is_none() {
            // A client that is closed hears nothing any more.
            self.subscriber = nats.client.subscribe(nats.subjects.bell()).await.ok();
        }
        let heard = match &mut self.subscriber {
            Some(subscriber) => subscriber.next().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending().await
        }
    }
}
