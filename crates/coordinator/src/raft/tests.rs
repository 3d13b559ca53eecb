use super::log_store::{Founding, LogStore};
use super::snapshot::Snapshots;
use super::state_machine::StateMachine;
use super::type_config::{TypeConfig, alias::StorageError};
use super::*;
use openraft::testing::{StoreBuilder, Suite};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("recode-raft-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, LogStore, StateMachine), StorageError> {
        let folder = Folder::new();
        let log = LogStore::open(&folder.0, Founding::default()).unwrap();
        let machine = StateMachine::open(Snapshots::open(&folder.0).unwrap()).unwrap();
        Ok((folder, log, machine))
    }
}

#[test]
fn the_store_keeps_openrafts_contract() {
    Suite::test_all(Builder).unwrap();
}

fn register(name: &str) -> Command {
    Command::RegisterNode {
        name: name.to_owned(),
        incarnation: name.to_owned(),
    }
}

#[tokio::test]
async fn a_fresh_folder_leads_at_once_and_a_second_owner_is_refused() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    assert!(matches!(
        Consensus::open(&folder.0, Setup::alone()).await,
        Err(Error::Log(wal::Error::InUse(_)))
    ));
    let outcomes = consensus
        .propose(vec![register("a"), register("bb")])
        .await
        .unwrap();
    assert_eq!(outcomes.len(), 2);
    consensus.stop().await;
    assert_eq!(consensus.ended().await, None);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = Folder::new();
    for round in 1..=3usize {
        let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
        consensus.barrier().await.unwrap();
        let known = consensus.shared().look(|state| state.nodes.len());
        assert_eq!(known, round - 1);
        consensus
            .propose(vec![register(&"n".repeat(round))])
            .await
            .unwrap();
        consensus.stop().await;
    }
}

#[tokio::test]
async fn many_proposers_share_entries_and_each_hears_its_own_answer() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    let asked = (1..=200u64).map(|i| {
        let consensus = consensus.clone();
        async move {
            let command = Command::RegisterNode {
                name: format!("n{i}"),
                incarnation: i.to_string(),
            };
            let first = consensus.propose(vec![command.clone()]).await.unwrap();
            assert_eq!(consensus.propose(vec![command]).await.unwrap(), first);
        }
    });
    futures::future::join_all(asked).await;
    assert_eq!(consensus.shared().look(|s| s.nodes.len()), 200);
    let entries = consensus.raft.metrics().borrow().last_log_index.unwrap();
    assert!(entries < 100, "{entries} entries for 400 proposals");
    consensus.stop().await;
}

#[tokio::test]
async fn a_snapshot_replaces_the_log_and_survives() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    for i in 1..=20 {
        consensus
            .propose(vec![register(&"n".repeat(i))])
            .await
            .unwrap();
    }
    consensus.raft.trigger().snapshot().await.unwrap();
    consensus
        .raft
        .wait(Some(Duration::from_secs(10)))
        .metrics(|m| m.snapshot.is_some(), "snapshot")
        .await
        .unwrap();
    consensus
        .propose(vec![register("after the snapshot is made")])
        .await
        .unwrap();
    let before = consensus.shared().look(Clone::clone);
    consensus.stop().await;
    drop(consensus);
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    assert_eq!(consensus.shared().look(Clone::clone), before);
    assert_eq!(before.nodes.len(), 21);
    consensus.stop().await;
}

/// The outcomes that a dump tells, and all of it as JSON.
fn dumped(folder: &Folder) -> (Vec<Outcome>, String) {
    let (mut told, mut json) = (Vec::new(), String::new());
    dump(&folder.0, |line| {
        json += &serde_json::to_string(&line)?;
        json.push('\n');
        if let Line::Batch { changes, .. } = line {
            told.extend(changes.into_iter().filter_map(|change| change.outcome));
        }
        Ok(())
    })
    .unwrap();
    (told, json)
}

#[tokio::test]
async fn a_dump_shows_what_was_asked_and_answered_and_changes_nothing() {
    let folder = Folder::new();
    assert!(matches!(
        dump(&folder.0, |_| Ok(())),
        Err(Error::Folder { .. })
    ));
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    for name in ["a", "bb"] {
        consensus.propose(vec![register(name)]).await.unwrap();
    }
    consensus.stop().await;
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(&folder.0)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                (path, bytes)
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    let (told, json) = dumped(&folder);
    assert!(before == files());
    let node = |id| Outcome::Registered {
        node: recode_types::NodeId(id),
    };
    assert_eq!(told, [node(1), node(2)]);
    assert!(
        json.contains(r#""command":{"RegisterNode":{"name":"bb""#),
        "{json}"
    );

    // What a snapshot holds is told without its outcome, what follows with it.
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    consensus.snapshot().await.unwrap();
    consensus.propose(vec![register("ccc")]).await.unwrap();
    consensus.stop().await;
    assert_eq!(dumped(&folder).0, [node(3)]);
}
