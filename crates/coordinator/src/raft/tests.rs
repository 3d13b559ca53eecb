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
        let disk = disk::Real::shared();
        let log = LogStore::open(&disk, &folder.0, Founding::default(), 8 << 20).unwrap();
        let snapshots = Snapshots::open(&disk, &folder.0).unwrap();
        let machine = StateMachine::open(snapshots, None).unwrap();
        Ok((folder, log, machine))
    }
}

#[test]
fn the_store_keeps_openrafts_contract() {
    Suite::test_all(Builder).unwrap();
}

fn request() -> recode_types::JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": "file:///made-up/in.mp4",
        "outputs": [{
            "url": "file:///made-up/out.mp4", "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
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

/// Whether a proposal that has no answer has ended Raft, with its reason.
async fn reason_of_the_end(consensus: &Consensus) -> String {
    let ended = tokio::time::timeout(Duration::from_secs(20), consensus.ended());
    let reason = ended.await.expect("it ends");
    reason.expect("nobody asked it to stop")
}

/// Openraft tells a follower to purge before the snapshot that it received is on disk.
#[tokio::test]
async fn nothing_is_purged_before_a_snapshot_on_disk_holds_it() {
    use openraft::storage::RaftLogStorage as _;
    let folder = Folder::new();
    let disk = disk::Real::shared();
    let snapshots = Snapshots::open(&disk, &folder.0).unwrap();
    let log = LogStore::open(&disk, &folder.0, Founding::default(), 8 << 20).unwrap();
    let mut log = log.beside(snapshots.durable());
    let id = |index| openraft::LogId::new(openraft::CommittedLeaderId::new(1, 1), index);
    let mut purging = Box::pin(log.purge(id(7)));
    assert!(futures::poll!(&mut purging).is_pending());
    let meta = |index| openraft::SnapshotMeta {
        last_log_id: Some(id(index)),
        ..Default::default()
    };
    snapshots.write(&meta(6), b"too early").unwrap();
    assert!(futures::poll!(&mut purging).is_pending());
    snapshots.write(&meta(7), b"state").unwrap();
    purging.await.unwrap();
    drop(log);
    // What is there at the start counts.
    let snapshots = Snapshots::open(&disk, &folder.0).unwrap();
    assert_eq!(*snapshots.durable().borrow(), Some(7));
}

#[tokio::test]
async fn a_panic_while_applying_is_the_end_with_a_reason() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    consensus.propose(vec![register("a")]).await.unwrap();
    consensus.shared().spoil();
    let raft = consensus.raft.clone();
    let empty = type_config::Proposal(recode_core::Batch::default().encode());
    let unanswered = tokio::spawn(async move { raft.client_write(empty).await });
    let reason = reason_of_the_end(&consensus).await;
    assert!(reason.contains("applying an entry panicked"), "{reason}");
    unanswered.abort();
    consensus.stop().await;
    drop(consensus);
    // What was in the log is applied by a process that can.
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    assert!(consensus.shared().look(|state| state.nodes.len()) >= 1);
    consensus.stop().await;
}

#[tokio::test]
async fn a_panic_while_proposing_is_the_end_with_a_reason() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    // What it looks at is gone.
    consensus.shared().spoil();
    let proposed = consensus.propose(vec![register("a")]).await;
    assert!(proposed.is_err(), "{proposed:?}");
    let reason = reason_of_the_end(&consensus).await;
    assert!(reason.contains("proposing panicked"), "{reason}");
    consensus.stop().await;
}

#[tokio::test]
async fn an_entry_that_does_not_read_is_the_end_with_a_reason() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    let garbage = type_config::Proposal(b"garbage".to_vec());
    let written = consensus.raft.client_write(garbage).await;
    assert!(written.is_err(), "{written:?}");
    let reason = reason_of_the_end(&consensus).await;
    assert!(reason.contains("not a recode log entry"), "{reason}");
    consensus.stop().await;
}

#[tokio::test]
async fn a_lost_cluster_is_founded_anew_from_its_snapshot() {
    let folder = Folder::new();
    let consensus = Consensus::open(&folder.0, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    let submit = |id: &str| Command::SubmitJob {
        request_id: id.to_owned(),
        job: recode_types::JobId::generate(),
        request: Box::new(request()),
    };
    let known = consensus.propose(vec![submit("one"), register("a")]).await;
    let known = known.unwrap();
    consensus.snapshot().await.unwrap();
    consensus.propose(vec![submit("too late")]).await.unwrap();
    let lent = consensus.newest_snapshot().unwrap().unwrap();
    let (index, file) = (lent.index, std::fs::read(&lent.path).unwrap());
    drop(lent);
    assert_eq!(Some(index), consensus.view().snapshot);
    consensus.stop().await;

    let (disk, again) = (disk::Real::shared(), Folder::new());
    assert!(matches!(
        restore(&disk, &folder.0, "new", file.clone()),
        Err(Error::NotEmpty(_))
    ));
    let mut damaged = file.clone();
    damaged[file.len() / 2] ^= 1;
    assert!(restore(&disk, &again.0, "new", damaged).is_err());
    assert_eq!(restore(&disk, &again.0, "new", file).unwrap(), 1);
    let setup = Setup {
        identity: Identity::read(&again.0).unwrap().unwrap(),
        ..Setup::alone()
    };
    assert_eq!(setup.identity.cluster, "new");
    let consensus = Consensus::open(&again.0, setup).await.unwrap();
    consensus.barrier().await.unwrap();
    assert!(consensus.shared().look(|state| state.nodes.is_empty()));
    let same = consensus
        .propose(vec![submit("one"), submit("too late")])
        .await;
    let same = same.unwrap();
    let (
        Outcome::Submitted { job, .. },
        Outcome::Submitted {
            job: found,
            existing,
        },
    ) = (&known[0], &same[0])
    else {
        panic!("{known:?} {same:?}")
    };
    assert_eq!((found, *existing), (job, true));
    assert!(matches!(
        same[1],
        Outcome::Submitted {
            existing: false,
            ..
        }
    ));
    assert!(consensus.view().term > 1, "a term of its own");
    consensus.stop().await;
}
