//! `NodeService`.

use super::{not_proposed, rejected, stopping};
use crate::actor::dispatcher::{DispatcherHandle, WAITING_ORDERS};
use futures::{Stream, StreamExt as _};
use recode_core::{Command, Outcome, Rejected};
use recode_proto::convert::MAX_LISTED;
use recode_proto::convert::status::{bad_request, because, not_leading};
use recode_proto::v1::{self, node_service_server::NodeService};
use recode_types::{NodeId, NodeReport, NodeStatus};
use std::ops::Bound;
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status, Streaming};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    /// Takes the reports, while this coordinator leads.
    pub dispatcher: watch::Receiver<Option<DispatcherHandle>>,
    /// Owns the readers of open exchanges.
    pub readers: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

/// What a Node is told, until its exchange ends.
pub type Orders = Pin<Box<dyn Stream<Item = Result<v1::NodeOrders, Status>> + Send>>;

fn node_id(number: u64) -> Result<NodeId, Status> {
    if number == 0 {
        return Err(bad_request("node", "node is missing".to_owned()));
    }
    Ok(NodeId(number))
}

impl Nodes {
    fn dispatcher(&self) -> Result<DispatcherHandle, Status> {
        self.dispatcher
            .borrow()
            .clone()
            .ok_or_else(|| not_leading(None))
    }

    /// One Node, with what was heard from it.
    async fn look(&self, node: NodeId) -> Result<Option<v1::NodeStatus>, Status> {
        let dispatcher = self.dispatcher()?;
        let heard = dispatcher.heard().await.ok_or_else(stopping)?;
        let heard = heard.nodes.get(&node).cloned();
        let shared = dispatcher.consensus().shared();
        let status = shared.look(|state| state.node_status(node, heard));
        match status {
            Some(status) => Ok(Some(status.into())),
            None => Err(rejected(Rejected::UnknownNode, &node.to_string())),
        }
    }

    /// Opens an exchange with a Node that says `reports`.
    /// # Errors
    /// The first report is not valid, or this coordinator does not lead.
    pub async fn open(
        &self,
        mut reports: impl Stream<Item = Result<v1::NodeReport, Status>> + Send + Unpin + 'static,
    ) -> Result<Orders, Status> {
        let first = reports
            .next()
            .await
            .transpose()?
            .ok_or_else(|| bad_request("report", "the first report is missing".to_owned()))?;
        let first = NodeReport::try_from(first)?;
        if first.hello.is_none() {
            let message = "hello is missing in the first report".to_owned();
            return Err(bad_request("hello", message));
        }
        let (orders, outgoing) = mpsc::channel(WAITING_ORDERS);
        let dispatcher = self.dispatcher()?;
        let (node, exchange) = dispatcher
            .opened(first, orders)
            .await
            .map_err(|error| because(Code::Unavailable, "NOT_LEADING", error, &[]))?;
        let (refuse, mut refused) = oneshot::channel();
        let stop = self.stop.clone();
        let reading = async move {
            loop {
                let report = tokio::select! {
                    () = stop.cancelled() => return,
                    report = reports.next() => report,
                };
                let Some(Ok(report)) = report else { break };
                match NodeReport::try_from(report) {
                    Ok(report) => {
                        if !dispatcher.reported(node, exchange, report).await {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%node, %error, "a report does not read; its exchange ends");
                        // A node that hung up meanwhile knows that it is over.
                        let _ = refuse.send(Status::from(error));
                        break;
                    }
                }
            }
            dispatcher.closed(node, exchange).await;
        };
        self.readers.spawn(crate::runtime::task(reading));
        let orders = ReceiverStream::new(outgoing).map(|orders| Ok(orders.into()));
        // Whoever ends an exchange from this side drops the sender of its orders, and the Node must hear of that although
        // its own side goes on. A refusal was said before.
        let last = futures::stream::once(async move { refused.try_recv().ok() })
            .filter_map(|refused| std::future::ready(refused.map(Err)));
        Ok(Box::pin(orders.chain(last)))
    }

    async fn set_draining(
        &self,
        node: u64,
        draining: bool,
    ) -> Result<Option<v1::NodeStatus>, Status> {
        let node = node_id(node)?;
        let command = Command::DrainNode { node, draining };
        let dispatcher = self.dispatcher()?;
        let outcomes = dispatcher.consensus().propose(vec![command]).await;
        match outcomes.map_err(|e| not_proposed(&e))?.first() {
            Some(Outcome::Accepted) => {}
            Some(Outcome::Rejected(reason)) => return Err(rejected(*reason, &node.to_string())),
            other => return Err(Status::internal(format!("unexpected outcome {other:?}"))),
        }
        tracing::info!(%node, draining, "drained or not from now on");
        self.look(node).await
    }
}

