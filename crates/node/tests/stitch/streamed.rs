//! What a stitch reads of Chunks that are not on a disk of its machine, and what becomes of them.

use crate::film::{Film, Machine};
use crate::{block_on, s3};
use recode_media::mp4::read_chunk;
use recode_testkit::s3::{Fault, Kind};
use recode_types::task::FailureClass;

const NOBODY: fn(u32) -> String = |_| String::new();
/// Where the first byte of many frames is; no index is so long.
const IN_FRAMES: u64 = 100_000;

/// Twelve Chunks, of which the first are read whole.
async fn film() -> (Machine, Film) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::alone(folder.path());
    let film = Film::encoded(folder, "s3://chunks/w", &machine, (12, 8)).await;
    let small = 8 << 20;
    assert!(
        film.bytes() > 2 * small,
        "{} bytes show nothing",
        film.bytes()
    );
    let sizes = film.chunks.iter().map(|c| c.artifact.size_bytes);
    assert!(
        sizes
            .clone()
            .all(|size| size > IN_FRAMES * 2 && size < small)
    );
    (machine, film)
}

#[test]
fn a_stitch_never_has_its_chunks_on_disk_and_asks_for_each_twice_at_most() {
    let server = s3();
    block_on(async {
        let (machine, film) = film().await;
        let here = film.target("store");
        // As if they had always been files of this machine.
        let local = recode_store::WorkStore::open(&here.display().to_string()).await;
        let local = local.unwrap();
        let target = film.target("streamed.mp4");
        let work = film.work(&target, NOBODY).await;
        for listed in film.store.list("jobs/").await.unwrap() {
            let bytes = std::fs::read(server.path_of("chunks", &format!("w/{}", listed.key)));
            local.put(&listed.key, bytes.unwrap()).await.unwrap();
        }
        server.reset();
        let (joined, most) = film.join(&machine, 1, work.clone()).await;
        let joined = joined.unwrap();
        assert_eq!(joined.frames, 12 * 24);
        assert!(most < 1 << 20, "{most} bytes were in scratch");
        let got = server.count(Kind::Get);
        // The facts, the table, the index, the Segments and the list are read too.
        let (most, bytes) = (2 * film.chunks.len() as u64 + 5, film.bytes());
        assert!(got.requests <= most, "{} requests", got.requests);
        assert!(
            got.bytes_sent < bytes + (1 << 20),
            "{} of {bytes} bytes",
            got.bytes_sent
        );

        let plain = film.target("plain.mp4");
        let of_files = film.stored_in(local);
        let machine = Machine::alone(of_files.folder.path());
        let work = of_files.work(&plain, NOBODY).await;
        of_files.join(&machine, 1, work).await.0.unwrap();
        let same = std::fs::read(&plain).unwrap() == std::fs::read(&target).unwrap();
        assert!(same, "they differ by where their chunks were");
    });
}

#[test]
fn what_comes_damaged_or_short_once_is_read_again() {
    let server = s3();
    block_on(async {
        let (machine, film) = film().await;
        let last = film.chunks.len() - 1;
        let bytes = std::fs::read(film.path(&server, last)).unwrap();
        let index = read_chunk(&film.path(&server, last)).unwrap();
        let end = bytes.len() - index.payload_bytes() as usize;
        let tail = &bytes[bytes.len() - end..];
        let sizes = tail.windows(4).position(|kind| kind == b"stsz").unwrap();
        let track = tail.windows(4).position(|kind| kind == b"tkhd").unwrap();
        // A bit of a frame's size, something at the other end, which is looked at next, and what only the digest of the index tells.
        for place in [sizes as u64 + 18, 5, track as u64 + 10] {
            server.inject_at(Kind::Get, film.key(last), Fault::FlipBit(place));
        }
        // The index is too short to be hit; then the frames.
        for fault in [Fault::FlipBit(IN_FRAMES), Fault::FlipBit(IN_FRAMES)] {
            server.inject_at(Kind::Get, film.key(last - 1), fault);
        }
        server.inject_at(Kind::Get, film.key(last - 2), Fault::Reset);
        server.inject_at(Kind::Get, film.key(last - 2), Fault::CutBody(IN_FRAMES));
        // The first is read whole.
        server.inject_at(Kind::Get, film.key(0), Fault::FlipBit(IN_FRAMES));
        server.inject_at(Kind::Get, film.key(0), Fault::CutBody(IN_FRAMES));
        let target = film.target("out.mp4");
        let work = film.work(&target, NOBODY).await;
        let joined = film.join(&machine, 1, work).await.0.unwrap();
        assert_eq!(joined.frames, 12 * 24);
        let struck: u64 = server.struck().values().sum();
        assert_eq!(struck, 9, "{:?}", server.struck());
    });
}

#[test]
fn a_chunk_that_is_damaged_for_good_is_named_and_nothing_is_published() {
    let server = s3();
    block_on(async {
        let (machine, film) = film().await;
        for (number, at) in [(7, IN_FRAMES as usize), (0, 60)] {
            let path = film.path(&server, number);
            let right = std::fs::read(&path).unwrap();
            let mut damaged = right.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let target = film.target("out.mp4");
            let work = film.work(&target, NOBODY).await;
            let failure = film.join(&machine, 1, work).await.0.unwrap_err();
            assert_eq!(failure.class, FailureClass::Store, "{failure:?}");
            let named = format!("chunk {number}: ");
            assert!(failure.message.starts_with(&named), "{}", failure.message);
            assert!(failure.message.contains("damaged"), "{}", failure.message);
            assert!(!target.exists(), "it was published");
            let beside = std::fs::read_dir(film.folder.path()).unwrap();
            let parts = beside.filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().contains("out.mp4")
            });
            assert_eq!(parts.count(), 0, "something of it is left");
            std::fs::write(&path, right).unwrap();
        }
    });
}
