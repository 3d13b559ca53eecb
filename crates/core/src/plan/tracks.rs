//! Which tracks of the Source travel into an Output, and how. What becomes of each is decided in
//! [`recode_types::travel`], so that the final mux gives the same answer; here it becomes Tasks and warnings.

use super::error::PlanError;
use recode_types::rendition::AudioCodec;
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::source::{SourceFacts, TrackKind, Trim};
use recode_types::travel::{Destination, Fate};
use recode_types::{Codec, OutputRequest};

/// The tracks of one Output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// FFmpeg's indices of audio tracks to encode, in order.
    pub audio_to_encode: Vec<u32>,
    /// FFmpeg's indices of audio and subtitle tracks to copy, in order.
    pub copied: Vec<u32>,
    /// FFmpeg's indices of further video tracks to encode whole, in order.
    pub whole: Vec<u32>,
}

/// Chooses the tracks of `output`, which begins at `start_us` of the Source, and names those that cannot travel.
/// # Errors
/// [`PlanError::NoSuchTrack`], [`PlanError::AudioCopy`].
pub fn choose(
    facts: &SourceFacts,
    output: &OutputRequest,
    start_us: Option<i64>,
    losses: &mut Vec<String>,
) -> Result<Chosen, PlanError> {
    check_choices(facts, &output.tracks)?;
    let destination = Destination::of(output, start_us);
    let main = facts.video.as_ref().map(|v| v.track);
    let unsplit = output.rendition.codec == Codec::Copy;
    let mut chosen = Chosen::default();
    for track in &facts.tracks {
        let copied = match track.kind {
            TrackKind::Audio => output.audio_codec == Some(AudioCodec::Copy),
            _ => unsplit && Some(track.index) == main,
        };
        if copied && track.trim == Trim::Pieces && output.tracks.selects(facts, track) {
            losses.push(format!(
                "of track {} the source shows several pieces; a copy plays what lies between them too",
                track.index
            ));
        }
        if Some(track.index) == main || !output.tracks.selects(facts, track) {
            continue;
        }
        if track.kind == TrackKind::Video && !track.attached_pic {
            // A further video track is encoded like the main one, whole.
            if let Fate::Lose(sentence) = destination.fate(track) {
                losses.push(sentence);
            } else if !unsplit {
                chosen.whole.push(track.index);
            }
            continue;
        }
        let fate = destination.fate(track);
        if track.kind == TrackKind::Audio
            && output.audio_codec == Some(AudioCodec::Copy)
            && matches!(fate, Fate::Lose(_))
            && !output.container.holds_audio(&track.codec)
        {
            return Err(PlanError::AudioCopy {
                container: output.container,
                codec: track.codec.clone(),
                track: track.index,
            });
        }
        match (fate, track.kind) {
            (Fate::Convert(_), TrackKind::Audio) => chosen.audio_to_encode.push(track.index),
            (Fate::Copy | Fate::Convert(_), TrackKind::Audio | TrackKind::Subtitle) => {
                chosen.copied.push(track.index);
            }
            (Fate::Copy | Fate::Convert(_) | Fate::Omit, _) => {}
            (Fate::Lose(sentence), _) => losses.push(sentence),
        }
    }
    Ok(chosen)
}

/// A choice that matches nothing is a slip, not a wish for nothing.
fn check_choices(facts: &SourceFacts, selection: &TrackSelection) -> Result<(), PlanError> {
    let TrackSelection::Only(choices) = selection else {
        return Ok(());
    };
    for choice in choices {
        let alone = TrackSelection::Only(vec![choice.clone()]);
        let main = facts.video.as_ref().map(|v| v.track);
        let found = facts.tracks.iter().any(|track| {
            // The main video travels with every selection; asked for by kind or number it is a match too.
            if Some(track.index) == main {
                choice.kind.is_none_or(|kind| kind == TrackKind::Video)
                    && choice
                        .language
                        .as_ref()
                        .is_none_or(|l| track.language.as_ref() == Some(l))
                    && (choice.number.is_none()
                        || choice.number == Some(track.index)
                        || choice.number == Some(0))
            } else {
                alone.selects(facts, track)
            }
        });
        if !found {
            return Err(PlanError::NoSuchTrack(describe(choice)));
        }
    }
    Ok(())
}

fn describe(choice: &TrackChoice) -> String {
    let kind = match choice.kind {
        Some(TrackKind::Video) => "video",
        Some(TrackKind::Audio) => "audio",
        Some(TrackKind::Subtitle) => "subtitle",
        Some(TrackKind::Data) => "data",
        Some(TrackKind::Attachment) => "attachment",
        None => "track",
    };
    let mut text = kind.to_owned();
    if let Some(number) = choice.number {
        text += &format!(" {number}");
    }
    if let Some(language) = &choice.language {
        text += &format!(" in language {language}");
    }
    text
}
