//! Calls as anybody may make them: bytes to a path.

use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Bytes as they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use bytes::Buf as _;
        let mut out = vec![0; from.remaining()];
        from.copy_to_slice(&mut out);
        Ok(Some(out))
    }
}

/// Sends one message to `rpc`, as in `JobService/Get`, and answers the first one that comes back; empty: none.
pub async fn call(channel: &Channel, rpc: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|e| Status::unavailable(e.to_string()))?;
    // Kept open behind the message, as a node keeps its exchange.
    let messages = futures::stream::iter([message]);
    let request = Request::new(messages);
    let path = format!("/recode.v1.{rpc}").parse().expect("a path");
    let answer = grpc.streaming(request, path, Bytes).await?;
    let first = answer.into_inner().message().await?;
    Ok(first.unwrap_or_default())
}
