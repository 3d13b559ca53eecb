//! What was measured before, on disk.

use recode_types::{Engine, Offer};
use std::path::Path;

/// What is remembered and still true on this machine. Everything goes with another FFmpeg build or processor, what was
/// seen of cards also with another card or driver.
pub fn recall(memory: &Path, now: &Offer) -> Option<Offer> {
    let bytes = std::fs::read(memory).ok()?;
    let mut then: Offer = serde_json::from_slice(&bytes).ok()?;
    let same = |offer: &Offer| {
        let machine = &offer.machine;
        (
            offer.build.clone(),
            machine.processor.clone(),
            machine.instructions.clone(),
            machine.cores,
        )
    };
    if now.build.is_empty() || same(&then) != same(now) {
        return None;
    }
    if then.machine.cards != now.machine.cards {
        then.proofs
            .retain(|proof| Engine::of_encoder(&proof.encoder).is_none());
    }
    then.machine = now.machine.clone();
    then.complete = false;
    Some(then)
}

/// Best effort: without it the next start measures again. Written beside and renamed.
pub fn remember(memory: &Path, offer: &Offer) {
    let beside = memory.with_extension("new");
    let written = serde_json::to_vec(offer)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, memory));
    if let Err(e) = written {
        tracing::info!(path = %memory.display(), error = %e, "what was measured is not remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{Machine, Proof};

    #[test]
    fn a_new_driver_forgets_the_cards_and_a_new_build_everything() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("m.json");
        let mut offer = Offer {
            build: "one".to_owned(),
            machine: Machine {
                cards: vec!["driver 1".to_owned()],
                ..Machine::default()
            },
            ..Offer::default()
        };
        assert_eq!(recall(&memory, &offer), None);
        for encoder in ["libx264", "h264_nvenc"] {
            offer.put(Proof {
                encoder: encoder.to_owned(),
                ..Proof::default()
            });
        }
        remember(&memory, &offer);
        assert_eq!(recall(&memory, &offer), Some(offer.clone()));
        let mut other = offer.clone();
        other.machine.cards = vec!["driver 2".to_owned()];
        let known = recall(&memory, &other).unwrap();
        let names: Vec<&str> = known.proofs.iter().map(|p| p.encoder.as_str()).collect();
        assert_eq!(names, ["libx264"]);
        assert_eq!(known.machine, other.machine);
        other.build = "two".to_owned();
        assert_eq!(recall(&memory, &other), None);
        std::fs::write(&memory, "{").unwrap();
        assert_eq!(recall(&memory, &offer), None);
    }
}
