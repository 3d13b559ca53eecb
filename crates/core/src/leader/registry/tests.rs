use super::*;
use recode_types::task::{Failure, FailureClass, Usage};
use recode_types::{FinishedAttempt, NodeHello, NodeLoad, TaskId, TaskKey};

const NODE: NodeId = NodeId(1);

fn of(segment: u32) -> AttemptToken {
    let key = TaskKey::Encode { group: 0, segment };
    AttemptToken {
        task: TaskId { job: JobId(1), key },
        attempt: 1,
    }
}

fn report(running: &[u32], finished: &[u32], free_heavy: u32) -> NodeReport {
    NodeReport {
        running: running
            .iter()
            .map(|s| AttemptProgress {
                task: of(*s).task,
                attempt: 1,
                frames: 0,
                frames_total: 0,
                media_us: 0,
            })
            .collect(),
        finished: finished
            .iter()
            .map(|s| FinishedAttempt {
                token: of(*s),
                outcome: AttemptOutcome::Failed {
                    failure: Failure {
                        class: FailureClass::Killed,
                        message: "m".into(),
                        stderr_tail: None,
                    },
                    usage: Usage::default(),
                },
            })
            .collect(),
        free_heavy,
        ..NodeReport::default()
    }
}

fn held() -> Held {
    Held {
        heavy: true,
        cost: 100,
        ..Held::default()
    }
}

fn room(registry: &Registry, now: Instant) -> u32 {
    registry.free(now)[0].heavy
}

#[test]
fn a_report_made_before_a_grant_arrived_does_not_free_the_slot_again() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    registry.opened(NODE, 1, report(&[], &[], 2), now);
    assert_eq!(room(&registry, now), 2);
    registry.granted(NODE, of(0), held(), now);
    registry.granted(NODE, of(1), held(), now);
    assert_eq!(room(&registry, now), 0);
    registry.reported(NODE, report(&[], &[], 2), now);
    assert_eq!(room(&registry, now), 0, "it was on its way");
    registry.reported(NODE, report(&[0], &[], 1), now);
    assert_eq!(room(&registry, now), 0, "one is seen, one is not");
    registry.reported(NODE, report(&[0, 1], &[], 0), now);
    assert_eq!(room(&registry, now), 0);
    registry.reported(NODE, report(&[1], &[0], 1), now);
    assert_eq!(room(&registry, now), 1);
    let speed = |registry: &Registry| registry.heard(now)[&NODE].speed;
    registry.ended(NODE, &of(0), Some(Duration::from_secs(2)), now);
    assert_eq!(speed(&registry), 50.0);
    assert_eq!(registry.free(now)[0].busy, [2.0], "the other one runs");
}

#[test]
fn what_the_node_holds_is_compared_with_its_leases() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    registry.opened(NODE, 1, report(&[1, 2], &[3, 4], 0), now);
    let leased = BTreeSet::from([of(2), of(4), of(5)]);
    let mut expected = Difference {
        revoke: vec![of(1)],
        grant_again: vec![of(5)],
        complete: vec![of(4)],
        acknowledge: vec![of(3)],
        returned: Vec::new(),
    };
    assert_eq!(registry.compare(NODE, &leased, true), expected);
    expected.grant_again.clear();
    assert_eq!(registry.compare(NODE, &leased, false), expected);
}

#[test]
fn silence_counts_from_the_last_report_and_not_in_a_leaders_first_period() {
    let start = Instant::now();
    let mut registry = Registry::new(start);
    let other = NodeId(2);
    let silent =
        |r: &mut Registry, s| r.silent([NODE, other].into_iter(), start + Duration::from_secs(s));
    let looks = |r: &mut Registry, from, until| {
        for second in from..until {
            assert_eq!(silent(r, second), []);
        }
    };
    registry.opened(NODE, 1, report(&[], &[], 1), start + Duration::from_secs(8));
    looks(&mut registry, 1, 16);
    assert_eq!(
        silent(&mut registry, 16),
        [other],
        "never heard since this one leads"
    );
    assert_eq!(silent(&mut registry, 20), [other]);
    assert_eq!(silent(&mut registry, 24), [NODE, other]);
    registry.reported(NODE, report(&[], &[], 1), start + Duration::from_secs(20));
    assert_eq!(silent(&mut registry, 24), [other]);
}

