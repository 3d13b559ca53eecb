//! `NodeService`.

use super::*;

impl World {
    pub(super) fn nodes(&self) -> Vec<Row> {
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
}

pub(super) fn exchanges() -> Vec<Row> {
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
