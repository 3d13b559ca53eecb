//! The Leader's seat: takes it when this coordinator is elected, and leaves it when another is.

use crate::actor::dispatcher::{DispatcherHandle, Running};
use crate::artifacts::Store;
use crate::leader::{Leader, Policy};
use crate::raft::{Consensus, Leadership, Peer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the services see of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SeatHandle {
    /// The dispatcher of this Leader; `None`: this coordinator does not lead, or not yet.
    pub dispatcher: watch::Receiver<Option<DispatcherHandle>>,
    /// Whether the Leader's parts run.
    pub serving: watch::Receiver<bool>,
    /// What runs, as Nodes said last.
    pub running: watch::Receiver<Running>,
}

/// See the module.
pub struct Seat {
    consensus: Consensus,
    store: Store,
    policy: Policy,
    dispatcher: watch::Sender<Option<DispatcherHandle>>,
    serving: watch::Sender<bool>,
    running: watch::Sender<Running>,
    advertise: Option<String>,
}

impl Seat {
    /// Prepares it; [`Seat::run`] is its life.
    ///
    /// `advertise`: where others reach this coordinator; told to the cluster where it says otherwise.
    pub fn new(
        consensus: Consensus,
        store: Store,
        policy: Policy,
        advertise: Option<String>,
    ) -> (Self, SeatHandle) {
        let (dispatcher, dispatchers) = watch::channel(None);
        let (serving, serves) = watch::channel(false);
        let (running, runs) = watch::channel(Running::default());
        let seat = Self {
            consensus,
            store,
            policy,
            dispatcher,
            serving,
            running,
            advertise,
        };
        let handle = SeatHandle {
            dispatcher: dispatchers,
            serving: serves,
            running: runs,
        };
        (seat, handle)
    }

    /// Leads whenever this coordinator is elected, until told to stop.
    /// # Errors
    /// A part of the Leader has failed, with what can be said about it.
    pub async fn run(self, stop: CancellationToken) -> Result<(), String> {
        let mut leadership = self.consensus.leadership();
        loop {
            let elected = async {
                let leads = |now: &Leadership| matches!(now, Leadership::Leads { .. });
                leadership.wait_for(leads).await.map(|now| now.clone())
            };
            let office = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                office = elected => office,
            };
            let Ok(office) = office else {
                // Raft has ended; that is told elsewhere.
                return Ok(());
            };
            let until = stop.child_token();
            let led = self.lead(&office, leadership.clone(), &until).await;
            until.cancel();
            self.serving.send_replace(false);
            self.dispatcher.send_replace(None);
            led?;
        }
    }

    async fn lead(
        &self,
        office: &Leadership,
        mut leadership: watch::Receiver<Leadership>,
        until: &CancellationToken,
    ) -> Result<(), String> {
        let lost = async {
            // A new term is a new office, even for the same coordinator: others may have led in between.
            let _ = leadership
                .wait_for(|now| now != office && !planted!(SeatKept))
                .await;
        };
        tokio::pin!(lost);
        let started = async {
            if !planted!(BarrierSkipped) {
                self.consensus.barrier().await?;
            }
            let (policy, running) = (self.policy.clone(), &self.running);
            Leader::start(&self.consensus, &self.store, policy, running, until).await
        };
        let started = tokio::select! {
            () = until.cancelled() => return Ok(()),
            () = &mut lost => return Ok(()),
            started = started => started,
        };
        let mut leader = match started {
            Ok(leader) => leader,
            Err(error) => {
                // Lost at once, or no quorum: the leadership tells.
                tracing::warn!(%error, "elected, but the log takes nothing");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                return Ok(());
            }
        };
        self.dispatcher
            .send_replace(Some(leader.dispatcher().clone()));
        self.serving.send_replace(true);
        tracing::info!(
            coordinator = self.consensus.identity().id,
            ?office,
            "this coordinator leads and serves"
        );
        self.tell_address().await;
        let ended = tokio::select! {
            () = until.cancelled() => Ok(()),
            () = &mut lost => {
                tracing::info!(coordinator = self.consensus.identity().id, "another coordinator leads now, or none");
                Ok(())
            }
            reason = leader.broken() => Err(reason),
        };
        self.serving.send_replace(false);
        self.dispatcher.send_replace(None);
        until.cancel();
        leader.ended().await;
        ended
    }

    /// A coordinator that came back at another address is found there from now on.
    async fn tell_address(&self) {
        let me = self.consensus.identity().id;
        let known = self.consensus.view().members;
        let known = known.iter().find(|member| member.peer.id == me);
        let (Some(address), Some(known)) = (&self.advertise, known) else {
            return;
        };
        if known.peer.address != *address {
            let peer = Peer {
                id: me,
                address: address.clone(),
            };
            if let Err(error) = self.consensus.moved(peer).await {
                tracing::warn!(%error, address, "the cluster does not know the new address yet");
            }
        }
    }
}
