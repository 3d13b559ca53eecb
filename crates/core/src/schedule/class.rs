//! What a speed holds for: how fast a Node is differs with encoder, preset and picture size, and hardly with anything else.

use recode_types::rendition::Scale;
use recode_types::{Rendition, TaskKey};

/// Work that a Node does at one speed. Two Tasks of one class differ by their cost alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u64);

/// FNV-1a: the same on every machine.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

impl Class {
    /// The class of what is no encode of Segments.
    pub fn of_kind(key: TaskKey) -> Self {
        Self(match key {
            TaskKey::Probe { .. } => 1,
            TaskKey::Audio { .. } => 2,
            TaskKey::Whole { .. } => 3,
            TaskKey::Stitch { .. } => 4,
            TaskKey::Score { .. } => 5,
            TaskKey::Command { .. } => 6,
            TaskKey::Encode { .. } => 7,
            TaskKey::Trial { .. } => 8,
        })
    }

    /// The same work, with one Rendition more.
    #[must_use]
    pub fn with(self, rendition: &Rendition) -> Self {
        let size = match rendition.scale {
            Scale::Exact { width, height } => size_class(width, height),
            _ => 0,
        };
        let preset = rendition.preset.as_deref().unwrap_or_default();
        let words = [rendition.encoder.as_bytes(), preset.as_bytes(), &[size]];
        let mut hash = self.0 ^ BASIS;
        for word in words {
            for byte in word.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        }
        Self(hash)
    }
}

/// Pictures whose number of pixels differs by less than about a factor of two.
fn size_class(width: u32, height: u32) -> u8 {
    let pixels = (f64::from(width) * f64::from(height)).max(1.0);
    pixels.log2().round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn encoder_preset_and_size_make_a_class_and_a_few_pixels_do_not() {
        let rendition = |encoder: &str, preset: Option<&str>, size: (u32, u32)| {
            let mut rendition = fixture::small_request().outputs[0].rendition.clone();
            rendition.encoder = encoder.to_owned();
            rendition.preset = preset.map(str::to_owned);
            rendition.scale = Scale::Exact {
                width: size.0,
                height: size.1,
            };
            let encode = TaskKey::Encode {
                group: 0,
                segment: 3,
            };
            Class::of_kind(encode).with(&rendition)
        };
        let usual = rendition("libx264", None, (1920, 1080));
        assert_eq!(usual, rendition("libx264", None, (1920, 1072)));
        assert_ne!(usual, rendition("libx265", None, (1920, 1080)));
        assert_ne!(usual, rendition("libx264", Some("slow"), (1920, 1080)));
        assert_ne!(usual, rendition("libx264", None, (640, 360)));
    }
}
