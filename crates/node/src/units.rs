//! Times as people type them.

use recode_types::amount;
use std::time::Duration;

/// A time to wait, such as `30s`, `500ms` or `10m`.
/// # Errors
/// One sentence.
pub fn wait(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is not a time such as 30s, 500ms or 10m");
    let (number, unit) = amount::split_unit(text.trim());
    let ms = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(bad()),
    };
    // Some years are as good as never, and can still be added to any moment.
    amount::scaled(number, ms)
        .map(Duration::from_millis)
        .filter(|wait| *wait <= Duration::from_secs(365 * 86_400))
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        let ms = |text| wait(text).map(|wait| wait.as_millis()).ok();
        assert_eq!(ms("30s"), Some(30_000));
        assert_eq!(ms("1.5 s"), Some(1500));
        assert_eq!(ms("250ms"), Some(250));
        assert_eq!(ms("10m"), Some(600_000));
        assert_eq!(ms("2h"), Some(7_200_000));
        assert_eq!(ms("0"), Some(0));
        for bad in ["", "s", "-1s", "1 day", "1:30", "1e3s", "99999999h"] {
            let error = wait(bad).unwrap_err();
            assert!(error.contains(&format!("\"{bad}\"")), "{error}");
        }
    }
}
