//! The last step: stitched video, encoded audio and whatever else the Source has become one Output.
//!
//! The result is what one plain FFmpeg process would have written: streams in the Source's order, with its tags,
//! languages, dispositions, chapters, attachments and covers, on the same timeline.

use super::audio;
use super::list::List;
use super::origin;
use recode_types::container::Container;
use recode_types::rendition::Codec;
use recode_types::request::OutputRequest;
use recode_types::source::{SourceFacts, Track, TrackKind};
use recode_types::travel::{self, Destination, Fate};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use super::origin::{Cut, SourceFile};

/// Where the main video comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoInput {
    /// A fast-start MP4 with one track, written into FFmpeg's stdin.
    Pipe,
    /// Such a file.
    File(PathBuf),
    /// The Source's own packets.
    Source,
}

/// Everything that decides the argument list.
#[derive(Clone, Debug)]
pub struct MuxInputs<'a> {
    /// The Source; `None`: nothing else of it is wanted, or nothing is left to read it from. Then chapters are lost.
    pub source: Option<SourceFile>,
    /// The main video.
    pub video: VideoInput,
    /// Where its first frame is shown, in microseconds on the Output's timeline: the frame table's first PTS less
    /// [`SourceFacts::start_us`] less the start of the wanted part. Below 0, everything is moved until it is 0.
    pub video_offset_us: i64,
    /// What [`audio::args`] made, and of which tracks.
    pub audio: Option<(PathBuf, Vec<u32>)>,
    /// What [`super::whole`] made: FFmpeg's index in the Source, and the file.
    pub whole: Vec<(u32, PathBuf)>,
    /// What [`covers`] made.
    pub covers: Vec<Cover>,
    /// The wanted part of the Source.
    pub cut: Cut,
    /// The file to write. Replaced if it exists.
    pub out: &'a Path,
    /// The file is sent while it is written, and what comes first in it in the end ([`crate::mp4::index_first`]) is
    /// put there by the sender.
    pub sent: bool,
}

impl MuxInputs<'_> {
    /// By how much everything is moved, in microseconds, so that the first frame is not before 0: an MP4 file would hide it.
    fn later_us(&self) -> i64 {
        match self.video {
            VideoInput::Source => 0,
            VideoInput::Pipe | VideoInput::File(_) => (-self.video_offset_us).max(0),
        }
    }

    /// Every file that is read.
    pub fn reads(&self) -> impl Iterator<Item = &Path> {
        let source = self.source.iter().map(|source| &*source.path);
        let audio = self.audio.iter().map(|(path, _)| &**path);
        let whole = self.whole.iter().map(|(_, path)| &**path);
        let covers = self.covers.iter().map(|cover| &*cover.path);
        source.chain(audio).chain(whole).chain(covers)
    }
}

/// An argument list, and what it cannot keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For FFmpeg.
    pub args: Vec<OsString>,
    /// One sentence for each loss.
    pub warnings: Vec<String>,
    /// FFmpeg's number of the Output's main video; `None`: it has none.
    pub video: Option<u32>,
}

/// A cover picture that has to be a file of its own before the last step: Matroska keeps covers as attached files, and
/// FFmpeg attaches files only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// FFmpeg's index in the Source.
    pub track: u32,
    /// Where the picture goes.
    pub path: PathBuf,
}

impl Cover {
    /// The argument list that writes the picture to [`Cover::path`].
    pub fn args(&self, facts: &SourceFacts, source: &SourceFile) -> Vec<OsString> {
        let mut list = origin::begin();
        origin::push(&mut list, facts, &source.path, Cut::default());
        let stream = source.stream(self.track).unwrap_or(self.track);
        list.opt("-map", format!("0:{stream}")).opt("-c", "copy");
        // One packet is one picture, whatever its kind.
        list.opt("-frames:v", 1).opt("-f", "data").file(&self.path);
        list.0
    }
}

