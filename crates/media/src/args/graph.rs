//! The filter graph of an encode.
//!
//! ```text
//!            +-> scale 64x36, grey ---------------------------------------------> signature of every decoded frame
//! decoded ---+
//!            +-> wide span -> deinterlace -> fps -> scale -> format -+-> exact span -> encoder     (once per Rendition)
//!                                                                    +-> wide span --> reference for scoring
//!                                                                    +-> exact span -> reference for a full check
//! ```
//! "Wide" is the Segment with one frame of context at either end, where something needs context.

use super::{Clock, Input, Span};
use recode_types::Color;
use recode_types::rendition::Deinterlace;
use recode_types::time::{Rational, TimeBase};

/// What happens to pictures on their way to one encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    /// What every frame says of its colours: what the Source's first one says. Parameter sets carry it.
    pub color: Option<&'a Color>,
    pub deinterlace: Deinterlace,
    pub fps: Option<Rational>,
    pub size: (u32, u32),
    /// Shape of a pixel at that size; 0/1 where unknown. Parameter sets carry it, so it is the same for all Segments of a
    /// Source that changes it on the way.
    pub aspect: Rational,
    pub format: Option<&'a str>,
    /// Frames leave evenly spaced, whatever their timestamps were: the rate, and the ticks to count it in.
    pub even: Option<(Rational, TimeBase)>,
    /// What every frame says of its fields, where a Chunk's parameter sets repeat what its first frame says.
    pub fields: Option<&'a str>,
    /// A second way out, to compare with.
    pub reference: Reference,
    /// Hands pictures to a device; only on the way to the encoder.
    pub upload: Option<&'a str>,
}

/// The pictures that what was encoded is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    None,
    /// Those that entered the encoder.
    Exact,
    /// With a frame of context at either end, for scoring.
    Wide,
}

/// What the graph reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub input: &'a Input,
    pub time_base: TimeBase,
    pub span: Span,
    /// Ticks to add to `input`'s timestamps to get the Output's timeline.
    pub shift: i64,
}

impl Path<'_> {
    /// Whether context frames must reach the filters.
    fn wide(&self) -> bool {
        self.reference == Reference::Wide
            || self.fps.is_some()
            || self.deinterlace != Deinterlace::Off
    }
}

/// One graph per way out, each fed by the same decoder. Outputs are labelled `sig`, `v0`, `v1` ... and `r0`, `r1` ...
///
/// One graph with several ways out would do the same work, but FFmpeg hands stream-level side data (mastering display,
/// content light level) to the encoders of graphs with a single way out only (measured with FFmpeg 9.0).
pub(super) fn graphs(from: &From<'_>, signature: bool, paths: &[Path<'_>]) -> Vec<String> {
    let stream = from.input.stream;
    let mut out = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let (chain, exact) = chain(from, path);
        let encoded: Vec<String> = chain.iter().cloned().chain(exact).collect();
        let upload = path.upload.map_or(String::new(), |u| format!(",{u}"));
        out.push(format!("[0:{stream}]{}{upload}[v{i}]", encoded.join(",")));
        match path.reference {
            Reference::None => {}
            Reference::Exact => out.push(format!("[0:{stream}]{}[r{i}]", encoded.join(","))),
            Reference::Wide => out.push(format!("[0:{stream}]{}[r{i}]", chain.join(","))),
        }
    }
    if signature {
        let stop = match (from.span, from.input.clock) {
            // Nothing else would end the decode of the rest of a whole file.
            (
                Span::Ordinal {
                    first, count, more, ..
                },
                Clock::Plain,
            ) => {
                format!("trim=end_frame={},", first + count + u64::from(more))
            }
            _ => String::new(),
        };
        out.push(format!(
            "[0:{stream}]{stop}scale=64:36:flags=neighbor,format=gray[sig]"
        ));
    }
    out
}

