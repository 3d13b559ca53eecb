//! `NodeService`.

use crate::actor::dispatcher::{DispatcherHandle, WAITING_ORDERS};
use futures::{Stream, StreamExt as _};
use recode_proto::convert::status::not_leading;
use recode_proto::v1::{self, node_service_server::NodeService};
use recode_types::NodeReport;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// See the module.
pub struct Nodes {
    /// Takes the reports, while this coordinator leads.
    pub dispatcher: watch::Receiver<Option<DispatcherHandle>>,
    /// Owns the readers of open exchanges.
    pub readers: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
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
            .ok_or_else(|| Status::invalid_argument("the first report is missing"))?;
        let first = NodeReport::try_from(first)?;
        let dispatcher = self.dispatcher.borrow().clone();
        let dispatcher = dispatcher.ok_or_else(|| not_leading(None))?;
        let (orders, outgoing) = mpsc::channel(WAITING_ORDERS);
        let (node, exchange) = dispatcher
            .opened(first, orders)
            .await
            .map_err(Status::unavailable)?;
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
                        break;
                    }
                }
            }
            dispatcher.closed(node, exchange).await;
        });
        let orders = ReceiverStream::new(outgoing).map(|orders| Ok(orders.into()));
        Ok(Response::new(Box::pin(orders)))
    }
}
