//! Time is integers: timestamps are counts of a rational time base, end to end. No float seconds, no nominal rate.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A fraction. `den` is never 0 in a value that came from [`Rational::new`]; it is not reduced unless asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rational {
    /// Numerator.
    pub num: i64,
    /// Denominator, positive.
    pub den: i64,
}

/// Seconds per tick, such as 1/90000.
pub type TimeBase = Rational;

impl Rational {
    /// A fraction with a positive denominator.
    /// # Panics
    /// When `den` is 0.
    pub const fn new(num: i64, den: i64) -> Self {
        assert!(den != 0, "a fraction needs a denominator");
        if den < 0 {
            Self {
                num: -num,
                den: -den,
            }
        } else {
            Self { num, den }
        }
    }

    /// The same value with the smallest terms.
    pub fn reduced(self) -> Self {
        let g = gcd(self.num.unsigned_abs(), self.den.unsigned_abs()).max(1) as i64;
        Self {
            num: self.num / g,
            den: self.den / g,
        }
    }

    /// For display and prediction only, never for timestamps.
    pub fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// `ticks` of this time base in ticks of `to`, rounded to nearest, halves away from zero (as FFmpeg rounds).
    pub fn rescale(self, ticks: i64, to: TimeBase) -> i64 {
        let num = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let den = i128::from(self.den) * i128::from(to.num);
        let half = den / 2;
        let out = if num >= 0 {
            (num + half) / den
        } else {
            (num - half) / den
        };
        out as i64
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl std::str::FromStr for Rational {
    type Err = String;
    /// Reads `30000/1001`, `30000:1001`, `25` and `23.976`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a fraction such as 30000/1001 or 25");
        let parse = |s: &str| s.trim().parse::<i64>().map_err(|_| bad());
        if let Some((n, d)) = text.split_once(['/', ':']) {
            let (n, d) = (parse(n)?, parse(d)?);
            return if d == 0 {
                Err(bad())
            } else {
                Ok(Self::new(n, d))
            };
        }
        if let Some((whole, frac)) = text.split_once('.') {
            if frac.is_empty() || frac.len() > 9 || !frac.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            let den = 10i64.pow(frac.len() as u32);
            let whole = parse(whole)?;
            return Ok(Self::new(whole * den + parse(frac)?, den).reduced());
        }
        Ok(Self::new(parse(text)?, 1))
    }
}

/// Greatest common divisor; `gcd(0, n)` is `n`.
pub fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_to_nearest_away_from_zero() {
        let ms = Rational::new(1, 1000);
        let s = Rational::new(1, 1);
        assert_eq!(ms.rescale(1500, s), 2);
        assert_eq!(ms.rescale(-1500, s), -2);
        assert_eq!(ms.rescale(1499, s), 1);
        assert_eq!(
            Rational::new(1001, 30000).rescale(30000, Rational::new(1, 90000)),
            90_090_000
        );
    }

    #[test]
    fn fractions_read_as_people_write_them() {
        assert_eq!(
            "30000/1001".parse::<Rational>().unwrap(),
            Rational::new(30000, 1001)
        );
        assert_eq!(
            "23.976".parse::<Rational>().unwrap(),
            Rational::new(2997, 125)
        );
        assert!("1/0".parse::<Rational>().is_err());
        assert!("fast".parse::<Rational>().is_err());
    }
}
