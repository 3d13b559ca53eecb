//! Outputs that are sent while they are made.

use crate::{block_on, film, names, s3};
use bytes::Bytes;
use recode_store::{
    Ending, Error, Follower, Growth, Layout, Location, Publication, Settled, WorkStore, sweep,
};
use recode_testkit::s3::{Fault, Kind, Server};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The least that S3 takes.
const PART: u64 = 5 << 20;
/// Two parts at the front.
const LAYOUT: Layout = Layout {
    part_bytes: PART,
    front_parts: 2,
};
/// What the maker waits for.
const MOST_BACKLOG: u64 = 5 * PART;
/// What the maker writes at a time.
const PIECE: usize = 250_000;

/// A file of which all is settled but the bytes after the last that were written.
struct AllOfIt;

impl Growth for AllOfIt {
    fn settled(&mut self, _file: &Arc<File>, size: u64) -> io::Result<Settled> {
        Ok(Settled {
            front: 0,
            until: size,
            soon: size,
        })
    }
}

/// A file that begins with an index, which nobody can know before all of it is there. Its end does not settle.
struct Indexed {
    front: u64,
    until: u64,
}

impl Growth for Indexed {
    fn settled(&mut self, _file: &Arc<File>, size: u64) -> io::Result<Settled> {
        let until = match size < self.front {
            true => 0,
            false => size.min(self.until),
        };
        let front = if until > 0 { self.front } else { 0 };
        Ok(Settled {
            front,
            until,
            soon: until,
        })
    }
}

fn location() -> Location {
    Location::parse("s3://films/out.mp4").unwrap()
}

async fn begin(scratch: &Path, overwrite: bool) -> (Publication, Follower) {
    let publication = Publication::begin(&location(), overwrite, scratch).await;
    let publication = publication.unwrap();
    let follower = publication.follow(LAYOUT).await.unwrap();
    (publication, follower.expect("scratch makes holes"))
}

/// Writes the file piece by piece, as fast as the follower allows. Returns the most it had on the disk.
async fn make(follower: &mut Follower, path: &Path, bytes: &[u8]) -> Result<u64, Error> {
    make_as(follower, path, bytes, &mut AllOfIt).await
}

async fn make_as(
    follower: &mut Follower,
    path: &Path,
    bytes: &[u8],
    growth: &mut dyn Growth,
) -> Result<u64, Error> {
    let file = File::options().write(true).open(path).unwrap();
    let backlog = AtomicU64::new(0);
    let heard = tokio::sync::Notify::new();
    let mut most = 0;
    let writes = async {
        for (n, piece) in bytes.chunks(PIECE).enumerate() {
            while backlog.load(Ordering::Relaxed) > MOST_BACKLOG {
                heard.notified().await;
            }
            file.write_all_at(piece, (PIECE * n) as u64).unwrap();
            most = most.max(file.metadata().unwrap().blocks() * 512);
            if n % 10 == 0 {
                // The follower sees the file as it is now before more of it comes.
                heard.notified().await;
            }
        }
        // A permit may be older than the last piece.
        heard.notified().await;
        heard.notified().await;
        while backlog.load(Ordering::Relaxed) >= PART {
            heard.notified().await;
        }
    };
    let following = follower.run(growth, |now, _| {
        backlog.store(now, Ordering::Relaxed);
        heard.notify_one();
    });
    tokio::select! {
        () = writes => {}
        failed = following => return Err(failed.unwrap_err()),
    }
    Ok(most)
}

fn as_it_is(bytes: &[u8]) -> Ending {
    Ending {
        end: bytes.len() as u64,
        ..Ending::default()
    }
}

fn stored(server: &Server) -> Vec<u8> {
    fs::read(server.path_of("films", "out.mp4")).unwrap()
}

#[test]
fn a_file_is_sent_while_it_grows_and_its_front_at_last() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = film(80_000_000);
    block_on(async {
        let (publication, mut follower) = begin(scratch.path(), false).await;
        let path = publication.path().to_owned();
        let most = make(&mut follower, &path, &bytes).await.unwrap();
        let bound = LAYOUT.front_bytes() + MOST_BACKLOG + 20 * PIECE as u64 + PART;
        assert!(most <= bound, "{most} of {bound} bytes on the disk");
        assert!(server.count(Kind::Part).requests >= 8, "most has been sent");
        assert!(!server.path_of("films", "out.mp4").exists());
        // What is written twice: some bytes at the front, which gets longer too. And something at the end is not wanted.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", 40).unwrap();
        let ending = Ending {
            head: Bytes::from_static(b"a longer head than the first 32 bytes were"),
            from: 32,
            end: 79_999_000,
        };
        let published = publication
            .commit_followed(follower, &ending)
            .await
            .unwrap();
        let mut wanted = ending.head.to_vec();
        wanted.extend_from_slice(&bytes[32..79_999_000]);
        let changed = ending.head.len() + 8;
        wanted[changed..changed + 7].copy_from_slice(b"changed");
        assert_eq!(published.url, "s3://films/out.mp4");
        assert_eq!(published.size_bytes, wanted.len() as u64);
        assert!(stored(&server) == wanted);
    });
    assert_eq!(server.open_uploads().unwrap(), 0);
    assert_eq!(server.count(Kind::Get).requests, 0, "a look is enough");
    assert_eq!(names(scratch.path()), Vec::<String>::new());
}