/// The covers of an Output that have to be made first, as files in `directory`. Most often none.
pub fn covers(facts: &SourceFacts, output: &OutputRequest, directory: &Path) -> Vec<Cover> {
    let destination = Destination::of(output, None);
    let wanted = |t: &&Track| {
        t.attached_pic
            && output.container == Container::Mkv
            && destination.fate(t) == Fate::Copy
            && output.tracks.selects(facts, t)
    };
    let cover = |t: &Track| Cover {
        track: t.index,
        path: directory.join(format!("cover-{}", t.index)),
    };
    facts.tracks.iter().filter(wanted).map(cover).collect()
}

/// One stream of the Output.
struct Stream<'a> {
    track: &'a Track,
    input: usize,
    stream: u32,
    /// Encoded by us: now, or in a file that is an input.
    encoder: Option<&'a str>,
    /// To be encoded in this run.
    now: Option<&'a str>,
    /// A picture to attach.
    picture: Option<&'a Path>,
}

/// Plans the last step.
pub fn plan(facts: &SourceFacts, output: &OutputRequest, inputs: &MuxInputs<'_>) -> Plan {
    let mut warnings = Vec::new();
    let mut list = origin::begin();
    let files = push_inputs(&mut list, facts, inputs);
    let streams = choose(facts, output, inputs, &files, &mut warnings);
    // Attached files come last; FFmpeg counts them after everything that is mapped.
    let (streams, attached): (Vec<_>, Vec<_>) =
        streams.into_iter().partition(|s| s.picture.is_none());
    for stream in &streams {
        list.opt("-map", format!("{}:{}", stream.input, stream.stream));
    }
    for (n, stream) in attached.iter().enumerate() {
        push_cover(&mut list, streams.len() + n, stream);
    }
    for (n, stream) in streams.iter().enumerate() {
        push_stream(&mut list, n, stream, output, inputs, &files);
    }
    push_dispositions(&mut list, &streams);
    push_globals(&mut list, facts, output, inputs, &files, &mut warnings);
    if inputs.video == VideoInput::Source {
        origin::skip(&mut list, origin::late_start(facts, inputs.cut));
    }
    if let Some(duration) = inputs.cut.duration_us {
        // Chapters end there too, and texts that FFmpeg reads ahead are left out.
        list.opt("-t", format!("{}us", duration + inputs.later_us()));
    }
    push_muxer(&mut list, output, inputs);
    let source = files.source.filter(|_| {
        // A copy of parts of the Source has the clock it was given.
        inputs.source.as_ref().is_some_and(|s| s.holds.is_none())
    });
    let main = facts.video.as_ref().map(|v| v.track);
    let moves = |s: &Stream<'_>| s.track.kind == TrackKind::Video && !s.track.attached_pic;
    let video = streams.iter().position(|s| Some(s.track.index) == main);
    let video = video.or_else(|| streams.iter().position(moves));
    Plan {
        video: video.map(|n| n as u32),
        args: origin::end(list, facts, source),
        warnings,
    }
}

/// FFmpeg's numbers of the input files.
#[derive(Default)]
struct Files {
    video: usize,
    source: Option<usize>,
    audio: Option<usize>,
    whole: Vec<(u32, usize)>,
}

fn push_inputs(list: &mut List, facts: &SourceFacts, inputs: &MuxInputs<'_>) -> Files {
    let mut files = Files::default();
    let mut count = 0;
    let mut next = || {
        count += 1;
        count - 1
    };
    let later = inputs.later_us();
    let offset = |list: &mut List, us: i64| {
        if us + later != 0 {
            list.opt("-itsoffset", format!("{}us", us + later));
        }
    };
    match &inputs.video {
        VideoInput::Pipe => {
            offset(list, inputs.video_offset_us);
            list.opt("-f", "mp4").only_itself().opt("-i", "pipe:0");
            files.video = next();
        }
        VideoInput::File(path) => {
            offset(list, inputs.video_offset_us);
            list.opt("-f", "mp4").input(path);
            files.video = next();
        }
        VideoInput::Source => {}
    }
    if let Some(source) = &inputs.source {
        match inputs.video {
            VideoInput::Source => origin::push(list, facts, &source.path, inputs.cut),
            _ => origin::push_moved(list, facts, &source.path, inputs.cut, later),
        }
        files.source = Some(next());
    }
    // Files of ours say when they start; FFmpeg is told not to move that to 0.
    let mut own = |list: &mut List, path: &Path| {
        offset(list, 0);
        list.opt("-seek_timestamp", 1).opt("-f", "mp4").input(path);
        next()
    };
    if let Some((path, _)) = &inputs.audio {
        files.audio = Some(own(list, path));
    }
    for (index, path) in &inputs.whole {
        files.whole.push((*index, own(list, path)));
    }
    if inputs.video == VideoInput::Source {
        files.video = files.source.unwrap_or(0);
    }
    files
}

