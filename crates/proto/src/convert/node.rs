//! The exchange between nodes and the Leader.

use super::{Error, MAX_ATTEMPTS, MAX_TEXT_BYTES, at_most, id, invalid, text};
use crate::v1;
use recode_types::task::Grant;
use recode_types::{
    AttemptToken, FinishedAttempt, NodeHeard, NodeHello, NodeId, NodeLoad, NodeOrders, NodeReport,
    NodeStatus, Offer, PeerTraffic, Suspended,
};

impl From<NodeHello> for v1::NodeHello {
    fn from(value: NodeHello) -> Self {
        Self {
            name: value.name,
            version: value.version,
            heavy_slots: value.heavy_slots,
            light_slots: value.light_slots,
            ffmpeg: value.ffmpeg,
            capabilities: value.capabilities,
            labels: value.labels.into_iter().collect(),
            peer: value.peer,
            memory_bytes: value.memory_bytes.unwrap_or(0),
        }
    }
}

/// The most encoders and filters of one FFmpeg; it has some hundreds.
const MAX_CAPABILITIES: usize = 4096;

impl TryFrom<v1::NodeHello> for NodeHello {
    type Error = Error;
    fn try_from(value: v1::NodeHello) -> Result<Self, Error> {
        at_most(
            "hello.capabilities",
            value.capabilities.len(),
            MAX_CAPABILITIES,
        )?;
        at_most("hello.labels", value.labels.len(), 64)?;
        let label = value
            .labels
            .iter()
            .map(|(key, label)| key.len() + label.len());
        at_most("hello.labels", label.max().unwrap_or(0), MAX_TEXT_BYTES)?;
        let longest = value.capabilities.iter().map(String::len).max();
        at_most("hello.capabilities", longest.unwrap_or(0), MAX_TEXT_BYTES)?;
        Ok(Self {
            name: text("hello.name", value.name)?,
            version: text("hello.version", value.version)?,
            heavy_slots: value.heavy_slots,
            light_slots: value.light_slots,
            ffmpeg: text("hello.ffmpeg", value.ffmpeg)?,
            capabilities: value.capabilities,
            labels: value.labels.into_iter().collect(),
            peer: text("hello.peer", value.peer)?,
            memory_bytes: (value.memory_bytes > 0).then_some(value.memory_bytes),
        })
    }
}

impl From<AttemptToken> for v1::AttemptToken {
    fn from(value: AttemptToken) -> Self {
        Self {
            task: value.task.to_string(),
            attempt: value.attempt,
        }
    }
}

impl TryFrom<v1::AttemptToken> for AttemptToken {
    type Error = Error;
    fn try_from(value: v1::AttemptToken) -> Result<Self, Error> {
        Ok(Self {
            task: id("task", &value.task)?,
            attempt: value.attempt,
        })
    }
}

impl From<FinishedAttempt> for v1::FinishedAttempt {
    fn from(value: FinishedAttempt) -> Self {
        Self {
            task: value.token.task.to_string(),
            attempt: value.token.attempt,
            outcome_json: serde_json::to_vec(&value.outcome)
                .expect("an outcome has text keys only, so it has a JSON form"),
        }
    }
}

impl TryFrom<v1::FinishedAttempt> for FinishedAttempt {
    type Error = Error;
    fn try_from(value: v1::FinishedAttempt) -> Result<Self, Error> {
        Ok(Self {
            token: AttemptToken {
                task: id("finished.task", &value.task)?,
                attempt: value.attempt,
            },
            outcome: serde_json::from_slice(&value.outcome_json)
                .map_err(|e| invalid("finished.outcome_json", e))?,
        })
    }
}

impl From<Grant> for v1::GrantedAttempt {
    fn from(value: Grant) -> Self {
        Self {
            task: value.task.to_string(),
            attempt: value.attempt,
            grant_json: serde_json::to_vec(&value)
                .expect("a grant has text keys only, so it has a JSON form"),
        }
    }
}

impl TryFrom<v1::GrantedAttempt> for Grant {
    type Error = Error;
    fn try_from(value: v1::GrantedAttempt) -> Result<Self, Error> {
        let grant: Self = serde_json::from_slice(&value.grant_json)
            .map_err(|e| invalid("grants.grant_json", e))?;
        if grant.attempt != value.attempt || grant.task.to_string() != value.task {
            return Err(invalid(
                "grants.grant_json",
                "it names another attempt than the message around it",
            ));
        }
        Ok(grant)
    }
}

