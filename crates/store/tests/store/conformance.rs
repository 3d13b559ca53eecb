//! One suite for every kind of work store.

use crate::{block_on, film, names, s3};
use futures::TryStreamExt as _;
use recode_store::{Error, Take, WorkStore, sweep};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

const KEY: &str = "jobs/job_1/tasks/probe/1/facts.json";

#[test]
fn memory_keeps_the_contract() {
    block_on(suite("memory://conformance/root"));
}

#[test]
fn a_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    block_on(suite(dir.path().join("a b/100%").to_str().unwrap()));
}

#[test]
fn a_file_url_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    block_on(suite(&format!("file://{}/x", dir.path().display())));
}

#[test]
fn s3_keeps_the_contract() {
    let _server = s3();
    block_on(suite("s3://films/work/root"));
}

async fn suite(url: &str) {
    let store = WorkStore::open(url).await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    what_is_put_comes_back(&store, scratch.path()).await;
    an_artifact_is_never_replaced(&store, scratch.path()).await;
    a_wrong_reference_is_noticed(&store, scratch.path()).await;
    sweeping_keeps_what_is_named(&store).await;
    let again = WorkStore::open(store.url()).await.unwrap();
    assert!(
        !again.list("jobs/").await.unwrap().is_empty(),
        "the URL leads back"
    );
    for bad in ["../x", "/etc/passwd", "jobs/../x", "jobs/.x", ""] {
        assert!(
            matches!(store.put(bad, "x").await, Err(Error::Invalid(_))),
            "{bad}"
        );
    }
}

async fn what_is_put_comes_back(store: &WorkStore, scratch: &Path) {
    for (key, size) in [
        ("small", 0),
        ("one", 1),
        ("middle", 3 << 20),
        ("large", 21 << 20),
    ] {
        let key = format!("jobs/job_1/tasks/probe/1/{key}");
        let bytes = film(size);
        let from = scratch.join("from");
        std::fs::write(&from, &bytes).unwrap();
        let artifact = store.put_file(&key, &from, Take::Copy).await.unwrap();
        assert!(from.exists());
        assert_eq!(
            store.put(&key, bytes.clone()).await.unwrap(),
            artifact,
            "put again"
        );
        assert_eq!(
            store.put_file(&key, &from, Take::Move).await.unwrap(),
            artifact
        );
        assert!(!from.exists());
        assert_eq!(artifact.size_bytes, size as u64);
        assert_eq!(store.get(&artifact).await.unwrap(), bytes);
        let to = scratch.join(format!("to{size}"));
        store.get_to_file(&artifact, &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), bytes);
        let blocks: Vec<_> = store
            .open_stream(&artifact)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(blocks.concat(), bytes);
        if let Some(path) = store.local_path(&artifact).await.unwrap() {
            assert_eq!(std::fs::read(path).unwrap(), bytes);
        }
        store.remove(&key).await.unwrap();
        store.remove(&key).await.unwrap();
        assert!(
            matches!(store.get(&artifact).await, Err(Error::NotFound { .. }) if size > 0)
                || size == 0
        );
    }
}

async fn an_artifact_is_never_replaced(store: &WorkStore, scratch: &Path) {
    let first = store.put(KEY, "first").await.unwrap();
    assert!(matches!(
        store.put(KEY, "other").await,
        Err(Error::Exists { .. })
    ));
    let from = scratch.join("other");
    std::fs::write(&from, "longer").unwrap();
    let refused = store.put_file(KEY, &from, Take::Copy).await;
    assert!(matches!(refused, Err(Error::Exists { .. })));
    assert_eq!(store.get(&first).await.unwrap(), "first");
    store.remove(KEY).await.unwrap();
}

async fn a_wrong_reference_is_noticed(store: &WorkStore, scratch: &Path) {
    let good = store.put(KEY, "right").await.unwrap();
    let mut wrong = good.clone();
    wrong.digest.0[31] ^= 1;
    let to = scratch.join("wrong");
    assert!(matches!(
        store.get(&wrong).await,
        Err(Error::Damaged { .. })
    ));
    assert!(matches!(
        store.get_to_file(&wrong, &to).await,
        Err(Error::Damaged { .. })
    ));
    assert!(!to.exists());
    let streamed: Result<Vec<_>, _> = store.open_stream(&wrong).await.unwrap().try_collect().await;
    assert!(matches!(streamed, Err(Error::Damaged { .. })));
    assert!(!matches!(store.local_path(&wrong).await, Ok(Some(_))));
    store.remove(KEY).await.unwrap();
}

async fn sweeping_keeps_what_is_named(store: &WorkStore) {
    let keys = [
        "jobs/job_2/a",
        "jobs/job_2/b/c",
        "jobs/job_2/b/d",
        "jobs/job_20/x",
    ];
    for key in keys {
        store.put(key, key.as_bytes()).await.unwrap();
    }
    let listed: Vec<_> = store.list("jobs/job_2/").await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|l| (l.key.as_str(), l.size_bytes))
        .collect();
    assert_eq!(
        listed,
        keys[..3]
            .iter()
            .map(|k| (*k, k.len() as u64))
            .collect::<Vec<_>>()
    );
    let named = BTreeSet::from([keys[1].to_owned()]);
    let guard = Duration::from_secs(3600);
    let now = SystemTime::now();
    let young = sweep::sweep(store, "jobs/job_2/", &named, now, guard)
        .await
        .unwrap();
    assert_eq!((young.removed, young.kept), (0, 3));
    let old = sweep::sweep(store, "jobs/job_2/", &named, now + 2 * guard, guard)
        .await
        .unwrap();
    assert_eq!((old.removed, old.kept, old.bytes), (2, 1, 26));
    let left: Vec<_> = store
        .list("jobs/")
        .await
        .unwrap()
        .into_iter()
        .map(|l| l.key)
        .collect();
    assert_eq!(left, [keys[1], keys[3]]);
    assert_eq!(store.list("jobs/nothing/").await.unwrap(), []);
}

#[test]
fn a_touched_local_artifact_is_verified_again() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = WorkStore::open(dir.path().to_str().unwrap()).await.unwrap();
        let artifact = store.put(KEY, "abcdef").await.unwrap();
        let path = store.local_path(&artifact).await.unwrap().unwrap();
        std::fs::write(&path, "abcdeX").unwrap();
        assert!(matches!(
            store.local_path(&artifact).await,
            Err(Error::Damaged { .. })
        ));
        let folder = path.parent().unwrap();
        assert_eq!(
            names(folder),
            ["facts.json"],
            "nothing is left under construction"
        );
    });
}
