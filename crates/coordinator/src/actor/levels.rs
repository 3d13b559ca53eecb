//! Raises the feature level of the cluster when every member knows more than it uses. See `recode_core::machine::level`.

use crate::raft::Consensus;
use recode_core::Command;
use recode_core::machine::level::LEVEL;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often members are looked at: an upgrade is over when its last coordinator is, and nobody waits for it.
const ROUND: Duration = Duration::from_secs(1);

/// The life of it: until this build's own level is reached, or `stop`.
pub async fn run(consensus: Consensus, stop: CancellationToken) {
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The first tick comes at once, when nobody has been heard.
    round.tick().await;
    loop {
        let known = consensus.shared().look(|state| state.level);
        if known >= LEVEL {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = round.tick() => {}
        }
        if let Some(level) = consensus.common_level().filter(|level| *level > known) {
            match consensus.propose(vec![Command::RaiseLevel { level }]).await {
                Ok(_) => tracing::info!(level, "all coordinators know this feature level"),
                Err(error) => tracing::warn!(%error, level, "the feature level is not raised yet"),
            }
        }
    }
}
