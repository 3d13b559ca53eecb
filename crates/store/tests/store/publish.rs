//! Outputs under their final names.

use crate::{block_on, film, names, s3};
use recode_store::publish::publish_bytes;
use recode_store::{Error, Location, Publication};
use std::fs;
use std::path::Path;

fn at(path: &Path) -> Location {
    Location::File(path.to_owned())
}

#[test]
fn a_local_output_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.mp4");
    block_on(async {
        let begin = || async { Publication::begin(&at(&target), false, dir.path()).await };
        let dropped = begin().await.unwrap();
        fs::write(dropped.path(), "half").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(dropped);
        assert_eq!(names(dir.path()), Vec::<String>::new());

        let (first, second) = (begin().await.unwrap(), begin().await.unwrap());
        fs::write(first.path(), "first").unwrap();
        fs::write(second.path(), "second").unwrap();
        let published = first.commit().await.unwrap();
        assert_eq!(published.size_bytes, 5);
        assert_eq!(published.url, target.to_str().unwrap());
        assert!(matches!(second.commit().await, Err(Error::Exists { .. })));
        assert!(matches!(begin().await, Err(Error::Exists { .. })));
        assert_eq!(fs::read(&target).unwrap(), b"first");

        let forced = Publication::begin(&at(&target), true, dir.path())
            .await
            .unwrap();
        fs::write(forced.path(), "third").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first", "kept until the end");
        forced.commit().await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"third");
        assert_eq!(names(dir.path()), ["out.mp4"]);
    });
}

#[test]
fn what_an_earlier_try_has_put_there_is_as_good() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.mp4");
    block_on(async {
        let again = async |bytes: &str| {
            let publication = Publication::begin_again(&at(&target), false, dir.path())
                .await
                .unwrap();
            fs::write(publication.path(), bytes).unwrap();
            publication.commit().await
        };
        // The earlier try may not have come so far.
        assert_eq!(again("output").await.unwrap().size_bytes, 6);
        let published = again("output").await.unwrap();
        assert_eq!(published.size_bytes, 6);
        assert_eq!(published.url, target.to_str().unwrap());
        // Somebody else's file stays.
        assert!(matches!(again("others").await, Err(Error::Exists { .. })));
        assert_eq!(fs::read(&target).unwrap(), b"output");
        assert_eq!(names(dir.path()), ["out.mp4"]);
    });
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_lives_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.mp4");
    let orphan = dir.path().join(".out.mp4.recode-1-2-3.part");
    let other = dir.path().join(".other.mp4.recode-1-2-3.part");
    fs::write(&orphan, "x").unwrap();
    fs::write(&other, "x").unwrap();
    block_on(async {
        let alive = Publication::begin(&at(&target), false, dir.path())
            .await
            .unwrap();
        let second = Publication::begin(&at(&target), false, dir.path())
            .await
            .unwrap();
        assert!(!orphan.exists() && other.exists());
        assert!(alive.path().exists() && second.path().exists());
    });
}

#[test]
fn links_are_followed_and_odd_targets_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::create_dir(d.join("real")).unwrap();
    fs::write(d.join("real/file.mp4"), "old").unwrap();
    std::os::unix::fs::symlink("real/file.mp4", d.join("link.mp4")).unwrap();
    std::os::unix::fs::symlink("nothing", d.join("dangling.mp4")).unwrap();
    let long = format!("{}.mp4", "n".repeat(251));
    block_on(async {
        publish_bytes(&at(&d.join("link.mp4")), b"new", true, d)
            .await
            .unwrap();
        assert_eq!(fs::read(d.join("real/file.mp4")).unwrap(), b"new");
        assert!(
            fs::symlink_metadata(d.join("link.mp4"))
                .unwrap()
                .is_symlink()
        );
        publish_bytes(&at(&d.join(&long)), b"x", false, d)
            .await
            .unwrap();

        let check = |name: &str, overwrite| {
            let location = at(&d.join(name));
            async move {
                let checked = Publication::check(&location, overwrite).await.unwrap_err();
                let begun = Publication::begin(&location, overwrite, d)
                    .await
                    .err()
                    .unwrap();
                assert_eq!(checked.to_string(), begun.to_string());
                checked.to_string().replace(&d.display().to_string(), "DIR")
            }
        };
        assert_eq!(
            check("no/such/out.mp4", false).await,
            "the directory \"DIR/no/such\" does not exist; create it first"
        );
        assert_eq!(
            check("real", true).await,
            "\"DIR/real\" is a directory; add a file name for the output"
        );
        assert_eq!(
            check("link.mp4", false).await,
            "\"DIR/link.mp4\" exists already; choose another name or allow it to be replaced with --force"
        );
        assert!(
            check("dangling.mp4", true)
                .await
                .contains("a link to nothing")
        );
        assert!(
            check("real/file.mp4/out.mp4", true)
                .await
                .contains("real/file.mp4")
        );
        let null = Publication::begin(&at(Path::new("/dev/null")), true, d).await;
        assert!(matches!(null, Err(Error::Invalid(_))));
        let web = Location::parse("https://host/out.mp4").unwrap();
        assert!(matches!(
            Publication::check(&web, true).await,
            Err(Error::Invalid(_))
        ));
    });
}

#[test]
fn an_output_in_s3_is_created_once() {
    let server = s3();
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        for size in [1000usize, 20 << 20] {
            let name = format!("out/{size} #ü.mp4");
            let location = Location::parse(&format!("s3://films/{name}")).unwrap();
            let on_server = server.path_of("films", &name);
            let bytes = film(size);
            let first = Publication::begin(&location, false, scratch.path())
                .await
                .unwrap();
            let second = Publication::begin(&location, false, scratch.path())
                .await
                .unwrap();
            fs::write(first.path(), &bytes).unwrap();
            fs::write(second.path(), "other").unwrap();
            let published = first.commit().await.unwrap();
            assert_eq!(published.url, location.to_string());
            assert_eq!(fs::read(&on_server).unwrap(), bytes);
            assert!(matches!(second.commit().await, Err(Error::Exists { .. })));
            let third = Publication::begin(&location, false, scratch.path()).await;
            assert!(matches!(third, Err(Error::Exists { .. })));
            assert_eq!(fs::read(&on_server).unwrap(), bytes);
            publish_bytes(&location, b"forced", true, scratch.path())
                .await
                .unwrap();
            assert_eq!(fs::read(&on_server).unwrap(), b"forced");
        }
        assert_eq!(names(scratch.path()), Vec::<String>::new());
    });
}