#[test]
fn a_leader_that_was_stopped_itself_takes_nobody_for_silent_when_it_wakes() {
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let mut registry = Registry::new(start);
    registry.opened(NODE, 1, report(&[], &[], 1), start);
    let mut silent = |s| registry.silent([NODE].into_iter(), at(s));
    (1..=5).for_each(|s| assert_eq!(silent(s), []));
    assert_eq!(silent(65), [], "it was stopped for a minute");
    for s in 66..=80 {
        assert_eq!(silent(s), [], "one lease and grace are waited for anew");
    }
    assert_eq!(silent(81), [NODE]);
}

#[test]
fn what_a_node_withholds_is_none_of_its_capabilities_until_it_offers_it_again() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let listed = ["aac", "h264_nvenc", "libx264"].map(str::to_owned).to_vec();
    let hello = NodeHello {
        capabilities: listed.clone(),
        ..NodeHello::default()
    };
    let mut first = report(&[], &[], 1);
    first.hello = Some(hello);
    first.offer = Some(Offer::default());
    first.load = Some(NodeLoad {
        busy_milli: 7,
        ..NodeLoad::default()
    });
    registry.opened(NODE, 1, first, now);
    let seen = |registry: &Registry| registry.heard(now)[&NODE].clone();
    assert_eq!(seen(&registry).hello.capabilities, ["aac", "libx264"]);
    let mut passed = report(&[], &[], 1);
    let mut offer = Offer::default();
    offer.put(recode_types::Proof {
        encoder: "h264_nvenc".to_owned(),
        ..Default::default()
    });
    passed.offer = Some(offer.clone());
    registry.reported(NODE, passed, now);
    registry.reported(NODE, report(&[], &[], 1), now);
    let heard = seen(&registry);
    assert_eq!(heard.hello.capabilities, listed);
    assert_eq!(heard.offer, Some(offer), "said once, and remembered");
    assert_eq!(heard.load.unwrap().busy_milli, 7);
}

#[test]
fn a_closed_exchange_gets_nothing_new_and_an_older_one_closes_nothing() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    registry.opened(NODE, 2, report(&[], &[], 1), now);
    registry.closed(NODE, 1);
    assert_eq!(registry.free(now).len(), 1);
    registry.closed(NODE, 2);
    assert!(registry.free(now).is_empty() && registry.present().is_empty());
}

#[test]
fn what_still_comes_over_a_closed_exchange_frees_nothing() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    registry.opened(NODE, 1, report(&[], &[], 1), now);
    registry.closed(NODE, 1);
    registry.reported(NODE, report(&[], &[], 1), now);
    assert!(registry.free(now).is_empty() && registry.present().is_empty());
    assert!(!registry.heard(now)[&NODE].present && !registry.is_leaving(NODE));
    registry.opened(NODE, 2, report(&[], &[], 1), now);
    assert_eq!(registry.free(now).len(), 1);
}

#[test]
fn what_a_leaving_node_gives_back_is_not_granted_to_it_again() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let said = |returned: &[u32]| NodeReport {
        returned: returned.iter().map(|s| of(*s)).collect(),
        draining: true,
        ..report(&[1], &[], 0)
    };
    registry.opened(NODE, 1, said(&[2, 3]), now);
    let leased = BTreeSet::from([of(1), of(2), of(4)]);
    let expected = Difference {
        grant_again: vec![of(4)],
        acknowledge: vec![of(3)],
        returned: vec![of(2)],
        ..Difference::default()
    };
    assert_eq!(registry.compare(NODE, &leased, true), expected);
    assert!(registry.free(now).is_empty() && registry.is_leaving(NODE));
    assert!(registry.heard(now)[&NODE].leaving);
    registry.granted(NODE, of(5), held(), now);
    registry.reported(NODE, said(&[5]), now);
    registry.reported(NODE, report(&[], &[], 2), now);
    assert_eq!(room(&registry, now), 2, "what was returned is seen");
}