/// What all frames of the wide span go through, and what then leaves just the Segment's.
fn chain(from: &From<'_>, path: &Path<'_>) -> (Vec<String>, Vec<String>) {
    let mut chain: Vec<String> = vec![];
    let wide = path.wide();
    chain.extend(select(from.span, wide));
    if let (Span::Ordinal { times, .. }, Some(_)) = (from.span, path.fps) {
        // The clock of such a Source may jump, or repeat itself, and the decoder's need not begin where the table's does.
        chain.push(match (times.from_pts, times.step) {
            (from, Some(step)) => format!("setpts=({from})+N*{step}"),
            (from, None) => format!("setpts=({from})+PTS-STARTPTS"),
        });
    }
    chain.extend(path.color.and_then(set_color));
    match path.deinterlace {
        Deinterlace::Off => {}
        Deinterlace::Auto => chain.push("bwdif=mode=send_frame:deint=interlaced".to_owned()),
        Deinterlace::On => chain.push("bwdif=mode=send_frame:deint=all".to_owned()),
    }
    if path.deinterlace != Deinterlace::Off {
        // It halves the time base.
        chain.push(format!("settb={}", from.time_base));
    }
    let mut exact = if wide { within(from.span) } else { None };
    if let Some(fps) = path.fps {
        let (shifted, ticks) = output_grid(from.span, from.time_base, from.shift, fps);
        if from.shift != 0 {
            chain.push(format!("setpts=PTS+({})", from.shift));
        }
        chain.push(format!("fps={fps}:round=near:eof_action=pass"));
        exact = Some(shifted);
        if path.reference == Reference::Wide {
            // One frame of context on the new grid, not all that repeat the neighbour.
            chain.push(ticks);
        }
    }
    let (w, h) = path.size;
    chain.push(format!("scale={w}:{h}:flags=bicubic"));
    chain.push(set_aspect(path.aspect));
    chain.extend(path.format.map(|f| format!("format={f}")));
    chain.extend(path.fields.map(|mode| format!("setfield={mode}")));
    let mut last: Vec<String> = exact.into_iter().collect();
    if let Some((rate, ticks)) = path.even {
        last.push(format!("settb={ticks}"));
        let step = Rational::new(rate.den * ticks.den, rate.num * ticks.num).reduced();
        last.push(match (step.num, step.den) {
            (1, 1) => "setpts=N".to_owned(),
            (num, den) => format!("setpts=trunc(N*{num}/{den})"),
        });
    }
    (chain, last)
}

/// Sets the shape of a pixel, to the last digit.
///
/// FFmpeg evaluates `n/d` in floating point and makes a fraction of it again, which gives back any of terms below 2^20. It takes `n:d` as it
/// is, but logs an error first, which would then be told as the reason if the encode failed for another.
fn set_aspect(Rational { num, den }: Rational) -> String {
    let sign = if num.max(den) < 1 << 20 { "/" } else { "\\:" };
    format!("setsar=sar='{num}{sign}{den}':max={}", i32::MAX)
}

/// Marks frames with `color`. What no filter takes for a value is left as each frame has it.
fn set_color(color: &Color) -> Option<String> {
    let options = [
        ("range", &color.range),
        ("colorspace", &color.space),
        ("color_primaries", &color.primaries),
        ("color_trc", &color.transfer),
    ];
    let set: Vec<String> = options
        .iter()
        .filter(|(_, value)| !value.is_empty() && *value != "reserved")
        .map(|(option, value)| format!("{option}={value}"))
        .collect();
    (!set.is_empty()).then(|| format!("setparams={}", set.join(":")))
}

/// Keeps the span, with a frame of context at either end when `wide`. `None`: nothing to leave out.
fn select(span: Span, wide: bool) -> Option<String> {
    match span {
        Span::Time {
            start_pts,
            end_pts,
            before_pts,
            after_pts,
        } => {
            let (start, end) = if wide {
                (
                    before_pts.unwrap_or(start_pts),
                    after_pts.map(|p| p + 1).or(end_pts),
                )
            } else {
                (start_pts, end_pts)
            };
            Some(trim(start, end))
        }
        Span::Ordinal {
            first, count, more, ..
        } => {
            let before = u64::from(wide && first > 0);
            let after = u64::from(wide && more);
            Some(format!(
                "trim=start_frame={}:end_frame={}",
                first - before,
                first + count + after
            ))
        }
    }
}

/// Keeps the span out of what [`select`] kept when wide.
fn within(span: Span) -> Option<String> {
    match span {
        Span::Time { .. } => select(span, false),
        Span::Ordinal { first, count, .. } => {
            let before = u64::from(first > 0);
            Some(format!(
                "trim=start_frame={before}:end_frame={}",
                before + count
            ))
        }
    }
}

fn trim(start: i64, end: Option<i64>) -> String {
    match end {
        Some(end) => format!("trim=start_pts={start}:end_pts={end}"),
        None => format!("trim=start_pts={start}"),
    }
}

/// Exact and wide trims of a span after a change to `fps`, in ticks of the new rate on the Output's timeline.
fn output_grid(span: Span, time_base: TimeBase, shift: i64, fps: Rational) -> (String, String) {
    let grid = |pts: i64| on_grid(pts + shift, time_base, fps);
    let (start, after) = span.shown();
    let (start, end) = (grid(start), after.map(grid));
    let (before, _) = span.neighbours();
    let wide = trim(start - i64::from(before), end.map(|e| e + 1));
    (trim(start, end), wide)
}

/// The tick of a constant rate at which a frame is shown first.
pub(super) fn on_grid(pts: i64, time_base: TimeBase, fps: Rational) -> i64 {
    time_base.rescale(pts, Rational::new(fps.den, fps.num))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_a_pixel_is_evaluated_where_that_is_exact() {
        let set = |num, den| set_aspect(Rational { num, den });
        assert_eq!(set(40, 33), "setsar=sar='40/33':max=2147483647");
        assert_eq!(
            set(919_051_506, 740_212_259),
            "setsar=sar='919051506\\:740212259':max=2147483647"
        );
    }
}