fn choose<'a>(
    facts: &'a SourceFacts,
    output: &'a OutputRequest,
    inputs: &'a MuxInputs<'_>,
    files: &Files,
    warnings: &mut Vec<String>,
) -> Vec<Stream<'a>> {
    let destination = Destination::of(output, inputs.cut.start_us);
    let main = facts.video.as_ref().map(|v| v.track);
    let in_source = |index| {
        let file = inputs.source.as_ref()?;
        Some((files.source?, file.stream(index)?))
    };
    let mut streams = Vec::new();
    for track in &facts.tracks {
        let mut add = |input, stream, encoder, now| {
            streams.push(Stream {
                track,
                input,
                stream,
                encoder,
                now,
                picture: None,
            });
        };
        let index = track.index;
        let encoder = Some(output.rendition.encoder.as_str());
        if main == Some(index) && inputs.video != VideoInput::Source {
            add(files.video, 0, encoder, None);
            continue;
        }
        if !output.tracks.selects(facts, track) {
            continue;
        }
        if let Some(&(_, file)) = files.whole.iter().find(|(i, _)| *i == index) {
            add(file, 0, encoder, None);
            continue;
        }
        let encoded = inputs.audio.as_ref().and_then(|(_, tracks)| {
            let at = tracks.iter().position(|&t| t == index)?;
            Some((files.audio?, at as u32))
        });
        if let Some((file, at)) = encoded {
            add(file, at, Some("audio"), None);
            continue;
        }
        if let Some(cover) = inputs.covers.iter().find(|c| c.track == index) {
            streams.push(Stream {
                track,
                input: 0,
                stream: 0,
                encoder: None,
                now: None,
                picture: Some(&cover.path),
            });
            continue;
        }
        let moving = track.kind == TrackKind::Video && !track.attached_pic;
        let fate = destination.fate(track);
        match (fate, in_source(index)) {
            (Fate::Omit, _) => {}
            (Fate::Lose(why), _) => warnings.push(why),
            // Moving pictures that nobody encoded: no more than a copy job asks for, or an empty track.
            (Fate::Copy, _) if moving && output.rendition.codec != Codec::Copy => warnings.push(
                format!("{} is left out: it has no pictures", travel::name(track)),
            ),
            (Fate::Copy, Some((file, at))) => add(file, at, None, None),
            (Fate::Convert(to), Some((file, at))) => add(file, at, Some(to), Some(to)),
            (_, None) => warnings.push(format!(
                "{} is left out: the source cannot be read again",
                travel::name(track)
            )),
        }
    }
    streams
}

