//! Only a Leader that a quorum has confirmed lately answers for Jobs and nodes. Everybody else says who leads.

use crate::raft::{Consensus, Leadership, Quorum};
use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use recode_proto::convert::status::{because, not_leading};
use std::task::{Context, Poll};
use tokio::sync::watch;
use tonic::{Code, Status};

/// What the gate asks before it lets a call through.
#[derive(Clone)]
pub struct Gate {
    /// The log.
    pub consensus: Consensus,
    /// Whether the Leader's parts run; they start a moment after an election.
    pub serving: watch::Receiver<bool>,
}

impl Gate {
    /// Whether a call to `path` may pass.
    /// # Errors
    /// Who leads, or why this Leader does not answer now.
    pub fn check(&self, path: &str) -> Result<(), Status> {
        let service = path.trim_start_matches('/').split('/').next().unwrap_or("");
        let method = path.rsplit('/').next().unwrap_or("");
        let led = match service {
            "recode.v1.JobService" | "recode.v1.NodeService" => true,
            "recode.v1.ClusterService" => matches!(method, "Add" | "Remove"),
            _ => false,
        };
        if led { self.leads() } else { Ok(()) }
    }

    /// Whether calls that only a Leader answers may pass now.
    pub fn is_open(&self) -> bool {
        self.leads().is_ok()
    }

    fn leads(&self) -> Result<(), Status> {
        match &*self.consensus.leadership().borrow() {
            Leadership::Follows { leader } => {
                let address = leader.as_ref().map(|l| l.address.as_str());
                Err(not_leading(address))
            }
            Leadership::Leads { .. } => match self.consensus.quorum() {
                Quorum::Stale { .. } => Err(not_now(
                    "this coordinator has lost touch with the others: try again, or ask another",
                )),
                Quorum::Fresh if !*self.serving.borrow() => Err(not_now(
                    "this coordinator was elected just now and is getting ready: try again",
                )),
                Quorum::Fresh => Ok(()),
            },
        }
    }
}

fn not_now(message: &str) -> Status {
    because(Code::Unavailable, "NOT_LEADING", message.to_owned(), &[])
}

/// Puts the gate before services.
#[derive(Clone)]
pub struct GateLayer(pub Gate);

impl<S> tower::Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            gate: self.0.clone(),
            inner,
        }
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S, B, R> tower::Service<Request<B>> for Gated<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.gate.check(request.uri().path()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}
