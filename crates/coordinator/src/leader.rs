//! Everything that runs only while this coordinator leads, as one value: dropping it ends all of it.

use crate::actor::archiver;
use crate::actor::dispatcher::{self, DispatcherHandle, Running};
use crate::actor::sweeper::{self, SweeperHandle};
use crate::actor::{levels, planner};
use crate::artifacts::Store;
use crate::raft::{Consensus, ProposeError};
use crate::runtime;
use recode_core::machine::Retention;
use recode_core::{Command, PlanPolicy};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a Leader works.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How Plans are made.
    pub plan: PlanPolicy,
    /// All Nodes live and die with this process: the ones in the log are gone.
    pub nodes_died: bool,
    /// Removes what ended Jobs leave in the work store.
    pub sweep: bool,
    /// How long ended Jobs stay, and how many.
    pub retention: Retention,
}

/// The running parts of a Leader.
pub struct Leader {
    dispatcher: DispatcherHandle,
    tasks: JoinSet<&'static str>,
}

impl Leader {
    /// Starts them. Call once this coordinator leads and its state is complete.
    /// # Errors
    /// [`ProposeError`]: it does not lead any more.
    pub async fn start(
        consensus: &Consensus,
        store: &Store,
        policy: Policy,
        running: &watch::Sender<Running>,
        stop: &CancellationToken,
    ) -> Result<Self, ProposeError> {
        // Whatever was gathered while another led is its business, or in the state.
        consensus.shared().effects.clear();
        if policy.nodes_died {
            let gone: Vec<Command> = consensus.shared().look(|state| {
                let nodes = state.nodes.keys();
                nodes
                    .map(|node| Command::ForgetNode { node: *node })
                    .collect()
            });
            if !gone.is_empty() {
                consensus.propose(gone).await?;
            }
        }
        let shared = consensus.shared();
        // What an earlier Leader was asked and may not have done.
        let pending = shared.look(recode_core::State::pending_effects);
        if !planted!(PendingNotTaken) {
            shared.effects.add(pending);
        }
        let mut tasks = JoinSet::new();
        let (planner, planning) =
            planner::new(consensus.clone(), store.clone(), policy.plan, stop.clone());
        tasks.spawn(runtime::task(async move {
            planning.await;
            "planner"
        }));
        let levelling = levels::run(consensus.clone(), stop.clone());
        tasks.spawn(runtime::task(async move {
            levelling.await;
            "raising of levels"
        }));
        let sweeper = if policy.sweep {
            let (sweeper, sweeping) = sweeper::new(store.clone(), stop.clone());
            tasks.spawn(runtime::task(async move {
                sweeping.await;
                "sweeper"
            }));
            sweeper
        } else {
            SweeperHandle::idle()
        };
        let (archiver, archiving) = archiver::new(
            consensus.clone(),
            store.clone(),
            policy.retention,
            stop.clone(),
        );
        tasks.spawn(runtime::task(async move {
            archiving.await;
            "archiver"
        }));
        let parts = dispatcher::Parts {
            consensus: consensus.clone(),
            store: store.clone(),
            planner,
            sweeper,
            archiver,
            running: running.clone(),
        };
        let (dispatcher, dispatching) = dispatcher::new(parts, stop.clone());
        tasks.spawn(runtime::task(async move {
            dispatching.await;
            "dispatcher"
        }));
        Ok(Self { dispatcher, tasks })
    }

    /// Takes reports of Nodes.
    pub fn dispatcher(&self) -> &DispatcherHandle {
        &self.dispatcher
    }

    /// Resolves when a part has ended that should run, with what can be said about it.
    pub async fn broken(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Ok(name)) => format!("the {name} has ended"),
            Some(Err(error)) => format!("a part of the leader failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all parts have ended, after they were told to stop.
    pub async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
