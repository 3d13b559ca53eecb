//! How far a Job is, as a person wants to see it. Pure: events, progress and the clock come in, lines go out.

use recode_types::{Event, EventKind, Progress, TaskKey};
use std::collections::{BTreeSet, VecDeque};

/// What a Job does, in the order in which people are shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Learning what the Source is.
    Probe,
    /// Finding the knob for a bitrate or a size.
    Trial,
    /// The audio tracks that are encoded, and further video tracks.
    Audio,
    /// The Chunks; scores are made with them.
    Encode,
    /// Scoring a file made elsewhere.
    Score,
    /// Chunks to Output.
    Stitch,
    /// The one run of a command job.
    Command,
}

impl Phase {
    /// Which phase a Task belongs to.
    pub fn of(task: TaskKey) -> Self {
        match task {
            TaskKey::Probe { .. } => Self::Probe,
            TaskKey::Trial { .. } => Self::Trial,
            TaskKey::Audio { .. } | TaskKey::Whole { .. } => Self::Audio,
            TaskKey::Encode { .. } => Self::Encode,
            TaskKey::Score { .. } => Self::Score,
            TaskKey::Stitch { .. } | TaskKey::Command { .. } => Self::Stitch,
        }
    }

    /// The word shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Trial => "trial",
            Self::Audio => "audio",
            Self::Encode => "encode",
            Self::Score => "score",
            Self::Stitch => "stitch",
            Self::Command => "command",
        }
    }
}

/// One line of the display.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Which phase.
    pub phase: Phase,
    /// Finished, in the unit of `total`.
    pub done: u64,
    /// All of it; 0 where nobody knows.
    pub total: u64,
    /// Speed and such, short.
    pub note: String,
    /// Nothing more will happen in this phase.
    pub finished: bool,
}

/// How much of the past the speed is measured over.
const WINDOW_MS: u64 = 15_000;

/// All that has been heard of one Job.
#[derive(Debug, Default)]
pub struct Model {
    running: BTreeSet<Phase>,
    /// Tasks other than encodes that were seen running and are not known to be done, and those that are. A coordinator that
    /// leads since a moment ago has not heard yet what runs: silence says nothing.
    open: BTreeSet<TaskKey>,
    done: BTreeSet<TaskKey>,
    seen: BTreeSet<Phase>,
    finished: BTreeSet<Phase>,
    planned: bool,
    /// Nothing ran when progress was last heard.
    idle: bool,
    frames_total: u64,
    frames_done: u64,
    /// Media time of one frame in microseconds, from attempts that say both.
    us_per_frame: Option<f64>,
    /// (time, frames done), oldest first.
    samples: VecDeque<(u64, u64)>,
    /// Media time of audio and stitch, in microseconds.
    audio_us: u64,
    stitch_us: u64,
}

