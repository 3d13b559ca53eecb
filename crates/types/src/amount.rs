//! Numbers with units, as people type them on every command line and in job files.

/// A decimal number without sign, in thousandths of a millionth, so that no float rounds what someone typed.
pub fn nanos(text: &str) -> Option<u128> {
    let (whole, frac) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && frac.is_empty())
        || whole.len() > 18
        || frac.len() > 18
        || !digits(whole)
        || !digits(frac)
    {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let kept = &frac[..frac.len().min(9)];
    let frac: u128 = if kept.is_empty() {
        0
    } else {
        kept.parse().ok()?
    };
    Some(whole * 1_000_000_000 + frac * 10u128.pow(9 - kept.len() as u32))
}

/// Splits a leading decimal number from its unit.
pub fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `number` times `unit`, rounded down to whole units; `None` when it does not fit.
pub fn scaled(number: &str, unit: u128) -> Option<u64> {
    u64::try_from(nanos(number)?.checked_mul(unit)? / 1_000_000_000).ok()
}

/// A number of bytes: `700MB` (millions), `700MiB` (2^20), `1.5G`, `4096`.
/// # Errors
/// One sentence. More than 2^53 bytes are refused: no disk holds them, and sums of some such numbers still fit.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is not a size such as 700MB or 1.5GiB");
    let (number, unit) = split_unit(text.trim());
    let unit: u128 = match unit.to_ascii_lowercase().as_str() {
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
    scaled(number, unit)
        .filter(|bytes| *bytes <= 1 << 53)
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_tell_millions_from_mebi() {
        for (text, expected) in [
            ("700MB", 700_000_000),
            ("700M", 700_000_000),
            ("1.5 GiB", 3 << 29),
            ("4096", 4096),
            ("0", 0),
            ("2t", 2_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "GB", "-1GB", "1XB", "1 byte", "99999999TB"] {
            assert!(bytes(bad).unwrap_err().contains(&format!("\"{bad}\"")));
        }
    }
}
