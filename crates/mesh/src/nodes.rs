//! Seeing and draining Nodes, as typed calls.

use crate::retry::CALL_DEADLINE;
use crate::{Error, Leader};
use recode_proto::v1::{self, node_service_client::NodeServiceClient};
use recode_types::{NodeId, NodeStatus};
use tonic::transport::Channel;

/// The Nodes of a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nodes {
    leader: Leader,
}

fn status(status: Option<v1::NodeStatus>) -> Result<NodeStatus, Error> {
    let status = status.ok_or_else(|| Error::Internal("status is missing in its answer".into()))?;
    Ok(status.try_into()?)
}

impl Nodes {
    /// The Nodes that report to `leader`.
    pub fn new(leader: Leader) -> Self {
        Self { leader }
    }

    fn client(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.leader.channel())
    }

    /// Nodes with a greater number than `after`, in order, without what they run; and what to ask for next, where there are
    /// more.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn page(
        &self,
        after: Option<NodeId>,
    ) -> Result<(Vec<NodeStatus>, Option<NodeId>), Error> {
        let message = v1::ListNodesRequest {
            limit: 0,
            after: after.map_or(0, |node| node.0),
        };
        let mut client = self.client();
        let call = client.list_nodes(message);
        let answer = self.leader.within(CALL_DEADLINE, call).await?;
        let nodes = answer.nodes.into_iter().map(TryInto::try_into);
        let next = (answer.next_after > 0).then_some(NodeId(answer.next_after));
        Ok((nodes.collect::<Result<_, _>>()?, next))
    }

    /// One Node, with what it runs.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, node: NodeId) -> Result<NodeStatus, Error> {
        let mut client = self.client();
        let call = client.get_node(v1::GetNodeRequest { node: node.0 });
        status(self.leader.within(CALL_DEADLINE, call).await?.status)
    }

    /// Gives a Node nothing new; what it runs goes on. Draining a drained one changes nothing.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn drain(&self, node: NodeId) -> Result<NodeStatus, Error> {
        let mut client = self.client();
        let call = client.drain(v1::DrainRequest { node: node.0 });
        status(self.leader.within(CALL_DEADLINE, call).await?.status)
    }

    /// Gives it work again.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn undrain(&self, node: NodeId) -> Result<NodeStatus, Error> {
        let mut client = self.client();
        let call = client.undrain(v1::UndrainRequest { node: node.0 });
        status(self.leader.within(CALL_DEADLINE, call).await?.status)
    }
}
