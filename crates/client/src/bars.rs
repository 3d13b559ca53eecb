//! Progress bars, on a terminal only. Everything that writes to standard error while bars stand goes through
//! [`line`], so that neither breaks the other.

use crate::progress::{Model, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

static SCREEN: OnceLock<MultiProgress> = OnceLock::new();

/// Writes one line to standard error, above the bars where there are any.
pub fn line(text: &str) {
    let write = || {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    };
    match SCREEN.get() {
        Some(screen) => screen.suspend(write),
        None => write(),
    }
}

/// The bars of one Job.
pub struct Bars {
    bars: BTreeMap<Phase, ProgressBar>,
}

impl Bars {
    /// Bars, unless `quiet` or standard error is not a terminal.
    pub fn new(quiet: bool) -> Option<Self> {
        if quiet || !std::io::stderr().is_terminal() {
            return None;
        }
        SCREEN.get_or_init(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))
        });
        Some(Self {
            bars: BTreeMap::new(),
        })
    }

    /// Draws what the model says.
    pub fn show(&mut self, model: &Model) {
        let screen = SCREEN.get().expect("set when the bars were made");
        for line in model.lines() {
            let bar = self.bars.entry(line.phase).or_insert_with(|| {
                screen.add(ProgressBar::no_length().with_prefix(line.phase.name()))
            });
            if bar.is_finished() {
                if line.finished {
                    continue;
                }
                bar.reset();
            }
            if line.total > 0 {
                bar.set_style(style(
                    "{prefix:>7} {bar:32} {percent:>3}%  {pos}/{len}  {msg}",
                ));
                bar.set_length(line.total);
                bar.set_position(line.done);
            } else {
                bar.set_style(style("{prefix:>7} {spinner} {msg}"));
                bar.tick();
            }
            bar.set_message(line.note.clone());
            if line.finished {
                if line.total == 0 {
                    bar.set_style(style("{prefix:>7} done {msg}"));
                }
                bar.abandon();
            }
        }
    }

    /// Takes the bars away: what follows is the result.
    pub fn clear(&mut self) {
        if let Some(screen) = SCREEN.get() {
            // The terminal may be gone; the result is still to be printed.
            let _ = screen.clear();
        }
        self.bars.clear();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One bar, for work outside any Job.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for frames, unless `quiet` or standard error is not a terminal.
    pub fn frames(what: &'static str, quiet: bool) -> Option<Self> {
        Self::new(what, quiet, "{pos}/{len}  {per_sec}")
    }

    /// The same for bytes.
    pub fn bytes(what: &'static str, quiet: bool) -> Option<Self> {
        Self::new(
            what,
            quiet,
            "{decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}",
        )
    }

    fn new(what: &'static str, quiet: bool, counts: &str) -> Option<Self> {
        (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::no_length().with_prefix(what);
            bar.set_style(style(&format!(
                "{{prefix:>7}} {{bar:32}} {{percent:>3}}%  {counts}  ETA {{eta}}"
            )));
            Self(bar)
        })
    }

    /// Draws it.
    pub fn show(&mut self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates above are valid")
        .progress_chars("━╸ ")
}
