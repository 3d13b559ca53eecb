//! What a node was seen to do, rather than what its FFmpeg lists: encoders that passed a known-answer sample, how fast, how
//! many at once. And from that, how fast an encode is going to be.

use serde::{Deserialize, Serialize};

/// Everything a node has found out about itself. Grows while it measures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What the machine is.
    pub machine: Machine,
    /// Digest of the FFmpeg build, in hexadecimal.
    pub build: String,
    /// Encoders that were tried, by name.
    pub proofs: Vec<Proof>,
    /// Everything that was to be tried has been.
    pub complete: bool,
}

/// Facts of a machine that do not change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As Rust names it: `x86_64`, `aarch64`.
    pub arch: String,
    /// Name of the processor.
    pub processor: String,
    /// Logical cores.
    pub cores: u32,
    /// Instruction sets that encoders make use of, such as `avx2`.
    pub instructions: Vec<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Devices that may be cards, as the system names them, with their drivers' versions where those can be read.
    pub cards: Vec<String>,
}

/// How busy a machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Thousandths of all cores that were busy lately.
    pub busy_milli: u32,
    /// Memory that may still be taken, in bytes.
    pub memory_free_bytes: u64,
    /// Room on the disk of the scratch, in bytes.
    pub disk_free_bytes: u64,
}

/// One encoder, tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// FFmpeg's name.
    pub encoder: String,
    /// Why it is not offered; `None`: it passed.
    pub fault: Option<String>,
    /// Encodes at once that its card was seen to bear; `None`: no limit was met, or it runs on the processor.
    pub sessions: Option<u32>,
    /// Most memory one sample took, in bytes.
    pub peak_rss_bytes: u64,
    /// Decibels between the sample and what came out of the encoder.
    pub psnr: f64,
    /// Its presets, quickest first; empty: it has none.
    pub presets: Vec<String>,
    /// Place of the preset it takes by itself; `None`: not known.
    pub usual_rank: Option<u32>,
    /// How fast.
    pub rates: Vec<Rate>,
}

/// A speed that was measured with one thread of the processor, or one session of a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The encoder's own name of the preset; empty where it has none.
    pub preset: String,
    /// Place of that preset among the encoder's, 0 being the quickest.
    pub rank: u32,
    /// Width and height.
    pub size: (u32, u32),
    /// Frames per second.
    pub frames_per_second: f64,
}

impl Offer {
    /// What is known of an encoder.
    pub fn proof(&self, encoder: &str) -> Option<&Proof> {
        self.proofs.iter().find(|p| p.encoder == encoder)
    }

    /// Why an encoder that FFmpeg lists is not offered; `None`: it is. Encoders of the processor are offered until they
    /// fail, those of cards from when they have passed.
    pub fn withholds(&self, encoder: &str) -> Option<&str> {
        match self.proof(encoder) {
            Some(proof) => proof.fault.as_deref(),
            None if crate::Engine::of_encoder(encoder).is_some() => Some("it was not tried yet"),
            None => None,
        }
    }

    /// Replaces what is known of an encoder.
    pub fn put(&mut self, proof: Proof) {
        match self
            .proofs
            .binary_search_by(|p| p.encoder.cmp(&proof.encoder))
        {
            Ok(at) => self.proofs[at] = proof,
            Err(at) => self.proofs.insert(at, proof),
        }
    }

    /// Frames per second that one slot is going to encode at this size; `None`: this encoder was not measured, or has no
    /// such preset.
    pub fn predict(&self, encoder: &str, preset: Option<&str>, size: (u32, u32)) -> Option<f64> {
        let proof = self.proof(encoder)?;
        let rank = match preset {
            None => proof.usual_rank?,
            Some(name) => {
                let name = name.to_ascii_lowercase();
                proof.presets.iter().position(|p| *p == name)? as u32
            }
        };
        predict(&proof.rates, rank, size)
    }
}

