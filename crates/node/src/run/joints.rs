//! Joints: what neighbouring Chunks say of each other's first and last frames. Pure.
//!
//! Every encode also decodes the first frame after its Segment, and often the last one before. Two decodes that began
//! at different key frames must have seen the same pictures there; if not, one of them did not start where it must.

use recode_types::task::ChunkFacts;

/// Two Chunks that do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Chunks are missing, doubled or out of order.
    #[error("chunk {wanted} is missing from the list of chunks")]
    Missing {
        /// The Segment that should come here.
        wanted: u32,
    },
    /// The frame after one Segment is not the first frame of the next.
    #[error("segments {0} and {next} do not agree on the frame where they meet", next = .0 + 1)]
    Pictures(u32),
    /// Parameter sets differ.
    #[error("chunk {0} was encoded with other parameter sets than chunk 0")]
    Parameters(u32),
}

/// Checks the Chunks of one Output, in Segment order.
/// # Errors
/// [`Broken`]: nothing may be joined.
pub fn check(chunks: &[ChunkFacts]) -> Result<(), Broken> {
    for (wanted, chunk) in (0..).zip(chunks) {
        if chunk.segment != wanted {
            return Err(Broken::Missing { wanted });
        }
        if chunk.params != chunks[0].params {
            return Err(Broken::Parameters(wanted));
        }
    }
    for pair in chunks.windows(2) {
        let [one, two] = pair else {
            unreachable!("windows of two")
        };
        let after = one.signature_after.is_none_or(|s| s == two.signature_first);
        let before = two.signature_before.is_none_or(|s| s == one.signature_last);
        if !(after && before) {
            return Err(Broken::Pictures(one.segment));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{ArtifactRef, Digest};

    fn chunk(segment: u32, first: u32, last: u32, after: Option<u32>) -> ChunkFacts {
        let digest = Digest([0; 32]);
        ChunkFacts {
            output: 0,
            segment,
            address: digest,
            artifact: ArtifactRef {
                key: String::new(),
                size_bytes: 0,
                digest,
            },
            frames: 2,
            payload_bytes: 1,
            params: digest,
            signature_before: None,
            signature_first: first,
            signature_last: last,
            signature_after: after,
            score_frames: None,
            scores: Vec::new(),
            reused: false,
        }
    }

    #[test]
    fn chunks_that_meet_are_joined_and_others_are_not() {
        let good = [chunk(0, 1, 2, Some(3)), chunk(1, 3, 4, None)];
        assert_eq!(check(&good), Ok(()));
        let shifted = [chunk(0, 1, 2, Some(9)), chunk(1, 3, 4, None)];
        assert_eq!(check(&shifted), Err(Broken::Pictures(0)));
        let mut behind = good.clone();
        behind[1].signature_before = Some(7);
        assert_eq!(check(&behind), Err(Broken::Pictures(0)));
        assert_eq!(
            check(&[chunk(0, 1, 2, None), chunk(2, 3, 4, None)]),
            Err(Broken::Missing { wanted: 1 })
        );
        let mut other = good.clone();
        other[1].params = Digest([1; 32]);
        assert_eq!(check(&other), Err(Broken::Parameters(1)));
    }
}
