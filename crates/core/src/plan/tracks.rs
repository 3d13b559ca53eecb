//! Which tracks of the Source travel into an Output, and how.

use super::error::PlanError;
use recode_types::rendition::AudioCodec;
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::source::{SourceFacts, Track, TrackKind};
use recode_types::{Codec, Container, OutputRequest};

/// The tracks of one Output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// FFmpeg's indices of audio tracks to encode, in order.
    pub audio_to_encode: Vec<u32>,
    /// FFmpeg's indices of audio tracks to copy, in order.
    pub audio_to_copy: Vec<u32>,
    /// FFmpeg's indices of further video tracks to encode whole, in order.
    pub whole: Vec<u32>,
}

/// Chooses the tracks of `output` and names those that cannot travel.
/// # Errors
/// [`PlanError::NoSuchTrack`], [`PlanError::AudioCopy`].
pub fn choose(
    facts: &SourceFacts,
    output: &OutputRequest,
    losses: &mut Vec<String>,
) -> Result<Chosen, PlanError> {
    if let TrackSelection::Only(choices) = &output.tracks {
        for choice in choices {
            if !facts
                .tracks
                .iter()
                .any(|track| matches(facts, choice, track))
            {
                return Err(PlanError::NoSuchTrack(describe(choice)));
            }
        }
    }
    let mut chosen = Chosen::default();
    let main = facts.video.as_ref().map(|v| v.track);
    let unsplit = output.rendition.codec == Codec::Copy;
    for track in &facts.tracks {
        if !is_selected(facts, &output.tracks, track) || Some(track.index) == main {
            continue;
        }
        let unknown = matches!(track.codec.as_str(), "" | "none" | "unknown");
        match track.kind {
            TrackKind::Audio => match output.audio_codec {
                Some(AudioCodec::None) => {}
                _ if unknown => losses.push(format!(
                    "audio track {} is in a codec ffmpeg does not know and is left out",
                    track.index
                )),
                Some(AudioCodec::Copy) => {
                    if !output.container.holds_audio(&track.codec) {
                        return Err(PlanError::AudioCopy {
                            container: output.container,
                            codec: track.codec.clone(),
                            track: track.index,
                        });
                    }
                    chosen.audio_to_copy.push(track.index);
                }
                None if unsplit || output.container.holds_audio(&track.codec) => {
                    chosen.audio_to_copy.push(track.index);
                }
                Some(AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac) | None => {
                    chosen.audio_to_encode.push(track.index);
                }
            },
            TrackKind::Video if track.attached_pic => {
                if output.container == Container::Webm || output.container == Container::Ts {
                    losses.push(format!(
                        "{} cannot hold the cover picture of track {}: it is left out",
                        output.container, track.index
                    ));
                }
            }
            TrackKind::Video => {
                if unknown || track.size.is_none_or(|(w, h)| w == 0 || h == 0) {
                    losses.push(format!(
                        "video track {} has no picture and is left out",
                        track.index
                    ));
                } else if !unsplit {
                    chosen.whole.push(track.index);
                }
            }
            TrackKind::Subtitle => {
                if !holds_subtitle(output.container, &track.codec) {
                    losses.push(format!(
                        "{} cannot hold the {} subtitles of track {}: they are left out",
                        output.container, track.codec, track.index
                    ));
                }
            }
            TrackKind::Data => {
                if !holds_data(output.container, track) {
                    losses.push(format!(
                        "{} cannot hold the data of track {} ({}): it is left out",
                        output.container, track.index, track.codec
                    ));
                }
            }
            TrackKind::Attachment => {
                if output.container != Container::Mkv {
                    losses.push(format!(
                        "{} cannot hold the attached file of track {}: it is left out",
                        output.container, track.index
                    ));
                }
            }
        }
    }
    Ok(chosen)
}

/// Whether a track travels, as far as the request goes. The main video always does.
pub fn is_selected(facts: &SourceFacts, selection: &TrackSelection, track: &Track) -> bool {
    match selection {
        TrackSelection::All => true,
        TrackSelection::Only(choices) => {
            facts.video.as_ref().is_some_and(|v| v.track == track.index)
                || choices.iter().any(|choice| matches(facts, choice, track))
        }
    }
}

fn matches(facts: &SourceFacts, choice: &TrackChoice, track: &Track) -> bool {
    let number = |wanted: u32| match choice.kind {
        None => track.index == wanted,
        Some(kind) => facts
            .tracks
            .iter()
            .filter(|t| t.kind == kind)
            .nth(wanted as usize)
            .is_some_and(|t| t.index == track.index),
    };
    choice.kind.is_none_or(|kind| kind == track.kind)
        && choice.number.is_none_or(number)
        && choice
            .language
            .as_ref()
            .is_none_or(|language| track.language.as_ref() == Some(language))
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

/// Subtitles as pictures; all others are text and can be turned into another text format.
fn is_bitmap(codec: &str) -> bool {
    matches!(
        codec,
        "hdmv_pgs_subtitle" | "dvd_subtitle" | "dvb_subtitle" | "xsub"
    )
}

fn holds_subtitle(container: Container, codec: &str) -> bool {
    if matches!(codec, "" | "none" | "unknown") {
        return false;
    }
    match container {
        Container::Mkv => !matches!(codec, "eia_608" | "xsub"),
        Container::Mp4 => !is_bitmap(codec) && codec != "dvb_teletext" || codec == "dvd_subtitle",
        Container::Mov | Container::Webm => !is_bitmap(codec) && codec != "dvb_teletext",
        Container::Ts => matches!(codec, "dvb_subtitle" | "dvb_teletext"),
    }
}

fn holds_data(container: Container, track: &Track) -> bool {
    let timecode = track.description.contains("tmcd") || track.tags.contains_key("timecode");
    match container {
        // The MOV family writes a timecode track of its own from the tag.
        Container::Mp4 | Container::Mov => timecode || track.codec == "bin_data",
        Container::Ts => matches!(
            track.codec.as_str(),
            "klv" | "scte_35" | "timed_id3" | "smpte_klv"
        ),
        Container::Mkv | Container::Webm => false,
    }
}
