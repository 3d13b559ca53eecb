//! Asking a neighbour: one question, an answer that keeps coming, and a digest at its end.

use super::lock;
use bytes::{Bytes, BytesMut};
use recode_proto::v1::{self, peer_service_client::PeerServiceClient};
use recode_types::{ArtifactRef, Digest, SourceIdentity};
use sha2::Digest as _;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

/// A neighbour that says nothing for so long is not there: one that waits for the store itself says every other second that it
/// does.
const SILENCE: Duration = Duration::from_secs(5);

/// One that says that for so long is no faster than the store.
const LONGEST: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It said why it does not serve this now: nobody is to blame.
    #[error("{0}")]
    Not(String),
    /// It did not answer, or not with what was asked for.
    #[error("{0}")]
    Bad(String),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let said = status.message().to_owned();
        match status.code() {
            Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Aborted
            | Code::NotFound
            // An earlier build, which serves Sources as well as any.
            | Code::Unimplemented => Self::Not(said),
            code => Self::Bad(format!("{code:?}: {said}")),
        }
    }
}

/// Connections with neighbours, made when they are needed first.
#[derive(Default)]
pub struct Lines {
    open: Mutex<HashMap<String, PeerServiceClient<Channel>>>,
}

impl Lines {
    /// Others are neighbours no longer.
    pub fn only(&self, addresses: &[String]) {
        lock(&self.open).retain(|address, _| addresses.contains(address));
    }

    fn to(&self, address: &str) -> Result<PeerServiceClient<Channel>, Refusal> {
        let mut open = lock(&self.open);
        if let Some(client) = open.get(address) {
            return Ok(client.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|e| Refusal::Bad(e.to_string()))?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            // An answer is some megabytes; what is not read yet is bounded by what was asked for.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            // As among all our own processes.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let client = PeerServiceClient::new(endpoint.connect_lazy());
        open.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Part of a Source, of one stripe, from the neighbour at `address`.
    /// # Errors
    /// [`Refusal`]: the bytes are to be had elsewhere.
    /// # Cancel safety
    /// Dropping the future ends the transfer.
    pub async fn source(
        &self,
        address: &str,
        source: &SourceIdentity,
        range: Range<u64>,
    ) -> Result<Bytes, Refusal> {
        let size = range.end - range.start;
        let request = v1::ReadSourceRequest {
            url: source.url.clone(),
            size_bytes: source.size_bytes,
            version: source.version.clone(),
            start: range.start,
            end: range.end,
        };
        let mut client = self.to(address)?;
        answered(size, async move { client.read_source(request).await }).await
    }

    /// Part of a Chunk, of 8 MiB at most, from the neighbour at `address` that made it.
    /// # Errors
    /// [`Refusal`]: the bytes are to be had elsewhere.
    /// # Cancel safety
    /// Dropping the future ends the transfer.
    pub async fn chunk(
        &self,
        address: &str,
        chunk: &ArtifactRef,
        range: Range<u64>,
    ) -> Result<Bytes, Refusal> {
        let size = range.end - range.start;
        let request = v1::ReadChunkRequest {
            digest: chunk.digest.0.to_vec(),
            size_bytes: chunk.size_bytes,
            start: range.start,
            end: range.end,
        };
        let mut client = self.to(address)?;
        answered(size, async move { client.read_chunk(request).await }).await
    }
}

/// What comes of a question about so many bytes.
async fn answered(
    size: u64,
    asking: impl Future<Output = Result<Response<Streaming<v1::PeerFrame>>, Status>>,
) -> Result<Bytes, Refusal> {
    let answer = async {
        let asked = tokio::time::timeout(SILENCE, asking).await;
        let frames = asked.map_err(|_| silent())??.into_inner();
        received(frames, size).await
    };
    let answer = tokio::time::timeout(LONGEST, answer).await;
    answer.map_err(|_| Refusal::Bad("it takes too long".to_owned()))?
}

fn silent() -> Refusal {
    Refusal::Bad("it says nothing".to_owned())
}

async fn received(mut frames: Streaming<v1::PeerFrame>, size: u64) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::with_capacity(size as usize);
    let mut hasher = sha2::Sha256::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, frames.message()).await;
        let Some(frame) = frame.map_err(|_| silent())?? else {
            return Err(Refusal::Bad("its answer broke off".to_owned()));
        };
        hasher.update(&frame.bytes);
        bytes.extend_from_slice(&frame.bytes);
        if bytes.len() as u64 > size {
            return Err(Refusal::Bad("it sent more than was asked for".to_owned()));
        }
        if frame.digest.is_empty() {
            continue;
        }
        if bytes.len() as u64 != size {
            return Err(Refusal::Bad("it sent less than was asked for".to_owned()));
        }
        let digest = Digest(hasher.finalize().into());
        return match frame.digest == digest.0 {
            true => Ok(bytes.freeze()),
            false => Err(Refusal::Bad("what it sent is damaged".to_owned())),
        };
    }
}
