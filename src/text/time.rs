//! Times as people and programs read them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 before.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same as Kafka counts them.
pub fn timestamp(time: SystemTime) -> i64 {
    i64::try_from(millis(time)).unwrap_or(i64::MAX)
}

/// A time from milliseconds since 1970; the latest that there is where the clock knows no such time.
pub fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// A time for people: as [`rfc3339`] has it, or a question mark.
pub fn shown(time: SystemTime) -> String {
    rfc3339(timestamp(time)).unwrap_or_else(|| "?".into())
}

/// Milliseconds since 1970 as RFC 3339 has it; `None` below 0 and past the year 9999.
pub fn rfc3339(milliseconds: i64) -> Option<String> {
    let milliseconds = u64::try_from(milliseconds).ok()?;
    let (seconds, fraction) = (milliseconds / 1_000, milliseconds % 1_000);
    let (year, month, day) = date(seconds / 86_400)?;
    let of_day = seconds % 86_400;
    let mut text = String::with_capacity(24);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:03}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    );
    Some(text)
}

/// The civil date so many days after 1970-01-01. Counted in eras of 400 years from 0000-03-01, so that a leap
/// day is the last of its year.
fn date(days: u64) -> Option<(u64, u64, u64)> {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_TO_10000: u64 = 2_932_897;
    if days >= DAYS_TO_10000 {
        return None;
    }
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    Some((era * 400 + year_of_era + u64::from(month <= 2), month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(milliseconds).as_deref(), Some(text));
        }
        for milliseconds in [-1, i64::MIN, 253_402_300_800_000, i64::MAX] {
            assert_eq!(rfc3339(milliseconds), None);
        }
    }
}