fn push_stream(
    list: &mut List,
    n: usize,
    stream: &Stream<'_>,
    output: &OutputRequest,
    inputs: &MuxInputs<'_>,
    files: &Files,
) {
    let track = stream.track;
    match (stream.now, track.kind) {
        (Some(_), TrackKind::Audio) => audio::push_encoder(list, n, output),
        (Some(encoder), _) => {
            list.opt(&format!("-c:{n}"), encoder);
        }
        (None, _) => {
            list.opt(&format!("-c:{n}"), "copy");
        }
    }
    let from_source = Some(stream.input) == files.source;
    if from_source && stream.now.is_none() && inputs.cut.start_us.is_some_and(|s| s > 0) {
        // Without this, packets between the last key frame and the start travel too. A copied video needs them.
        let keep = u8::from(track.kind == TrackKind::Video);
        list.opt(&format!("-copypriorss:{n}"), keep);
    } else if !from_source && origin_skips(inputs) {
        list.opt(&format!("-copypriorss:{n}"), 1);
    }
    if stream.now.is_some() && track.kind == TrackKind::Subtitle && origin_skips(inputs) {
        // FFmpeg converts texts from before the start too, and muxers move everything so that the first of them is at 0.
        list.opt(&format!("-bsf:{n}"), "noise=drop='lt(pts,0)'");
    }
    if from_source
        && stream.now.is_none()
        && track.kind == TrackKind::Audio
        && output.container == Container::Ts
    {
        // A transport stream cannot say that its first packets are not to be heard.
        list.opt(&format!("-bsf:{n}"), "noise=drop='lt(pts+duration,0)'");
    }
    let quicktime = matches!(output.container, Container::Mp4 | Container::Mov);
    if quicktime && output.rendition.codec == Codec::H265 && stream.input == files.video {
        // The only name of HEVC that Apple's players know.
        list.opt(&format!("-tag:{n}"), "hvc1");
    }
    let tags = format!("-metadata:s:{n}");
    let known = inputs
        .source
        .as_ref()
        .zip(files.source)
        .and_then(|(file, number)| Some((number, file.stream(track.index)?)));
    if let Some((file, at)) = known {
        list.opt(&format!("-map_metadata:s:{n}"), format!("{file}:s:{at}"));
    } else {
        for (key, value) in &track.tags {
            list.opt(&tags, format!("{key}={value}"));
        }
        for (key, value) in [("language", &track.language), ("title", &track.title)] {
            if let Some(value) = value {
                list.opt(&tags, format!("{key}={value}"));
            }
        }
    }
    if let Some(title) = &track.title {
        // FFmpeg reads the title of an MP4's track as `name`, which no other container knows.
        if !track
            .tags
            .keys()
            .any(|key| key.eq_ignore_ascii_case("title"))
        {
            list.opt(&tags, format!("title={title}"));
        }
        if quicktime {
            // Most players, and FFmpeg before release 6, show the handler's name instead of the `name` box.
            list.opt(&tags, format!("handler_name={title}"));
        }
    }
    if let Some(encoder) = stream.encoder {
        for key in track.tags.keys().filter(|key| is_measured(key)) {
            list.opt(&tags, format!("{key}="));
        }
        if track.kind == TrackKind::Video {
            list.opt(&tags, format!("encoder={encoder}"));
        } else {
            list.opt(&tags, "encoder=");
        }
    }
    if track.kind == TrackKind::Attachment
        && let Some(mime) = travel::mime_type(track)
    {
        list.opt(&tags, format!("mimetype={mime}"));
    }
}

