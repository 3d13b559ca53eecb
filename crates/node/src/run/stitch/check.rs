//! The joined file has exactly the table's frames at the table's times.

use super::MICRO;
use crate::run::resources;
use crate::run::shown::Shown;
use crate::run::timeline::Timeline;
use recode_media::bytes::FileSource;
use recode_media::probe::scan_packets;
use recode_media::toolchain::Ffmpeg;
use recode_types::task::{Failure, FailureClass};
use recode_types::{Container, Rational, Segment};
use std::path::Path;

/// What a file that is here as a whole shows. `video`: FFmpeg's number of its main video.
/// # Errors
/// It cannot be read, or is none.
pub(super) async fn shown(
    ffmpeg: &Ffmpeg,
    path: &Path,
    container: Container,
    video: u32,
) -> Result<Shown, Failure> {
    if container == Container::Ts {
        let scanned = scan_packets(ffmpeg, path, video, |_| {}).await;
        let (time_base, packets, _) = scanned.map_err(|e| e.failure())?;
        return Ok(Shown::scanned(time_base, &packets));
    }
    let file = FileSource::open(path).map_err(resources)?;
    Shown::indexed(&file).await.map_err(wrong)
}

/// Compares what a file shows with what was planned.
/// # Errors
/// It is something else.
pub(super) fn check(
    shown: &Shown,
    times: &Timeline<'_>,
    segments: &[Segment],
) -> Result<(), Failure> {
    let wanted: Vec<i64> = segments.iter().flat_map(|s| times.of_segment(s)).collect();
    let Shown { time_base, pts } = shown;
    if pts.len() != wanted.len() {
        return Err(wrong(format!(
            "it has {} frames of {}",
            pts.len(),
            wanted.len()
        )));
    }
    // Half a tick of the container, at either end, and our own rounding.
    let tolerance = time_base.rescale(1, MICRO).max(times.micros(1)) + 2;
    match first_off(&wanted, times.time_base, pts, *time_base, tolerance) {
        None => Ok(()),
        Some((frame, off)) => Err(wrong(format!("frame {frame} is {off} µs off"))),
    }
}

pub(super) fn wrong(message: String) -> Failure {
    Failure {
        class: FailureClass::Unknown,
        message: format!(
            "the joined file is not what was planned and was not published: {message}"
        ),
        stderr_tail: None,
    }
}

/// The first frame whose time in the container is further than `tolerance` from where it was wanted, and by how much, all
/// in microseconds. Frames closer together than a tick of the container are read a tick apart. Pure.
fn first_off(
    wanted: &[i64],
    wanted_base: Rational,
    seen: &[i64],
    seen_base: Rational,
    tolerance: i64,
) -> Option<(usize, i64)> {
    let mut ticks = i64::MIN;
    for (frame, (seen_pts, wanted_pts)) in seen.iter().zip(wanted).enumerate() {
        let off = seen_base.rescale(seen_pts - seen[0], MICRO)
            - wanted_base.rescale(wanted_pts - wanted[0], MICRO);
        let exact = wanted_base.rescale(wanted_pts - wanted[0], seen_base);
        ticks = exact.max(ticks.saturating_add(1));
        let pushed = seen_base.rescale(ticks - exact, MICRO);
        if off < -tolerance || off > tolerance + pushed {
            return Some((frame, off));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_closer_than_a_tick_of_the_container_are_in_place_a_tick_apart() {
        let fine = Rational::new(1, 30720);
        let milli = Rational::new(1, 1000);
        let wanted = [0, 1024, 2048, 2049, 2050, 3072];
        let off = |seen: &[i64]| first_off(&wanted, fine, seen, milli, 1002);
        assert_eq!(off(&[0, 33, 67, 68, 69, 100]), None);
        // A frame that is late of itself, or early, is still seen.
        assert_eq!(off(&[0, 33, 67, 68, 69, 102]), Some((5, 2000)));
        assert_eq!(off(&[0, 33, 64, 65, 66, 100]), Some((2, -2667)));
        assert_eq!(off(&[0, 35, 67, 68, 69, 100]), Some((1, 1667)));
    }
}
