//! What an Attempt needs of scratch, and what happens when it needs more.
//!
//! A guess need not be good: it decides who waits. Where nobody has done the like before, it is that of a large encode; later
//! it is the most that the like has used, and a fifth.

use super::streamed::{Size, held_bytes};
use super::{Context, from_store};
use crate::budget::{Budget, Claim, Full, Likeness};
use crate::scratch::used_bytes;
use recode_store::{Location, WorkStore};
use recode_types::source::ReadMode;
use recode_types::task::{ChunkFacts, EncodeWork, Failure, FailureClass, Grant, StitchWork, Work};
use recode_types::{OutputRequest, SourceFacts};
use std::path::PathBuf;
use std::time::Duration;

/// Logs, an index, a head: what any Attempt may write.
const SMALL: u64 = 8 << 20;

/// Encoded sound, for each second and track.
const SOUND: u64 = 64 << 10;

/// Pixels for each byte of an encoded picture: one bit for a pixel is a high rate.
const PIXELS_PER_BYTE: u64 = 8;

/// How often the room of an Attempt is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The Attempt would need more scratch than is free now: others may have it, and nobody is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack;

/// Frames by which the need of an Attempt is measured; 1 where it has none.
pub fn frames(work: &Work) -> u64 {
    match work {
        Work::Encode(work) | Work::Trial(work) => u64::from(work.segment.rows.max(1)),
        _ => 1,
    }
}

/// What an Attempt will write, as far as can be said before.
/// # Errors
/// What it is to work on cannot be read.
pub async fn guess(context: &Context, store: &WorkStore, grant: &Grant) -> Result<u64, Failure> {
    let facts = async |artifact| context.inputs.load(store, artifact).await;
    let bytes = match &grant.work {
        Work::Encode(work) | Work::Trial(work) => encode(
            &facts(&work.facts).await?.facts,
            work,
            is_local(&grant.work_store),
        ),
        Work::Audio {
            facts: at, tracks, ..
        } => {
            let seconds = facts(at).await?.facts.duration_us.unwrap_or(0).max(0) as u64 / 1_000_000;
            seconds * SOUND * tracks.len() as u64
        }
        Work::Whole { facts: at, .. } => facts(at).await?.facts.identity.size_bytes / 2,
        Work::Stitch(work) => {
            let facts = &facts(&work.facts).await?.facts;
            let total = context.scratch.budget().map(Budget::total_bytes);
            stitch(store, facts, work, is_local(&grant.work_store), total).await?
        }
        // Nothing is known of the Source but where it is.
        _ => SMALL,
    };
    Ok((bytes + SMALL).saturating_mul(6) / 5)
}

fn is_local(url: &str) -> bool {
    Location::parse(url).is_ok_and(|location| location.is_local())
}

fn encode(facts: &SourceFacts, work: &EncodeWork, local_store: bool) -> u64 {
    let source = facts.identity.size_bytes;
    let Some(video) = &facts.video else {
        return source;
    };
    let rows = u64::from(work.segment.rows);
    let part = |bytes: u64| {
        (u128::from(bytes) * u128::from(rows) / u128::from(video.frames.max(1))) as u64
    };
    // A key frame before and after may double a short clip; a remote one is held while it is made.
    let read = match (work.read_mode, is_local(&facts.identity.url)) {
        (ReadMode::Clip, true) => 2 * part(source),
        (ReadMode::Clip, false) => 4 * part(source),
        (ReadMode::Linear, true) => 0,
        (ReadMode::Linear, false) => source,
    };
    let rewrapped = facts.rewrapped.as_ref().filter(|_| !local_store);
    let pixels = u64::from(video.width) * u64::from(video.height);
    let made = rows * pixels / PIXELS_PER_BYTE * work.renditions.len() as u64;
    // Pieces, and what is joined of them.
    let made = made * if work.split_tail { 2 } else { 1 };
    read + rewrapped.map_or(0, |artifact| artifact.size_bytes) + made
}

async fn stitch(
    store: &WorkStore,
    facts: &SourceFacts,
    work: &StitchWork,
    local_store: bool,
    budget_bytes: Option<u64>,
) -> Result<u64, Failure> {
    let remote_output = !output_is_local(&work.output);
    if local_store && !remote_output {
        return Ok(0);
    }
    let list = store.get(&work.chunks).await.map_err(from_store)?;
    let list: Vec<ChunkFacts> =
        serde_json::from_slice(&list).map_err(|e| super::failure(FailureClass::Unknown, e))?;
    let on_the_way = match local_store {
        true => 0,
        false => super::stitch::on_disk(list.iter().map(|chunk| chunk.artifact.size_bytes)),
    };
    let whole = work.whole.iter().map(|(_, artifact)| artifact.size_bytes);
    let tracks = whole.sum::<u64>() + work.audio.as_ref().map_or(0, |a| a.size_bytes);
    let fetched = u64::from(!local_store) * tracks;
    let size = Size::of(facts, work, &list);
    let made = match size.layout(&work.output, budget_bytes) {
        Some(layout) => held_bytes(&layout),
        None if remote_output => size.bytes,
        None => 0,
    };
    Ok(on_the_way + fetched + made)
}

