//! The report/grant exchange between a node and the Leader, typed.

use crate::{Error, Leader};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::{self, node_service_client::NodeServiceClient};
use recode_types::{NodeOrders, NodeReport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A node's open exchange with the Leader. Dropping it closes the stream.
#[derive(Debug)]
pub struct Exchange {
    leader: Leader,
    endpoint: String,
    reports: mpsc::Sender<v1::NodeReport>,
    orders: Streaming<v1::NodeOrders>,
}

impl Exchange {
    /// Dials the Leader and says `first`, which carries the hello.
    /// # Errors
    /// [`Error::Unavailable`]: back off and try again.
    pub async fn open(leader: &Leader, first: NodeReport) -> Result<Self, Error> {
        // One report waits while one travels; each report replaces the one before, so more would only be stale.
        let (reports, outgoing) = mpsc::channel(2);
        reports
            .try_send(first.into())
            .expect("the channel is new and has room");
        let endpoint = leader.endpoint();
        let mut client = NodeServiceClient::new(leader.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let orders = client
            .exchange(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| leader.heard(&endpoint, status))?
            .into_inner();
        Ok(Self {
            leader: leader.clone(),
            endpoint,
            reports,
            orders,
        })
    }

    /// Says `report`, where the stream has room for it. `false`: an earlier report still waits; say the newer state
    /// when orders come or time has passed.
    /// # Errors
    /// [`Error::Unavailable`]: the stream is closed.
    pub fn say(&self, report: NodeReport) -> Result<bool, Error> {
        match self.reports.try_send(report.into()) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.closed()),
        }
    }

    /// Whether [`Exchange::say`] would be taken now.
    pub fn has_room(&self) -> bool {
        self.reports.capacity() > 0
    }

    /// The next orders.
    /// # Errors
    /// [`Error::Unavailable`]: the stream ended.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn hear(&mut self) -> Result<NodeOrders, Error> {
        match self.orders.message().await {
            Ok(Some(orders)) => Ok(orders.try_into()?),
            Ok(None) => Err(self.closed()),
            Err(status) => Err(self.leader.heard(&self.endpoint, status)),
        }
    }

    fn closed(&self) -> Error {
        self.leader
            .lost(&self.endpoint, "the stream of orders ended")
    }
}