impl Model {
    /// Takes in an event.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Submitted => {
                self.seen.insert(Phase::Probe);
                self.running.insert(Phase::Probe);
            }
            EventKind::Planned { frames, .. } => {
                self.planned = true;
                self.frames_total = self.frames_total.max(*frames);
                self.finished.insert(Phase::Probe);
                self.running.remove(&Phase::Probe);
            }
            EventKind::Replanning { .. } => {
                *self = Self::default();
                self.seen.insert(Phase::Probe);
                self.running.insert(Phase::Probe);
            }
            EventKind::TaskDone { task, .. } => {
                let command = !self.planned && matches!(task, TaskKey::Command { .. });
                let phase = match command {
                    true => Phase::Command,
                    false => Phase::of(*task),
                };
                if command {
                    self.seen.remove(&Phase::Probe);
                }
                self.seen.insert(phase);
                if phase != Phase::Encode {
                    self.open.remove(task);
                    self.done.insert(*task);
                    self.finish(phase);
                }
            }
            EventKind::Reopened { .. } => {
                // Frames that are encoded again count again.
                self.samples.clear();
                self.frames_done = 0;
            }
            EventKind::Ended { .. } => {
                self.finished.extend(self.seen.iter().copied());
                self.running.clear();
            }
            EventKind::Retried { .. } => {
                // Whatever is not in the log runs again.
                self.open.clear();
                self.done.clear();
                self.finished.clear();
            }
            EventKind::AttemptFailed { .. }
            | EventKind::OutputReady { .. }
            | EventKind::Warning { .. }
            | EventKind::Paused
            | EventKind::Resumed => {}
        }
    }

    /// Takes in progress, as of `now_ms` on any clock that does not go back.
    pub fn progress(&mut self, progress: &Progress, now_ms: u64) {
        self.frames_total = self.frames_total.max(progress.frames_total);
        self.idle = progress.running.is_empty();
        let mut frames = progress.frames_done;
        let mut running = BTreeSet::new();
        for attempt in &progress.running {
            let mut phase = Phase::of(attempt.task.key);
            if !self.planned && matches!(attempt.task.key, TaskKey::Command { .. }) {
                // Without a Plan it is a command job, which has no probe.
                phase = Phase::Command;
                self.seen.remove(&Phase::Probe);
            }
            if self.done.contains(&attempt.task.key) {
                // What a node said before its end was known.
                continue;
            }
            running.insert(phase);
            if phase != Phase::Encode {
                self.open.insert(attempt.task.key);
            }
            match phase {
                Phase::Encode => {
                    frames += attempt.frames;
                    if attempt.frames > 20 && attempt.media_us > 0 {
                        // What an encoder holds back counts as frames but not as time yet: the largest is nearest.
                        let us = attempt.media_us as f64 / attempt.frames as f64;
                        self.us_per_frame = Some(self.us_per_frame.map_or(us, |most| most.max(us)));
                    }
                }
                Phase::Audio => self.audio_us = self.audio_us.max(attempt.media_us),
                Phase::Stitch | Phase::Command => {
                    self.stitch_us = self.stitch_us.max(attempt.media_us);
                }
                Phase::Probe | Phase::Trial | Phase::Score => {}
            }
        }
        if !self.planned
            && !self.seen.contains(&Phase::Command)
            && !running.contains(&Phase::Command)
        {
            running.insert(Phase::Probe);
        }
        for phase in &running {
            self.finished.remove(phase);
        }
        self.seen.extend(running.iter().copied());
        self.running = running;
        // An attempt that is tried again starts from nothing; what is shown never goes backwards.
        self.frames_done = self.frames_done.max(frames).min(self.frames_total);
        if self.frames_total > 0 && progress.frames_done >= self.frames_total {
            self.finished.insert(Phase::Encode);
        }
        self.samples.push_back((now_ms, self.frames_done));
        while self
            .samples
            .front()
            .is_some_and(|(at, _)| now_ms.saturating_sub(*at) > WINDOW_MS)
            && self.samples.len() > 2
        {
            self.samples.pop_front();
        }
    }

    /// Ends a phase of which nothing is open. The probe ends with the Plan, the encodes with their last frame.
    fn finish(&mut self, phase: Phase) {
        let open = self.open.iter().any(|task| Phase::of(*task) == phase);
        if !open && phase != Phase::Probe {
            self.finished.insert(phase);
        }
    }

    /// Nothing of the Job runs, as far as was heard.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Frames per second over the last seconds.
    pub fn frames_per_second(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let ms = last.0.checked_sub(first.0).filter(|ms| *ms >= 200)?;
        let frames = last.1.checked_sub(first.1).filter(|frames| *frames > 0)?;
        Some(frames as f64 * 1000.0 / ms as f64)
    }

    /// Seconds until the last frame is encoded.
    pub fn eta_seconds(&self) -> Option<f64> {
        let left = self.frames_total.checked_sub(self.frames_done)?;
        Some(left as f64 / self.frames_per_second()?)
    }

    /// The display, in order of phases.
    pub fn lines(&self) -> Vec<Line> {
        self.seen
            .iter()
            .map(|&phase| {
                let finished = self.finished.contains(&phase);
                let (done, total, note) = match phase {
                    Phase::Encode => (self.frames_done, self.frames_total, self.encode_note()),
                    Phase::Audio => (0, 0, clock(self.audio_us)),
                    Phase::Stitch | Phase::Command => (0, 0, clock(self.stitch_us)),
                    Phase::Probe | Phase::Trial | Phase::Score => (0, 0, String::new()),
                };
                Line {
                    phase,
                    done,
                    total,
                    note,
                    finished,
                }
            })
            .collect()
    }

    fn encode_note(&self) -> String {
        let Some(fps) = self.frames_per_second() else {
            return String::new();
        };
        let mut note = format!("{fps:.1} frames/s");
        if let Some(us) = self.us_per_frame {
            note += &format!("  {:.2}x", fps * us / 1e6);
        }
        if let Some(eta) = self.eta_seconds().filter(|eta| *eta >= 1.0) {
            let s = eta.round() as u64;
            note += &if s >= 3600 {
                format!("  ETA {}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
            } else {
                format!("  ETA {}:{:02}", s / 60, s % 60)
            };
        }
        note
    }
}

