//! When an encoder of a card is no longer offered, and when it is tried again. Pure: time is an argument.

use recode_media::run::Trouble;
use recode_types::task::FailureClass;
use std::time::{Duration, Instant};

/// Failures one after the other, of a kind that may be the work's own fault.
const IN_A_ROW: u32 = 3;
/// The first pause; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(3600);

/// One encoder's history.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record {
    failures: u32,
    times: u32,
    again_at: Option<Instant>,
}

impl Record {
    /// An encode ended well.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// An encode failed. `true`: the encoder is withdrawn from now on.
    pub fn failed(&mut self, class: FailureClass, trouble: Option<Trouble>, now: Instant) -> bool {
        let at_once = match trouble {
            // Others use the card: it works.
            Some(Trouble::NoSession) => return false,
            Some(Trouble::Absent | Trouble::Lost) => true,
            None => false,
        };
        if !at_once && !matches!(class, FailureClass::Killed | FailureClass::Unknown) {
            return false;
        }
        self.failures += 1;
        if self.again_at.is_some() || (!at_once && self.failures < IN_A_ROW) {
            return false;
        }
        self.withdraw(now);
        true
    }

    /// It failed its sample, again.
    pub fn withdraw(&mut self, now: Instant) {
        let pause = PAUSE * 2u32.pow(self.times.min(10));
        self.times += 1;
        self.failures = 0;
        self.again_at = Some(now + pause.min(LONGEST));
    }

    /// It passed its sample.
    pub fn passed(&mut self) {
        self.again_at = None;
    }

    /// When its sample is due again; `None`: it is not withdrawn.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_gone_is_withdrawn_at_once_and_a_crash_at_the_third_in_a_row() {
        let now = Instant::now();
        for trouble in [Trouble::Absent, Trouble::Lost] {
            let mut record = Record::default();
            assert!(record.failed(FailureClass::MissingCapability, Some(trouble), now));
        }
        let mut record = Record::default();
        let crash = |record: &mut Record| record.failed(FailureClass::Killed, None, now);
        assert!(!crash(&mut record) && !crash(&mut record));
        record.worked();
        assert!(!crash(&mut record) && !crash(&mut record) && crash(&mut record));
        assert!(!crash(&mut record), "it is withdrawn already");
    }

    #[test]
    fn neither_a_full_card_nor_a_bad_source_is_the_encoders_fault() {
        let mut record = Record::default();
        for _ in 0..9 {
            let full = Some(Trouble::NoSession);
            assert!(!record.failed(FailureClass::OutOfResources, full, Instant::now()));
            assert!(!record.failed(FailureClass::BadInput, None, Instant::now()));
        }
    }

    #[test]
    fn each_pause_is_twice_as_long_up_to_an_hour() {
        let now = Instant::now();
        let mut record = Record::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            record.withdraw(now);
            pauses.push((record.again_at().unwrap() - now).as_secs() / 60);
            record.passed();
            assert_eq!(record.again_at(), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
