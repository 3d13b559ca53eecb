//! `recode-client events`: the subscriber that comes along, against a real NATS server.

use recode_coordinator::assembly::{Config, start};
use recode_mesh::{Jobs, Leader, nats};
use recode_testkit::nats::Server;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

fn listener(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recode-client"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RECODE_") {
            command.env_remove(name);
        }
    }
    command
        .arg("events")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built")
}

fn said(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (child.stdout.as_mut(), child.stderr.as_mut());
    stdout.expect("piped").read_to_string(&mut out).unwrap();
    if let Some(stderr) = stderr {
        stderr.read_to_string(&mut err).unwrap();
    }
    (child.wait().unwrap().code(), out, err)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_job_are_printed_until_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = start(Config {
        nats: Some(nats::Settings::new(&[server.url()], "site").unwrap()),
        ..Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let leader = Leader::at(&coordinator.local_addr().to_string()).unwrap();
    let jobs = Jobs::new(leader);
    let request = serde_json::json!({
        "source": "file:///in.mp4",
        "outputs": [{
            "url": "file:///out.mp4", "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    });
    let request = serde_json::from_value(request).unwrap();
    for json in [false, true] {
        let (job, _) = jobs.submit(&format!("{json}"), &request).await.unwrap();
        let (name, url) = (job.to_string(), server.url());
        let mut arguments = vec![&*name, "--nats", &url, "--nats-cluster", "site"];
        arguments.extend(json.then_some("--json"));
        let mut child = listener(&arguments);
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("listening at nats://127.0.0.1"), "{line}");
        jobs.cancel(job, "seen enough").await.unwrap();
        let (code, out, _) = tokio::task::spawn_blocking(move || said(child))
            .await
            .unwrap();
        assert_eq!(code, Some(0), "{out}");
        let last = out.lines().last().unwrap_or_default();
        match json {
            true => {
                let last: serde_json::Value = serde_json::from_str(last).unwrap();
                assert_eq!(last["job"], name);
                assert_eq!(last["kind"]["Ended"]["state"], "cancelled");
            }
            false => assert!(
                last.contains("Ended") && last.contains("seen enough"),
                "{out}"
            ),
        }
    }
    coordinator.stop().await;
}

#[test]
fn what_cannot_be_listened_to_is_said_in_one_sentence() {
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let (status, _, err) = said(listener(arguments));
        assert_eq!(status, Some(code), "{err}");
        assert!(err.contains(words) && err.lines().count() == 1, "{err}");
    };
    refused(&[], 2, "--nats");
    refused(&["--nats", "http://a:1"], 2, "nats://HOST:PORT");
    refused(
        &["--nats", "a:1", "--nats-cluster", "a.b"],
        2,
        "letters, digits",
    );
    refused(&["--nats", "127.0.0.1:9"], 5, "no NATS server is reached");
}
