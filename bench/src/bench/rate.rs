//! `rate`: how near `--bitrate` and `--size` come to what was asked, and whether the peak limit holds over the whole
//! Output.

use super::Deadline;
use crate::figure::Sheet;
use crate::packets;
use crate::tools::{self, Tools};
use crate::{client, plain};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The promises measured on each clip.
const BITRATES_BPS: [f64; 2] = [1_500_000.0, 4_000_000.0];
const SIZE_BYTES_PER_SECOND: f64 = 300_000.0;
const PEAK: f64 = 1.5;

/// Measures every clip with every codec.
pub fn run(
    tools: &Tools,
    clips: &[PathBuf],
    codecs: &[String],
    deadline: Deadline,
    sheet: &mut Sheet,
) -> Result<()> {
    for clip in clips {
        for codec in codecs {
            for bitrate in BITRATES_BPS {
                if deadline.passed() {
                    return Ok(());
                }
                for_bitrate(tools, clip, codec, bitrate, sheet)?;
            }
            if deadline.passed() {
                return Ok(());
            }
            for_size(tools, clip, codec, sheet)?;
        }
    }
    Ok(())
}

fn for_bitrate(tools: &Tools, clip: &Path, codec: &str, bps: f64, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("rate.mp4");
    let (maxrate, bufsize) = (bps * PEAK, bps * 2.0);
    let mut args = base(codec);
    args.extend(["--bitrate".to_owned(), format!("{}k", bps / 1000.0)]);
    args.extend(["--maxrate".to_owned(), format!("{}k", maxrate / 1000.0)]);
    args.extend(["--bufsize".to_owned(), format!("{}k", bufsize / 1000.0)]);
    client::transcode(tools, clip, &output, &args)?;
    let packets = packets::of(tools, &output)?;
    let measured = packets::payload(&packets) as f64 * 8.0 / packets::shown_seconds(&packets);
    let replayed = packets::replay(&packets, maxrate, bufsize);
    let case = format!(
        "{codec}/{} at {} kb/s",
        tools::short_name(clip),
        bps / 1000.0
    );
    let error = (measured / bps - 1.0) * 100.0;
    sheet.add(
        &case,
        "bitrate_error",
        "%",
        &[error],
        "the video payload asked for",
    );
    let violations = replayed.violations as f64;
    sheet.add(
        &case,
        "buffer_violations",
        "count",
        &[violations],
        "a buffer 0.9 full at first",
    );
    sheet.add(&case, "buffer_lowest", "ratio", &[replayed.lowest], "");
    Ok(())
}

fn for_size(tools: &Tools, clip: &Path, codec: &str, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("size.mp4");
    let wanted = (plain::duration(tools, clip)? * SIZE_BYTES_PER_SECOND).round();
    let mut args = base(codec);
    args.extend(["--size".to_owned(), format!("{wanted}")]);
    client::transcode(tools, clip, &output, &args)?;
    let error = (output.metadata()?.len() as f64 / wanted - 1.0) * 100.0;
    let case = format!("{codec}/{} in {wanted} bytes", tools::short_name(clip));
    sheet.add(
        &case,
        "size_error",
        "%",
        &[error],
        "the file size asked for",
    );
    Ok(())
}

fn base(codec: &str) -> Vec<String> {
    let preset: &[&str] = match codec {
        "av1" => &["--preset", "10"],
        "mpeg2" => &[],
        _ => &["--preset", "veryfast"],
    };
    let args = ["--codec", codec].into_iter().chain(preset.iter().copied());
    args.map(str::to_owned).collect()
}
