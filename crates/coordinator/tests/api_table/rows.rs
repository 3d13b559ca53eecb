//! The table: input and the answer promised for it.

use super::common::request;
use super::raw;
use prost::Message;
use recode_mesh::{Exchange, Jobs, Leader};
use recode_proto::convert::MAX_WATCHED;
use recode_proto::v1;
use recode_types::{JobId, NodeHello, NodeReport, TaskId, TaskKey};
use std::collections::BTreeSet;
use tonic::Code;
use tonic::transport::Channel;

/// What is wrong with an input, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Wrong,
    Oversized,
    /// Fits another state than the one that is.
    Stale,
    Repeated,
}

/// What is promised.
#[derive(Clone, Debug)]
pub enum Answer {
    Taken,
    /// Taken twice, with the same answer.
    Same,
    /// `INVALID_ARGUMENT` about a field.
    Field(&'static str),
    /// A code with a reason in its details.
    Reason(Code, &'static str),
    /// One of these; from the gRPC library, which gives no details.
    Code(&'static [Code]),
}

pub struct Row {
    pub rpc: &'static str,
    pub kind: Kind,
    pub what: &'static str,
    pub message: Vec<u8>,
    pub wanted: Answer,
}

/// Kinds of input that a call cannot get: its message has no fields, or no value of them is wrong.
pub fn does_not_apply(rpc: &str) -> BTreeSet<Kind> {
    let none: &[Kind] = match rpc {
        "ClusterService/Status" | "ClusterService/Snapshot" | "ClusterService/WorkStore" => {
            &[Kind::Wrong, Kind::Oversized, Kind::Stale]
        }
        "NodeService/ListNodes" => &[Kind::Wrong],
        _ => &[],
    };
    none.iter().copied().collect()
}

/// A cluster with a Job that waits, one that was cancelled, and a node.
pub struct World {
    cluster: String,
    address: String,
    waiting: String,
    cancelled: String,
    node: u64,
    /// A token for a list without conditions.
    page_token: String,
}

const LONG: usize = 5000;

fn long() -> String {
    "x".repeat(LONG)
}

fn reason(code: Code, why: &'static str) -> Answer {
    Answer::Reason(code, why)
}

impl World {
    pub async fn new(jobs: &Jobs, leader: &Leader, channel: &Channel) -> Self {
        let waiting = jobs.submit("one", &request()).await.unwrap().0.to_string();
        let cancelled = jobs.submit("two", &request()).await.unwrap().0.to_string();
        let cancel = v1::CancelRequest {
            job: cancelled.clone(),
            request_id: "c".into(),
            reason: "enough".into(),
        };
        let cancel = raw::call(channel, "JobService/Cancel", cancel.encode_to_vec());
        cancel.await.unwrap();
        let hello = NodeReport {
            instance: "one".into(),
            hello: Some(NodeHello {
                name: "made up".into(),
                ..NodeHello::default()
            }),
            ..NodeReport::default()
        };
        let mut exchange = Exchange::open(leader, hello).await.unwrap();
        let node = exchange
            .hear()
            .await
            .unwrap()
            .node
            .expect("it is welcome")
            .0;
        let status = raw::call(channel, "ClusterService/Status", Vec::new()).await;
        let status = v1::ClusterStatusResponse::decode(&*status.unwrap()).unwrap();
        let page = v1::ListRequest {
            limit: 1,
            ..Default::default()
        };
        let page = raw::call(channel, "JobService/List", page.encode_to_vec()).await;
        let page = v1::ListResponse::decode(&*page.unwrap()).unwrap();
        assert!(!page.next_page_token.is_empty());
        Self {
            cluster: status.cluster,
            address: status.coordinators[0].address.clone(),
            waiting,
            cancelled,
            node,
            page_token: page.next_page_token,
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.submits();
        rows.extend(self.lists());
        rows.extend(self.watches());
        rows.extend(self.looks_at_a_job());
        rows.extend(self.wishes());
        rows.extend(self.nodes());
        rows.extend(exchanges());
        rows.extend(self.clusters());
        rows.extend(self.rafts());
        rows
    }

    fn submits(&self) -> Vec<Row> {
        let row = |kind, what, id: &str, change: fn(&mut v1::JobRequest), wanted| {
            let mut wire = v1::JobRequest::from(request());
            change(&mut wire);
            let message = v1::SubmitRequest {
                request_id: id.into(),
                request: Some(wire),
                ..Default::default()
            };
            of("JobService/Submit", kind, what, &message, wanted)
        };
        use Kind::{Oversized, Repeated, Stale, Wrong};
        let taken = reason(Code::FailedPrecondition, "REQUEST_ID_TAKEN");
        let bare = v1::SubmitRequest {
            request_id: "a".into(),
            ..Default::default()
        };
        let under = |id: &str, job: &str| v1::SubmitRequest {
            request_id: id.into(),
            request: Some(v1::JobRequest::from(request())),
            job: job.into(),
        };
        let submit = |kind, what, message: &v1::SubmitRequest, wanted| {
            of("JobService/Submit", kind, what, message, wanted)
        };
        let in_use = reason(Code::FailedPrecondition, "JOB_ID_TAKEN");
        vec![
            submit(
                Wrong,
                "no job id",
                &under("a", "job_1"),
                Answer::Field("job"),
            ),
            submit(
                Oversized,
                "long job id",
                &under("a", &long()),
                Answer::Field("job"),
            ),
            submit(Stale, "a job id in use", &under("a", &self.waiting), in_use),
            of(
                "JobService/Submit",
                Wrong,
                "no request",
                &bare,
                Answer::Field("request"),
            ),
            row(Wrong, "no id", "", |_| {}, Answer::Field("request_id")),
            row(
                Wrong,
                "no source",
                "a",
                |r| r.source.clear(),
                Answer::Field("source"),
            ),
            row(
                Wrong,
                "no output",
                "a",
                |r| r.outputs.clear(),
                Answer::Field("outputs"),
            ),
            row(
                Wrong,
                "container 99",
                "a",
                |r| r.outputs[0].container = 99,
                Answer::Field("container"),
            ),
            row(
                Wrong,
                "priority 101",
                "a",
                |r| r.priority = 101,
                Answer::Field("priority"),
            ),
            row(
                Oversized,
                "long id",
                &"x".repeat(129),
                |_| {},
                Answer::Field("request_id"),
            ),
            row(
                Oversized,
                "long source",
                "a",
                |r| r.source = long(),
                Answer::Field("source"),
            ),
            row(
                Oversized,
                "many outputs",
                "a",
                |r| r.outputs = vec![r.outputs[0].clone(); 65],
                Answer::Field("outputs"),
            ),
            row(
                Oversized,
                "large in all",
                "a",
                |r| r.labels = (0..60).map(|i| (i.to_string(), "x".repeat(2000))).collect(),
                Answer::Field("request"),
            ),
            row(Stale, "another request", "one", |r| r.priority = 3, taken),
            row(Repeated, "the same request", "one", |_| {}, Answer::Same),
        ]
    }

    fn lists(&self) -> Vec<Row> {
        let row = |kind, what, change: &dyn Fn(&mut v1::ListRequest), wanted| {
            let mut message = v1::ListRequest::default();
            change(&mut message);
            of("JobService/List", kind, what, &message, wanted)
        };
        let token = || self.page_token.clone();
        use Kind::{Oversized, Repeated, Stale, Wrong};
        vec![
            row(
                Wrong,
                "state 99",
                &|r| r.states = vec![99],
                Answer::Field("states"),
            ),
            row(
                Wrong,
                "token",
                &|r| r.page_token = "x".into(),
                Answer::Field("page_token"),
            ),
            row(
                Oversized,
                "token",
                &|r| r.page_token = long(),
                Answer::Field("page_token"),
            ),
            row(
                Oversized,
                "prefix",
                &|r| r.source_prefix = long(),
                Answer::Field("source_prefix"),
            ),
            row(
                Oversized,
                "states",
                &|r| r.states = vec![1; 17],
                Answer::Field("states"),
            ),
            row(
                Oversized,
                "labels",
                &|r| r.labels = (0..65).map(|i| (i.to_string(), String::new())).collect(),
                Answer::Field("labels"),
            ),
            row(Oversized, "limit", &|r| r.limit = u32::MAX, Answer::Taken),
            row(
                Stale,
                "token of another list",
                &|r| {
                    r.page_token = token();
                    r.live_only = true;
                },
                Answer::Field("page_token"),
            ),
            row(Repeated, "page", &|r| r.page_token = token(), Answer::Same),
        ]
    }

    fn watches(&self) -> Vec<Row> {
        let from = |job: &str| v1::WatchFrom {
            job: job.into(),
            from_index: 0,
        };
        let row = |kind, what, job: &str, from_index, jobs, wanted| {
            let message = v1::WatchRequest {
                job: job.into(),
                from_index,
                jobs,
            };
            of("JobService/Watch", kind, what, &message, wanted)
        };
        use Kind::{Oversized, Repeated, Stale, Wrong};
        let waiting = &self.waiting;
        let unknown = JobId::generate().to_string();
        let no_job = reason(Code::NotFound, "UNKNOWN_JOB");
        vec![
            row(Wrong, "no job", "", 0, vec![], Answer::Field("job")),
            row(
                Wrong,
                "one twice",
                "",
                0,
                vec![from(waiting); 2],
                Answer::Field("jobs"),
            ),
            row(
                Wrong,
                "one and many",
                waiting,
                0,
                vec![from(waiting)],
                Answer::Field("jobs"),
            ),
            row(
                Wrong,
                "no job of many",
                "",
                0,
                vec![from("?")],
                Answer::Field("jobs.job"),
            ),
            row(
                Oversized,
                "too many",
                "",
                0,
                vec![from(waiting); MAX_WATCHED + 1],
                Answer::Field("jobs"),
            ),
            row(
                Oversized,
                "long job",
                &long(),
                0,
                vec![],
                Answer::Field("job"),
            ),
            row(Stale, "unknown", &unknown, 0, vec![], no_job.clone()),
            row(
                Stale,
                "one of many unknown",
                "",
                0,
                vec![from(waiting), from(&unknown)],
                no_job,
            ),
            row(
                Stale,
                "behind the end",
                &self.cancelled,
                1 << 40,
                vec![],
                Answer::Taken,
            ),
            row(Repeated, "first event", waiting, 0, vec![], Answer::Same),
        ]
    }

    /// Calls that look at one Job.
    fn looks_at_a_job(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for rpc in [
            "JobService/Get",
            "JobService/Explain",
            "JobService/Report",
            "JobService/Logs",
        ] {
            // All of them begin with the Job.
            let row = |kind, what, job: &str, wanted| {
                let message = v1::ExplainRequest { job: job.into() };
                of(rpc, kind, what, &message, wanted)
            };
            let unknown = JobId::generate().to_string();
            rows.extend([
                row(Kind::Wrong, "no job", "", Answer::Field("job")),
                row(Kind::Wrong, "half a job", "job_12", Answer::Field("job")),
                row(Kind::Wrong, "a task", "task_1", Answer::Field("job")),
                row(
                    Kind::Oversized,
                    "long job",
                    &"x".repeat(1 << 20),
                    Answer::Field("job"),
                ),
                row(
                    Kind::Stale,
                    "unknown",
                    &unknown,
                    reason(Code::NotFound, "UNKNOWN_JOB"),
                ),
                row(
                    Kind::Repeated,
                    "an ended job",
                    &self.cancelled,
                    Answer::Same,
                ),
            ]);
        }
        let runs = v1::ReportRequest {
            job: self.waiting.clone(),
        };
        let too_early = reason(Code::FailedPrecondition, "JOB_RUNS");
        rows.push(of(
            "JobService/Report",
            Kind::Stale,
            "it runs",
            &runs,
            too_early,
        ));
        let task = v1::LogsRequest {
            job: self.waiting.clone(),
            task: "encode.first".into(),
            ..Default::default()
        };
        rows.push(of(
            "JobService/Logs",
            Kind::Wrong,
            "no task",
            &task,
            Answer::Field("task"),
        ));
        let behind = v1::LogsRequest {
            job: self.cancelled.clone(),
            from_number: u64::MAX,
            ..Default::default()
        };
        rows.push(of(
            "JobService/Logs",
            Kind::Stale,
            "behind the end",
            &behind,
            Answer::Taken,
        ));
        rows
    }

    /// Calls that want something of a Job.
    fn wishes(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (rpc, ended) in [
            ("JobService/Pause", "JOB_ENDED"),
            ("JobService/Resume", "JOB_ENDED"),
            ("JobService/Retry", "NOT_FAILED"),
        ] {
            // All of them are a Job and a request id.
            let row = |kind, what, job: &str, id: &str, wanted| {
                let message = v1::RetryRequest {
                    job: job.into(),
                    request_id: id.into(),
                };
                of(rpc, kind, what, &message, wanted)
            };
            let waiting = &self.waiting;
            let unknown = JobId::generate().to_string();
            let stale = reason(Code::FailedPrecondition, ended);
            rows.extend([
                row(Kind::Wrong, "no job", "", "w", Answer::Field("job")),
                row(
                    Kind::Oversized,
                    "long job",
                    &long(),
                    "w",
                    Answer::Field("job"),
                ),
                row(
                    Kind::Oversized,
                    "long id",
                    waiting,
                    &"x".repeat(129),
                    Answer::Field("request_id"),
                ),
                row(
                    Kind::Stale,
                    "unknown",
                    &unknown,
                    "w",
                    reason(Code::NotFound, "UNKNOWN_JOB"),
                ),
                row(Kind::Stale, "it has ended", &self.cancelled, "w", stale),
            ]);
            match rpc {
                "JobService/Retry" => rows.extend([
                    row(
                        Kind::Wrong,
                        "no id",
                        waiting,
                        "",
                        Answer::Field("request_id"),
                    ),
                    row(
                        Kind::Repeated,
                        "nothing has failed, twice",
                        waiting,
                        "r",
                        reason(Code::FailedPrecondition, "NOT_FAILED"),
                    ),
                ]),
                _ => {
                    let id = rpc.rsplit('/').next().expect("it has a name");
                    rows.push(row(
                        Kind::Repeated,
                        "the same wish",
                        waiting,
                        id,
                        Answer::Same,
                    ));
                }
            }
        }
        // The id of the pause, for another wish.
        let other = v1::ResumeRequest {
            job: self.waiting.clone(),
            request_id: "Pause".into(),
        };
        let taken = || reason(Code::FailedPrecondition, "REQUEST_ID_TAKEN");
        rows.push(of(
            "JobService/Resume",
            Kind::Stale,
            "id of another wish",
            &other,
            taken(),
        ));
        let cancel = |kind, what, job: &str, id: &str, why: &str, wanted| {
            let message = v1::CancelRequest {
                job: job.into(),
                request_id: id.into(),
                reason: why.into(),
            };
            of("JobService/Cancel", kind, what, &message, wanted)
        };
        let ended = &self.cancelled;
        rows.extend([
            cancel(Kind::Wrong, "no job", "", "", "", Answer::Field("job")),
            cancel(
                Kind::Oversized,
                "long reason",
                ended,
                "",
                &long(),
                Answer::Field("reason"),
            ),
            cancel(
                Kind::Oversized,
                "long id",
                ended,
                &"x".repeat(129),
                "",
                Answer::Field("request_id"),
            ),
            cancel(
                Kind::Stale,
                "it has ended",
                ended,
                "",
                "again",
                Answer::Taken,
            ),
            cancel(
                Kind::Stale,
                "id of another reason",
                ended,
                "c",
                "other",
                taken(),
            ),
            cancel(
                Kind::Repeated,
                "the same wish",
                ended,
                "c",
                "enough",
                Answer::Same,
            ),
        ]);
        rows
    }

    fn nodes(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for rpc in [
            "NodeService/GetNode",
            "NodeService/Drain",
            "NodeService/Undrain",
        ] {
            let row = |kind, what, node: u64, wanted| {
                of(rpc, kind, what, &v1::GetNodeRequest { node }, wanted)
            };
            let unknown = || reason(Code::NotFound, "UNKNOWN_NODE");
            rows.extend([
                row(Kind::Wrong, "no node", 0, Answer::Field("node")),
                row(Kind::Oversized, "huge number", u64::MAX, unknown()),
                row(Kind::Stale, "unknown", 77, unknown()),
                row(Kind::Repeated, "the same", self.node, Answer::Same),
            ]);
        }
        let list = |kind, what, limit, after, wanted| {
            let message = v1::ListNodesRequest { limit, after };
            of("NodeService/ListNodes", kind, what, &message, wanted)
        };
        rows.extend([
            list(Kind::Oversized, "limit", u32::MAX, 0, Answer::Taken),
            list(Kind::Stale, "behind the end", 1, u64::MAX, Answer::Taken),
            list(Kind::Repeated, "page", 1, 0, Answer::Same),
        ]);
        rows
    }

    fn clusters(&self) -> Vec<Row> {
        let add = |kind, what, address: &str, wanted| {
            let message = v1::AddCoordinatorRequest {
                address: address.into(),
            };
            of("ClusterService/Add", kind, what, &message, wanted)
        };
        let remove = |kind, what, coordinator, wanted| {
            let message = v1::RemoveCoordinatorRequest { coordinator };
            of("ClusterService/Remove", kind, what, &message, wanted)
        };
        use Kind::{Oversized, Repeated, Stale, Wrong};
        let unknown = || reason(Code::NotFound, "UNKNOWN_COORDINATOR");
        let last = || reason(Code::FailedPrecondition, "CHANGE_REFUSED");
        let nobody = reason(Code::FailedPrecondition, "NOT_ADOPTED");
        vec![
            add(Wrong, "no address", "", Answer::Field("address")),
            add(Wrong, "no port", "host", Answer::Field("address")),
            add(Wrong, "two words", "a b:1", Answer::Field("address")),
            add(
                Oversized,
                "long address",
                &format!("{}:1", long()),
                Answer::Field("address"),
            ),
            add(Stale, "nobody waits there", "127.0.0.1:1", nobody),
            add(Repeated, "a member", &self.address, Answer::Same),
            remove(Wrong, "no coordinator", 0, Answer::Field("coordinator")),
            remove(Oversized, "huge number", u64::MAX, unknown()),
            remove(Stale, "unknown", 77, unknown()),
            remove(Stale, "the last one", 1, last()),
            remove(Repeated, "the last one again", 1, last()),
            of(
                "ClusterService/Status",
                Repeated,
                "again",
                &v1::ClusterStatusRequest {},
                Answer::Taken,
            ),
            of(
                "ClusterService/WorkStore",
                Repeated,
                "again",
                &v1::WorkStoreRequest {},
                Answer::Same,
            ),
            of(
                "ClusterService/Snapshot",
                Repeated,
                "again",
                &v1::SnapshotRequest {},
                Answer::Same,
            ),
        ]
    }

    fn rafts(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        // Of term 0, which every coordinator has left behind: what they carry is answered and changes nothing.
        for (rpc, old) in [
            ("RaftService/Append", vec![0; 6]),
            ("RaftService/Vote", vec![0; 4]),
            ("RaftService/InstallSnapshot", vec![0; 11]),
        ] {
            let row = |kind, what, change: &dyn Fn(&mut v1::RaftMessage), wanted| {
                let mut message = v1::RaftMessage {
                    cluster: self.cluster.clone(),
                    target: 1,
                    layout: 1,
                    payload: old.clone(),
                };
                change(&mut message);
                of(rpc, kind, what, &message, wanted)
            };
            let other = || reason(Code::FailedPrecondition, "OTHER_COORDINATOR");
            let unknown = reason(Code::FailedPrecondition, "UNKNOWN_LAYOUT");
            rows.extend([
                row(
                    Kind::Wrong,
                    "garbage",
                    &|m| m.payload = vec![0xff; 40],
                    Answer::Field("payload"),
                ),
                row(
                    Kind::Wrong,
                    "nothing",
                    &|m| m.payload.clear(),
                    Answer::Field("payload"),
                ),
                row(
                    Kind::Wrong,
                    "half",
                    &|m| m.payload.truncate(2),
                    Answer::Field("payload"),
                ),
                row(Kind::Wrong, "layout", &|m| m.layout = 2, unknown),
                row(
                    Kind::Oversized,
                    "long cluster",
                    &|m| m.cluster = long(),
                    other(),
                ),
                row(
                    Kind::Oversized,
                    "long payload",
                    &|m| m.payload = vec![0xff; 1 << 20],
                    Answer::Field("payload"),
                ),
                row(
                    Kind::Stale,
                    "another cluster",
                    &|m| m.cluster = "lost".into(),
                    other(),
                ),
                row(
                    Kind::Stale,
                    "another coordinator",
                    &|m| m.target = 2,
                    other(),
                ),
                row(Kind::Repeated, "of an old term", &|_| {}, Answer::Same),
            ]);
        }
        let adopt = |kind, what, cluster: &str, coordinator, wanted| {
            let message = v1::AdoptRequest {
                cluster: cluster.into(),
                coordinator,
                address: "127.0.0.1:1".into(),
                ..Default::default()
            };
            of("RaftService/Adopt", kind, what, &message, wanted)
        };
        let adopted = || reason(Code::FailedPrecondition, "ADOPTED_ALREADY");
        rows.extend([
            adopt(Kind::Wrong, "no cluster", "", 0, adopted()),
            adopt(Kind::Oversized, "long cluster", &long(), 2, adopted()),
            adopt(Kind::Stale, "another cluster", "lost", 2, adopted()),
            adopt(
                Kind::Repeated,
                "what it is already",
                &self.cluster,
                1,
                Answer::Same,
            ),
        ]);
        rows
    }
}

fn exchanges() -> Vec<Row> {
    let row = |kind, what, change: &dyn Fn(&mut v1::NodeReport), wanted| {
        let mut message = v1::NodeReport::from(NodeReport {
            instance: "another".into(),
            hello: Some(NodeHello {
                name: "elsewhere".into(),
                ..NodeHello::default()
            }),
            ..NodeReport::default()
        });
        change(&mut message);
        of("NodeService/Exchange", kind, what, &message, wanted)
    };
    let hello = |change: fn(&mut v1::NodeHello)| {
        move |report: &mut v1::NodeReport| change(report.hello.as_mut().expect("it has one"))
    };
    let held = || v1::AttemptProgress {
        task: TaskId {
            job: JobId::generate(),
            key: TaskKey::Probe { deep: false },
        }
        .to_string(),
        attempt: 3,
        ..Default::default()
    };
    let ended = |json: &str| v1::FinishedAttempt {
        task: held().task,
        attempt: 3,
        outcome_json: json.into(),
    };
    let failed = r#"{"failed":{}}"#;
    use Kind::{Oversized, Repeated, Stale, Wrong};
    vec![
        row(
            Wrong,
            "no instance",
            &|r| r.instance.clear(),
            Answer::Field("instance"),
        ),
        row(
            Wrong,
            "no hello",
            &|r| r.hello = None,
            Answer::Field("hello"),
        ),
        row(
            Wrong,
            "no task",
            &|r| r.running = vec![v1::AttemptProgress::default()],
            Answer::Field("running.task"),
        ),
        row(
            Wrong,
            "no outcome",
            &|r| r.finished = vec![ended(failed)],
            Answer::Field("finished.outcome_json"),
        ),
        row(
            Oversized,
            "long instance",
            &|r| r.instance = long(),
            Answer::Field("instance"),
        ),
        row(
            Oversized,
            "long name",
            &hello(|h| h.name = long()),
            Answer::Field("hello.name"),
        ),
        row(
            Oversized,
            "many capabilities",
            &hello(|h| h.capabilities = vec![String::new(); LONG]),
            Answer::Field("hello.capabilities"),
        ),
        row(
            Oversized,
            "many attempts",
            &|r| r.running = vec![held(); LONG],
            Answer::Field("running"),
        ),
        row(
            Stale,
            "holds what it never got",
            &|r| r.running = vec![held()],
            Answer::Taken,
        ),
        row(Repeated, "the same hello", &|_| {}, Answer::Taken),
    ]
}

fn of(
    rpc: &'static str,
    kind: Kind,
    what: &'static str,
    message: &impl Message,
    wanted: Answer,
) -> Row {
    Row {
        rpc,
        kind,
        what,
        message: message.encode_to_vec(),
        wanted,
    }
}
