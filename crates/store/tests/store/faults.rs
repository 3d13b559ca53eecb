//! What an unreliable S3 may do, and what must come of it.

use crate::{block_on, film, names, s3};
use futures::FutureExt as _;
use recode_store::{Error, Location, Publication, Source, Take, WorkStore, sweep};
use recode_testkit::s3::{Fault, Kind};
use recode_types::ArtifactRef;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const KEY: &str = "jobs/job_1/chunks/x/0.1.mp4";

async fn work() -> WorkStore {
    WorkStore::open("s3://films/work").await.unwrap()
}

async fn source() -> Result<Source, Error> {
    Source::open("s3://films/in.mp4", Path::new("/nonexistent")).await
}

#[test]
fn a_lost_answer_to_a_write_is_not_somebody_else() {
    let server = s3();
    block_on(async {
        let store = work().await;
        server.inject(Kind::Put, Fault::LoseAnswer);
        let artifact = store.put(KEY, "mine").await.unwrap();
        assert_eq!(
            server.count(Kind::Put).requests,
            2,
            "it was tried again and refused"
        );
        assert_eq!(store.get(&artifact).await.unwrap(), "mine");
    });
}

#[test]
fn a_lost_answer_to_completing_an_upload_is_looked_after() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chunk");
    let bytes = film(20 << 20);
    std::fs::write(&file, &bytes).unwrap();
    block_on(async {
        let store = work().await;
        server.inject(Kind::Part, Fault::LoseAnswer);
        server.inject(Kind::Complete, Fault::LoseAnswer);
        let artifact = store.put_file(KEY, &file, Take::Copy).await.unwrap();
        assert_eq!(store.get(&artifact).await.unwrap(), bytes);
    });
}

#[test]
fn overload_is_waited_out() {
    let server = s3();
    std::fs::write(server.path_of("films", "in.mp4"), film(1000)).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        for _ in 0..7 {
            server.inject(Kind::Get, Fault::Refuse(503));
        }
        assert_eq!(source.read(10..20).await.unwrap(), film(1000)[10..20]);
        for _ in 0..2 {
            server.inject(Kind::Put, Fault::Refuse(500));
        }
        work().await.put(KEY, "x").await.unwrap();
    });
}

#[test]
fn a_body_that_breaks_off_is_read_again() {
    let server = s3();
    let bytes = film(3 << 20);
    std::fs::write(server.path_of("films", "in.mp4"), &bytes).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        server.inject(Kind::Get, Fault::CutBody(1_000_000));
        assert_eq!(source.read(0..3 << 20).await.unwrap(), bytes);
    });
}

#[test]
fn a_bit_turned_over_on_the_way_is_noticed_and_read_again() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("copy");
    block_on(async {
        let store = work().await;
        let artifact = store.put(KEY, film(5000)).await.unwrap();
        server.inject(Kind::Get, Fault::FlipBit(4321));
        assert_eq!(store.get(&artifact).await.unwrap(), film(5000));
        server.inject(Kind::Get, Fault::FlipBit(4321));
        store.get_to_file(&artifact, &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), film(5000));
        assert_eq!(store.damaged_reads(), 2);
        // What lies there damaged is told from what came damaged.
        let mut damaged = film(5000);
        damaged[17] ^= 1;
        std::fs::write(server.path_of("films", &format!("work/{KEY}")), damaged).unwrap();
        let read = store.get(&artifact).await;
        assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
        let read = store
            .get_to_file(&artifact, &dir.path().join("other"))
            .await;
        assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
        assert_eq!(names(dir.path()), ["copy"]);
    });
}

/// Different faults of [`every_fault`].
const FAULTS: usize = 14;

/// Every fault that a request of a kind can meet. The same for all kinds: what does not apply changes nothing.
#[test]
fn an_artifact_of_another_length_is_damaged_and_no_source_that_changed() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let store = work().await;
        let artifact = store.put(KEY, "ten bytes.").await.unwrap();
        for other in ["nine byte", "eleven byte"] {
            let path = server.path_of("films", &format!("work/{KEY}"));
            std::fs::write(path, other).unwrap();
            let read = store.get(&artifact).await;
            assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
            let to = dir.path().join("copy");
            let read = store.get_to_file(&artifact, &to).await;
            assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
            assert!(!to.exists());
        }
    });
}

