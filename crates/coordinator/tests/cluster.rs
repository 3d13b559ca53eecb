//! Three coordinators in one process, over real gRPC and real logs.

use recode_coordinator::assembly::{Beginning, Config, Running, start};
use recode_mesh::retry::retry;
use recode_mesh::{Cluster, Jobs, Leader};
use recode_types::cluster::ClusterStatus;
use recode_types::{JobId, JobRequest};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses that were free a moment ago.
fn addresses(count: u64) -> BTreeMap<u64, String> {
    let taken: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |t: &std::net::TcpListener| t.local_addr().unwrap().to_string();
    (1..).zip(taken.iter().map(address)).collect()
}

fn config(folder: &Path, listen: &str, name: &str, beginning: Beginning) -> Config {
    let listen: SocketAddr = listen.parse().unwrap();
    Config {
        listen,
        embedded: false,
        beginning,
        ..Config::embedded(
            folder.join(name),
            format!("file://{}", folder.join("store").display()),
        )
    }
}

fn founder(folder: &Path, me: u64, founders: &BTreeMap<u64, String>) -> Config {
    let beginning = Beginning::Together {
        me,
        founders: founders.clone(),
    };
    config(folder, &founders[&me], &me.to_string(), beginning)
}

fn request() -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": "file:///made-up/in.mp4",
        "outputs": [{
            "url": "file:///made-up/out.mp4", "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

async fn submit(jobs: &Jobs, id: &str) -> JobId {
    retry(PATIENCE, || async { jobs.submit(id, &request()).await })
        .await
        .unwrap()
        .0
}

async fn known(jobs: &Jobs) -> Vec<JobId> {
    let listed = retry(PATIENCE, || jobs.list(false)).await.unwrap();
    listed.into_iter().map(|status| status.job).collect()
}

/// Asks the coordinator at `address` until what it sees is as wanted.
async fn until(address: &str, wanted: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
    let cluster = Cluster::new(Leader::at(address).unwrap());
    let started = Instant::now();
    loop {
        let seen = cluster.status().await;
        match seen {
            Ok(seen) if wanted(&seen) => return seen,
            other => assert!(started.elapsed() < PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_leader_took_the_next_one_knows() {
    let folder = tempfile::tempdir().unwrap();
    let founders = addresses(3);
    let mut running: BTreeMap<u64, Running> = BTreeMap::new();
    for me in founders.keys() {
        let config = founder(folder.path(), *me, &founders);
        running.insert(*me, start(config).await.unwrap());
    }
    let all = founders.values().cloned().collect::<Vec<_>>().join(",");
    let jobs = Jobs::new(Leader::at(&all).unwrap());
    let mut accepted = vec![submit(&jobs, "first").await];
    assert_eq!(
        submit(&jobs, "first").await,
        accepted[0],
        "the same id, the same job"
    );
    for round in 0..3 {
        let seen = until(&all, |s| s.leader.is_some()).await;
        let leader = seen.leader.expect("it was waited for");
        running.remove(&leader).expect("it runs").stop().await;
        accepted.push(submit(&jobs, &format!("round {round}")).await);
        assert_eq!(known(&jobs).await, accepted);
        let back = start(founder(folder.path(), leader, &founders))
            .await
            .unwrap();
        running.insert(leader, back);
        let last = until(&all, |s| s.leader.is_some_and(|l| l != leader))
            .await
            .last_index;
        until(&founders[&leader], |s| s.applied_index >= last).await;
    }
    // One alone is no quorum: it takes nothing, and says nothing that may be old.
    let mut left: Vec<u64> = running.keys().copied().collect();
    let last = left.pop().expect("three run");
    for id in left {
        running.remove(&id).expect("it runs").stop().await;
    }
    let alone = Jobs::new(Leader::at(&founders[&last]).unwrap());
    until(&founders[&last], |s| {
        s.leader.is_none() || s.quorum_age_ms.is_none_or(|ms| ms > 1000)
    })
    .await;
    assert!(alone.list(false).await.unwrap_err().may_retry());
    assert!(
        alone
            .submit("too late", &request())
            .await
            .unwrap_err()
            .may_retry()
    );
    for (_, one) in running {
        one.stop().await;
    }
}

/// Whether the coordinator at `address` tells health checks that it answers for Jobs.
async fn is_serving(address: &str) -> bool {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: "recode.v1.JobService".into(),
    };
    let answer = client.check(request).await.map(|a| a.into_inner().status());
    // Until it has been looked at, the service is not known.
    answer.is_ok_and(|status| status == ServingStatus::Serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_find_the_one_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let founders = addresses(3);
    let mut running = Vec::new();
    for me in founders.keys() {
        running.push(start(founder(folder.path(), *me, &founders)).await.unwrap());
    }
    let all = founders.values().cloned().collect::<Vec<_>>().join(",");
    let started = Instant::now();
    loop {
        let leader = until(&all, |s| s.leader.is_some()).await.leader;
        let mut serving = Vec::new();
        for (id, address) in &founders {
            if is_serving(address).await {
                serving.push(*id);
            }
        }
        if Some(serving.as_slice()) == leader.as_ref().map(std::slice::from_ref) {
            break;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{serving:?}, {leader:?} leads"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_and_replaces_the_lost() {
    let folder = tempfile::tempdir().unwrap();
    let places = addresses(4);
    let first = config(folder.path(), &places[&1], "1", Beginning::Alone);
    let first = start(first).await.unwrap();
    let jobs = Jobs::new(Leader::at(&places[&1]).unwrap());
    let mut accepted = vec![submit(&jobs, "alone").await];
    let mut later = Vec::new();
    for place in [2, 3] {
        let ask = Some(places[&1].clone());
        let beginning = Beginning::Wait { ask };
        let config = config(
            folder.path(),
            &places[&place],
            &place.to_string(),
            beginning,
        );
        later.push(start(config).await.unwrap());
        let voters = place as usize;
        until(&places[&1], |s| {
            s.coordinators.iter().filter(|c| c.voter).count() == voters
        })
        .await;
    }
    accepted.push(submit(&jobs, "three").await);
    // The first is lost for good; a new one takes its place, under a number that nobody had.
    first.stop().await;
    let rest = format!("{},{}", places[&2], places[&3]);
    let cluster = Cluster::new(Leader::at(&rest).unwrap());
    retry(PATIENCE, || cluster.remove(1)).await.unwrap();
    let waiting = config(
        folder.path(),
        &places[&4],
        "4",
        Beginning::Wait { ask: None },
    );
    let waiting = tokio::spawn(start(waiting));
    let number = loop {
        match retry(PATIENCE, || cluster.add(&places[&4])).await {
            Ok(number) => break number,
            // It does not listen yet.
            Err(recode_mesh::Error::Precondition(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let fourth = waiting.await.unwrap().unwrap();
    let seen = until(&places[&4], |s| {
        s.coordinators.len() == 3 && s.leader.is_some()
    })
    .await;
    let numbers: Vec<u64> = seen.coordinators.iter().map(|c| c.coordinator).collect();
    assert!(
        numbers.contains(&number) && !numbers.contains(&1),
        "{seen:?}"
    );
    assert!(numbers.iter().all(|n| *n >= 100), "{seen:?}");
    assert!(seen.coordinators.iter().all(|c| c.voter));
    let jobs = Jobs::new(Leader::at(&places[&4]).unwrap());
    assert_eq!(known(&jobs).await, accepted);
    assert!(matches!(
        retry(PATIENCE, || cluster.remove(1)).await,
        Err(recode_mesh::Error::NotFound(_))
    ));
    fourth.stop().await;
    for one in later {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_folder_of_another_coordinator_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let founders = addresses(3);
    start(founder(folder.path(), 1, &founders))
        .await
        .unwrap()
        .stop()
        .await;
    let mut other = founder(folder.path(), 2, &founders);
    other.data_dir = folder.path().join("1");
    let refused = start(other).await.unwrap_err().to_string();
    assert!(
        refused.contains("coordinator 1") && refused.contains("coordinator 2"),
        "{refused}"
    );
    let mut two = founders.clone();
    two.remove(&3);
    let refused = start(founder(folder.path(), 2, &two))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("1, 3 or 5"), "{refused}");
}