/// The most bytes of an offer: a few hundred speeds.
const MAX_OFFER_BYTES: usize = 256 << 10;

fn said(offer: Option<&Offer>) -> Vec<u8> {
    offer.map_or_else(Vec::new, |offer| {
        serde_json::to_vec(offer).expect("an offer has text keys only, so it has a JSON form")
    })
}

fn offer(field: &'static str, json: &[u8]) -> Result<Option<Offer>, Error> {
    if json.is_empty() {
        return Ok(None);
    }
    at_most(field, json.len(), MAX_OFFER_BYTES)?;
    let offer = serde_json::from_slice(json).map_err(|e| invalid(field, e))?;
    Ok(Some(offer))
}

impl From<NodeLoad> for v1::NodeLoad {
    fn from(value: NodeLoad) -> Self {
        Self {
            busy_milli: value.busy_milli,
            memory_free_bytes: value.memory_free_bytes,
            disk_free_bytes: value.disk_free_bytes,
        }
    }
}

impl From<v1::NodeLoad> for NodeLoad {
    fn from(value: v1::NodeLoad) -> Self {
        Self {
            busy_milli: value.busy_milli,
            memory_free_bytes: value.memory_free_bytes,
            disk_free_bytes: value.disk_free_bytes,
        }
    }
}

impl From<PeerTraffic> for v1::PeerTraffic {
    fn from(value: PeerTraffic) -> Self {
        Self {
            from_store: value.from_store,
            from_peers: value.from_peers,
            to_peers: value.to_peers,
        }
    }
}

impl From<v1::PeerTraffic> for PeerTraffic {
    fn from(value: v1::PeerTraffic) -> Self {
        Self {
            from_store: value.from_store,
            from_peers: value.from_peers,
            to_peers: value.to_peers,
        }
    }
}

/// The most nodes of one site.
const MAX_PEERS: usize = 4096;

fn peers(value: v1::SitePeers) -> Result<Vec<String>, Error> {
    at_most("peers.addresses", value.addresses.len(), MAX_PEERS)?;
    let addresses = value.addresses.into_iter();
    addresses
        .map(|address| text("peers.addresses", address))
        .collect()
}

impl From<NodeReport> for v1::NodeReport {
    fn from(value: NodeReport) -> Self {
        Self {
            instance: value.instance,
            sequence: value.sequence,
            hello: value.hello.map(Into::into),
            running: value.running.into_iter().map(Into::into).collect(),
            finished: value.finished.into_iter().map(Into::into).collect(),
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            draining: value.draining,
            returned: value.returned.into_iter().map(Into::into).collect(),
            offer_json: said(value.offer.as_ref()),
            load: value.load.map(Into::into),
            traffic: value.traffic.map(Into::into),
        }
    }
}

impl TryFrom<v1::NodeReport> for NodeReport {
    type Error = Error;
    fn try_from(value: v1::NodeReport) -> Result<Self, Error> {
        if value.instance.is_empty() || value.instance.len() > 128 {
            return Err(invalid("instance", "it needs 1 to 128 characters"));
        }
        at_most("running", value.running.len(), MAX_ATTEMPTS)?;
        at_most("finished", value.finished.len(), MAX_ATTEMPTS)?;
        at_most("returned", value.returned.len(), MAX_ATTEMPTS)?;
        Ok(Self {
            instance: value.instance,
            sequence: value.sequence,
            hello: value.hello.map(TryInto::try_into).transpose()?,
            running: value
                .running
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            finished: value
                .finished
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            draining: value.draining,
            returned: value
                .returned
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            offer: offer("offer_json", &value.offer_json)?,
            load: value.load.map(Into::into),
            traffic: value.traffic.map(Into::into),
        })
    }
}

impl From<NodeHeard> for v1::NodeHeard {
    fn from(value: NodeHeard) -> Self {
        Self {
            hello: Some(value.hello.into()),
            present: value.present,
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            speed: value.speed,
            running: value.running.into_iter().map(Into::into).collect(),
            leaving: value.leaving,
            suspended: value.suspended.map(|suspended| v1::Suspended {
                failures: suspended.failures,
                left_ms: suspended.left_ms,
            }),
            offer_json: said(value.offer.as_ref()),
            load: value.load.map(Into::into),
            traffic: value.traffic.map(Into::into),
        }
    }
}

