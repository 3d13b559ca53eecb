//! Seeing and changing the cluster, as typed calls.

use crate::{Error, Leader};
use recode_proto::v1::{self, cluster_service_client::ClusterServiceClient};
use recode_types::cluster::ClusterStatus;
use std::time::Duration;
use tonic::transport::Channel;

/// How long looking may take.
const LOOK: Duration = Duration::from_secs(5);
/// How long a change may take: a new coordinator has to catch up.
const CHANGE: Duration = Duration::from_secs(150);

/// The cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    leader: Leader,
}

impl Cluster {
    /// The cluster of `leader`.
    pub fn new(leader: Leader) -> Self {
        Self { leader }
    }

    fn client(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.leader.channel())
    }

    /// The cluster as whoever answers sees it.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        let mut client = self.client();
        let call = client.status(v1::ClusterStatusRequest {});
        Ok(self.leader.within(LOOK, call).await?.into())
    }

    /// Adopts the coordinator that waits at `address`; gives its number. May be repeated.
    /// # Errors
    /// [`Error::Precondition`]: it does not wait, or not there.
    pub async fn add(&self, address: &str) -> Result<u64, Error> {
        let mut client = self.client();
        let call = client.add(v1::AddCoordinatorRequest {
            address: address.to_owned(),
        });
        Ok(self.leader.within(CHANGE, call).await?.coordinator)
    }

    /// Removes a coordinator, living or lost.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it is the last one.
    pub async fn remove(&self, coordinator: u64) -> Result<(), Error> {
        let mut client = self.client();
        let call = client.remove(v1::RemoveCoordinatorRequest { coordinator });
        self.leader.within(CHANGE, call).await.map(|_| ())
    }

    /// Writes a snapshot at whoever answers; gives the index of the last entry in it.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn snapshot(&self) -> Result<u64, Error> {
        let mut client = self.client();
        let call = client.snapshot(v1::SnapshotRequest {});
        Ok(self.leader.within(CHANGE, call).await?.index)
    }
    /// Where the cluster keeps what is on its way: a folder of a disk that its nodes share, or an `s3://` URL.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn work_store(&self) -> Result<String, Error> {
        let mut client = self.client();
        let call = client.work_store(v1::WorkStoreRequest {});
        Ok(self.leader.within(LOOK, call).await?.url)
    }
}
