//! A coordinator without a listener, for simulations: everything but gRPC, on a disk, a network and a work store of the
//! simulation's, as one make-believe process.

pub use crate::artifacts::{Artifacts, Store};
pub use crate::raft::disk::{Disk, DiskFile, Lock, Pace};
pub use crate::raft::network::term_bound_to;
pub use crate::raft::witness::{Place, Witness};
pub use crate::raft::{
    Call, Consensus, Error, Identity, Keep, Leadership, Link, LinkError, Peer, Quorum, Setup,
    Timings,
};
pub use crate::runtime::host::{Host, News, World};
pub use crate::seat::SeatHandle;
pub use crate::service::Services;
pub use crate::service::node::Orders;

use crate::assembly;
use crate::leader::Policy;
use crate::room::Door;
use crate::runtime;
use crate::seat::Seat;
use recode_core::PlanPolicy;
use recode_core::machine::Retention;
use std::path::Path;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// See the module.
pub struct Coordinator {
    /// The log.
    pub consensus: Consensus,
    /// What answers calls.
    pub services: Services,
    /// Whether it leads.
    pub seat: SeatHandle,
}

/// What must be watched while a [`Coordinator`] runs.
pub struct Life {
    consensus: Consensus,
    seat: JoinHandle<Result<(), String>>,
}

impl Coordinator {
    /// Starts it on the host whose task calls this.
    /// # Errors
    /// The folder does not open: the process must not start.
    pub async fn start(dir: &Path, setup: Setup, store: Store) -> Result<(Self, Life), Error> {
        let consensus = Consensus::open(dir, setup).await?;
        let policy = Policy {
            plan: PlanPolicy::default(),
            nodes_died: false,
            sweep: true,
            retention: Retention::default(),
        };
        // Nobody stops it in order: a simulated process is killed.
        let stop = CancellationToken::new();
        let (seat, handle) = Seat::new(consensus.clone(), store.clone(), policy, None);
        let seat_life = runtime::spawn(seat.run(stop.clone()));
        let services = Services::new(
            &consensus,
            &store,
            &handle,
            Door::open(),
            &TaskTracker::new(),
            &stop,
        );
        let life = Life {
            consensus: consensus.clone(),
            seat: seat_life,
        };
        let coordinator = Self {
            consensus,
            services,
            seat: handle,
        };
        Ok((coordinator, life))
    }
}

impl Life {
    /// Resolves when the coordinator cannot go on, with the reason. A real process would end then.
    pub async fn ended(mut self) -> String {
        assembly::cannot_go_on(&self.consensus, &mut self.seat).await
    }
}
