//! What `-progress` prints: blocks of `key=value` lines, each block ended by a `progress` line.

use std::time::Duration;

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Frames that left the first video output.
    pub frames: u64,
    /// Bytes written so far to outputs that know.
    pub bytes: u64,
    /// Frames per second over the whole run.
    pub fps: f64,
    /// Latest timestamp written.
    pub time: Duration,
    /// FFmpeg said that this is the last report.
    pub ended: bool,
}

/// Collects lines into reports.
#[derive(Debug, Default)]
pub struct Reader {
    open: Progress,
}

impl Reader {
    /// Takes one line; answers with a report when the line ends one. Unknown lines are passed over.
    pub fn line(&mut self, line: &str) -> Option<Progress> {
        let (key, value) = line.trim().split_once('=')?;
        let value = value.trim();
        match key.trim() {
            "frame" => self.open.frames = value.parse().unwrap_or(self.open.frames),
            "fps" => self.open.fps = value.parse().unwrap_or(self.open.fps),
            "total_size" => self.open.bytes = value.parse().unwrap_or(self.open.bytes),
            "out_time_us" => {
                self.open.time = value.parse().map_or(self.open.time, Duration::from_micros);
            }
            "progress" => {
                self.open.ended = value == "end";
                return Some(self.open);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_ends_with_its_progress_line() {
        let mut reader = Reader::default();
        let text = "frame=48\nfps=24.50\nstream_0_0_q=28.0\nbitrate= 12.5kbits/s\ntotal_size=1024\nout_time_us=2000000\nout_time=00:00:02.000000\ndup_frames=0\nspeed=1.2x\n";
        assert!(text.lines().all(|l| reader.line(l).is_none()));
        let report = reader.line("progress=continue").unwrap();
        assert_eq!(
            report,
            Progress {
                frames: 48,
                bytes: 1024,
                fps: 24.5,
                time: Duration::from_secs(2),
                ended: false
            }
        );
        assert!(reader.line("progress=end").unwrap().ended);
    }

    #[test]
    fn what_is_not_available_keeps_its_last_value() {
        let mut reader = Reader::default();
        for line in [
            "frame=3",
            "total_size=N/A",
            "out_time_us=N/A",
            "",
            "=",
            "nonsense",
        ] {
            assert!(reader.line(line).is_none());
        }
        assert_eq!(reader.line("progress=end").unwrap().frames, 3);
    }
}