#[tonic::async_trait]
impl NodeService for Nodes {
    type ExchangeStream = Orders;

    async fn exchange(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let orders = self.open(request.into_inner()).await?;
        Ok(Response::new(orders))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let message = request.into_inner();
        let limit = match message.limit as usize {
            0 => MAX_LISTED,
            limit => limit.min(MAX_LISTED),
        };
        let dispatcher = self.dispatcher()?;
        let mut heard = dispatcher.heard().await.ok_or_else(stopping)?;
        let shared = dispatcher.consensus().shared();
        let (nodes, more) = shared.look(|state| {
            let range = (Bound::Excluded(NodeId(message.after)), Bound::Unbounded);
            let mut ids = state.nodes.range(range).map(|(id, _)| *id);
            let nodes: Vec<NodeStatus> = ids
                .by_ref()
                .take(limit)
                .filter_map(|id| {
                    let mut heard = heard.nodes.remove(&id);
                    if let Some(heard) = &mut heard {
                        heard.running.clear();
                        // Some kilobytes each.
                        heard.offer = None;
                    }
                    state.node_status(id, heard)
                })
                .collect();
            (nodes, ids.next().is_some())
        });
        let last = nodes.last().filter(|_| more).map_or(0, |last| last.node.0);
        Ok(Response::new(v1::ListNodesResponse {
            nodes: nodes.into_iter().map(Into::into).collect(),
            next_after: last,
        }))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        let node = node_id(request.into_inner().node)?;
        let status = self.look(node).await?;
        Ok(Response::new(v1::GetNodeResponse { status }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let status = self.set_draining(request.into_inner().node, true).await?;
        Ok(Response::new(v1::DrainResponse { status }))
    }

    async fn undrain(
        &self,
        request: Request<v1::UndrainRequest>,
    ) -> Result<Response<v1::UndrainResponse>, Status> {
        let status = self.set_draining(request.into_inner().node, false).await?;
        Ok(Response::new(v1::UndrainResponse { status }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::archiver::ArchiverHandle;
    use crate::actor::dispatcher::{self, Running};
    use crate::actor::planner;
    use crate::actor::sweeper::SweeperHandle;
    use crate::artifacts::Store;
    use crate::raft::{Consensus, Setup};
    use recode_core::PlanPolicy;
    use recode_store::WorkStore;
    use recode_types::NodeHello;
    use std::sync::Arc;
    use std::time::Duration;

    /// A Node whose reports go on, on an exchange that the dispatcher has given up for a newer one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_hears_of_the_end_of_its_exchange_while_it_still_reports() {
        let dir = std::env::temp_dir().join(format!("recode-exchange-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let consensus = Consensus::open(&dir.join("raft"), Setup::alone())
            .await
            .unwrap();
        consensus.barrier().await.unwrap();
        let store: Store = Arc::new(WorkStore::open("memory://exchange").await.unwrap());
        let stop = CancellationToken::new();
        let policy = PlanPolicy::default();
        let (planner, _) = planner::new(consensus.clone(), store.clone(), policy, stop.clone());
        let parts = dispatcher::Parts {
            consensus: consensus.clone(),
            store,
            planner,
            sweeper: SweeperHandle::idle(),
            archiver: ArchiverHandle::default(),
            running: watch::Sender::new(Running::default()),
        };
        let (dispatcher, life) = dispatcher::new(parts, stop.clone());
        let life = tokio::spawn(life);
        let nodes = Nodes {
            dispatcher: watch::channel(Some(dispatcher)).1,
            readers: TaskTracker::new(),
            stop: stop.clone(),
        };
        let first = NodeReport {
            instance: "one".to_owned(),
            hello: Some(NodeHello {
                name: "one".to_owned(),
                heavy_slots: 1,
                light_slots: 1,
                ..NodeHello::default()
            }),
            ..NodeReport::default()
        };
        let reports = || {
            let first = futures::stream::iter([Ok(v1::NodeReport::from(first.clone()))]);
            first.chain(futures::stream::pending())
        };
        let mut older = nodes.open(reports()).await.unwrap();
        let _newer = nodes.open(reports()).await.unwrap();
        let ended = async { while older.next().await.is_some() {} };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "it would report to nobody for ever");
        stop.cancel();
        life.await.unwrap();
        consensus.stop().await;
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
