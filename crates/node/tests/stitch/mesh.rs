//! Nodes as processes and a coordinator that tells them who made what.

use crate::ground::{Ground, sample};
use crate::{block_on, s3};
use recode_testkit::s3::{Kind, Server};

/// Bytes that leave the work store for a job on two nodes of one site, as a part of what was put there. A job before it gives
/// the nodes time to hear of each other.
async fn fetched(server: &Server, peers: bool) -> f64 {
    let ground = Ground::on("s3://chunks/w").await;
    let running = ground.site(server, 2, peers).await;
    let source = sample().canonicalize().unwrap();
    for crf in [36, 18] {
        server.reset();
        ground
            .encode(&format!("file://{}", source.display()), crf)
            .await;
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