fn every_fault() -> Vec<Fault> {
    let mut faults = vec![
        Fault::Refuse(503),
        Fault::Refuse(500),
        Fault::Refuse(429),
        Fault::Reset,
        Fault::CutRequest(100),
        Fault::FlipRequest(100),
        Fault::LoseAnswer,
        Fault::FailAnswer(500),
        Fault::FailAnswer(503),
        Fault::CutBody(100),
        Fault::Shorten(100),
        Fault::FlipBit(100),
        Fault::Stall(Duration::from_millis(200)),
        Fault::Stale,
    ];
    // Twice in a row, since the second try may meet what the first left.
    faults.extend([Fault::LoseAnswer, Fault::Reset]);
    faults
}

/// Lets every fault happen to a request of a kind while objects are written, read, listed and removed.
fn every_fault_leaves_the_right_bytes(kind: Kind) {
    let server = s3();
    let before = server.open_uploads().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // A small object is not sent in parts, and nothing else waits for one.
    let in_parts = matches!(kind, Kind::Part | Kind::Begin | Kind::Complete);
    let bytes = film(if in_parts { 17 << 20 } else { 5000 });
    let file = dir.path().join("chunk");
    std::fs::write(&file, &bytes).unwrap();
    block_on(async {
        let store = work().await;
        for (number, fault) in every_fault().into_iter().enumerate() {
            let key = format!("jobs/job_1/chunks/{number}/0.1.mp4");
            for _ in 0..1 + usize::from(number >= FAULTS) {
                server.inject(kind, fault);
            }
            let what = format!("{kind} {}", fault.name());
            let failed = |e: Error| -> ArtifactRef { panic!("{what}: {e}") };
            let artifact = store.put_file(&key, &file, Take::Copy).await;
            let artifact = artifact.unwrap_or_else(failed);
            let on_server = server.path_of("films", &format!("work/{key}"));
            assert!(std::fs::read(&on_server).unwrap() == bytes, "{what}");
            assert!(store.get(&artifact).await.unwrap() == bytes, "{what}");
            let again = store.put_file(&key, &file, Take::Copy).await;
            assert_eq!(again.unwrap_or_else(failed), artifact, "{what}");
            let other = store.put(&key, "other").await;
            assert!(
                matches!(other, Err(Error::Exists { .. })),
                "{what}: {other:?}"
            );
            store.list("jobs/").await.unwrap();
            store.remove(&key).await.unwrap();
            assert!(!on_server.exists(), "{what}");
            assert!(!server.struck().is_empty(), "{what} did not happen");
            server.reset();
        }
    });
    // The beginning of an upload is the one request whose lost answer leaves something that nobody can name: without parts.
    let lost = if kind == Kind::Begin { 7 } else { 0 };
    let left = server.open_uploads().unwrap() - before;
    assert!(left <= lost, "{left} uploads were left behind");
}

#[test]
fn reads_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Get);
}

#[test]
fn looks_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Head);
}

#[test]
fn create_only_writes_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Put);
}

#[test]
fn beginnings_of_uploads_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Begin);
}

#[test]
fn parts_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Part);
}

#[test]
fn completions_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Complete);
}

#[test]
fn removals_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::Delete);
}

#[test]
fn listings_stand_every_fault() {
    every_fault_leaves_the_right_bytes(Kind::List);
}

#[test]
fn an_upload_that_fails_is_given_up_whatever_the_store_says() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chunk");
    std::fs::write(&file, film(20 << 20)).unwrap();
    let before = server.open_uploads().unwrap();
    block_on(async {
        let store = work().await;
        for fault in [
            Fault::Refuse(503),
            Fault::Reset,
            Fault::LoseAnswer,
            Fault::FailAnswer(500),
        ] {
            server.add_rule("part:refuse=403:100%".parse().unwrap());
            server.inject(Kind::Abort, fault);
            let failed = store.put_file(KEY, &file, Take::Copy).await;
            assert!(matches!(failed, Err(Error::Forbidden { .. })), "{failed:?}");
            assert_eq!(server.open_uploads().unwrap(), before, "{fault:?}");
            server.reset();
        }
    });
}

