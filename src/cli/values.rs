//! Values as they are written on a command line: `50ms`, `8MiB`, `200ms..60s`. Each error says what would do.

use crate::relay::adaptive_limit::ConcurrencyBounds;
use crate::relay::percent::Percent;
use crate::relay::rate::Rate;
use crate::relay::rejection_limit::{RejectionBound, RejectionLimit};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

/// The longest duration taken: a year. It keeps every sum of times within what a clock can hold.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Reads `50ms`, `10s`, `5m`, `1h`, `7d`; `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a duration: write it with a unit, such as 50ms, 10s, 5m or 1h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let duration = number.checked_mul(milliseconds).map(Duration::from_millis);
    duration.filter(|d| *d <= LONGEST).ok_or_else(|| format!("'{text}' is too long: take at most 366d"))
}

/// A duration that is not zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it can't be 0: take at least 1ms".into()),
        duration => Ok(duration),
    }
}

/// Reads `MIN..MAX`.
pub(crate) fn range(text: &str) -> Result<(Duration, Duration), String> {
    let (min, max) =
        text.split_once("..").ok_or_else(|| format!("'{text}' is not MIN..MAX, such as 200ms..60s"))?;
    let (min, max) = (duration(min)?, duration(max)?);
    if min.is_zero() || min > max {
        return Err(format!("'{text}' is not a range: MIN has to be above 0 and not above MAX"));
    }
    Ok((min, max))
}

/// Reads `8MiB`, `64KiB`, `1MB` or a plain number of bytes.
pub(crate) fn bytes(text: &str) -> Result<Bytes, String> {
    let bad = || format!("'{text}' is not a size: write it as 8MiB, 512KiB or a number of bytes");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: usize = number.parse().map_err(|_| bad())?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    match number.checked_mul(factor) {
        Some(0) => Err("it can't be 0: take at least 64KiB or so".into()),
        Some(bytes) => Ok(Bytes(bytes)),
        None => Err(bad()),
    }
}

/// Reads `100/s`, `600/m`, `1000/h`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let bad = || format!("'{text}' is not a rate: write it as 100/s, 600/m or 1000/h");
    let (count, unit) = text.split_once('/').ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(bad()),
    };
    let count: u32 = count.parse().map_err(|_| bad())?;
    let count = NonZeroU32::new(count).ok_or("it can't be 0: nothing would ever be sent")?;
    Rate::new(count, Duration::from_secs(seconds)).ok_or_else(|| format!("'{text}' is too high a rate"))
}

/// Reads `100/1h` and `5%/1h`.
pub(crate) fn threshold(text: &str) -> Result<RejectionLimit, String> {
    let (most, span) =
        text.split_once('/').ok_or_else(|| format!("'{text}' is not N/TIME, such as 100/1h or 5%/1h"))?;
    let most = match most.strip_suffix('%') {
        Some(_) => RejectionBound::Share(percent(most)?),
        None => RejectionBound::Count(
            most.parse().map_err(|_| format!("'{most}' is not a whole number or a percentage such as 5%"))?,
        ),
    };
    Ok(RejectionLimit { most, span: positive_duration(span)? })
}

/// Reads `auto` and `auto:4..128`; nothing of what doesn't begin so.
pub(crate) fn auto_bounds(text: &str) -> Result<Option<ConcurrencyBounds>, String> {
    /// More threads than this are no longer at home on a small host.
    const MOST: usize = 1_024;
    let Some(rest) = text.strip_prefix("auto") else { return Ok(None) };
    let bad =
        || format!("'{text}' is not auto or auto:MIN..MAX, such as auto:4..128, with MAX at most {MOST}");
    let range = if rest.is_empty() { "1..64" } else { rest.strip_prefix(':').ok_or_else(bad)? };
    let (min, max) = range.split_once("..").ok_or_else(bad)?;
    let (min, max) = (count(min)?, count(max)?);
    let bounds = ConcurrencyBounds::new(min, max).filter(|_| max.get() <= MOST);
    bounds.map(Some).ok_or_else(bad)
}

/// Reads `20%`.
pub(crate) fn percent(text: &str) -> Result<Percent, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    number
        .and_then(Percent::new)
        .ok_or_else(|| format!("'{text}' is not a percentage: write it as 1% to 99%"))
}

/// Reads a count of at least 1.
pub(crate) fn count(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("it can't be 0: take at least 1".into()),
        Ok(n) => Ok(NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)),
        Err(_) => Err(format!("'{text}' is not a whole number")),
    }
}

/// Reads `204` and `503,204`: final statuses.
pub(crate) fn statuses(text: &str) -> Result<Vec<u16>, String> {
    /// More than anybody writes down.
    const MOST: usize = 100;
    let status = |part: &str| part.trim().parse().ok().filter(|status| (200..600).contains(status));
    let statuses: Vec<u16> = text
        .split(',')
        .take(MOST + 1)
        .map(|part| status(part).ok_or_else(|| format!("'{part}' is not a status from 200 to 599")))
        .collect::<Result<_, _>>()?;
    if statuses.len() > MOST { Err(format!("at most {MOST} statuses are taken")) } else { Ok(statuses) }
}

/// Reads `0,1,7`.
pub(crate) fn partitions(text: &str) -> Result<Vec<i32>, String> {
    let number = |part: &str| part.trim().parse::<i32>().ok().filter(|number| *number >= 0);
    let mut numbers: Vec<i32> = text
        .split(',')
        .map(|part| number(part).ok_or_else(|| format!("'{part}' is not a partition number, such as 0")))
        .collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Reads `HOST:PORT,…`; the port is 9092 where it is left out.
pub(crate) fn brokers(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|part| broker(part.trim())).collect()
}

