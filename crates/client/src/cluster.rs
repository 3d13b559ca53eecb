//! `cluster status|add|remove|snapshot`.

use crate::fault::Fault;
use crate::flags::ClusterAction;
use crate::remote::{fault, say_json, with};
use crate::summary::columns;
use recode_types::cluster::ClusterStatus;
use serde_json::json;
use std::time::Duration;

/// How long a change of the cluster is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it.
/// # Errors
/// Nobody answers, or the cluster refuses the change.
pub fn run(action: &ClusterAction) -> Result<(), Fault> {
    let remote = action.remote();
    let (said, json) = with(remote, async |client| {
        let client = match action {
            ClusterAction::Status { .. } | ClusterAction::Snapshot { .. } => client,
            // One change waits for another.
            ClusterAction::Add { .. } | ClusterAction::Remove { .. } => client.patience(PATIENCE),
        };
        Ok(match action {
            ClusterAction::Status { .. } => {
                let status = client.cluster_status().await.map_err(fault)?;
                (table(&status), json!(status))
            }
            ClusterAction::Add { address, .. } => {
                let number = client.add_coordinator(address).await.map_err(fault)?;
                (
                    format!("{address} is coordinator {number} now, and votes\n"),
                    json!({ "coordinator": number, "address": address }),
                )
            }
            ClusterAction::Remove { coordinator, .. } => {
                let removed = client.remove_coordinator(*coordinator).await;
                removed.map_err(fault)?;
                (
                    format!("coordinator {coordinator} is no part of the cluster any more\n"),
                    json!({ "removed": coordinator }),
                )
            }
            ClusterAction::Snapshot { .. } => {
                let index = client.snapshot().await.map_err(fault)?;
                (
                    format!("the snapshot holds everything up to entry {index}\n"),
                    json!({ "index": index }),
                )
            }
        })
    })?;
    match remote.json {
        true => say_json(&json),
        false => crate::say(&said),
    }
    Ok(())
}

fn table(status: &ClusterStatus) -> String {
    let mut rows = vec![["coordinator", "address", "role", "entries"].map(str::to_owned)];
    for one in &status.coordinators {
        let leads = status.leader == Some(one.coordinator);
        let role = match (leads, one.voter) {
            (true, _) => "leads",
            (false, true) => "votes",
            (false, false) => "learns",
        };
        let me = one.coordinator == status.coordinator;
        let entries = match one.matched_index {
            Some(index) => index.to_string(),
            None if me => status.last_index.to_string(),
            None => "?".to_owned(),
        };
        rows.push([
            one.coordinator.to_string(),
            one.address.clone(),
            role.to_owned(),
            entries,
        ]);
    }
    let mut said = columns(&rows).join("\n") + "\n";
    if status.leader.is_none() {
        said += "no coordinator leads: more than half of them must run and reach each other\n";
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::cluster::CoordinatorStatus;

    #[test]
    fn the_table_says_who_leads_and_how_far_each_is() {
        let one = |coordinator, matched_index| CoordinatorStatus {
            coordinator,
            address: format!("10.0.0.{coordinator}:7420"),
            voter: coordinator != 107,
            matched_index,
        };
        let mut status = ClusterStatus {
            cluster: "c".into(),
            coordinator: 1,
            term: 3,
            leader: Some(2),
            coordinators: vec![one(1, None), one(2, Some(40)), one(107, Some(39))],
            last_index: 41,
            applied_index: 41,
            snapshot_index: None,
            quorum_age_ms: None,
        };
        assert_eq!(
            table(&status),
            "coordinator          address    role  entries\n\
             1              10.0.0.1:7420   votes       41\n\
             2              10.0.0.2:7420   leads       40\n\
             107          10.0.0.107:7420  learns       39\n"
        );
        status.leader = None;
        assert!(table(&status).contains("no coordinator leads"));
    }
}