#[test]
fn an_upload_whose_process_died_is_ended_by_the_sweep() {
    let server = s3();
    let before = server.open_uploads().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chunk");
    std::fs::write(&file, film(20 << 20)).unwrap();
    block_on(async {
        let store = work().await;
        let output = Location::parse("s3://films/out.mp4").unwrap();
        let publication = Publication::begin(&output, false, dir.path())
            .await
            .unwrap()
            .noted_in(&store, "jobs/job_1/tasks/stitch.0/1/output");
        std::fs::copy(&file, publication.path()).unwrap();
        // Dropped in the middle, which leaves everything as a kill would.
        server.add_rule("part:refuse=500:100%".parse().unwrap());
        let uploads = [
            store.put_file(KEY, &file, Take::Copy).map(drop).boxed(),
            publication.commit().map(drop).boxed(),
        ];
        for (notes, upload) in (1..).zip(uploads) {
            // Its own note: parts of the one before may still be on their way.
            let begun = async {
                while store.list("jobs/job_1/").await.unwrap().len() < notes {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                () = upload => panic!("it ended"),
                () = begun => {}
            }
        }
        assert_eq!(server.open_uploads().unwrap(), before + 2);
        server.reset();
        let sweep = async |guard| {
            let named = BTreeSet::new();
            sweep::sweep(&store, "jobs/job_1/", &named, SystemTime::now(), guard)
                .await
                .unwrap()
                .removed
        };
        assert_eq!(sweep(Duration::from_secs(3600)).await, 0);
        assert_eq!(server.open_uploads().unwrap(), before + 2, "they are young");
        server.inject(Kind::Abort, Fault::Refuse(503));
        server.inject(Kind::Abort, Fault::LoseAnswer);
        assert_eq!(sweep(Duration::ZERO).await, 2);
        assert_eq!(server.open_uploads().unwrap(), before);
        assert_eq!(store.list("jobs/job_1/").await.unwrap(), []);
        // One that ends well leaves no note.
        store.put_file(KEY, &file, Take::Copy).await.unwrap();
        let left = store.list("jobs/job_1/").await.unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
    });
}

#[test]
fn a_large_object_that_came_first_is_never_replaced() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chunk");
    std::fs::write(&file, film(20 << 20)).unwrap();
    let taken = server.path_of("films", &format!("work/{KEY}"));
    block_on(async {
        let store = work().await;
        // The looks before the completion see nothing, as if the other had come in that very moment.
        std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
        std::fs::write(&taken, "somebody else's").unwrap();
        server.inject(Kind::Head, Fault::Stale);
        let lost = store.put_file(KEY, &file, Take::Copy).await;
        assert!(matches!(lost, Err(Error::Exists { .. })), "{lost:?}");
        assert_eq!(std::fs::read(&taken).unwrap(), b"somebody else's");
        assert_eq!(server.count(Kind::Complete).requests, 1);
        assert_eq!(server.open_uploads().unwrap(), 0);
    });
}

#[test]
fn a_body_that_stands_still_is_given_up_and_taken_up_where_it_stopped() {
    let server = s3();
    let bytes = film(6 << 20);
    std::fs::write(server.path_of("films", "in.mp4"), &bytes).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        server.inject(Kind::Get, Fault::Stall(Duration::from_secs(60)));
        let begun = Instant::now();
        assert_eq!(source.read(0..6 << 20).await.unwrap(), bytes);
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            begun.elapsed()
        );
        let sent = server.count(Kind::Get).bytes_sent;
        assert!(sent < 7 << 20, "{sent} bytes were sent for {}", bytes.len());
    });
}

#[test]
fn a_read_that_broke_off_goes_on_where_it_ended() {
    let server = s3();
    let bytes = film(8 << 20);
    std::fs::write(server.path_of("films", "in.mp4"), &bytes).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        for _ in 0..5 {
            server.inject(Kind::Get, Fault::CutBody(1_500_000));
        }
        assert_eq!(source.read(0..8 << 20).await.unwrap(), bytes);
        let sent = server.count(Kind::Get).bytes_sent;
        assert!(
            // What was on its way in sockets is lost with a connection; from the start each time, it would be 15 MiB.
            sent < 10 << 20,
            "{sent} bytes were sent for {}",
            bytes.len()
        );
    });
}

