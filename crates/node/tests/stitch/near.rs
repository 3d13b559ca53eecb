//! Chunks from the nodes that made them.

use crate::film::{Film, Machine, introduce};
use crate::{block_on, s3};
use recode_testkit::s3::Kind;

#[test]
fn chunks_come_from_their_maker_where_it_is_near_and_else_from_the_store() {
    let server = s3();
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let [maker, joiner] = [(); 2].map(|()| Machine::serving(folder.path()));
        let film = Film::encoded(folder, "s3://chunks/w", &maker, (12, 8)).await;
        let at = maker.address();
        let joined = async |by: &Machine, attempt, name: &str| {
            let target = film.target(name);
            let work = film.work(&target, |_| at.clone()).await;
            server.reset();
            film.join(by, attempt, work).await.0.unwrap();
            (
                server.count(Kind::Get).bytes_sent,
                std::fs::read(target).unwrap(),
            )
        };
        let (bytes, index) = (film.bytes(), 1 << 20);

        let (stranger, plain) = joined(&joiner, 1, "of-a-stranger.mp4").await;
        assert!(
            stranger >= bytes,
            "{stranger} of {bytes} bytes came from the store"
        );

        introduce(&[&maker, &joiner]);
        let before = joiner.neighbours.as_ref().unwrap().traffic();
        let (near, streamed) = joined(&joiner, 1, "near.mp4").await;
        assert!(near < index, "{near} bytes came from the store");
        assert!(
            streamed == plain,
            "they differ by where their chunks came from"
        );
        let after = joiner.neighbours.as_ref().unwrap().traffic();
        assert_eq!(after.from_peers - before.from_peers, bytes);
        assert_eq!(maker.neighbours.as_ref().unwrap().traffic().to_peers, bytes);
        assert_eq!(
            before.from_store, bytes,
            "of the first time, as nodes report it"
        );

        // Whoever has made them itself asks nobody.
        let (own, streamed) = joined(&maker, 1, "own.mp4").await;
        assert!(
            own < index && streamed == plain,
            "{own} bytes came from the store"
        );
        assert_eq!(maker.neighbours.as_ref().unwrap().traffic().from_peers, 0);

        // Something may be wrong with what it has: another try asks the store.
        let (again, streamed) = joined(&joiner, 2, "again.mp4").await;
        assert!(
            again >= bytes && streamed == plain,
            "{again} of {bytes} bytes"
        );

        maker.end();
        let (gone, streamed) = joined(&joiner, 1, "gone.mp4").await;
        assert!(
            gone >= bytes && streamed == plain,
            "{gone} of {bytes} bytes"
        );
    });
}

#[test]
fn a_maker_whose_chunk_is_damaged_on_its_disk_costs_bytes_and_is_left_alone() {
    let server = s3();
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let [maker, joiner] = [(); 2].map(|()| Machine::serving(folder.path()));
        let film = Film::encoded(folder, "s3://chunks/w", &maker, (12, 8)).await;
        introduce(&[&maker, &joiner]);
        let kept = maker.scratch.join("shelf/made");
        for chunk in &film.chunks {
            let path = kept.join(chunk.artifact.digest.to_string());
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[100_000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        let target = film.target("out.mp4");
        let work = film.work(&target, |_| maker.address()).await;
        server.reset();
        let joined = film.join(&joiner, 1, work).await.0.unwrap();
        assert_eq!(joined.frames, 12 * 24);
        let from_peers = joiner.neighbours.as_ref().unwrap().traffic().from_peers;
        // It is believed until the first Chunk is compared: those that are on their way by then.
        assert!(from_peers > 0, "it was never asked");
        let sent = server.count(Kind::Get).bytes_sent;
        assert!(sent >= film.bytes(), "{sent} of {} bytes", film.bytes());
    });
}
