//! What health checks and load balancers hear: whether this coordinator answers for Jobs and nodes now.

use super::gate::Gate;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How often it is looked at: a Leader that lost its quorum says so within this, beyond the time that makes it one.
const LOOK: Duration = Duration::from_millis(250);

/// The services that only a Leader serves.
const LED: [&str; 2] = ["recode.v1.JobService", "recode.v1.NodeService"];

/// Keeps the reporter right until told to stop.
pub async fn report(gate: Gate, reporter: HealthReporter, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut said = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let open = gate.is_open();
        if said != Some(open) {
            said = Some(open);
            let status = match open {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            for service in LED {
                reporter.set_service_status(service, status).await;
            }
        }
    }
}
