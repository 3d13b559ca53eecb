//! Lists of Jobs, and why they wait.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_their_pages_follow_each_other_while_jobs_come() {
    let folder = Folder::new("list");
    let api = Api::at(folder.coordinator().await).await;
    let mut ids = Vec::new();
    for i in 0..7u8 {
        let mut request = request();
        request.source = format!("file:///films/{}/{i}.mp4", i % 2);
        request.labels = [("show".to_owned(), (i % 3).to_string())].into();
        ids.push(api.submit(&format!("request {i}"), &request).await);
    }
    let list = |message: v1::ListRequest| {
        let mut client = api.job.clone();
        async move { client.list(message).await.map(Response::into_inner) }
    };
    let listed = |answer: v1::ListResponse| -> Vec<String> {
        answer.jobs.into_iter().map(|job| job.job).collect()
    };
    let labelled = v1::ListRequest {
        labels: [("show".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(listed(list(labelled).await.unwrap()), [&*ids[1], &*ids[4]]);
    let sources = v1::ListRequest {
        source_prefix: "file:///films/1/".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        listed(list(sources).await.unwrap()),
        [&*ids[1], &*ids[3], &*ids[5]]
    );
    api.jobs.cancel(ids[2].parse().unwrap(), "").await.unwrap();
    let cancelled = v1::ListRequest {
        states: vec![v1::JobState::Cancelled.into()],
        ..Default::default()
    };
    assert_eq!(listed(list(cancelled).await.unwrap()), [&*ids[2]]);

    let mut seen = Vec::new();
    let mut page = v1::ListRequest {
        limit: 2,
        ..Default::default()
    };
    let mut count = 0;
    loop {
        let answer = list(page.clone()).await.unwrap();
        page.page_token = answer.next_page_token.clone();
        seen.extend(listed(answer));
        if page.page_token.is_empty() {
            break;
        }
        if count < 3 {
            ids.push(api.submit(&format!("later {count}"), &request()).await);
            count += 1;
        }
    }
    assert_eq!(seen, ids, "each once, in the order of submission");

    names(
        list(v1::ListRequest {
            page_token: "elsewhere".to_owned(),
            ..Default::default()
        })
        .await,
        "page_token",
    );
    let first = list(v1::ListRequest {
        limit: 1,
        ..Default::default()
    });
    let stale = v1::ListRequest {
        page_token: first.await.unwrap().next_page_token,
        live_only: true,
        ..Default::default()
    };
    names(list(stale).await, "page_token");
    names(
        list(v1::ListRequest {
            states: vec![77],
            ..Default::default()
        })
        .await,
        "states",
    );
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_explained() {
    let folder = Folder::new("explain");
    let api = Api::at(folder.coordinator().await).await;
    let job = api.submit("one", &request()).await;
    let explained = api.explain(&job).await;
    let why: Vec<_> = explained.waiting.iter().map(|w| w.why.clone()).collect();
    assert_eq!(why, [Wait::NoNodes, Wait::Probe]);
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::StopsAfter(0));
    let stuck = api.explained_as(&job, |why| *why == Wait::NoFreeSlot).await;
    assert!(stuck.tasks_running >= 2, "{stuck:?}");
    assert!(
        stuck.waiting.iter().any(
            |w| matches!(w.why, Wait::Tasks { encodes, .. } if encodes > 10)
                && w.tasks == [TaskKey::Stitch { output: 0 }]
        ),
        "{stuck:?}"
    );
    let waiting: u32 = stuck.waiting.iter().map(|w| w.count).sum();
    assert_eq!(
        stuck.tasks,
        stuck.tasks_done + stuck.tasks_running + waiting
    );
    node.abort();
    api.running.stop().await;
}