const OTHER: NodeId = NodeId(2);

/// Two Nodes, the first of which has failed three times.
fn suspended(now: Instant) -> Registry {
    let mut registry = Registry::new(now);
    for node in [NODE, OTHER] {
        registry.opened(node, node.0, report(&[], &[], 2), now);
    }
    for segment in 0..2 {
        assert_eq!(
            registry.failed(NODE, &of(segment), FailureClass::Unknown, now),
            None
        );
    }
    let pause = registry.failed(NODE, &of(2), FailureClass::Unknown, now);
    assert_eq!(pause, Some(Duration::from_secs(15)));
    registry
}

fn asked(registry: &Registry, now: Instant) -> Vec<(NodeId, u32)> {
    let free = registry.free(now).into_iter();
    free.map(|n| (n.node, n.heavy)).collect()
}

#[test]
fn a_node_that_fails_again_and_again_gets_nothing_for_a_while_and_then_one_attempt() {
    let now = Instant::now();
    let mut registry = suspended(now);
    assert_eq!(asked(&registry, now), [(OTHER, 2)]);
    let heard = &registry.heard(now)[&NODE];
    assert_eq!(
        (heard.suspended.map(|s| s.failures), heard.free_heavy),
        (Some(3), 0)
    );
    assert_eq!(registry.heard(now)[&OTHER].suspended, None);
    let later = now + Duration::from_secs(15);
    assert_eq!(asked(&registry, later), [(NODE, 1), (OTHER, 2)]);
    assert_eq!(registry.heard(later)[&NODE].suspended, None);
    registry.granted(NODE, of(3), held(), later);
    assert_eq!(
        asked(&registry, later),
        [(NODE, 0), (OTHER, 2)],
        "one shows it"
    );
    registry.worked(NODE, &of(3));
    assert_eq!(asked(&registry, later), [(NODE, 1), (OTHER, 2)]);
}

#[test]
fn where_nobody_else_is_left_the_one_that_fails_gets_work() {
    let now = Instant::now();
    let mut registry = suspended(now);
    registry.closed(OTHER, OTHER.0);
    assert_eq!(asked(&registry, now), [(NODE, 2)]);
}

#[test]
fn who_lacks_an_encoder_is_known_until_a_node_says_otherwise() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let says = |encoders: &[&str]| {
        let mut said = report(&[], &[], 2);
        let capabilities = encoders.iter().map(|e| (*e).to_owned()).collect();
        said.hello = Some(NodeHello {
            capabilities,
            ..NodeHello::default()
        });
        said
    };
    registry.opened(NODE, 1, says(&["libx264"]), now);
    registry.opened(OTHER, 2, says(&["libx264", "libx265"]), now);
    registry.opened(NodeId(3), 3, says(&[]), now);
    let class = Class::default();
    let x265 = || vec!["libx264", "libx265"];
    assert_eq!(
        *registry.lacking(class, x265),
        [NODE].into(),
        "who says nothing may have it"
    );
    registry.lacking(class, || panic!("it is remembered"));
    registry.opened(NODE, 4, says(&["libx264", "libx265"]), now);
    assert_eq!(*registry.lacking(class, x265), BTreeSet::new());
}

#[test]
fn those_with_the_ffmpeg_of_one_that_is_set_apart_are_so_too() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    for (node, ffmpeg) in [
        (NODE, "9.0"),
        (OTHER, "8.1"),
        (NodeId(3), "9.0"),
        (NodeId(4), ""),
    ] {
        let mut said = report(&[], &[], 2);
        let ffmpeg = ffmpeg.to_owned();
        said.hello = Some(NodeHello {
            ffmpeg,
            ..NodeHello::default()
        });
        registry.opened(node, node.0, said, now);
    }
    let job = JobId(1);
    registry.set_apart(job, 0, NODE);
    assert_eq!(registry.apart(job, 0), [NODE, NodeId(3)].into());
    assert_eq!(registry.apart(job, 1), BTreeSet::new());
    registry.set_apart(job, 1, NodeId(4));
    assert_eq!(
        registry.apart(job, 1),
        [NodeId(4)].into(),
        "of others it is not known"
    );
}
