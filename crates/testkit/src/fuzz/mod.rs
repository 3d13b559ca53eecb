//! Fuzzing that needs nothing but stable Rust: seeded mutations of sound input, for as much CPU time as is asked for.
//!
//! A case follows from its seed and number alone, so that one that was found can be had again. What is fuzzed says in
//! [`Verdict`] how far it came; a panic is caught and counted.

pub mod bytes;
pub mod wire;

use fastrand::Rng;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

/// What became of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Refused.
    Refused,
    /// Taken for good.
    Taken,
}

/// What came of many.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Inputs tried.
    pub cases: u64,
    /// Those that were taken for good.
    pub taken: u64,
    /// CPU time of this thread spent on them.
    pub cpu: Duration,
    /// Which cases panicked, with what they said.
    pub panics: Vec<String>,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many cases.
    Cases(u64),
    /// After so much CPU time of this thread.
    Cpu(Duration),
}

/// So many panics are enough to know.
const MOST_PANICS: usize = 20;

thread_local! {
    /// What the panic of the running case said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs cases of `seed` one after the other.
pub fn run(seed: u64, until: Until, mut case: impl FnMut(&mut Rng) -> Verdict) -> Tally {
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        SAID.with_borrow_mut(|said| *said = Some(info.to_string()));
    }));
    let begun = cpu_time();
    let mut tally = Tally::default();
    loop {
        tally.cpu = cpu_time() - begun;
        let enough = match until {
            Until::Cases(cases) => tally.cases >= cases,
            Until::Cpu(cpu) => tally.cpu >= cpu,
        };
        if enough || tally.panics.len() >= MOST_PANICS {
            break;
        }
        let number = tally.cases;
        tally.cases += 1;
        let mut rng = numbered(seed, number);
        match panic::catch_unwind(AssertUnwindSafe(|| case(&mut rng))) {
            Ok(verdict) => tally.taken += u64::from(verdict == Verdict::Taken),
            Err(_) => {
                let said = SAID.take().unwrap_or_default();
                tally
                    .panics
                    .push(format!("case {number} of seed {seed}: {said}"));
            }
        }
    }
    panic::set_hook(before);
    tally
}

/// The chance of one case: [`run`] gives it the same.
pub fn numbered(seed: u64, case: u64) -> Rng {
    // Spread by the generator itself, since neighbours begin alike.
    let mut rng = Rng::with_seed(seed.rotate_left(32) ^ case);
    Rng::with_seed(rng.u64(..))
}

fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// CPU minutes and seed of a measurement, from RECODE_MINUTES and RECODE_SEED.
///
/// # Panics
/// They are set and no numbers.
pub fn wanted() -> (u64, Until) {
    let number = |name: &str, usual: f64| {
        std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
    };
    let cpu = Duration::from_secs_f64(60.0 * number("RECODE_MINUTES", 1.0));
    (number("RECODE_SEED", 1.0) as u64, Until::Cpu(cpu))
}

impl Tally {
    /// Prints the figures of `case`, one JSON object to a line, and what panicked to standard error.
    pub fn print(&self, case: &str) {
        self.panics.iter().for_each(|panic| eprintln!("{panic}"));
        let figures = [
            ("cpu_minutes", self.cpu.as_secs_f64() / 60.0),
            ("cases", self.cases as f64),
            ("taken", self.taken as f64),
            ("panics", self.panics.len() as f64),
        ];
        for (metric, value) in figures {
            println!(
                "{}",
                serde_json::json!({"case": case, "metric": metric, "value": value})
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted_and_a_case_can_be_had_again() {
        let tally = run(7, Until::Cases(1000), |rng| {
            assert!(rng.u8(..100) != 0, "it was zero");
            Verdict::Taken
        });
        assert!(!tally.panics.is_empty(), "{tally:?}");
        let (number, said) = tally.panics[0]
            .strip_prefix("case ")
            .and_then(|rest| rest.split_once(' '))
            .unwrap();
        assert!(said.contains("it was zero"), "{said}");
        let mut again = numbered(7, number.parse().unwrap());
        assert_eq!(again.u8(..100), 0);
        assert_eq!(tally.taken + tally.panics.len() as u64, tally.cases);
    }
}