fn output_is_local(output: &OutputRequest) -> bool {
    is_local(&output.url)
}

/// What an Attempt is like, and how many frames of it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// See [`crate::budget::likeness`].
    pub like: Likeness,
    /// See [`frames`].
    pub frames: u64,
}

/// Looks at a room for as long as it is polled, makes its claim larger when it has to be, and remembers what was used. Ends
/// only when there is not enough. What is too much for the whole budget has to be so at two looks in a row: an Output that is sent
/// while it is made may be so for a moment where the machine stalls, and this end is for good.
pub async fn guard(
    budget: &Budget,
    claim: &mut Claim,
    kind: Kind,
    room: PathBuf,
) -> Result<GivenBack, Failure> {
    let mut was_too_much = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let used = used_bytes(&room);
        // Half as much again, so that the next one does not come to this.
        let margin = |bytes: u64| bytes / 2 * 3;
        if used <= claim.bytes() {
            budget.learn(kind.like, kind.frames, used / 5 * 6);
            was_too_much = false;
            continue;
        }
        budget.learn(kind.like, kind.frames, margin(used));
        match claim.grow(used) {
            Ok(()) => was_too_much = false,
            Err(Full::TooSmall) if !was_too_much => was_too_much = true,
            Err(Full::Crowded) => return Ok(GivenBack),
            Err(Full::TooSmall) => {
                return Err(Failure {
                    class: FailureClass::MissingCapability,
                    message: format!(
                        "it needs more than the {} MB of scratch that this node may use; raise --scratch-budget, or cut \
                         the job into shorter pieces with --segment",
                        claim.bytes() / 1_000_000
                    ),
                    stderr_tail: None,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::likeness;
    use recode_types::{JobId, TaskKey};

    const MB: u64 = 1 << 20;

    fn kind() -> Kind {
        let key = TaskKey::Encode {
            group: 0,
            segment: 0,
        };
        Kind {
            like: likeness(JobId(1), key),
            frames: 1,
        }
    }

    /// Writes so many megabytes into a room under guard until it is over, or until nothing more is to be written.
    async fn outgrow(
        budget: &Budget,
        claim: &mut Claim,
        megabytes: u64,
    ) -> Option<Result<GivenBack, Failure>> {
        let room = tempfile::tempdir().unwrap();
        let writes = async {
            for n in 0..megabytes {
                let bytes = vec![1; MB as usize];
                std::fs::write(room.path().join(n.to_string()), bytes).unwrap();
                tokio::time::sleep(LOOK * 2).await;
            }
        };
        tokio::select! {
            over = guard(budget, claim, kind(), room.path().to_owned()) => Some(over),
            () = writes => None,
        }
    }

    #[tokio::test]
    async fn a_room_that_outgrows_its_claim_gets_more_and_the_next_one_claims_more() {
        let budget = Budget::new(20 * MB);
        let mut claim = budget.claim(2 * MB).await;
        assert_eq!(outgrow(&budget, &mut claim, 4).await, None);
        assert!(claim.bytes() >= 4 * MB, "{}", claim.bytes());
        assert!(budget.need(kind().like, 1, 0) > 4 * MB);
    }

    #[tokio::test]
    async fn where_others_have_the_rest_the_work_is_given_back() {
        let budget = Budget::new(20 * MB);
        let _others = budget.claim(17 * MB).await;
        let mut claim = budget.claim(2 * MB).await;
        assert_eq!(outgrow(&budget, &mut claim, 9).await, Some(Ok(GivenBack)));
        assert!(claim.bytes() <= 2 * MB);
        assert!(
            budget.need(kind().like, 1, 0) > 3 * MB,
            "it does not come to this again"
        );
    }

    #[tokio::test]
    async fn what_the_whole_budget_is_not_enough_for_is_refused_with_the_remedy() {
        let budget = Budget::new(4 * MB);
        let mut claim = budget.claim(100 * MB).await;
        let refused = outgrow(&budget, &mut claim, 9).await.unwrap().unwrap_err();
        assert_eq!(refused.class, FailureClass::MissingCapability);
        assert!(
            refused.message.contains("--scratch-budget"),
            "{}",
            refused.message
        );
    }

    /// Time jumps from timer to timer: there is one look while the film is there, and one while it is not.
    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_for_a_moment_is_not_refused() {
        let budget = Budget::new(4 * MB);
        let mut claim = budget.claim(2 * MB).await;
        let room = tempfile::tempdir().unwrap();
        let film = room.path().join("film");
        let writes = async {
            for _ in 0..3 {
                tokio::time::sleep(LOOK / 2).await;
                std::fs::write(&film, vec![1; 6 * MB as usize]).unwrap();
                tokio::time::sleep(LOOK).await;
                std::fs::remove_file(&film).unwrap();
                tokio::time::sleep(LOOK / 2).await;
            }
        };
        tokio::select! {
            over = guard(&budget, &mut claim, kind(), room.path().to_owned()) => panic!("{over:?}"),
            () = writes => {}
        }
        std::fs::write(&film, vec![1; 6 * MB as usize]).unwrap();
        let refused = guard(&budget, &mut claim, kind(), room.path().to_owned()).await;
        assert_eq!(refused.unwrap_err().class, FailureClass::MissingCapability);
    }
}
