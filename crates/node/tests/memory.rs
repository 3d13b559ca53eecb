//! What a node does with work that takes more memory than it may have: that try ends and is told apart, the next has more, and the
//! node goes on.

mod ground;

use ground::{Ground, PATIENCE, request};
use recode_mesh::Watched;
use recode_node::sandbox::{Groups, Wish};
use recode_sandbox::cgroup::Use;
use recode_types::task::FailureClass;
use recode_types::{EventKind, JobId, JobRequest, JobState, TaskKey, Wait};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether nodes here can limit the memory of their runs.
fn limits_memory() -> bool {
    let (groups, missing) = Groups::open(&Wish::Auto).unwrap();
    let limits = groups.uses().contains(&Use::Memory);
    if !limits {
        eprintln!("NOT TESTED: limits of memory, since {}", missing.unwrap());
    }
    limits
}

/// Failed attempts of a job, until it ends, as number, class and sentence.
async fn failures(ground: &Ground, job: JobId) -> Vec<(u32, FailureClass, String)> {
    let mut failed = Vec::new();
    let each = |event: &EventKind| {
        if let EventKind::AttemptFailed {
            attempt,
            class,
            message,
            ..
        } = event
        {
            failed.push((*attempt, *class, message.clone()));
        }
        false
    };
    ground.watch(job, each).await;
    failed
}

/// Four seconds of the sample.
fn short(ground: &Ground) -> JobRequest {
    JobRequest {
        duration_us: Some(4_000_000),
        ..ground.request()
    }
}

