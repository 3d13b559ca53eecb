//! The table: input and the answer promised for it.

mod cluster;
mod job;
mod node;

use super::common::request;
use super::raw;
use prost::Message;
use recode_mesh::{Exchange, Jobs, Leader};
use recode_proto::convert::MAX_WATCHED;
use recode_proto::v1;
use recode_types::{JobId, NodeHello, NodeReport, TaskId, TaskKey};
use std::collections::BTreeSet;
use tonic::Code;
use tonic::transport::Channel;

/// What is wrong with an input, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Wrong,
    Oversized,
    /// Fits another state than the one that is.
    Stale,
    Repeated,
}

/// What is promised.
#[derive(Clone, Debug)]
pub enum Answer {
    Taken,
    /// Taken twice, with the same answer.
    Same,
    /// `INVALID_ARGUMENT` about a field.
    Field(&'static str),
    /// A code with a reason in its details.
    Reason(Code, &'static str),
    /// One of these; from the gRPC library, which gives no details.
    Code(&'static [Code]),
}

pub struct Row {
    pub rpc: &'static str,
    pub kind: Kind,
    pub what: &'static str,
    pub message: Vec<u8>,
    pub wanted: Answer,
}

/// Kinds of input that a call cannot get: its message has no fields, or no value of them is wrong.
pub fn does_not_apply(rpc: &str) -> BTreeSet<Kind> {
    let none: &[Kind] = match rpc {
        "ClusterService/Status" | "ClusterService/Snapshot" | "ClusterService/WorkStore" => {
            &[Kind::Wrong, Kind::Oversized, Kind::Stale]
        }
        "NodeService/ListNodes" => &[Kind::Wrong],
        _ => &[],
    };
    none.iter().copied().collect()
}

/// A cluster with a Job that waits, one that was cancelled, and a node.
pub struct World {
    cluster: String,
    address: String,
    waiting: String,
    cancelled: String,
    node: u64,
    /// A token for a list without conditions.
    page_token: String,
}

const LONG: usize = 5000;

fn long() -> String {
    "x".repeat(LONG)
}

fn reason(code: Code, why: &'static str) -> Answer {
    Answer::Reason(code, why)
}

impl World {
    pub async fn new(jobs: &Jobs, leader: &Leader, channel: &Channel) -> Self {
        let waiting = jobs.submit("one", &request()).await.unwrap().0.to_string();
        let cancelled = jobs.submit("two", &request()).await.unwrap().0.to_string();
        let cancel = v1::CancelRequest {
            job: cancelled.clone(),
            request_id: "c".into(),
            reason: "enough".into(),
        };
        let cancel = raw::call(channel, "JobService/Cancel", cancel.encode_to_vec());
        cancel.await.unwrap();
        let hello = NodeReport {
            instance: "one".into(),
            hello: Some(NodeHello {
                name: "made up".into(),
                ..NodeHello::default()
            }),
            ..NodeReport::default()
        };
        let mut exchange = Exchange::open(leader, hello).await.unwrap();
        let node = exchange
            .hear()
            .await
            .unwrap()
            .node
            .expect("it is welcome")
            .0;
        let status = raw::call(channel, "ClusterService/Status", Vec::new()).await;
        let status = v1::ClusterStatusResponse::decode(&*status.unwrap()).unwrap();
        let page = v1::ListRequest {
            limit: 1,
            ..Default::default()
        };
        let page = raw::call(channel, "JobService/List", page.encode_to_vec()).await;
        let page = v1::ListResponse::decode(&*page.unwrap()).unwrap();
        assert!(!page.next_page_token.is_empty());
        Self {
            cluster: status.cluster,
            address: status.coordinators[0].address.clone(),
            waiting,
            cancelled,
            node,
            page_token: page.next_page_token,
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.submits();
        rows.extend(self.lists());
        rows.extend(self.watches());
        rows.extend(self.looks_at_a_job());
        rows.extend(self.wishes());
        rows.extend(self.nodes());
        rows.extend(node::exchanges());
        rows.extend(self.clusters());
        rows.extend(self.rafts());
        rows
    }
}

fn of(
    rpc: &'static str,
    kind: Kind,
    what: &'static str,
    message: &impl Message,
    wanted: Answer,
) -> Row {
    Row {
        rpc,
        kind,
        what,
        message: message.encode_to_vec(),
        wanted,
    }
}
