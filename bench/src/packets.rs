//! Video packets of a file as a plain copy shows them, and what follows from their sizes.

use crate::measure;
use crate::tools::Tools;
use anyhow::{Context as _, Result};
use std::path::Path;

/// One video packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// Decode time in seconds.
    pub dts: f64,
    /// Presentation time in seconds.
    pub pts: f64,
    /// Payload size.
    pub bytes: u64,
}

/// The packets of the first video track, in the order of the file.
/// # Errors
/// When FFmpeg cannot read it.
pub fn of(tools: &Tools, path: &Path) -> Result<Vec<Packet>> {
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(path);
    command.args([
        "-map", "0:v:0", "-c", "copy", "-copyts", "-f", "framecrc", "-",
    ]);
    let run = measure::run(&mut command)?.succeeded("listing packets")?;
    parse(&run.stdout).with_context(|| format!("unexpected packet list of {}", path.display()))
}

/// Reads `framecrc`: `#tb 0: 1/90000`, then `stream, dts, pts, duration, size, crc`.
fn parse(text: &str) -> Option<Vec<Packet>> {
    let mut tick = None;
    let mut packets = Vec::new();
    for line in text.lines() {
        if let Some(base) = line.strip_prefix("#tb 0:") {
            let (num, den) = base.trim().split_once('/')?;
            tick = Some(num.parse::<f64>().ok()? / den.parse::<f64>().ok()?);
        } else if !line.starts_with('#') {
            let mut fields = line.split(',').map(str::trim).skip(1);
            let tick = tick?;
            let dts: f64 = fields.next()?.parse().ok()?;
            let pts: f64 = fields.next()?.parse().ok()?;
            packets.push(Packet {
                dts: dts * tick,
                pts: pts * tick,
                bytes: fields.nth(1)?.parse().ok()?,
            });
        }
    }
    Some(packets)
}

/// Bytes of all packets.
pub fn payload(packets: &[Packet]) -> u64 {
    packets.iter().map(|packet| packet.bytes).sum()
}

/// Seconds from the first to the end of the last frame as shown; the last lasts as long as the usual one.
pub fn shown_seconds(packets: &[Packet]) -> f64 {
    let mut times: Vec<f64> = packets.iter().map(|packet| packet.pts).collect();
    times.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return 0.0;
    };
    let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let usual = if steps.is_empty() {
        0.0
    } else {
        crate::figure::median(&steps)
    };
    last - first + usual
}

/// What a decoder's buffer went through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// Packets that were not whole in the buffer when they were due.
    pub violations: usize,
    /// The emptiest the buffer was after a packet left, as a part of its size; negative with violations.
    pub lowest: f64,
}

/// Replays a buffer of `bufsize_bits` that fills at `maxrate_bps` and is 0.9 full at the first packet's time. A packet
/// leaves at its decode time; a full buffer waits.
pub fn replay(packets: &[Packet], maxrate_bps: f64, bufsize_bits: f64) -> Replay {
    let mut fullness = 0.9 * bufsize_bits;
    let mut result = Replay {
        violations: 0,
        lowest: 0.9,
    };
    let mut before: Option<f64> = None;
    for packet in packets {
        if let Some(before) = before {
            fullness = (fullness + (packet.dts - before) * maxrate_bps).min(bufsize_bits);
        }
        before = Some(packet.dts);
        fullness -= packet.bytes as f64 * 8.0;
        result.lowest = result.lowest.min(fullness / bufsize_bits);
        if fullness < 0.0 {
            result.violations += 1;
            // The late packet is waited for: the buffer is empty when it leaves, not in debt.
            fullness = 0.0;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "#software: Lavf\n#tb 0: 1/1000\n#media_type 0: video\n\
        0,        -40,          0,       40,     1000, 0x1\n\
        0,          0,         80,       40,      500, 0x2, F=0x0\n\
        0,         40,         40,       40,      250, 0x3, F=0x0\n";

    #[test]
    fn packets_keep_their_order_times_and_sizes() {
        let packets = parse(LIST).expect("reads");
        assert_eq!(payload(&packets), 1750);
        assert!((packets[0].dts + 0.04).abs() < 1e-12);
        assert!((shown_seconds(&packets) - 0.12).abs() < 1e-12);
        assert_eq!(parse("0, 1, 2, 3, 4, 0x5\n"), None, "no time base");
    }

    #[test]
    fn a_buffer_that_runs_dry_is_a_violation() {
        let packet = |dts: f64, bytes| Packet {
            dts,
            pts: dts,
            bytes,
        };
        // 8,000 bit buffer, 0.9 full: 7,200 bits. 500 bytes = 4,000 bits leave; half a second brings 4,000.
        let fits = [packet(0.0, 500), packet(0.5, 500)];
        let replayed = replay(&fits, 8000.0, 8000.0);
        assert_eq!(replayed.violations, 0);
        assert!((replayed.lowest - 0.4).abs() < 1e-12);
        let bursts = [packet(0.0, 500), packet(0.1, 600)];
        assert_eq!(replay(&bursts, 8000.0, 8000.0).violations, 1);
        assert_eq!(replay(&[packet(0.0, 901)], 8000.0, 8000.0).violations, 1);
    }
}