/// Pictures of 16000 x 16000, the largest square that FFmpeg reads: each takes 384 MB in a decoder.
fn huge(folder: &Path) -> PathBuf {
    let path = folder.join("huge.mkv");
    let ffmpeg = recode_node::toolchain::find(None).unwrap();
    let made = Command::new(&ffmpeg.path)
        .args([
            "-nostdin",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "color=s=16000x16000:r=1",
        ])
        .args(["-frames:v", "2", "-c:v", "mjpeg"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_needs_more_memory_than_a_run_may_have_fails_its_job_and_not_its_node() {
    if !limits_memory() {
        return;
    }
    let ground = Ground::new().await;
    let node = ground.node("scratch-1", &["--run-memory", "256MB"]);
    let source = format!("file://{}", huge(ground.folder.path()).display());
    let out = ground.path("huge.mp4");
    let job = ground.submit(&request(&source, &out)).await;
    let failed = failures(&ground, job).await;
    assert_eq!(ground.state(job).await, JobState::Failed);
    assert!(!out.exists());
    let is_short =
        |(_, class, _): &&(u32, FailureClass, String)| *class == FailureClass::OutOfResources;
    assert_eq!(
        failed.iter().filter(is_short).count(),
        failed.len(),
        "{failed:?}"
    );
    let said = |n: usize, limit: &str| {
        let (attempt, _, message) = &failed[n];
        assert_eq!(*attempt, n as u32 + 1, "{failed:?}");
        let expected =
            format!("ffmpeg needed more than the {limit} MB of memory that it may have; ");
        assert!(message.starts_with(&expected), "{failed:?}");
    };
    said(0, "256");
    said(1, "768");
    // The same process goes on.
    let job = ground.submit_another(&short(&ground)).await;
    assert_eq!(failures(&ground, job).await, []);
    assert_eq!(ground.state(job).await, JobState::Done);
    // It takes its groups with it.
    let pid = node.id();
    assert!(!groups_of(pid).is_empty());
    node.signal(Signal::TERM);
    assert_eq!(node.exit_code().await, 0);
    assert_eq!(groups_of(pid), Vec::<PathBuf>::new());
    ground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_met_its_limit_is_tried_again_with_more() {
    if !limits_memory() {
        return;
    }
    let ground = Ground::new().await;
    // This preset looks ahead so far that it takes some 200 MB; nothing else that the job does takes 128.
    let _node = ground.node("scratch-1", &["--run-memory", "128MB"]);
    let mut wanted = short(&ground);
    wanted.outputs[0].rendition.preset = Some("medium".to_owned());
    let job = ground.submit(&wanted).await;
    let failed = failures(&ground, job).await;
    assert_eq!(ground.state(job).await, JobState::Done, "{failed:?}");
    let all = |(attempt, class, message): &(u32, FailureClass, String)| {
        *attempt == 1
            && *class == FailureClass::OutOfResources
            && message.contains("than the 128 MB")
    };
    assert!(!failed.is_empty() && failed.iter().all(all), "{failed:?}");
    ground.stop().await;
}

/// Watches a job until it ends: the most of its encodes that ran at once, and the memory that others were said to wait for.
async fn at_once(ground: &Ground, job: JobId) -> (usize, Option<u64>) {
    let (mut most, mut short) = (0, None);
    let mut watch = ground.jobs.watch(job, 0);
    let looks = async {
        while let Some(seen) = watch.next().await.unwrap() {
            if let Watched::Progress(progress) = seen {
                // One that has encoded all is but stored, while the next begins.
                let encodes = progress.running.iter().filter(|one| {
                    matches!(one.task.key, TaskKey::Encode { .. }) && one.frames < one.frames_total
                });
                most = most.max(encodes.count());
            }
            for waiting in ground.jobs.explain(job).await.unwrap().waiting {
                if let Wait::NoMemory { need_bytes } = waiting.why {
                    short = Some(need_bytes);
                }
            }
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looks).await;
    looked.expect("it comes to an end");
    (most, short)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encodes_that_do_not_fit_in_memory_together_run_one_after_the_other_and_say_why() {
    let ground = Ground::new().await;
    // Each is likely to need some 290 MB, so that one fits, and all four slots otherwise.
    let slots = ["--workers", "4", "--memory"];
    let node = ground.node("scratch-1", &[&slots[..], &["400MB"]].concat());
    let job = ground.submit(&ground.request()).await;
    let (most, short_of) = at_once(&ground, job).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert_eq!(most, 1);
    let need = short_of.expect("others waited");
    assert!((200_000_000..400_000_000).contains(&need), "{need}");
    node.signal(Signal::TERM);
    assert_eq!(node.exit_code().await, 0);
    // The same work on a node that has the memory.
    let _node = ground.node("scratch-2", &[&slots[..], &["4GB"]].concat());
    let job = ground.submit_another(&ground.request()).await;
    let (most, short_of) = at_once(&ground, job).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert!(most > 1 && short_of.is_none(), "{most} {short_of:?}");
    ground.stop().await;
}

/// Groups of the node with this process number.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    let places = recode_sandbox::cgroup::Places::read(
        &text("/proc/self/cgroup"),
        &text("/proc/self/mountinfo"),
        None,
    );
    let places = places.unified.iter().chain(places.split.values());
    let entries = places.flat_map(|at| std::fs::read_dir(at).into_iter().flatten().flatten());
    let paths = entries.map(|entry| entry.path());
    let name = format!("recode-node.{pid}.");
    let is_its = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with(&name))
    };
    paths.filter(is_its).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_killed_node_are_removed_by_the_next() {
    if !limits_memory() {
        return;
    }
    let ground = Ground::new().await;
    let job = ground.submit(&ground.request()).await;
    let first = ground.node("scratch-1", &[]);
    let (mut done, mut second, mut left) = (0, None, vec![]);
    let each = |event: &EventKind| {
        done += u32::from(matches!(event, EventKind::TaskDone { .. }));
        if done == 3 && second.is_none() {
            first.signal(Signal::KILL);
            left = groups_of(first.id());
            second = Some(ground.node("scratch-2", &[]));
        }
        false
    };
    ground.watch(job, each).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert!(!left.is_empty() && !groups_of(second.unwrap().id()).is_empty());
    assert_eq!(groups_of(first.id()), Vec::<PathBuf>::new());
    ground.stop().await;
}
