//! Nodes as processes and a coordinator that tells them who made what.

use crate::ground::{self, Ground, Node, PATIENCE, node, sample};
use crate::{block_on, s3};
use recode_testkit::s3::{Kind, Server};
use recode_types::JobState;
use recode_types::rendition::RateControl;
use std::time::Duration;

/// Bytes that leave the work store for a job on two nodes of one site, as a part of what was put there. A job before it gives
/// the nodes time to hear of each other.
async fn fetched(server: &Server, peers: bool) -> f64 {
    let ground = Ground::on("s3://work/w").await;
    let mut running = Vec::new();
    for number in 0..2 {
        let mut node = node();
        node.args(["--coordinator", &ground.address, "--label", "site=here"]);
        node.arg("--scratch")
            .arg(ground.path(&format!("scratch-{peers}-{number}")));
        if peers {
            node.args(["--peer-listen", "127.0.0.1:0"]);
        }
        running.push(Node::spawn(node.envs(server.env())));
    }
    let all_there = async {
        loop {
            let (seen, _) = ground.nodes.page(None).await.unwrap();
            if seen.iter().filter(|node| node.heard.is_some()).count() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all_there = tokio::time::timeout(PATIENCE, all_there).await;
    all_there.expect("they report");
    let source = sample().canonicalize().unwrap();
    for crf in [36, 18] {
        let output = ground.path(&format!("out-{crf}.mp4"));
        let mut wanted = ground::request(&format!("file://{}", source.display()), &output);
        wanted.outputs[0].rendition.rate = Some(RateControl::Crf(crf * 1000));
        server.reset();
        let job = ground.jobs.submit(&format!("request {crf}"), &wanted).await;
        let (job, _) = job.unwrap();
        ground.watch(job, |_| false).await;
        assert_eq!(ground.state(job).await, JobState::Done);
    }
    drop(running);
    ground.stop().await;
    let put = server.count(Kind::Put).bytes_received + server.count(Kind::Part).bytes_received;
    server.count(Kind::Get).bytes_sent as f64 / put as f64
}

#[test]
fn the_chunks_of_a_site_do_not_come_back_from_the_store() {
    let server = s3();
    block_on(async {
        let alone = fetched(&server, false).await;
        let together = fetched(&server, true).await;
        assert!(
            alone > 0.9,
            "{alone} of it left the store without neighbours"
        );
        assert!(together < 0.2, "{together} of it left the store");
    });
}
