//! Values with units, as people type them.

use std::time::Duration;

/// A number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.trim()))
}

/// A time to wait, such as `30s`, `500ms` or `10m`.
/// # Errors
/// One sentence.
pub fn wait(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is not a time such as 30s, 500ms or 10m");
    let (number, unit) = split(text.trim()).ok_or_else(bad)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    // Some years are as good as never, and can still be added to any moment.
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|wait| *wait <= Duration::from_secs(365 * 86_400))
        .ok_or_else(bad)
}

/// A number of bytes, such as `700MB` or `1.5GiB`.
/// # Errors
/// One sentence.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is not a size such as 700MB or 1.5GiB");
    let (number, unit) = split(text.trim()).ok_or_else(bad)?;
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    let bytes = number * unit as f64;
    // Beyond this a number of bytes has no exact form here, and no disk either.
    (bytes <= (1u64 << 53) as f64)
        .then_some(bytes as u64)
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_type_them() {
        for (text, expected) in [
            ("700MB", 700_000_000),
            ("1.5 GiB", 3 << 29),
            ("0", 0),
            ("12", 12),
            ("2t", 2_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "GB", "-1GB", "1 byte", "99999999TB"] {
            assert!(bytes(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

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