#[test]
fn a_front_longer_than_expected_is_kept_and_an_end_that_does_not_settle_holds_nobody_up() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = film(90_000_000);
    block_on(async {
        let (publication, mut follower) = begin(scratch.path(), false).await;
        let path = publication.path().to_owned();
        // Each of them more than the maker may be ahead.
        let mut growth = Indexed {
            front: 6 * PART + 1,
            until: 55_000_000,
        };
        let made = make_as(&mut follower, &path, &bytes, &mut growth);
        let made = tokio::time::timeout(Duration::from_secs(120), made).await;
        made.expect("it does not stand still").unwrap();
        assert_eq!(follower.layout().front_parts, 7);
        assert!(server.count(Kind::Part).requests > 0, "the middle is sent");
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", 6 * PART - 6).unwrap();
        publication
            .commit_followed(follower, &as_it_is(&bytes))
            .await
            .unwrap();
        let mut wanted = bytes.clone();
        let at = 6 * PART as usize - 6;
        wanted[at..at + 7].copy_from_slice(b"changed");
        assert!(stored(&server) == wanted);
    });
    assert_eq!(server.open_uploads().unwrap(), 0);
}

#[test]
fn a_file_that_ends_in_its_front_or_has_none_arrives_too() {
    for (front_parts, size) in [
        (2, 1000),
        (2, 131_072),
        (2, 131_073),
        (0, 100_000),
        (0, 65_536),
    ] {
        let server = s3();
        let scratch = tempfile::tempdir().unwrap();
        let bytes = film(size);
        block_on(async {
            let location = location();
            let publication = Publication::begin(&location, false, scratch.path());
            let publication = publication.await.unwrap();
            let layout = Layout {
                front_parts,
                ..LAYOUT
            };
            let follower = publication.follow(layout).await.unwrap().unwrap();
            fs::write(publication.path(), &bytes).unwrap();
            let published = publication
                .commit_followed(follower, &as_it_is(&bytes))
                .await;
            assert_eq!(published.unwrap().size_bytes, size as u64);
        });
        assert!(stored(&server) == bytes, "{front_parts} {size}");
    }
}

#[test]
fn an_upload_that_fails_is_given_up_and_nothing_gets_the_name() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = film(30_000_000);
    block_on(async {
        // While it is made.
        let (publication, mut follower) = begin(scratch.path(), false).await;
        server.inject(Kind::Part, Fault::Refuse(403));
        let path = publication.path().to_owned();
        let failed = make(&mut follower, &path, &bytes).await;
        assert!(matches!(failed, Err(Error::Forbidden { .. })), "{failed:?}");
        assert_eq!(server.open_uploads().unwrap(), 1);
        follower.abort().await;
        assert_eq!(server.open_uploads().unwrap(), 0);
        drop(publication);
        // When only the front is left.
        let (publication, mut follower) = begin(scratch.path(), false).await;
        let path = publication.path().to_owned();
        make(&mut follower, &path, &bytes).await.unwrap();
        server.inject(Kind::Complete, Fault::Refuse(403));
        let failed = publication
            .commit_followed(follower, &as_it_is(&bytes))
            .await;
        assert!(matches!(failed, Err(Error::Forbidden { .. })), "{failed:?}");
        assert_eq!(server.open_uploads().unwrap(), 0);
        // When its end lies before what was sent.
        let (publication, mut follower) = begin(scratch.path(), false).await;
        let path = publication.path().to_owned();
        make(&mut follower, &path, &bytes).await.unwrap();
        let failed = publication
            .commit_followed(follower, &as_it_is(&bytes[..12_000_000]))
            .await;
        assert!(matches!(failed, Err(Error::Other { .. })), "{failed:?}");
    });
    assert_eq!(server.open_uploads().unwrap(), 0);
    assert!(!server.path_of("films", "out.mp4").exists());
    assert_eq!(names(scratch.path()), Vec::<String>::new());
}

