//! Selects dead letters by status, reason, topic and time. Pure.

use super::headers::{origin, rejection};
use super::{DeadLetter, Rejection};
use crate::record::Record;
use std::fmt;
use std::time::SystemTime;

/// Conditions on dead letters. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    statuses: Vec<Option<u16>>,
    reasons: Vec<String>,
    topics: Vec<String>,
    since: Option<SystemTime>,
}

impl DeadLetterFilter {
    /// Adds a condition: `status=422`, `status=none`, `reason~TEXT` (the reason contains it) or `topic=NAME`. Same
    /// kind: OR; different kinds: AND.
    ///
    /// # Errors
    /// Why it is not a condition.
    pub fn only(&mut self, condition: &str) -> Result<(), String> {
        let bad = || format!("'{condition}' is none of status=422, status=none, reason~TEXT and topic=NAME");
        if let Some(text) = condition.strip_prefix("reason~").filter(|text| !text.is_empty()) {
            self.reasons.push(text.to_owned());
        } else if let Some(topic) = condition.strip_prefix("topic=").filter(|topic| !topic.is_empty()) {
            self.topics.push(topic.to_owned());
        } else {
            let status = condition.strip_prefix("status=").ok_or_else(bad)?;
            self.statuses.push(match status {
                "none" => None,
                code => Some(code.parse().ok().filter(|code| (100..1000).contains(code)).ok_or_else(bad)?),
            });
        }
        Ok(())
    }

    /// Selects only records rejected at this time or later.
    pub fn since(&mut self, time: SystemTime) {
        self.since = Some(time);
    }

    /// Whether all dead letters are selected.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the dead letter is selected.
    pub fn wants(&self, letter: &DeadLetter) -> bool {
        self.is_met(letter.record.partition().topic(), &letter.rejection)
    }

    /// Whether the record is a [letter](super::headers), and wanted.
    pub(crate) fn wants_record(&self, record: &Record) -> bool {
        match (origin(record), rejection(record)) {
            (Ok(origin), Ok(rejection)) => self.is_met(origin.topic, &rejection),
            _ => false,
        }
    }

    fn is_met(&self, topic: &str, rejection: &Rejection) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&rejection.status))
            && (self.reasons.is_empty() || self.reasons.iter().any(|text| rejection.reason.contains(text)))
            && (self.topics.is_empty() || self.topics.iter().any(|name| name == topic))
            && self.since.is_none_or(|since| rejection.last_attempt >= since)
    }
}

/// The conditions in one canonical form, so that two runs can be told to want the same; empty for all letters.
impl fmt::Display for DeadLetterFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = |status: &Option<u16>| match status {
            Some(code) => format!("status={code}"),
            None => "status=none".into(),
        };
        let mut parts: Vec<String> = self.statuses.iter().map(status).collect();
        parts.extend(self.reasons.iter().map(|text| format!("reason~{}", text.escape_default())));
        parts.extend(self.topics.iter().map(|name| format!("topic={}", name.escape_default())));
        parts.extend(self.since.map(|since| format!("since={}", crate::text::time::millis(since))));
        parts.sort();
        parts.dedup();
        f.write_str(&parts.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Partition};
    use crate::relay::dead_letter::headers::to_record;
    use crate::text::time::time;

    fn letter(topic: &str, status: Option<u16>, reason: &str, at: u64) -> DeadLetter {
        DeadLetter {
            record: Record::new(Partition::new(topic, 0), Offset(0), 0, None, None),
            rejection: Rejection {
                status,
                reason: reason.into(),
                attempts: 1,
                first_attempt: time(0),
                last_attempt: time(at),
            },
        }
    }

    fn selection(conditions: &[&str]) -> DeadLetterFilter {
        let mut selection = DeadLetterFilter::default();
        conditions.iter().for_each(|condition| selection.only(condition).unwrap());
        selection
    }

    #[test]
    fn any_of_one_kind_and_every_kind() {
        let wanted = selection(&["status=422", "status=none", "reason~bad", "topic=orders"]);
        for (letter, is_wanted) in [
            (letter("orders", Some(422), "a bad one", 0), true),
            (letter("orders", None, "bad", 0), true),
            (letter("orders", Some(400), "bad", 0), false),
            (letter("orders", Some(422), "good", 0), false),
            (letter("other", Some(422), "bad", 0), false),
        ] {
            assert_eq!(wanted.wants(&letter), is_wanted, "{letter:?}");
            let carried = to_record(&letter, Partition::new("dead", 0), Offset(9));
            assert_eq!(wanted.wants_record(&carried), is_wanted, "{letter:?}");
        }
    }

    #[test]
    fn the_time_of_the_refusal_counts() {
        let mut wanted = DeadLetterFilter::default();
        wanted.since(time(10));
        assert!(!wanted.wants(&letter("t", None, "", 9)));
        assert!(wanted.wants(&letter("t", None, "", 10)));
        assert!(!wanted.wants_record(&letter("t", None, "", 10).record), "it is no letter");
    }

    #[test]
    fn the_same_conditions_read_the_same() {
        let one = selection(&["status=422", "status=400", "topic=a", "topic=a"]);
        assert_eq!(one.to_string(), selection(&["topic=a", "status=400", "status=422"]).to_string());
        assert_ne!(one.to_string(), selection(&["topic=a", "status=400"]).to_string());
        assert_eq!(
            (DeadLetterFilter::default().to_string().as_str(), DeadLetterFilter::default().is_all()),
            ("", true)
        );
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for text in ["", "status", "status=", "status=4xx", "status=99", "reason~", "topic=", "reason=x"] {
            assert!(DeadLetterFilter::default().only(text).unwrap_err().contains("status=422"), "{text}");
        }
    }
}
