//! A measured figure: one table row, one JSON line.

use serde::Serialize;

/// One figure with its spread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Name of the measurement, such as `versus-ffmpeg`.
    pub bench: &'static str,
    /// What it was measured on, such as `x264-medium/camera`.
    pub case: String,
    /// What was measured, such as `wall_ratio`.
    pub metric: &'static str,
    /// Median of `values`.
    pub value: f64,
    /// Unit of `value`; `ratio` and `count` have none.
    pub unit: &'static str,
    /// Number of `values`.
    pub n: usize,
    /// Lowest of `values`.
    pub min: f64,
    /// Highest of `values`.
    pub max: f64,
    /// What the runs were paired or compared with; empty where there is no other side.
    pub paired_with: String,
    /// Every single measurement, so that later runs can be added.
    pub values: Vec<f64>,
}

/// Collects the figures of one measurement and prints them as they come.
pub struct Sheet {
    bench: &'static str,
    json: bool,
    rows: Vec<Figure>,
}

impl Sheet {
    /// An empty sheet. With `json` each figure is printed at once as one JSON line, else as a table row.
    pub fn new(bench: &'static str, json: bool) -> Self {
        Self {
            bench,
            json,
            rows: Vec::new(),
        }
    }

    /// Adds a figure and prints it.
    /// # Panics
    /// When `values` is empty: a figure without a measurement is a mistake of the caller.
    pub fn add(
        &mut self,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        values: &[f64],
        paired_with: &str,
    ) {
        let figure = Figure {
            bench: self.bench,
            case: case.to_owned(),
            metric,
            value: median(values),
            unit,
            n: values.len(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            paired_with: paired_with.to_owned(),
            values: values.to_vec(),
        };
        if self.json {
            println!(
                "{}",
                serde_json::to_string(&figure).expect("a figure holds numbers and text only")
            );
        } else {
            if self.rows.is_empty() {
                println!("{}", header());
            }
            println!("{}", row(&figure));
        }
        self.rows.push(figure);
    }

    /// All figures so far.
    pub fn figures(&self) -> &[Figure] {
        &self.rows
    }
}

fn header() -> String {
    format!(
        "{:<34} {:<22} {:>12} {:<7} {:>3} {:>12} {:>12}  against",
        "case", "metric", "median", "unit", "n", "min", "max"
    )
}

fn row(figure: &Figure) -> String {
    format!(
        "{:<34} {:<22} {:>12.4} {:<7} {:>3} {:>12.4} {:>12.4}  {}",
        figure.case,
        figure.metric,
        figure.value,
        figure.unit,
        figure.n,
        figure.min,
        figure.max,
        figure.paired_with
    )
    .trim_end()
    .to_owned()
}

/// The middle value, or the mean of the two middle values.
/// # Panics
/// When `values` is empty.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "a median needs a value");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn a_figure_is_one_json_line_with_its_spread() {
        let mut sheet = Sheet::new("versus-ffmpeg", false);
        sheet.add(
            "x264/screen",
            "wall_ratio",
            "ratio",
            &[0.9, 1.0, 0.8],
            "plain",
        );
        let text = serde_json::to_string(&sheet.figures()[0]).expect("serialises");
        assert_eq!(
            text,
            r#"{"bench":"versus-ffmpeg","case":"x264/screen","metric":"wall_ratio","value":0.9,"unit":"ratio","n":3,"min":0.8,"max":1.0,"paired_with":"plain","values":[0.9,1.0,0.8]}"#
        );
    }
}
