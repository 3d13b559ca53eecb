//! Reading Sources from files and web servers; S3 is in `faults.rs` and `cache.rs`.

use crate::{block_on, film, names};
use recode_store::{Error, Source};
use recode_testkit::http::Server;
use std::path::Path;

#[test]
fn a_local_file_is_read_by_range_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in #1.mp4");
    std::fs::write(&path, film(1000)).unwrap();
    block_on(async {
        let source = Source::open(path.to_str().unwrap(), dir.path())
            .await
            .unwrap();
        assert_eq!(source.local_path(), Some(&*path));
        assert_eq!(source.size(), 1000);
        assert_eq!(source.read(990..1000).await.unwrap(), film(1000)[990..]);
        assert_eq!(source.read(5..5).await.unwrap(), "");
        assert_eq!(source.bytes_read(), 10);
        assert!(matches!(
            source.read(990..1001).await,
            Err(Error::Changed { .. })
        ));
        source.recheck().await.unwrap();
        std::fs::write(&path, film(900)).unwrap();
        assert!(matches!(source.recheck().await, Err(Error::Changed { .. })));
        assert!(matches!(
            source.read(890..910).await,
            Err(Error::Changed { .. })
        ));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.recheck().await, Err(Error::Changed { .. })));
    });
}

#[test]
fn what_is_not_a_file_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().display();
    block_on(async {
        let open = async |url: &str| {
            let error = Source::open(url, dir.path()).await.err().unwrap();
            error.to_string()
        };
        assert_eq!(
            open(&format!("{d}/none.mp4")).await,
            format!("\"{d}/none.mp4\" does not exist; check the spelling of the path")
        );
        assert_eq!(
            open(&d.to_string()).await,
            format!("\"{d}\" is a directory; name the file to read")
        );
        assert_eq!(
            open("/dev/null").await,
            "\"/dev/null\" is a device or pipe, not a file; save it to a file first"
        );
        let refused = open("http://127.0.0.1:9/x.mp4?token=secret").await;
        assert!(
            refused.starts_with("http://127.0.0.1:9/x.mp4?… cannot be reached: "),
            "{refused}"
        );
    });
}

#[test]
fn a_web_server_is_read_by_range() {
    let bytes = film(20 << 20);
    let server = Server::start(bytes.clone()).unwrap();
    block_on(async {
        for url in [server.url(), server.redirecting_url()] {
            let source = Source::open(&url, Path::new("/nonexistent")).await.unwrap();
            assert_eq!(source.size(), 20 << 20);
            assert_eq!(source.identity().version, "\"one\"");
            assert_eq!(source.local_path(), None);
            server.change(|b| {
                b.cut_once = Some(1000);
                b.refusals = vec![503, 429];
            });
            assert_eq!(source.read(3..17 << 20).await.unwrap(), bytes[3..17 << 20]);
            source.recheck().await.unwrap();
        }
        let source = Source::open(&server.url(), Path::new("/nonexistent"))
            .await
            .unwrap();
        server.change(|b| b.etag = Some("\"two\""));
        assert!(matches!(
            source.read(0..10).await,
            Err(Error::Changed { .. })
        ));
        assert!(matches!(source.recheck().await, Err(Error::Changed { .. })));
        server.change(|b| b.refusals = vec![403]);
        let denied = Source::open(&server.url(), Path::new("/"))
            .await
            .err()
            .unwrap();
        assert!(matches!(denied, Error::Forbidden { .. }));
        server.change(|b| b.refusals = vec![404]);
        let missing = Source::open(&server.url(), Path::new("/"))
            .await
            .err()
            .unwrap();
        assert!(matches!(missing, Error::NotFound { .. }));
    });
}

#[test]
fn an_unversioned_file_that_changes_its_length_is_noticed() {
    let server = Server::start(film(1000)).unwrap();
    server.change(|b| b.etag = None);
    block_on(async {
        let source = Source::open(&server.url(), Path::new("/")).await.unwrap();
        assert_eq!(source.read(0..10).await.unwrap(), film(1000)[..10]);
        server.change(|b| b.body = film(1001).into());
        assert!(matches!(
            source.read(0..10).await,
            Err(Error::Changed { .. })
        ));
    });
}

#[test]
fn a_web_server_without_ranges_is_read_once_whole() {
    let bytes = film(3 << 20);
    let server = Server::start(bytes.clone()).unwrap();
    server.change(|b| b.ranges = false);
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        let source = Source::open(&server.url(), scratch.path()).await.unwrap();
        let asked = server.counts().requests;
        assert_eq!(source.size(), 3 << 20);
        assert_eq!(std::fs::read(source.local_path().unwrap()).unwrap(), bytes);
        assert_eq!(source.read(7..1 << 20).await.unwrap(), bytes[7..1 << 20]);
        assert_eq!(server.counts().requests, asked);
        source.recheck().await.unwrap();
        drop(source);
        assert_eq!(names(scratch.path()), Vec::<String>::new());
        server.change(|b| b.body = bytes::Bytes::new());
        let empty = Source::open(&server.url(), scratch.path()).await.unwrap();
        assert_eq!(empty.size(), 0);
    });
}

#[test]
fn an_empty_file_with_ranges_has_length_zero() {
    let server = Server::start("").unwrap();
    block_on(async {
        let source = Source::open(&server.url(), Path::new("/")).await.unwrap();
        assert_eq!(
            (source.size(), source.read(0..0).await.unwrap().len()),
            (0, 0)
        );
    });
}
