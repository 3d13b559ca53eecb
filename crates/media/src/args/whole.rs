//! A further video track of the Source, encoded from beginning to end in one run.

use super::encoder::{self, Setting, Threads};
use super::origin::{self, Cut};
use recode_types::Engine;
use recode_types::rendition::{Codec, Deinterlace, Scale};
use recode_types::request::OutputRequest;
use recode_types::source::{SourceFacts, VideoFacts};
use recode_types::time::Rational;
use std::ffi::OsString;
use std::path::Path;

/// What to encode, and by which FFmpeg.
#[derive(Clone, Copy, Debug)]
pub struct WholeArgs<'a> {
    /// The Source.
    pub facts: &'a SourceFacts,
    /// The Output it will be part of, with a settled quality.
    pub output: &'a OutputRequest,
    /// FFmpeg's index of the track.
    pub track: u32,
    /// The wanted part.
    pub cut: Cut,
    /// Release series of FFmpeg.
    pub major: u32,
    /// Where the Source is.
    pub source: &'a Path,
    /// Where the track goes; an MP4, or MOV for ProRes.
    pub out: &'a Path,
}

impl WholeArgs<'_> {
    /// The argument list.
    /// # Errors
    /// [`encoder::Error`]: the Rendition is not one its encoder can make.
    pub fn build(&self) -> Result<Vec<OsString>, encoder::Error> {
        let rendition = {
            let mut rendition = self.output.rendition.clone();
            // Sizes and rates are wishes about the main video; a thumbnail track stays what it is.
            rendition.scale = Scale::Source;
            rendition.fps = None;
            rendition
        };
        let video = self.video();
        let mut list = origin::begin();
        encoder::push_device(&mut list, std::iter::once(&rendition));
        origin::push(&mut list, self.facts, self.source, self.cut);
        list.opt("-map", format!("0:{}", self.track));
        let mut filters = Vec::new();
        match rendition.deinterlace {
            Deinterlace::Off => {}
            Deinterlace::Auto => filters.push("bwdif=mode=send_frame:deint=interlaced".to_owned()),
            Deinterlace::On => filters.push("bwdif=mode=send_frame:deint=all".to_owned()),
        }
        // Chroma planes of half the size need even sides.
        filters.push("scale=trunc(iw/2)*2:trunc(ih/2)*2".to_owned());
        if let Some(format) = &rendition.pix_fmt {
            filters.push(format!("format={format}"));
        } else if Engine::of_encoder(&rendition.encoder).is_some() {
            // Of this track nobody knows the depth.
            let format = encoder::pixel_format(&rendition, "");
            filters.extend(format.map(|f| format!("format={f}")));
        }
        filters.extend(encoder::upload(&rendition).map(str::to_owned));
        list.opt("-vf", filters.join(","));
        let mpeg2 = rendition.codec == Codec::Mpeg2;
        let rate = match mpeg2 {
            true => encoder::mpeg2_rate(video.frame_rate),
            false => video.frame_rate,
        };
        encoder::push(
            &mut list,
            &Setting {
                rendition: &rendition,
                knob: None,
                video: &video,
                rate,
                major: self.major,
                threads: Threads::All,
                frames: None,
            },
        )?;
        if mpeg2 {
            list.opt("-r", rate);
        } else {
            list.opt("-fps_mode", "passthrough");
            // Exact for the clocks of MPEG and Matroska; within a hundredth of a millisecond for others.
            list.opt("-enc_time_base", "1:90000");
        }
        list.opt("-map_metadata", -1).opt("-map_chapters", -1);
        origin::skip(&mut list, origin::late_start(self.facts, self.cut));
        list.opt("-fflags", "+bitexact");
        list.opt("-movie_timescale", 1_000_000);
        let muxer = match rendition.codec {
            Codec::Prores => "mov",
            _ => "mp4",
        };
        list.opt("-f", muxer).file(self.out);
        Ok(origin::end(list, self.facts, Some(0)))
    }

    /// The track as far as its encoder has to know it: nobody decoded it yet, so its description has to do.
    fn video(&self) -> VideoFacts {
        let track = self.facts.tracks.iter().find(|t| t.index == self.track);
        let size = track.and_then(|t| t.size).unwrap_or((0, 0));
        let rate = track.and_then(|t| rate(&t.description));
        VideoFacts {
            track: self.track,
            codec: track.map_or_else(String::new, |t| t.codec.clone()),
            time_base: Rational::new(1, 90_000),
            frames: 0,
            start_pts: 0,
            end_pts: 0,
            width: size.0,
            height: size.1,
            pix_fmt: String::new(),
            sample_aspect: Rational::new(0, 1),
            frame_rate: rate.unwrap_or(Rational::new(25, 1)),
            interlaced_top_first: None,
            dolby_vision_profile: None,
            hdr10_plus: false,
            hdr10_static: false,
            captions: false,
            alpha: false,
            color: None,
        }
    }
}

/// The frame rate in FFmpeg's description of a stream, rounded as it prints it.
fn rate(description: &str) -> Option<Rational> {
    let words = description.split(", ").find_map(|w| w.strip_suffix(" fps"));
    let rate: Rational = words?.trim().parse().ok()?;
    let ntsc = [24_000, 30_000, 60_000, 120_000].map(|n| Rational::new(n, 1001));
    let near = |r: &Rational| (r.as_f64() - rate.as_f64()).abs() < 0.006;
    (rate.num > 0).then(|| ntsc.into_iter().find(near).unwrap_or(rate))
}
