//! Bjøntegaard's rate difference: how many more bits one encoder needs than another for the same quality.
//!
//! The logarithm of the rate is interpolated over quality by a monotone piecewise cubic (Fritsch and Carlson) through
//! the measured points, and the mean difference over the common quality interval is taken. The piecewise form does not
//! swing between points as a single polynomial through five points can.

/// One measured point of a rate-distortion curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Bytes or bits per second; any unit, the same for both curves.
    pub rate: f64,
    /// Quality, higher is better.
    pub quality: f64,
}

/// Percent more rate that `test` needs than `reference` at equal quality; negative is better. `None` when a curve has
/// fewer than two different qualities, is not rising, or the two have no quality in common.
pub fn bd_rate(reference: &[Point], test: &[Point]) -> Option<f64> {
    let (one, two) = (Curve::through(reference)?, Curve::through(test)?);
    let low = one.low().max(two.low());
    let high = one.high().min(two.high());
    if high <= low {
        return None;
    }
    let difference = (two.integral(low, high) - one.integral(low, high)) / (high - low);
    Some((difference.exp() - 1.0) * 100.0)
}

/// ln(rate) as a function of quality.
struct Curve {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Curve {
    fn through(points: &[Point]) -> Option<Self> {
        let mut points: Vec<Point> = points.to_vec();
        points.sort_by(|a, b| a.quality.total_cmp(&b.quality));
        points.dedup_by(|a, b| a.quality == b.quality);
        let rising = points.windows(2).all(|pair| pair[0].rate < pair[1].rate);
        if points.len() < 2 || !rising || points[0].rate <= 0.0 {
            return None;
        }
        let x: Vec<f64> = points.iter().map(|point| point.quality).collect();
        let y: Vec<f64> = points.iter().map(|point| point.rate.ln()).collect();
        let slope = monotone_slopes(&x, &y);
        Some(Self { x, y, slope })
    }

    fn low(&self) -> f64 {
        self.x[0]
    }

    fn high(&self) -> f64 {
        self.x[self.x.len() - 1]
    }

    fn at(&self, quality: f64) -> f64 {
        let last = self.x.len() - 2;
        let piece = self.x[1..=last]
            .iter()
            .take_while(|&&knot| knot <= quality)
            .count();
        let width = self.x[piece + 1] - self.x[piece];
        let t = (quality - self.x[piece]) / width;
        let (t2, t3) = (t * t, t * t * t);
        (2.0 * t3 - 3.0 * t2 + 1.0) * self.y[piece]
            + (t3 - 2.0 * t2 + t) * width * self.slope[piece]
            + (3.0 * t2 - 2.0 * t3) * self.y[piece + 1]
            + (t3 - t2) * width * self.slope[piece + 1]
    }

    /// Simpson's rule over many thin strips: the curve is cubic in each piece, so what is left of the error is rounding.
    fn integral(&self, low: f64, high: f64) -> f64 {
        const STRIPS: u32 = 2000;
        let width = (high - low) / f64::from(STRIPS);
        (0..STRIPS)
            .map(|strip| {
                let left = low + f64::from(strip) * width;
                (self.at(left) + 4.0 * self.at(left + width / 2.0) + self.at(left + width)) * width
                    / 6.0
            })
            .sum()
    }
}

/// Slopes at the points such that the curve between them neither falls nor overshoots.
fn monotone_slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let secants: Vec<f64> = (1..x.len())
        .map(|i| (y[i] - y[i - 1]) / (x[i] - x[i - 1]))
        .collect();
    let mut slopes = vec![secants[0]];
    for i in 1..secants.len() {
        let (left, right) = (x[i] - x[i - 1], x[i + 1] - x[i]);
        let (w1, w2) = (2.0 * right + left, right + 2.0 * left);
        slopes.push((w1 + w2) / (w1 / secants[i - 1] + w2 / secants[i]));
    }
    slopes.push(secants[secants.len() - 1]);
    slopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(factor: f64) -> Vec<Point> {
        [
            (100.0, 60.0),
            (220.0, 75.0),
            (450.0, 86.0),
            (900.0, 93.0),
            (2000.0, 97.0),
        ]
        .map(|(rate, quality)| Point {
            rate: rate * factor,
            quality,
        })
        .to_vec()
    }

    #[test]
    fn a_constant_factor_in_rate_is_that_factor() {
        let rate = bd_rate(&curve(1.0), &curve(1.01)).expect("curves overlap");
        assert!((rate - 1.0).abs() < 1e-9, "{rate}");
        let same = bd_rate(&curve(1.0), &curve(1.0)).expect("curves overlap");
        assert!(same.abs() < 1e-12, "{same}");
    }

    #[test]
    fn better_quality_at_the_same_rate_is_negative() {
        let better: Vec<Point> = curve(1.0)
            .into_iter()
            .map(|point| Point {
                quality: point.quality + 1.0,
                ..point
            })
            .collect();
        assert!(bd_rate(&curve(1.0), &better).expect("curves overlap") < -3.0);
    }

    #[test]
    fn curves_that_cannot_be_compared_give_nothing() {
        let far: Vec<Point> = curve(1.0)
            .into_iter()
            .map(|point| Point {
                quality: point.quality + 90.0,
                ..point
            })
            .collect();
        assert_eq!(bd_rate(&curve(1.0), &far), None);
        assert_eq!(bd_rate(&curve(1.0)[..1], &curve(1.0)), None);
        let mut falling = curve(1.0);
        falling[2].rate = 1.0;
        assert_eq!(bd_rate(&falling, &curve(1.0)), None);
    }
}
