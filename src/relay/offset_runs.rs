//! Runs of done offsets beyond the watermark, as text in the metadata of a commit: after a restart, or once another
//! member owns the partition, those records are not sent again.
//!
//! `sg1:` and base64 of variable-length integers (LEB128): the watermark, then for each run of done offsets the gap
//! before it and its length. Guarantees:
//!
//! - It never marks an offset as done that is not. It counts only with the exact position that it was written for,
//!   since tools that translate positions (MirrorMaker) copy the text unchanged.
//! - It is never longer than [`LONGEST`]. The highest runs that do not fit are left out, and sent again.
//! - Any other text is ignored.

use crate::record::Offset;
use crate::text::base64;
use std::ops::Range;

/// The longest text, in bytes: what a broker takes by default (`offset.metadata.max.bytes`, 4,096), less what a source
/// keeps beside it.
pub const LONGEST: usize = 3_950;
/// The prefix of this format, with its version.
const PREFIX: &str = "sg1:";
/// The most bytes that fit, three for four characters of base64.
const MOST_BYTES: usize = (LONGEST - PREFIX.len()) / 4 * 3;

/// Encodes ascending runs of done offsets, which begin at `watermark` or after it. Empty if there are none.
pub fn encode(watermark: Offset, runs: impl IntoIterator<Item = Range<i64>>) -> String {
    let Ok(start) = u64::try_from(watermark.0) else { return String::new() };
    let mut bytes = Vec::new();
    put(&mut bytes, start);
    let (empty, mut end) = (bytes.len(), watermark.0);
    for run in runs {
        let distance = |from: i64, to: i64| to.checked_sub(from).and_then(|n| u64::try_from(n).ok());
        let (Some(gap), Some(length @ 1..)) = (distance(end, run.start), distance(run.start, run.end)) else {
            break;
        };
        let fits = bytes.len();
        put(&mut bytes, gap);
        put(&mut bytes, length);
        if bytes.len() > MOST_BYTES {
            bytes.truncate(fits);
            break;
        }
        end = run.end;
    }
    if bytes.len() == empty { String::new() } else { format!("{PREFIX}{}", base64::encode(&bytes)) }
}

/// Decodes what [`encode`] wrote for this watermark: ascending runs, none empty, none overlapping. Empty for any other
/// text.
pub fn decode(watermark: Offset, text: &str) -> Vec<Range<i64>> {
    let bytes = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST).and_then(base64::decode);
    bytes.and_then(|bytes| runs(watermark, &bytes)).unwrap_or_default()
}

fn runs(watermark: Offset, mut bytes: &[u8]) -> Option<Vec<Range<i64>>> {
    if i64::try_from(take(&mut bytes)?).ok()? != watermark.0 {
        return None;
    }
    let mut runs = Vec::new();
    let mut end = watermark.0;
    while !bytes.is_empty() {
        let start = end.checked_add_unsigned(take(&mut bytes)?)?;
        end = start.checked_add_unsigned(take(&mut bytes)?).filter(|end| *end > start)?;
        runs.push(start..end);
    }
    Some(runs)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(shift).filter(|shifted| shifted >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ascending runs from a watermark on.
    fn some_runs() -> impl Strategy<Value = (Offset, Vec<Range<i64>>)> {
        let steps = prop::collection::vec((1..300_i64, 1..300_i64), 0..3_000);
        (0..i64::MAX / 2, steps).prop_map(|(watermark, steps)| {
            let mut end = watermark;
            let run = |(gap, length)| {
                let start = end + gap;
                end = start + length;
                start..end
            };
            (Offset(watermark), steps.into_iter().map(run).collect())
        })
    }

    #[test]
    fn a_thousand_records_fit_even_if_every_other_one_is_done() {
        let runs: Vec<Range<i64>> = (0..500).map(|n| 2 * n + 1..2 * n + 2).collect();
        let text = encode(Offset(0), runs.clone());
        assert!(text.len() < 1_500, "{}", text.len());
        assert_eq!(decode(Offset(0), &text), runs);
    }

    #[test]
    fn it_is_believed_only_beside_its_own_position() {
        let runs = [1_005..1_010, 1_020..1_021];
        let text = encode(Offset(1_000), runs.clone());
        assert_eq!(decode(Offset(1_000), &text), runs);
        assert_eq!(decode(Offset(999), &text), vec![]);
        assert_eq!(decode(Offset(1_001), &text), vec![]);
    }

    #[test]
    fn what_is_foreign_says_nothing() {
        for text in
            ["", "sg1:", "sg1:AA", "sg1:AAAA", "sg2:AAEB", "consumer-7", "{\"a\":1}", "sg1:AP//////////fw=="]
        {
            assert_eq!(decode(Offset(0), text), vec![], "{text}");
        }
    }

    #[test]
    fn nothing_done_is_no_text() {
        assert_eq!(encode(Offset(7), []), "");
    }

    proptest! {
        #[test]
        fn says_what_it_was_told_from_the_lowest_on_and_never_more((watermark, runs) in some_runs()) {
            let text = encode(watermark, runs.clone());
            prop_assert!(text.len() <= LONGEST && text.is_ascii());
            let read = decode(watermark, &text);
            prop_assert_eq!(&read[..], &runs[..read.len()]);
            prop_assert!(read.len() == runs.len() || text.len() > LONGEST - 32, "{} of {}", read.len(), runs.len());
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(
            watermark in prop_oneof![Just(0), any::<i64>()],
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut own = Vec::new();
            put(&mut own, watermark as u64);
            for bytes in [bytes.clone(), [own, bytes].concat()] {
                let runs = decode(Offset(watermark), &format!("sg1:{}", base64::encode(&bytes)));
                prop_assert!(runs.len() <= bytes.len() / 2);
                prop_assert!(runs.iter().all(|run| watermark <= run.start && run.start < run.end));
                prop_assert!(runs.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }

        #[test]
        fn a_text_that_was_cut_says_nothing_that_is_not_so((watermark, runs) in some_runs(), cut in 0..4_096_usize) {
            let text = encode(watermark, runs.clone());
            let read = decode(watermark, &text[..cut.min(text.len())]);
            prop_assert_eq!(&read[..], &runs[..read.len()]);
        }

        #[test]
        fn no_text_makes_it_panic(watermark in any::<i64>(), text in "(sg1:)?.{0,60}") {
            let _ = decode(Offset(watermark), &text);
        }
    }
}
