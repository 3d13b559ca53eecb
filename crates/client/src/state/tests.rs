use super::*;
use recode_types::SegmentLength;
use std::time::{Duration, SystemTime};

fn request(source: &str) -> JobRequest {
    JobRequest {
        source: source.into(),
        start_us: None,
        duration_us: None,
        outputs: vec![],
        segment: SegmentLength::Usual,
        score: vec![],
        making: recode_types::Making::Usual,
        strict: false,
        overwrite: false,
        labels: Default::default(),
        priority: 50,
    }
}
fn state() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(Some(dir.path())).unwrap();
    (dir, state)
}

#[test]
fn the_same_job_twice_at_once_is_refused_and_named() {
    let (_dir, state) = state();
    let request = request("a");
    let digest = job_digest(&request, None);
    let claim = state.claim(&digest, &request).unwrap();
    let message = state.claim(&digest, &request).unwrap_err().message;
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    drop(claim);
    state
        .claim(&digest, &request)
        .expect("the lock went with its holder");
}

#[test]
fn another_request_or_a_changed_source_is_another_job() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    std::fs::write(&file, b"1").unwrap();
    let first = std::fs::metadata(&file).unwrap();
    std::fs::write(&file, b"12").unwrap();
    let second = std::fs::metadata(&file).unwrap();
    let digest = |r: &JobRequest, m| job_digest(r, m);
    let a = request("a");
    assert_eq!(digest(&a, Some(&first)), digest(&a, Some(&first)));
    assert_ne!(digest(&a, Some(&first)), digest(&a, Some(&second)));
    assert_ne!(digest(&a, None), digest(&request("b"), None));
}

#[test]
fn an_interrupted_job_is_found_again_and_a_done_one_leaves_nothing() {
    let (_dir, state) = state();
    let request = request("a");
    let digest = job_digest(&request, None);
    let claim = state.claim(&digest, &request).unwrap();
    assert!(!claim.resumes());
    std::fs::create_dir(claim.path().join("raft")).unwrap();
    drop(claim);
    let claim = state.claim(&digest, &request).unwrap();
    assert!(claim.resumes());
    let path = claim.path().to_owned();
    claim.remove();
    assert!(!path.exists());
    assert!(state.entries().is_empty());
}

#[test]
fn a_room_goes_with_its_process() {
    let (_dir, state) = state();
    let dead = state.root().join(format!("{ROOM}{}", u32::MAX));
    std::fs::create_dir(&dead).unwrap();
    let room = state.room().unwrap();
    state.prune(0);
    assert!(!dead.exists() && room.path().exists());
    let path = room.path().to_owned();
    drop(room);
    assert!(!path.exists());
}

#[test]
fn pruning_takes_the_oldest_and_leaves_running_jobs_alone() {
    let (_dir, state) = state();
    let cache = state.cache_dir();
    std::fs::create_dir_all(&cache).unwrap();
    let old = cache.join("old");
    std::fs::write(&old, [0; 100]).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    std::fs::write(cache.join("new"), [0; 100]).unwrap();
    state.prune(150);
    assert!(!old.exists() && cache.join("new").exists());

    let claim = state
        .claim(&job_digest(&request("a"), None), &request("a"))
        .unwrap();
    let removed = state.prune(0);
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(claim.path().exists(), "a running job was removed");
    drop(claim);
    assert_eq!(state.prune(0).len(), 1);
    assert!(state.entries().is_empty());
}
