//! Every call of every service with wrong, oversized, stale and repeated input, each with the status and the details that
//! are promised. The calls are those of the service descriptors, so that a new one cannot be forgotten.

#[path = "../common/mod.rs"]
mod common;
mod raw;
mod rows;

use common::Folder;
use prost::Message as _;
use recode_proto::convert::status::reason;
use rows::{Answer, Kind, Row, World};
use std::collections::{BTreeMap, BTreeSet};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// All calls of our services, as in `JobService/Get`.
fn rpcs() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(recode_proto::DESCRIPTORS).unwrap();
    let files = set.file.iter().filter(|f| f.package() == "recode.v1");
    files
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            let method =
                |m: &prost_types::MethodDescriptorProto| format!("{}/{}", service.name(), m.name());
            service.method.iter().map(method).collect::<Vec<_>>()
        })
        .collect()
}

/// What is wrong with an answer; `None`: it is as promised.
fn problem(
    wanted: &Answer,
    found: &Result<Vec<u8>, Status>,
    before: Option<&Vec<u8>>,
) -> Option<String> {
    let status = match (wanted, found) {
        (Answer::Taken, Ok(_)) => return None,
        (Answer::Same, Ok(answer)) if Some(answer) == before => return None,
        (Answer::Same, Ok(answer)) => return Some(format!("{answer:?} after {before:?}")),
        (_, Ok(answer)) => return Some(format!("it was taken: {answer:?}")),
        (_, Err(status)) => status,
    };
    let holds = match wanted {
        Answer::Taken | Answer::Same => false,
        Answer::Field(field) => {
            let details = status.get_details_bad_request();
            let named = details.and_then(|d| d.field_violations.first().map(|v| v.field.clone()));
            status.code() == Code::InvalidArgument
                && named.as_deref() == Some(field)
                && status.message().contains(field)
        }
        Answer::Reason(code, why) => {
            let named =
                status.code() != Code::NotFound || status.get_details_resource_info().is_some();
            status.code() == *code && reason(status).as_deref() == Some(*why) && named
        }
        Answer::Code(codes) => codes.contains(&status.code()),
    };
    let sentence = !status.message().is_empty() && !status.message().contains("panic");
    (!holds || !sentence).then(|| format!("{status:?}"))
}

/// What holds for every call: bytes that are no message, and too many of them.
fn of_all() -> [(&'static str, Vec<u8>, Answer); 2] {
    const UNREAD: &[Code] = &[Code::Internal];
    const TOO_LARGE: &[Code] = &[Code::OutOfRange];
    let too_large = vec![0; recode_proto::convert::MAX_MESSAGE_BYTES + 1];
    [
        ("no message", vec![0xff; 9], Answer::Code(UNREAD)),
        ("too large", too_large, Answer::Code(TOO_LARGE)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_answers_as_promised_whatever_comes() {
    let folder = Folder::new("table");
    let (running, jobs, leader) = folder.lasting().await;
    let channel = Endpoint::from_shared(format!("http://{}", running.local_addr()))
        .unwrap()
        .connect_lazy();
    let world = World::new(&jobs, &leader, &channel).await;
    let (mut problems, mut tried) = (Vec::new(), 0);
    for rpc in rpcs() {
        for (what, message, wanted) in of_all() {
            tried += 1;
            let found = raw::call(&channel, &rpc, message).await;
            if let Some(problem) = problem(&wanted, &found, None) {
                problems.push(format!("{rpc}, {what}: {problem}"));
            }
        }
    }
    let rows = world.rows();
    for Row {
        rpc,
        what,
        message,
        wanted,
        ..
    } in &rows
    {
        tried += 1;
        let before = match wanted {
            Answer::Same => raw::call(&channel, rpc, message.clone()).await.ok(),
            _ => None,
        };
        let found = raw::call(&channel, rpc, message.clone()).await;
        if let Some(problem) = problem(wanted, &found, before.as_ref()) {
            problems.push(format!("{rpc}, {what}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // It goes on as if nothing had been.
    assert_eq!(
        jobs.list(false).await.unwrap().len(),
        2,
        "nothing else was accepted"
    );
    assert_eq!(running.failure(), None);

    let mut kinds: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
    for row in &rows {
        kinds
            .entry(row.rpc.to_owned())
            .or_default()
            .insert(row.kind);
    }
    let all = BTreeSet::from([Kind::Wrong, Kind::Oversized, Kind::Stale, Kind::Repeated]);
    for rpc in rpcs() {
        let has = kinds.remove(&rpc).unwrap_or_default();
        assert_eq!(has, &all - &rows::does_not_apply(&rpc), "{rpc}");
    }
    assert!(kinds.is_empty(), "no such calls: {kinds:?}");
    for (metric, value) in [
        ("calls", rpcs().len()),
        ("inputs", tried),
        ("not_as_promised", 0),
    ] {
        println!(
            "{}",
            serde_json::json!({"case": "api", "metric": metric, "value": value})
        );
    }
    running.stop().await;
}
