//! The dispatcher's public face.

use super::Heard;
use crate::raft::Consensus;
use recode_types::{NodeId, NodeOrders, NodeReport};
use tokio::sync::{mpsc, oneshot};

/// Everything that can happen to the dispatcher, besides effects of the log.
pub(super) enum Msg {
    Opened {
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
        reply: oneshot::Sender<Result<(NodeId, u64), String>>,
    },
    Reported {
        node: NodeId,
        exchange: u64,
        report: NodeReport,
    },
    Closed {
        node: NodeId,
        exchange: u64,
    },
    Heard {
        reply: oneshot::Sender<Heard>,
    },
}

/// The dispatcher's public face.
#[derive(Clone)]
pub struct DispatcherHandle {
    // Each exchange sends one message at a time, so this bounds Nodes that wait, not reports.
    pub(super) mailbox: mpsc::Sender<Msg>,
    pub(super) consensus: Consensus,
}

impl std::fmt::Debug for DispatcherHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DispatcherHandle").finish_non_exhaustive()
    }
}

impl DispatcherHandle {
    /// A Node opens an exchange with its first report. Answers its number and that of the exchange.
    /// # Errors
    /// One sentence: the Node should try again later.
    pub async fn opened(
        &self,
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
    ) -> Result<(NodeId, u64), String> {
        let (reply, answer) = oneshot::channel();
        let msg = Msg::Opened {
            report,
            orders,
            reply,
        };
        let stopped = || "this coordinator stops".to_owned();
        self.mailbox.send(msg).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The next report of an exchange. `false`: the dispatcher is gone, end the exchange.
    pub async fn reported(&self, node: NodeId, exchange: u64, report: NodeReport) -> bool {
        let msg = Msg::Reported {
            node,
            exchange,
            report,
        };
        self.mailbox.send(msg).await.is_ok()
    }

    /// An exchange has ended.
    pub async fn closed(&self, node: NodeId, exchange: u64) {
        // A dispatcher that is gone has no use for it.
        let _ = self.mailbox.send(Msg::Closed { node, exchange }).await;
    }

    /// What Nodes said last; asked for, since it is long and seldom wanted. `None`: the dispatcher is gone.
    pub async fn heard(&self) -> Option<Heard> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Msg::Heard { reply }).await.ok()?;
        answer.await.ok()
    }

    /// The log and the state it works with.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }
}
