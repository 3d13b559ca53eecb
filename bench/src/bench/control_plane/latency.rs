//! Times that were measured one by one.

use crate::figure::Sheet;
use std::time::Duration;

/// Every single time, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time.as_micros().try_into().unwrap_or(u32::MAX));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time in milliseconds that so many in a thousand do not exceed.
    /// # Panics
    /// Where there are none.
    pub fn permille_ms(&self, permille: usize) -> f64 {
        assert!(!self.0.is_empty(), "a percentile needs a value");
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // Nearest rank.
        let rank = (sorted.len() * permille).div_ceil(1000).max(1);
        f64::from(sorted[rank - 1]) / 1000.0
    }

    /// Adds median, 99th percentile and longest to a sheet, under these names; nothing where there are none.
    pub fn report(&self, sheet: &mut Sheet, case: &str, metrics: [&'static str; 3]) {
        if self.is_empty() {
            return;
        }
        for (metric, permille) in metrics.into_iter().zip([500, 990, 1000]) {
            sheet.add(case, metric, "ms", &[self.permille_ms(permille)], "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut times = Latencies::default();
        for ms in (1..=100).rev() {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!(times.permille_ms(500), 50.0);
        assert_eq!(times.permille_ms(990), 99.0);
        assert_eq!(times.permille_ms(1000), 100.0);
        assert_eq!(times.permille_ms(0), 1.0);
    }
}