impl TryFrom<v1::NodeHeard> for NodeHeard {
    type Error = Error;
    fn try_from(value: v1::NodeHeard) -> Result<Self, Error> {
        Ok(Self {
            hello: value
                .hello
                .ok_or(Error::Missing("heard.hello"))?
                .try_into()?,
            present: value.present,
            free_heavy: value.free_heavy,
            free_light: value.free_light,
            speed: value.speed,
            running: value
                .running
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            leaving: value.leaving,
            suspended: value.suspended.map(|suspended| Suspended {
                failures: suspended.failures,
                left_ms: suspended.left_ms,
            }),
            offer: offer("heard.offer_json", &value.offer_json)?,
            load: value.load.map(Into::into),
            traffic: value.traffic.map(Into::into),
        })
    }
}

impl From<NodeStatus> for v1::NodeStatus {
    fn from(value: NodeStatus) -> Self {
        Self {
            node: value.node.0,
            name: value.name,
            registered_at_ms: value.registered_at_ms,
            draining: value.draining,
            leases: value.leases,
            heard: value.heard.map(Into::into),
        }
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = Error;
    fn try_from(value: v1::NodeStatus) -> Result<Self, Error> {
        Ok(Self {
            node: NodeId(value.node),
            name: value.name,
            registered_at_ms: value.registered_at_ms,
            draining: value.draining,
            leases: value.leases,
            heard: value.heard.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<NodeOrders> for v1::NodeOrders {
    fn from(value: NodeOrders) -> Self {
        Self {
            sequence: value.sequence,
            node: value.node.map(|node| node.0),
            grants: value.grants.into_iter().map(Into::into).collect(),
            revocations: value.revocations.into_iter().map(Into::into).collect(),
            acknowledged: value.acknowledged.into_iter().map(Into::into).collect(),
            drained: value.drained,
            peers: value.peers.map(|addresses| v1::SitePeers { addresses }),
        }
    }
}

impl TryFrom<v1::NodeOrders> for NodeOrders {
    type Error = Error;
    fn try_from(value: v1::NodeOrders) -> Result<Self, Error> {
        Ok(Self {
            sequence: value.sequence,
            node: value.node.map(NodeId),
            grants: value
                .grants
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            revocations: value
                .revocations
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            acknowledged: value
                .acknowledged
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            drained: value.drained,
            peers: value.peers.map(peers).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::task::{AttemptOutcome, Failure, FailureClass, Usage, Work};
    use recode_types::{AttemptProgress, JobId, Proof, Rate, TaskId, TaskKey};

    fn token() -> AttemptToken {
        AttemptToken {
            task: TaskId {
                job: JobId(5),
                key: TaskKey::Probe { deep: false },
            },
            attempt: 3,
        }
    }

    const A_TRAFFIC: PeerTraffic = PeerTraffic {
        from_store: 1,
        from_peers: 2,
        to_peers: 3,
    };

    const A_LOAD: NodeLoad = NodeLoad {
        busy_milli: 750,
        memory_free_bytes: 1 << 40,
        disk_free_bytes: 3,
    };

    fn an_offer() -> Offer {
        let mut offer = Offer {
            build: "ab".into(),
            ..Offer::default()
        };
        offer.put(Proof {
            encoder: "h264_nvenc".into(),
            sessions: Some(3),
            psnr: 40.5,
            rates: vec![Rate {
                preset: "p4".into(),
                rank: 3,
                size: (640, 360),
                frames_per_second: 812.25,
            }],
            ..Proof::default()
        });
        offer
    }

    #[test]
    fn an_offer_that_cannot_be_read_is_refused_by_name() {
        let report = |offer_json: Vec<u8>| {
            NodeReport::try_from(v1::NodeReport {
                instance: "one".to_owned(),
                offer_json,
                ..Default::default()
            })
        };
        assert_eq!(report(vec![]).unwrap().offer, None);
        for json in [b"{".to_vec(), vec![b' '; MAX_OFFER_BYTES + 1]] {
            let error = report(json).unwrap_err().to_string();
            assert!(error.contains("offer_json"), "{error}");
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = NodeReport {
            instance: "one".into(),
            sequence: 2,
            hello: Some(NodeHello {
                name: "host".into(),
                version: "0.1".into(),
                heavy_slots: 2,
                light_slots: 4,
                ffmpeg: "9".into(),
                capabilities: vec!["libx264".into()],
                labels: [("compute".to_owned(), "intel".to_owned())].into(),
                peer: "10.0.0.1:7430".into(),
                memory_bytes: Some(14_000_000_000),
            }),
            running: vec![AttemptProgress {
                task: token().task,
                attempt: 3,
                frames: 4,
                frames_total: 5,
                media_us: 6,
            }],
            finished: vec![FinishedAttempt {
                token: token(),
                outcome: AttemptOutcome::Failed {
                    failure: Failure {
                        class: FailureClass::Killed,
                        message: "signal 9".into(),
                        stderr_tail: Some("tail".into()),
                    },
                    usage: Usage {
                        wall_ms: 1,
                        ..Usage::default()
                    },
                },
            }],
            free_heavy: 1,
            free_light: 2,
            draining: true,
            returned: vec![token()],
            offer: Some(an_offer()),
            load: Some(A_LOAD),
            traffic: Some(A_TRAFFIC),
        };
        assert_eq!(
            NodeReport::try_from(v1::NodeReport::from(report.clone())).unwrap(),
            report
        );
    }

    #[test]
    fn the_status_of_a_node_survives_the_wire() {
        let status = NodeStatus {
            node: NodeId(3),
            name: "host".into(),
            registered_at_ms: 4,
            draining: true,
            leases: 5,
            heard: Some(NodeHeard {
                hello: NodeHello {
                    name: "host".into(),
                    ..NodeHello::default()
                },
                present: true,
                free_heavy: 6,
                free_light: 7,
                speed: 8.5,
                running: Vec::new(),
                leaving: true,
                suspended: Some(Suspended {
                    failures: 3,
                    left_ms: 14_200,
                }),
                offer: Some(an_offer()),
                load: Some(A_LOAD),
                traffic: Some(A_TRAFFIC),
            }),
        };
        let wire = v1::NodeStatus::from(status.clone());
        assert_eq!(NodeStatus::try_from(wire).unwrap(), status);
    }

    #[test]
    fn a_report_without_end_is_refused_by_name() {
        let check = |report: v1::NodeReport, expected: &str| {
            let instance = "one".to_owned();
            let error = NodeReport::try_from(v1::NodeReport { instance, ..report });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not name {expected}");
        };
        let running = vec![v1::AttemptProgress::default(); MAX_ATTEMPTS + 1];
        let report = v1::NodeReport {
            running,
            ..Default::default()
        };
        check(report, "running is too long");
        let finished = vec![v1::FinishedAttempt::default(); MAX_ATTEMPTS + 1];
        let report = v1::NodeReport {
            finished,
            ..Default::default()
        };
        check(report, "finished is too long");
        let returned = vec![v1::AttemptToken::default(); MAX_ATTEMPTS + 1];
        let report = v1::NodeReport {
            returned,
            ..Default::default()
        };
        check(report, "returned is too long");
        let hello = |hello| v1::NodeReport {
            hello: Some(hello),
            ..Default::default()
        };
        let capabilities = vec![String::new(); MAX_CAPABILITIES + 1];
        check(
            hello(v1::NodeHello {
                capabilities,
                ..Default::default()
            }),
            "hello.capabilities is too long",
        );
        check(
            hello(v1::NodeHello {
                name: "x".repeat(5000),
                ..Default::default()
            }),
            "hello.name is too long",
        );
    }

    #[test]
    fn orders_survive_the_wire_and_a_grant_cannot_change_its_name() {
        let orders = NodeOrders {
            sequence: 9,
            node: Some(NodeId(4)),
            grants: vec![Grant {
                task: token().task,
                attempt: 3,
                work_store: "file:///store".into(),
                work: Work::Probe {
                    source: "file:///a".into(),
                    deep: false,
                    start_us: None,
                    duration_us: Some(7),
                },
                memory_bytes: Some(2_000_000_000),
            }],
            revocations: vec![token()],
            acknowledged: vec![token()],
            drained: true,
            peers: Some(vec!["10.0.0.1:7430".into(), "10.0.0.2:7430".into()]),
        };
        let mut wire = v1::NodeOrders::from(orders.clone());
        assert_eq!(NodeOrders::try_from(wire.clone()).unwrap(), orders);
        wire.grants[0].attempt = 4;
        assert!(NodeOrders::try_from(wire).is_err());
    }
}