#[test]
fn an_upload_whose_process_died_is_ended_by_the_sweep() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        let store = WorkStore::open("s3://films/work");
        let store = store.await.unwrap();
        let location = location();
        let publication = Publication::begin(&location, false, scratch.path());
        let publication = publication
            .await
            .unwrap()
            .noted_in(&store, "jobs/job_1/tasks/stitch.0/1/output");
        let mut follower = publication.follow(LAYOUT).await.unwrap().unwrap();
        let path = publication.path().to_owned();
        make(&mut follower, &path, &film(30_000_000)).await.unwrap();
        // Nobody lives to give it up.
        drop((follower, publication));
        assert_eq!(server.open_uploads().unwrap(), 1);
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let hour = Duration::from_secs(3600);
        let swept = sweep::sweep(&store, "jobs/job_1/", &Default::default(), tomorrow, hour).await;
        assert_eq!(swept.unwrap().removed, 1);
    });
    assert_eq!(server.open_uploads().unwrap(), 0);
}

#[test]
fn what_took_the_name_meanwhile_is_replaced_only_when_that_is_allowed() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = film(22_000_000);
    // As long as ours, so that only the bytes tell.
    let foreign = film(22_000_001)[1..].to_vec();
    let there = || {
        let file = scratch.path().join("foreign");
        fs::write(&file, &foreign).unwrap();
        server.place("films", "out.mp4", &file).unwrap();
        fs::remove_file(&file).unwrap();
    };
    block_on(async {
        let (publication, mut follower) = begin(scratch.path(), false).await;
        let path = publication.path().to_owned();
        make(&mut follower, &path, &bytes).await.unwrap();
        there();
        let refused = publication
            .commit_followed(follower, &as_it_is(&bytes))
            .await;
        assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
        assert!(stored(&server) == foreign);
        assert_eq!(server.open_uploads().unwrap(), 0);

        let (publication, mut follower) = begin(scratch.path(), true).await;
        let path = publication.path().to_owned();
        make(&mut follower, &path, &bytes).await.unwrap();
        let published = publication
            .commit_followed(follower, &as_it_is(&bytes))
            .await;
        assert_eq!(published.unwrap().size_bytes, bytes.len() as u64);
        assert!(stored(&server) == bytes);
    });
}

#[test]
fn what_an_earlier_try_has_sent_is_as_good_however_it_was_sent() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = film(22_000_000);
    block_on(async {
        let again = || async {
            let location = location();
            let publication = Publication::begin_again(&location, false, scratch.path());
            publication.await.unwrap()
        };
        let streamed = async |bytes: &[u8]| {
            let publication = again().await;
            let follower = publication.follow(LAYOUT).await.unwrap().unwrap();
            fs::write(publication.path(), bytes).unwrap();
            publication
                .commit_followed(follower, &as_it_is(bytes))
                .await
        };
        let whole = async |bytes: &[u8]| {
            let publication = again().await;
            fs::write(publication.path(), bytes).unwrap();
            publication.commit().await
        };
        streamed(&bytes).await.unwrap();
        streamed(&bytes).await.unwrap();
        whole(&bytes).await.unwrap();
        let other = film(22_000_001)[1..].to_vec();
        assert!(matches!(streamed(&other).await, Err(Error::Exists { .. })));
        assert!(matches!(whole(&other).await, Err(Error::Exists { .. })));
        assert!(stored(&server) == bytes);
        fs::remove_file(server.path_of("films", "out.mp4")).unwrap();
        whole(&bytes).await.unwrap();
        streamed(&bytes).await.unwrap();
        assert_eq!(server.open_uploads().unwrap(), 0);
    });
}

#[test]
fn parts_and_completions_that_fail_once_leave_the_right_bytes() {
    let bytes = film(22_000_000);
    for (kind, fault) in [
        (Kind::Part, Fault::Refuse(503)),
        (Kind::Part, Fault::Reset),
        (Kind::Part, Fault::LoseAnswer),
        (Kind::Part, Fault::FlipRequest(1000)),
        (Kind::Complete, Fault::LoseAnswer),
        (Kind::Complete, Fault::FailAnswer(500)),
        (Kind::Head, Fault::Stale),
    ] {
        let server = s3();
        let scratch = tempfile::tempdir().unwrap();
        block_on(async {
            let (publication, mut follower) = begin(scratch.path(), false).await;
            server.inject(kind, fault);
            let path = publication.path().to_owned();
            make(&mut follower, &path, &bytes).await.unwrap();
            let published = publication
                .commit_followed(follower, &as_it_is(&bytes))
                .await;
            assert!(published.is_ok(), "{kind} {fault:?}: {published:?}");
        });
        assert!(stored(&server) == bytes, "{kind} {fault:?}");
        assert_eq!(server.open_uploads().unwrap(), 0, "{kind} {fault:?}");
        assert_eq!(server.struck().len(), 1, "{kind} {fault:?}");
    }
}
