//! `ClusterService` and `RaftService`.

use super::*;

impl World {
    pub(super) fn clusters(&self) -> Vec<Row> {
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

    pub(super) fn rafts(&self) -> Vec<Row> {
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
