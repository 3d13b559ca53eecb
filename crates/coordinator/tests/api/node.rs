//! Nodes: draining, and the exchange.

use super::*;
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Usage};
use recode_types::{AttemptToken, FinishedAttempt};

/// How long a Lease outlives the last report of its holder, without the grace.
const LEASE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_gets_nothing_and_a_restart_does_not_forget_it() {
    let folder = Folder::new("drain");
    let api = Api::at(folder.lasting().await).await;
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    let id = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let list = v1::ListNodesRequest::default();
            let list = api.node.clone().list_nodes(list).await.unwrap();
            if let Some(node) = list.into_inner().nodes.first() {
                return node.node;
            }
        }
    })
    .await
    .expect("the node registers");
    let get = |api: &Api| {
        let mut client = api.node.clone();
        async move {
            let got = client.get_node(v1::GetNodeRequest { node: id }).await;
            got.unwrap().into_inner().status.unwrap()
        }
    };
    let drain = v1::DrainRequest { node: id };
    for _ in 0..2 {
        let drained = api.node.clone().drain(drain).await.unwrap().into_inner();
        assert!(drained.status.unwrap().draining);
    }
    let job = api.submit("one", &request()).await;
    api.explained_as(&job, |why| *why == Wait::Draining).await;
    assert!(ledger.lock().unwrap().is_empty(), "nothing was granted");
    assert_eq!(get(&api).await.leases, 0);
    let heard = get(&api).await.heard.unwrap();
    assert!(heard.present && heard.hello.unwrap().name.starts_with("make-believe"));

    // Another Leader, which has heard of nobody yet.
    node.abort();
    api.running.stop().await;
    let api = Api::at(folder.lasting().await).await;
    assert!(get(&api).await.draining);
    let undrain = v1::UndrainRequest { node: id };
    for _ in 0..2 {
        let back = api
            .node
            .clone()
            .undrain(undrain)
            .await
            .unwrap()
            .into_inner();
        assert!(!back.status.unwrap().draining);
    }
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    let events = watch_to_end(&api.jobs, job.parse().unwrap()).await;
    assert!(matches!(
        events.last(),
        Some(EventKind::Ended {
            state: JobState::Done,
            ..
        })
    ));
    // Nodes are listed page by page.
    let page = v1::ListNodesRequest { limit: 1, after: 0 };
    let page = api
        .node
        .clone()
        .list_nodes(page)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.nodes.len(), page.next_after), (1, id));
    let next = v1::ListNodesRequest {
        limit: 1,
        after: id,
    };
    let next = api
        .node
        .clone()
        .list_nodes(next)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((next.nodes.len(), next.next_after), (1, 0));
    node.abort();
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_begins_with_a_hello_and_ends_with_what_was_wrong() {
    let folder = Folder::new("exchange");
    let api = Api::at(folder.coordinator().await).await;
    let open = |first: v1::NodeReport, next: Option<v1::NodeReport>| {
        let mut client = api.node.clone();
        async move {
            // Kept open behind what is said.
            let said = futures::stream::iter(std::iter::once(first).chain(next));
            let said = said.chain(futures::stream::pending());
            client.exchange(said).await
        }
    };
    let good = NodeReport {
        instance: "one".to_owned(),
        hello: Some(NodeHello {
            name: "made up".to_owned(),
            ..NodeHello::default()
        }),
        ..NodeReport::default()
    };
    let no_hello = NodeReport {
        hello: None,
        ..good.clone()
    };
    names(open(no_hello.into(), None).await, "hello");
    names(open(v1::NodeReport::default(), None).await, "instance");
    let opened = open(good.clone().into(), Some(v1::NodeReport::default())).await;
    let said: Vec<_> = opened.unwrap().into_inner().collect().await;
    assert!(
        said[0].as_ref().unwrap().node.is_some(),
        "it was welcome at first"
    );
    let last = said.into_iter().next_back().unwrap();
    names(last, "instance");
    // As our own nodes see it.
    let exchange = Exchange::open(&api.leader, good).await;
    assert!(exchange.is_ok());
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leaving_node_gives_back_others_have_at_once_and_then_it_may_go() {
    let folder = Folder::new("leaving");
    let api = Api::at(folder.lasting().await).await;
    let mut report = NodeReport {
        instance: "one".to_owned(),
        sequence: 1,
        hello: Some(NodeHello {
            name: "made up".to_owned(),
            ..NodeHello::default()
        }),
        free_heavy: 1,
        free_light: 1,
        ..NodeReport::default()
    };
    let mut exchange = Exchange::open(&api.leader, report.clone()).await.unwrap();
    report.hello = None;
    let job = api.submit("one", &request()).await;
    let token = loop {
        let orders = exchange.hear().await.unwrap();
        assert!(!orders.drained, "nobody asked for it");
        if let Some(grant) = orders.grants.first() {
            break AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
        }
    };

    // It stays for as long as it holds something, gives that back, and may go.
    report = NodeReport {
        sequence: 2,
        free_heavy: 0,
        free_light: 0,
        draining: true,
        ..report
    };
    exchange.say(report.clone()).unwrap();
    report.sequence = 3;
    report.returned = vec![token];
    exchange.say(report.clone()).unwrap();
    let given_back = std::time::Instant::now();
    let rid = loop {
        let orders = exchange.hear().await.unwrap();
        let ends = orders.acknowledged.iter().chain(&orders.revocations);
        if ends.clone().any(|t| *t == token) {
            break orders;
        }
        assert!(!orders.drained, "it has a lease");
    };
    assert!(rid.grants.is_empty());
    report.sequence = 4;
    report.returned.clear();
    // What it says of the Attempt from now on is nobody's concern.
    report.finished = vec![FinishedAttempt {
        token,
        outcome: AttemptOutcome::Failed {
            failure: Failure {
                class: FailureClass::BadInput,
                message: "too late".into(),
                stderr_tail: None,
            },
            usage: Usage::default(),
        },
    }];
    exchange.say(report).unwrap();
    let may_go = async { while !exchange.hear().await.unwrap().drained {} };
    let may_go = tokio::time::timeout(Duration::from_secs(10), may_go).await;
    may_go.expect("nothing is left");

    // Another one has it, as the next Attempt, long before this one would have been found silent.
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    let events = watch_to_end(&api.jobs, job.parse().unwrap()).await;
    assert!(matches!(
        events.last(),
        Some(EventKind::Ended {
            state: JobState::Done,
            ..
        })
    ));
    assert!(given_back.elapsed() < LEASE, "it was not waited for");
    let failed = |e: &EventKind| matches!(e, EventKind::AttemptFailed { .. });
    assert!(!events.iter().any(failed), "nobody is to blame");
    let next = AttemptToken {
        attempt: token.attempt + 1,
        ..token
    };
    assert_eq!(ledger.lock().unwrap()[0], next);
    node.abort();
    api.running.stop().await;
}
