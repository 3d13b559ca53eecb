//! Points in time, as people read them.

use crate::units::show_seconds;

/// `2026-11-21 12:50:45 UTC`, from milliseconds since 1970.
/// # Source
/// Days to dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub fn show_time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days since 1 March of the year 0; eras of 400 years are all alike.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March, so that the day that comes and goes is the last.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} UTC")
}

/// `12 s ago`, `5 min ago`, `3 h ago`, `12 days ago`. A clock that is ahead of ours counts as now.
pub fn show_ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// How long it took from one point in time to another.
pub fn show_took(from_ms: u64, to_ms: u64) -> String {
    show_seconds(to_ms.saturating_sub(from_ms) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(show_time(seconds * 1000), expected);
        }
    }

    #[test]
    fn ages_are_short() {
        let at = |seconds: u64| show_ago(1_000, 1_000 + seconds * 1000);
        assert_eq!(at(59), "59 s ago");
        assert_eq!(at(3_599), "59 min ago");
        assert_eq!(at(7_200), "2 h ago");
        assert_eq!(at(200_000), "2 days ago");
        assert_eq!(show_ago(5, 0), "0 s ago");
    }
}