#[test]
fn parts_of_two_versions_are_never_put_together() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::write(&one, film(3 << 20)).unwrap();
    std::fs::write(&two, &film((3 << 20) + 1)[1..]).unwrap();
    server.place("films", "in.mp4", &one).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        server.inject(Kind::Get, Fault::CutBody(1 << 20));
        server.inject(Kind::Get, Fault::Stall(Duration::from_millis(300)));
        // The body breaks off, and what it is continued with is another version.
        let read = tokio::spawn({
            let source = source.clone();
            async move { source.read(0..3 << 20).await }
        });
        while server.count(Kind::Get).bytes_sent < 1 << 20 {
            tokio::task::yield_now().await;
        }
        server.place("films", "in.mp4", &two).unwrap();
        match read.await.unwrap() {
            Err(Error::Changed { .. }) => {}
            Ok(bytes) => assert!(bytes == film(3 << 20), "a mixture"),
            Err(e) => panic!("{e}"),
        }
        assert!(matches!(
            source.read(0..10).await,
            Err(Error::Changed { .. })
        ));
    });
}

#[test]
fn a_hundred_operations_do_not_besiege_a_store_that_is_down() {
    let server = s3();
    block_on(async {
        let store = work().await;
        store.put(KEY, "x").await.unwrap();
        server.reset();
        server.add_rule("any:refuse=503:100%".parse().unwrap());
        let begun = Instant::now();
        let all = (0..100).map(|_| async { store.list("jobs/").await.is_err() });
        assert!(
            futures::future::join_all(all)
                .await
                .iter()
                .all(|failed| *failed)
        );
        // First tries, the retries there are to begin with, and those that time earns.
        let most = 100 + 50 + 3 * (begun.elapsed().as_secs() + 1);
        let asked = server.requests();
        assert!(asked <= most, "{asked} requests, at most {most}");
    });
}

#[test]
fn a_source_that_changes_is_not_mixed() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::write(&one, film(1000)).unwrap();
    std::fs::write(&two, &film(1001)[1..]).unwrap();
    server.place("films", "in.mp4", &one).unwrap();
    block_on(async {
        let source = source().await.unwrap();
        source.read(0..10).await.unwrap();
        source.recheck().await.unwrap();
        server.place("films", "in.mp4", &two).unwrap();
        let mixed = source.read(0..10).await;
        assert!(
            matches!(mixed, Err(Error::Changed { .. })),
            "{mixed:?} of {:?}",
            source.identity()
        );
        assert!(matches!(source.recheck().await, Err(Error::Changed { .. })));
        std::fs::remove_file(server.path_of("films", "in.mp4")).unwrap();
        assert!(matches!(source.recheck().await, Err(Error::Changed { .. })));
    });
}

#[test]
fn what_is_missing_or_denied_is_told_apart() {
    let server = s3();
    block_on(async {
        let missing = source().await.err().unwrap();
        assert_eq!(
            missing.to_string(),
            "s3://films/in.mp4 does not exist; check bucket and key"
        );
        server.inject(Kind::Head, Fault::Refuse(403));
        let denied = source().await.err().unwrap();
        assert!(matches!(denied, Error::Forbidden { .. }), "{denied}");
        let to = Location::parse("s3://nowhere/out.mp4").unwrap();
        let homeless = Publication::check(&to, false).await.unwrap_err();
        assert!(
            homeless
                .to_string()
                .starts_with("the bucket s3://nowhere does not exist; check its name"),
            "{homeless}"
        );
    });
}

#[test]
fn a_server_that_is_not_there_is_given_up_soon() {
    let server = s3();
    std::fs::write(server.path_of("films", "in.mp4"), film(1000)).unwrap();
    block_on(async {
        for _ in 0..50 {
            server.inject(Kind::Head, Fault::Refuse(503));
        }
        let begun = Instant::now();
        let error = source().await.err().unwrap();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    });
}
