//! The report/grant exchange between a node and the Leader, typed; the same by gRPC and by NATS.

use crate::nats::exchange::{self, Hearing};
use crate::nats::{Bell, Nats, Settings};
use crate::{Error, Leader};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::{self, node_service_client::NodeServiceClient};
use recode_types::{NodeOrders, NodeReport};
use std::sync::Arc;
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// The way of a node to the Leader. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Link {
    /// By gRPC.
    Grpc(Leader),
    /// By NATS alone: no coordinator is dialled.
    Nats(NatsLink),
}

/// A connection with NATS that is made when it is needed first, and shared by all clones.
#[derive(Clone, Debug)]
pub struct NatsLink {
    settings: Settings,
    /// Shown by the NATS server.
    name: String,
    nats: Arc<OnceCell<Nats>>,
}

impl Link {
    /// By NATS. `name` is what the server shows for it. Does not connect yet.
    pub fn nats(settings: Settings, name: String) -> Self {
        Self::Nats(NatsLink {
            settings,
            name,
            nats: Arc::default(),
        })
    }

    /// What tells a node that waits that it need not. Only NATS has one: by gRPC a Leader that is there answers.
    pub fn bell(&self) -> Bell {
        Bell::of(match self {
            Self::Grpc(_) => None,
            Self::Nats(link) => link.nats.get().cloned(),
        })
    }

    /// Finds the Leader and says `first`, which carries the hello.
    /// # Errors
    /// [`Error::Unavailable`]: back off and try again.
    pub async fn open(&self, first: NodeReport) -> Result<Exchange, Error> {
        match self {
            Self::Grpc(leader) => Exchange::open(leader, first).await,
            Self::Nats(link) => {
                let connect = || Nats::connect(&link.settings, &link.name);
                Exchange::begin(link.nats.get_or_try_init(connect).await?, first).await
            }
        }
    }
}

/// A node's open exchange with the Leader. Dropping it closes it.
#[derive(Debug)]
pub struct Exchange {
    reports: mpsc::Sender<v1::NodeReport>,
    orders: Orders,
}

#[derive(Debug)]
enum Orders {
    Grpc {
        leader: Leader,
        endpoint: String,
        orders: Box<Streaming<v1::NodeOrders>>,
    },
    Nats {
        at: Nats,
        orders: Hearing,
    },
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
            reports,
            orders: Orders::Grpc {
                leader: leader.clone(),
                endpoint,
                orders: Box::new(orders),
            },
        })
    }

    async fn begin(nats: &Nats, first: NodeReport) -> Result<Self, Error> {
        // As above.
        let (reports, outgoing) = mpsc::channel(2);
        let orders = exchange::begin(nats, first.into(), outgoing).await?;
        Ok(Self {
            reports,
            orders: Orders::Nats {
                at: nats.clone(),
                orders,
            },
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
        let heard = match &mut self.orders {
            Orders::Grpc {
                leader,
                endpoint,
                orders,
            } => match orders.message().await {
                Ok(heard) => heard,
                Err(status) => return Err(leader.heard(endpoint, status)),
            },
            Orders::Nats { orders, .. } => orders.recv().await.transpose()?,
        };
        match heard {
            Some(orders) => Ok(orders.try_into()?),
            None => Err(self.closed()),
        }
    }

    fn closed(&self) -> Error {
        match &self.orders {
            Orders::Grpc {
                leader, endpoint, ..
            } => leader.lost(endpoint, "the stream of orders ended"),
            Orders::Nats { at, .. } => at.unavailable("the exchange ended"),
        }
    }
}
