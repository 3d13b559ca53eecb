//! What a Leader does on NATS. Nodes that reach nothing else: their exchanges are those of `NodeService`, which does not know
//! the difference. And the event feed.

use crate::actor::loudspeaker;
use crate::service::gate::Gate;
use crate::service::node::Nodes;
use futures::StreamExt as _;
use recode_mesh::Nats;
use recode_mesh::nats::reception::{Opened, receive};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Nodes that have opened an exchange and wait to be looked after.
const COMING: usize = 256;

/// How long subscriptions that failed are left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks after nodes on NATS, and says what happens, whenever this coordinator leads, until told to stop.
pub async fn serve(
    nats: Nats,
    nodes: Nodes,
    gate: Gate,
    mut serving: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            serves = serving.wait_for(|serves| *serves) => if serves.is_err() { return },
        }
        let office = stop.child_token();
        let (door, mut coming) = mpsc::channel(COMING);
        let receiving = async {
            let received = receive(&nats, || gate.is_open(), door, &office).await;
            if let Err(error) = received {
                tracing::warn!(%error, "nodes on NATS are not heard; trying again");
                tokio::time::sleep(AGAIN).await;
                office.cancel();
            }
        };
        let looking_after = async {
            while let Some(opened) = coming.recv().await {
                nodes.readers.spawn(converse(nodes.clone(), opened));
            }
        };
        let losing = async {
            tokio::select! {
                // Where nobody can tell any more the coordinator stops.
                _ = serving.wait_for(|serves| !*serves) => office.cancel(),
                () = office.cancelled() => {}
            }
        };
        let speaking = loudspeaker::run(&nats, &gate.consensus, &office);
        tokio::join!(receiving, looking_after, losing, speaking);
    }
}

/// One exchange, to its end.
async fn converse(nodes: Nodes, opened: Opened) {
    let Opened { reports, orders } = opened;
    let mut said = match nodes.open(reports.map(Ok)).await {
        Ok(said) => said,
        Err(status) => return orders.over(status.message()).await,
    };
    while let Some(next) = said.next().await {
        match next {
            Ok(next) => {
                if !orders.say(next).await {
                    return;
                }
            }
            Err(status) => return orders.over(status.message()).await,
        }
    }
    orders.over("the coordinator has ended this exchange").await;
}
