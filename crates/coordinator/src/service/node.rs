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

/// See the module.
pub struct Nodes {
    /// Takes the reports, while this coordinator leads.
    pub dispatcher: watch::Receiver<Option<DispatcherHandle>>,
    /// Owns the readers of open exchanges.
    pub readers: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

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
        let heard = heard.get(&node).cloned();
        let shared = dispatcher.consensus().shared();
        let status = shared.look(|state| state.node_status(node, heard));
        match status {
            Some(status) => Ok(Some(status.into())),
            None => Err(rejected(Rejected::UnknownNode, &node.to_string())),
        }
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
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<v1::NodeOrders, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut reports = request.into_inner();
        let first = reports
            .message()
            .await?
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
        let (refuse, refused) = oneshot::channel();
        let stop = self.stop.clone();
        self.readers.spawn(async move {
            loop {
                let report = tokio::select! {
                    () = stop.cancelled() => return,
                    report = reports.message() => report,
                };
                let Ok(Some(report)) = report else { break };
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
        });
        let orders = ReceiverStream::new(outgoing).map(|orders| Ok(orders.into()));
        let last = futures::stream::once(refused)
            .filter_map(|refused| std::future::ready(refused.ok().map(Err)));
        Ok(Response::new(Box::pin(orders.chain(last))))
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
                    let mut heard = heard.remove(&id);
                    if let Some(heard) = &mut heard {
                        heard.running.clear();
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
