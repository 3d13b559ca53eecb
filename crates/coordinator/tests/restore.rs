//! The drill of cluster/README.md: a cluster is lost with all its disks, and founded anew from the copy in its work store.

mod common;

use common::{Folder, Ledger, Mood, Node, request, watch_to_end};
use recode_coordinator::Copies;
use recode_coordinator::assembly::{Config, Running, start};
use recode_coordinator::restore::{Error, restore};
use recode_mesh::{Cluster, Jobs, Leader};
use recode_types::cluster::CoordinatorStatus;
use recode_types::{EventKind, JobState};
use std::path::Path;
use std::time::Duration;

/// Copies at short notice, since nobody waits ten minutes for a test.
async fn coordinator(folder: &Folder, data_dir: &Path) -> (Running, Jobs, Leader) {
    let config = Config {
        embedded: false,
        copies: Copies {
            every: Duration::from_millis(100),
            keep: 2,
        },
        ..Config::embedded(data_dir.to_owned(), folder.store())
    };
    let running = start(config).await.unwrap();
    let leader = Leader::at(&running.local_addr().to_string()).unwrap();
    (running, Jobs::new(leader.clone()), leader)
}

/// The copies in the store, as (cluster, entry), oldest first.
fn copies(folder: &Folder) -> Vec<(String, u64)> {
    let below = |path: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let mut found = Vec::new();
    for cluster in below(&folder.0.join("store/archive/snapshots")) {
        for copy in below(&cluster) {
            let name = copy.file_name().unwrap().to_str().unwrap();
            let cluster = cluster.file_name().unwrap().to_str().unwrap();
            // What is being written has another name.
            let index = name
                .split_once('-')
                .and_then(|(index, _)| index.parse().ok());
            found.extend(index.map(|index| (cluster.to_owned(), index)));
        }
    }
    found.sort();
    found
}

/// Waits until a copy holds what the coordinator has applied now.
async fn until_copied(folder: &Folder, leader: &Leader) -> (String, u64) {
    let applied = Cluster::new(leader.clone())
        .status()
        .await
        .unwrap()
        .applied_index;
    let held = |copies: &[(String, u64)]| copies.last().is_some_and(|copy| copy.1 >= applied);
    until(folder, held).await.pop().expect("it is there")
}

/// Waits until the copies are as wanted.
async fn until(folder: &Folder, wanted: impl Fn(&[(String, u64)]) -> bool) -> Vec<(String, u64)> {
    let found = async {
        loop {
            let copies = copies(folder);
            if wanted(&copies) {
                return copies;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), found);
    found.await.expect("they are sooner or later")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_all_its_disks_goes_on_from_the_copy_in_its_work_store() {
    let folder = Folder::new("restore");
    let (old, new) = (folder.0.join("old"), folder.0.join("new"));
    let nothing = restore(&folder.store(), None, &new).await;
    assert!(matches!(nothing, Err(Error::NoCopy(_))), "{nothing:?}");

    let (running, jobs, leader) = coordinator(&folder, &old).await;
    let (done, _) = jobs.submit("done", &request()).await.unwrap();
    let ledger = Ledger::default();
    let node = Node::spawn(&leader, &folder, &ledger, Mood::Willing);
    watch_to_end(&jobs, done).await;
    node.abort();
    let (waiting, _) = jobs.submit("waiting", &request()).await.unwrap();
    let (lost, _) = until_copied(&folder, &leader).await;
    for i in 0..3 {
        jobs.submit(&format!("more {i}"), &request()).await.unwrap();
        until_copied(&folder, &leader).await;
    }
    // The oldest of them has gone.
    until(&folder, |copies| copies.len() == 2).await;
    running.stop().await;
    std::fs::remove_dir_all(&old).unwrap();

    let restored = restore(&folder.store(), None, &new).await.unwrap();
    assert_eq!((restored.from.as_str(), restored.jobs), (lost.as_str(), 5));
    assert_ne!(restored.cluster, restored.from);
    let twice = restore(&folder.store(), None, &new).await;
    assert!(twice.unwrap_err().to_string().contains("is not empty"));
    let (running, jobs, leader) = coordinator(&folder, &new).await;
    let status = Cluster::new(leader.clone()).status().await.unwrap();
    assert_eq!(status.cluster, restored.cluster);
    // It is known where the new one listens, or others could not be added.
    let address = running.local_addr().to_string();
    let known = async {
        let cluster = Cluster::new(leader.clone());
        let is_it = |c: &CoordinatorStatus| c.address == address;
        while !cluster
            .status()
            .await
            .unwrap()
            .coordinators
            .iter()
            .any(is_it)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(30), known);
    known.await.expect("it tells");
    let again = jobs.submit("waiting", &request()).await.unwrap();
    assert_eq!(again, (waiting, true), "the same id, the same job");
    let ended = jobs.list(false).await.unwrap();
    let ended = ended.iter().find(|status| status.job == done).unwrap();
    assert_eq!(ended.state, JobState::Done);
    // New nodes do the work.
    let node = Node::spawn(&leader, &folder, &ledger, Mood::Willing);
    let events = watch_to_end(&jobs, waiting).await;
    assert!(
        matches!(
            events.last(),
            Some(EventKind::Ended {
                state: JobState::Done,
                ..
            })
        ),
        "{events:?}"
    );
    node.abort();
    // Copies of two clusters: somebody has to say which.
    until_copied(&folder, &leader).await;
    running.stop().await;
    let which = restore(&folder.store(), None, &folder.0.join("third")).await;
    assert!(matches!(which, Err(Error::WhichCluster(_))), "{which:?}");
    let third = restore(&folder.store(), Some(&lost), &folder.0.join("third")).await;
    assert_eq!(third.unwrap().from, lost);
}
