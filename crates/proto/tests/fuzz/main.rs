//! Messages of all kinds, changed in all kinds of ways, through decoding and conversion: each is taken or refused, none
//! panics, and what is taken is the same after another journey over the wire.
//!
//! A few cases run with all tests; `make evidence LINE=2.11` runs [`for_long`].

mod corpus;

use prost::Message;
use recode_proto::convert::list::ListQuery;
use recode_proto::v1;
use recode_testkit::fuzz::{self, Tally, Until, Verdict, bytes, wire};
use recode_types::cluster::ClusterStatus;
use recode_types::rendition::Rendition;
use recode_types::{
    AttemptLog, CommandRequest, Event, Explanation, JobRequest, JobStatus, NodeOrders, NodeReport,
    NodeStatus, Progress,
};
use std::fmt::Debug;

/// Something that is sent as `Wire` and means `Plain`.
fn travels<Wire, Plain>(bytes: &[u8]) -> Verdict
where
    Wire: Message + Default + From<Plain>,
    Plain: TryFrom<Wire, Error: Debug> + Clone + Debug,
{
    let Ok(wire) = Wire::decode(bytes) else {
        return Verdict::Refused;
    };
    let Ok(plain) = Plain::try_from(wire) else {
        return Verdict::Refused;
    };
    let again = Wire::from(plain.clone()).encode_to_vec();
    let again = Plain::try_from(Wire::decode(&*again).expect("we wrote it"));
    // As text, in which no number is unequal to itself.
    let again = format!("{:?}", again.expect("it was taken once"));
    assert_eq!(again, format!("{plain:?}"));
    Verdict::Taken
}

/// Only ever read.
fn lists(bytes: &[u8]) -> Verdict {
    let query = v1::ListRequest::decode(bytes).map(ListQuery::try_from);
    match query {
        Ok(Ok(query)) => {
            assert!((1..=1000).contains(&query.limit));
            Verdict::Taken
        }
        _ => Verdict::Refused,
    }
}

/// One kind of message: what reads it, and sound ones to begin with.
struct Target {
    read: fn(&[u8]) -> Verdict,
    sound: Vec<Vec<u8>>,
}

fn targets() -> Vec<Target> {
    let encoded = |messages: Vec<Vec<u8>>, read| Target {
        read,
        sound: messages,
    };
    vec![
        encoded(corpus::requests(), travels::<v1::JobRequest, JobRequest>),
        encoded(
            corpus::commands(),
            travels::<v1::CommandRequest, CommandRequest>,
        ),
        encoded(corpus::renditions(), travels::<v1::Rendition, Rendition>),
        encoded(corpus::reports(), travels::<v1::NodeReport, NodeReport>),
        encoded(corpus::orders(), travels::<v1::NodeOrders, NodeOrders>),
        encoded(corpus::nodes(), travels::<v1::NodeStatus, NodeStatus>),
        encoded(corpus::events(), travels::<v1::Event, Event>),
        encoded(corpus::statuses(), travels::<v1::JobStatus, JobStatus>),
        encoded(corpus::progress(), travels::<v1::Progress, Progress>),
        encoded(corpus::logs(), travels::<v1::AttemptLog, AttemptLog>),
        encoded(
            corpus::explanations(),
            travels::<v1::ExplainResponse, Explanation>,
        ),
        encoded(
            corpus::clusters(),
            travels::<v1::ClusterStatusResponse, ClusterStatus>,
        ),
        encoded(corpus::lists(), lists),
    ]
}

fn fuzzed(seed: u64, until: Until) -> Tally {
    let targets = targets();
    let all: Vec<Vec<u8>> = targets.iter().flat_map(|t| t.sound.clone()).collect();
    fuzz::run(seed, until, |rng| {
        let target = &targets[rng.usize(..targets.len())];
        let mut input = target.sound[rng.usize(..target.sound.len())].clone();
        match rng.u8(..4) {
            0 => bytes::mutate(&mut input, &all, rng),
            _ => wire::mutate(&mut input, rng),
        }
        (target.read)(&input)
    })
}

#[test]
fn what_is_sound_is_taken() {
    for (i, target) in targets().iter().enumerate() {
        for sound in &target.sound {
            assert_eq!((target.read)(sound), Verdict::Taken, "target {i}");
        }
    }
}

#[test]
fn no_message_panics() {
    let tally = fuzzed(1, Until::Cases(3000));
    assert!(tally.panics.is_empty(), "{:#?}", tally.panics);
    assert!(tally.taken > 100 && tally.taken < tally.cases, "{tally:?}");
}

/// `RECODE_MINUTES=30 cargo test --profile sim -p recode-proto --test fuzz -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn for_long() {
    let (seed, until) = fuzz::wanted();
    fuzzed(seed, until).print("proto");
}