fn broker(text: &str) -> Result<String, String> {
    let bad = || format!("'{text}' is not HOST:PORT, such as localhost:9092");
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(bad());
    }
    // An IPv6 address has colons of its own, and stands in brackets when a port follows.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') == host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    match port {
        _ if host.is_empty() => Err(bad()),
        None => Ok(format!("{host}:9092")),
        Some(port) => match port.parse::<u16>() {
            Ok(1..) => Ok(text.to_owned()),
            _ => Err(bad()),
        },
    }
}

/// Reads a point in time, as milliseconds since 1970: `2026-11-24`, `2026-11-24T08:00:00Z` (RFC 3339, in UTC) or the
/// milliseconds themselves. `None` for anything else.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        let digits = |part: &str| {
            (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        };
        text.split(by).map(digits).collect()
    };
    let [year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = numbers(date, '-')?[..] else { return None };
    let time = time.strip_suffix('Z')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour @ 0..=23, minute @ 0..=59, second @ 0..=60] = numbers(time, ':')?[..] else { return None };
    let fraction = format!("{fraction:0<3}");
    let milliseconds: i64 =
        fraction.get(..3).filter(|f| f.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    // Days since 1970 in the calendar whose year begins in March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + milliseconds)
}

/// The one of `words` that is most like `word`, if any is like it at all.
pub(crate) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = words.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (distance, nearest) = scored.min()?;
    (distance <= 2 || distance <= word.len() / 3).then_some(nearest)
}

/// How many letters have to be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    /// Longer words are not worth comparing.
    const LONGEST_WORD: usize = 64;
    if a.len() > LONGEST_WORD || b.len() > LONGEST_WORD {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_take_units() {
        for (text, ms) in
            [("0", 0), ("0ms", 0), ("50ms", 50), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "ms", "5 s", "-1s", "1.5s", "5sec", "99999999999999999999s", "400d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn sizes_take_units() {
        for (text, bytes_of_it) in [("1", 1), ("64KiB", 65_536), ("8MiB", 8 << 20), ("1MB", 1_000_000)] {
            assert_eq!(bytes(text), Ok(Bytes(bytes_of_it)), "{text}");
        }
        for text in ["", "0", "MiB", "8M", "8 MiB", "-1", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_and_shares_take_units() {
        let second = Duration::from_secs(1);
        for (text, interval) in
            [("1/s", second), ("100/s", second / 100), ("600/m", second / 10), ("1/h", second * 3_600)]
        {
            assert_eq!(rate(text).map(Rate::interval), Ok(interval), "{text}");
        }
        for text in
            ["", "100", "/s", "100/", "0/s", "1/d", "1.5/s", "-1/s", "99999999999/s", "4294967295/s/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
        let hour = second * 3_600;
        assert_eq!(threshold("100/1h"), Ok(RejectionLimit { most: RejectionBound::Count(100), span: hour }));
        assert_eq!(
            threshold("5%/60m").map(|t| (t.most, t.span)),
            percent("5%").map(|p| (RejectionBound::Share(p), hour))
        );
        for text in ["", "100", "/1h", "100/", "100/0s", "-1/1h", "0%/1h", "1.5/1h"] {
            assert!(threshold(text).is_err(), "{text}");
        }
        let bounds = |min, max| ConcurrencyBounds::new(count(min).unwrap(), count(max).unwrap());
        assert_eq!(auto_bounds("auto"), Ok(bounds("1", "64")));
        assert_eq!(auto_bounds("auto:4..128"), Ok(bounds("4", "128")));
        assert_eq!(auto_bounds("8"), Ok(None));
        for text in ["auto:", "auto:8", "auto:0..8", "auto:9..8", "auto:1..9999", "automatic"] {
            assert!(auto_bounds(text).is_err(), "{text}");
        }
        assert_eq!(percent("20%"), Ok(Percent::new(20).unwrap()));
        for text in ["", "20", "%", "0%", "100%", "-1%", "300%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn brokers_have_a_port_and_ipv6_has_brackets() {
        assert_eq!(brokers("a,b:1, [::1]:9"), Ok(vec!["a:9092".into(), "b:1".into(), "[::1]:9".into()]));
        assert_eq!(brokers("[::1]"), Ok(vec!["[::1]:9092".into()]));
        for text in ["", "a,", ":9092", "a:0", "a:x", "http://a:1", "a b"] {
            assert!(brokers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_dates_or_milliseconds() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1_000),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2024-03-01T00:00:00.25Z", 1_709_251_200_250),
            ("2026-11-24 08:00:00Z", 1_795_507_200_000),
            ("1700000000123", 1_700_000_000_123),
        ] {
            assert_eq!(timestamp(text), Some(ms), "{text}");
        }
        for text in
            ["", "earliest", "2026-13-01", "2026-11-24T08:00:00", "2026-11-24T24:00:00Z", "1969-01-01", "-5"]
        {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn a_typing_error_finds_its_word() {
        let words = ["--max-concurrency", "--max-attempts", "--topic"];
        assert_eq!(nearest("--max-concurency", words), Some("--max-concurrency"));
        assert_eq!(nearest("--topics", words), Some("--topic"));
        assert_eq!(nearest("--frobnicate", words), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,40}") {
            let _ = (duration(&text), range(&text), bytes(&text), count(&text), partitions(&text), brokers(&text));
            let _ = (rate(&text), percent(&text), timestamp(&text), auto_bounds(&text), threshold(&text));
            let _ = nearest(&text, ["--topic"]);
        }
    }
}