/// Speed at a size and preset between those that were measured.
///
/// At one preset, seconds per frame are a straight line over pixels: a part that every frame costs, and one that every
/// pixel costs. Between presets, the logarithm of the speed is a straight line over their ranks; beyond the last one
/// measured the nearest counts.
pub fn predict(rates: &[Rate], rank: u32, size: (u32, u32)) -> Option<f64> {
    let mut ranks: Vec<u32> = rates.iter().map(|r| r.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let below = ranks.iter().rev().find(|r| **r <= rank);
    let above = ranks.iter().find(|r| **r >= rank);
    let at = |rank: &u32| at_size(rates.iter().filter(|r| r.rank == *rank), size);
    match (below, above) {
        (Some(a), Some(b)) if a == b => at(a),
        (Some(a), Some(b)) => {
            let (from, to) = (at(a)?.ln(), at(b)?.ln());
            let part = f64::from(rank - a) / f64::from(b - a);
            Some((from + (to - from) * part).exp())
        }
        (Some(one), None) | (None, Some(one)) => at(one),
        (None, None) => None,
    }
}

fn pixels((width, height): (u32, u32)) -> f64 {
    f64::from(width) * f64::from(height)
}

fn at_size<'a>(rates: impl Iterator<Item = &'a Rate>, size: (u32, u32)) -> Option<f64> {
    let mut seen: Vec<(f64, f64)> = rates
        .filter(|r| r.frames_per_second > 0.0)
        .map(|r| (pixels(r.size), 1.0 / r.frames_per_second))
        .collect();
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = pixels(size);
    let (first, last) = (*seen.first()?, *seen.last()?);
    // One size, or two that contradict a straight line through rising costs: by pixels alone.
    if last.0 <= first.0 || last.1 <= first.1 {
        return Some(last.0 / (last.1 * wanted.max(1.0)));
    }
    let (a, b) = seen
        .windows(2)
        .map(|w| (w[0], w[1]))
        .find(|(_, b)| wanted <= b.0)
        .unwrap_or((seen[seen.len() - 2], last));
    let slope = (b.1 - a.1) / (b.0 - a.0);
    let seconds = a.1 + slope * (wanted - a.0);
    // Far below the smallest size a straight line may pass through nothing.
    let least = first.1 * wanted / first.0;
    Some(1.0 / seconds.max(least.min(first.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rank: u32, size: (u32, u32), frames_per_second: f64) -> Rate {
        Rate {
            preset: String::new(),
            rank,
            size,
            frames_per_second,
        }
    }

    fn near(seen: Option<f64>, wanted: f64) {
        let seen = seen.unwrap();
        assert!((seen / wanted - 1.0).abs() < 1e-9, "{seen} is not {wanted}");
    }

    #[test]
    fn a_speed_between_two_sizes_lies_on_the_line_of_their_costs() {
        // 1 ms a frame and 1 ms for each 100,000 pixels.
        let cost = |px: f64| 0.001 + px * 1e-8;
        let sizes = [(500, 200), (1000, 1000)];
        let rates = sizes.map(|s| rate(5, s, 1.0 / cost(pixels(s))));
        for size in [(500, 200), (800, 600), (1000, 1000), (2000, 1000)] {
            near(predict(&rates, 5, size), 1.0 / cost(pixels(size)));
        }
    }

    #[test]
    fn a_preset_between_two_has_a_speed_between_them_and_one_beyond_has_the_nearest() {
        let rates = [rate(2, (100, 100), 80.0), rate(6, (100, 100), 5.0)];
        near(predict(&rates, 4, (100, 100)), 20.0);
        near(predict(&rates, 0, (100, 100)), 80.0);
        near(predict(&rates, 9, (100, 100)), 5.0);
        near(predict(&rates, 2, (200, 100)), 40.0);
        assert_eq!(predict(&[], 2, (200, 100)), None);
    }

    #[test]
    fn a_preset_is_found_by_its_name_or_is_the_encoders_own() {
        let mut offer = Offer::default();
        offer.put(Proof {
            encoder: "libx264".to_owned(),
            presets: ["fast", "medium", "slow"].map(str::to_owned).to_vec(),
            usual_rank: Some(1),
            rates: vec![rate(0, (100, 100), 80.0), rate(2, (100, 100), 20.0)],
            ..Proof::default()
        });
        let speed = |preset| offer.predict("libx264", preset, (100, 100));
        near(speed(Some("Slow")), 20.0);
        near(speed(Some("medium")), 40.0);
        near(speed(None), 40.0);
        assert_eq!(speed(Some("p4")), None);
        assert_eq!(offer.predict("libx265", None, (100, 100)), None);
    }

    #[test]
    fn what_failed_or_was_not_tried_on_a_card_is_withheld() {
        let mut offer = Offer::default();
        assert_eq!(offer.withholds("libx264"), None);
        assert_eq!(offer.withholds("h264_nvenc"), Some("it was not tried yet"));
        let proof = |encoder: &str, fault: Option<&str>| Proof {
            encoder: encoder.to_owned(),
            fault: fault.map(str::to_owned),
            ..Proof::default()
        };
        offer.put(proof("libx264", Some("no picture")));
        offer.put(proof("h264_nvenc", None));
        offer.put(proof("av1_nvenc", None));
        assert_eq!(offer.withholds("libx264"), Some("no picture"));
        assert_eq!(offer.withholds("h264_nvenc"), None);
        offer.put(proof("h264_nvenc", Some("lost")));
        assert_eq!(offer.withholds("h264_nvenc"), Some("lost"));
        assert!(offer.proofs.is_sorted_by_key(|p| p.encoder.clone()));
    }
}
