//! Nodes as processes that serve their site while they work.

use crate::ground::{Ground, node, sample};
use recode_testkit::s3::{Kind, Server};

/// Bytes of the source that the store sends for two jobs on three nodes of one site, as a part of its size. A job before them
/// gives the nodes time to hear of each other.
async fn fetched(peers: bool) -> f64 {
    let ground = Ground::new().await;
    let s3 = ground.path("s3");
    std::fs::create_dir(&s3).unwrap();
    let server = Server::start(&s3).unwrap();
    server.create_bucket("media").unwrap();
    server.place("media", "film.mp4", &sample()).unwrap();
    let running = ground.site(&server, 3, peers).await;
    for crf in [27, 30, 33] {
        ground.encode("s3://media/film.mp4", crf).await;
        if crf == 27 {
            server.reset();
        }
    }
    if peers {
        let (seen, _) = ground.nodes.page(None).await.unwrap();
        let traffic: Vec<_> = seen
            .iter()
            .filter_map(|node| node.heard.as_ref()?.traffic)
            .collect();
        assert!(traffic.iter().any(|t| t.from_peers > 0), "{traffic:?}");
    }
    drop(running);
    ground.stop().await;
    server.count(Kind::Get).bytes_sent as f64 / sample().metadata().unwrap().len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_site_fetch_a_source_once_for_all_their_jobs() {
    let alone = fetched(false).await;
    let together = fetched(true).await;
    assert!(together <= 1.02, "{together} times the source was fetched");
    assert!(
        alone >= 1.5,
        "{alone} times without neighbours: this film shows nothing"
    );
}

#[test]
fn a_node_that_cannot_serve_its_site_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = |flags: &[&str], expected: &str| {
        let mut command = node();
        command.arg("--scratch").arg(folder.path().join("scratch"));
        let ended = command.args(flags).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{flags:?}");
        assert!(said.contains(expected), "{flags:?}: {said}");
    };
    let label = ["--label", "site=here"];
    check(&["--peer-listen", "127.0.0.1:0"], "add --label site=NAME");
    check(
        &["--peer-listen", "0.0.0.0:0", label[0], label[1]],
        "say --insecure",
    );
    check(
        &[
            "--peer-listen",
            "0.0.0.0:0",
            "--insecure",
            label[0],
            label[1],
        ],
        "say --peer-advertise HOST:PORT",
    );
    check(
        &[
            "--peer-listen",
            "127.0.0.1:0",
            "--scratch-budget",
            "100MB",
            label[0],
            label[1],
        ],
        "give it 256MB or more",
    );
    check(&["--peer-advertise", "a:1"], "--peer-listen");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    check(
        &["--peer-listen", &taken, label[0], label[1]],
        "cannot listen on",
    );
}