/// Attaches a cover. Matroska wants to know its name and type.
fn push_cover(list: &mut List, n: usize, stream: &Stream<'_>) {
    let Some(picture) = stream.picture else {
        return;
    };
    let tag = |wanted: &str| {
        let mut tags = stream.track.tags.iter();
        tags.find(|(key, _)| key.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    let mime = travel::cover_mime(&stream.track.codec).unwrap_or("image/jpeg");
    let ending = mime.rsplit('/').next().unwrap_or("jpeg");
    let name = match tag("filename") {
        Some(name) => name.to_owned(),
        None => format!("cover.{}", ending.replace("jpeg", "jpg")),
    };
    list.flag("-attach").file(picture);
    let tags = format!("-metadata:s:{n}");
    list.opt(&tags, format!("filename={name}"));
    list.opt(&tags, format!("mimetype={mime}"));
    if let Some(title) = tag("title").or(stream.track.title.as_deref()) {
        list.opt(&tags, format!("title={title}"));
    }
}

/// An option of the output skips the start, so that our own files have to be told that theirs is none to drop.
fn origin_skips(inputs: &MuxInputs<'_>) -> bool {
    inputs.cut.start_us.is_some_and(|s| s > 0)
}

/// Tags that say what somebody measured on the packets of the Source.
fn is_measured(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    let measured = ["BPS", "NUMBER_OF_", "_STATISTICS", "DURATION"];
    measured.iter().any(|m| key.starts_with(m)) || key == "ALPHA_MODE"
}

/// FFmpeg's names of dispositions that muxers know.
const DISPOSITIONS: [&str; 17] = [
    "default",
    "dub",
    "original",
    "comment",
    "lyrics",
    "karaoke",
    "forced",
    "hearing_impaired",
    "visual_impaired",
    "clean_effects",
    "attached_pic",
    "timed_thumbnails",
    "captions",
    "descriptions",
    "metadata",
    "dependent",
    "still_image",
];

fn push_dispositions(list: &mut List, streams: &[Stream<'_>]) {
    let kind = |s: &Stream<'_>| (s.track.kind, s.track.attached_pic);
    for (n, stream) in streams.iter().enumerate() {
        let mut set: Vec<&str> = Vec::new();
        for given in &stream.track.dispositions {
            let given = given.replace([' ', '-'], "_");
            set.extend(DISPOSITIONS.iter().find(|d| **d == given));
        }
        if stream.track.attached_pic && !set.contains(&"attached_pic") {
            set.push("attached_pic");
        }
        // As FFmpeg does: where several streams are of one kind and none is the default one, the first is.
        let peers = || streams.iter().filter(|s| kind(s) == kind(stream));
        let chosen = |s: &Stream<'_>| s.track.dispositions.iter().any(|d| d == "default");
        let playable = matches!(
            stream.track.kind,
            TrackKind::Video | TrackKind::Audio | TrackKind::Subtitle
        ) && !stream.track.attached_pic;
        let first = peers().next().is_some_and(|s| std::ptr::eq(s, stream));
        if playable && first && peers().count() > 1 && !peers().any(chosen) {
            set.push("default");
        }
        let value = if set.is_empty() {
            "0".to_owned()
        } else {
            set.join("+")
        };
        list.opt(&format!("-disposition:{n}"), value);
    }
}

fn push_globals(
    list: &mut List,
    facts: &SourceFacts,
    output: &OutputRequest,
    inputs: &MuxInputs<'_>,
    files: &Files,
    warnings: &mut Vec<String>,
) {
    let whole = inputs.source.as_ref().is_some_and(|s| s.holds.is_none());
    match files.source.filter(|_| whole) {
        Some(file) => {
            list.opt("-map_metadata:g", format!("{file}:g"));
        }
        None => {
            list.opt("-map_metadata:g", -1);
            for (key, value) in &facts.tags {
                list.opt("-metadata", format!("{key}={value}"));
            }
        }
    }
    // What kind of MP4 the Source was says nothing about the Output.
    for key in ["major_brand", "minor_version", "compatible_brands"] {
        if facts.tags.contains_key(key) {
            list.opt("-metadata", format!("{key}="));
        }
    }
    let holds_chapters = output.container != Container::Ts;
    match files.source.filter(|_| holds_chapters) {
        Some(file) => {
            list.opt("-map_chapters", file);
        }
        None => {
            list.opt("-map_chapters", -1);
            if facts.chapters > 0 {
                let container = output.container;
                warnings.push(match holds_chapters {
                    true => "the chapters are left out: the source cannot be read again".to_owned(),
                    false => {
                        format!("the chapters are left out: {container} has no place for them")
                    }
                });
            }
        }
    }
}

fn push_muxer(list: &mut List, output: &OutputRequest, inputs: &MuxInputs<'_>) {
    match output.container {
        Container::Mp4 | Container::Mov => {
            if !inputs.sent {
                list.opt("-movflags", "+faststart");
            }
            // The clock of late starts; old FFmpeg would take milliseconds.
            list.opt("-movie_timescale", 90_000);
        }
        Container::Ts => {
            let m2ts = Destination::of(output, None).m2ts;
            list.opt("-mpegts_m2ts_mode", u8::from(m2ts));
        }
        Container::Mkv | Container::Webm => {}
    }
    // A source may start late with a track; packets of the others wait for it.
    list.opt("-max_muxing_queue_size", 16_384);
    // Formats that are held only as a draft of a standard, such as FLAC in MP4 by older builds.
    list.opt("-strict", -2);
    // No random numbers, no dates: the same parts give the same bytes.
    list.opt("-fflags", "+bitexact");
    list.opt("-f", output.container.muxer()).file(inputs.out);
}

#[cfg(test)]
mod tests;