fn clock(us: u64) -> String {
    if us == 0 {
        return String::new();
    }
    let s = us / 1_000_000;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{AttemptProgress, JobId, TaskId};

    fn event(kind: EventKind) -> Event {
        Event {
            index: 0,
            at_ms: 0,
            kind,
        }
    }
    fn running(key: TaskKey, frames: u64, media_us: u64) -> AttemptProgress {
        AttemptProgress {
            task: TaskId { job: JobId(1), key },
            attempt: 1,
            frames,
            frames_total: 100,
            media_us,
        }
    }
    fn encoding(done: u64, frames: u64) -> Progress {
        Progress {
            frames_done: done,
            frames_total: 1000,
            running: vec![running(
                TaskKey::Encode {
                    group: 0,
                    segment: 0,
                },
                frames,
                frames * 40_000,
            )],
            ..Progress::default()
        }
    }
    fn planned() -> Event {
        event(EventKind::Planned {
            segments: 4,
            frames: 1000,
            warnings: vec![],
        })
    }

    #[test]
    fn speed_and_eta_come_from_what_was_done_since_the_start_not_from_what_a_resume_found() {
        let mut model = Model::default();
        model.event(&event(EventKind::Submitted));
        model.event(&planned());
        model.progress(&encoding(500, 0), 0);
        model.progress(&encoding(500, 100), 1000);
        assert_eq!(model.frames_per_second(), Some(100.0));
        assert_eq!(model.eta_seconds(), Some(4.0));
        let line = model
            .lines()
            .into_iter()
            .find(|l| l.phase == Phase::Encode)
            .unwrap();
        assert_eq!((line.done, line.total), (600, 1000));
        assert_eq!(line.note, "100.0 frames/s  4.00x  ETA 0:04");
    }

    #[test]
    fn a_lost_attempt_never_moves_the_bar_backwards() {
        let mut model = Model::default();
        model.event(&planned());
        model.progress(&encoding(100, 80), 0);
        model.progress(&encoding(100, 0), 500);
        assert_eq!(model.lines().last().unwrap().done, 180);
    }

    #[test]
    fn phases_appear_when_they_start_and_finish_when_they_end() {
        let mut model = Model::default();
        model.event(&event(EventKind::Submitted));
        assert_eq!(model.lines().len(), 1);
        model.event(&planned());
        assert!(model.lines()[0].finished);
        let mut p = encoding(900, 10);
        p.running
            .push(running(TaskKey::Audio { output: 0 }, 0, 61_000_000));
        model.progress(&p, 0);
        let names: Vec<_> = model.lines().iter().map(|l| l.phase.name()).collect();
        assert_eq!(names, ["probe", "audio", "encode"]);
        assert_eq!(model.lines()[1].note, "0:01:01");
        // A new Leader has not heard of it yet.
        model.progress(&Progress::default(), 5);
        assert!(!model.lines()[1].finished && model.is_idle());
        model.event(&event(EventKind::TaskDone {
            task: TaskKey::Audio { output: 0 },
            attempt: 1,
            node: recode_types::NodeId(1),
            frames: 0,
            bytes: 1,
            reused: false,
        }));
        assert!(model.lines()[1].finished);
        // What a node said a moment before is heard a moment later.
        model.progress(&p, 6);
        model.progress(&encoding(950, 10), 7);
        model.progress(
            &Progress {
                frames_done: 1000,
                frames_total: 1000,
                ..Progress::default()
            },
            10,
        );
        assert!(
            model.lines().iter().all(|l| l.finished),
            "{:?}",
            model.lines()
        );
    }
}
