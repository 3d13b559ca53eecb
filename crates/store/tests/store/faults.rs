//! What an unreliable S3 may do, and what must come of it.

use crate::{block_on, film, s3};
use recode_store::{Error, Publication, Source, Take, WorkStore};
use recode_testkit::s3::{Fault, Kind};
use std::path::Path;
use std::time::{Duration, Instant};

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
fn a_bit_turned_over_on_the_way_is_noticed() {
    let server = s3();
    block_on(async {
        let store = work().await;
        let artifact = store.put(KEY, film(5000)).await.unwrap();
        server.inject(Kind::Get, Fault::FlipBit(4321));
        assert!(matches!(
            store.get(&artifact).await,
            Err(Error::Damaged { .. })
        ));
        assert_eq!(store.get(&artifact).await.unwrap(), film(5000));
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
        let to = recode_store::Location::parse("s3://nowhere/out.mp4").unwrap();
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
