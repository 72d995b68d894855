//! What an answer means: it speaks either of the record or of the destination. What speaks of the destination
//! would meet every record alike, so it must never empty a topic into the dead letters.

use super::transport::{Answer, SendError, SendErrorKind};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is done.
    Accepted,
    /// This record is tried again; others go on.
    Retry {
        /// Not before this has passed, by the destination's wish.
        at_least: Option<Duration>,
    },
    /// The destination can't take anything now: all sending pauses, and the record is tried again.
    Pause {
        /// Not before this has passed, by the destination's wish.
        at_least: Option<Duration>,
        /// What a person has to do before it can work, where that is known.
        mend: Option<&'static str>,
    },
    /// The record will never be accepted.
    Refused,
    /// The destination wants no more: the run ends.
    Stop,
}

/// What `--on-status` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The record counts as done.
    Accept,
    /// The record is tried again.
    Retry,
    /// All sending pauses.
    Pause,
    /// The record is refused.
    Refuse,
    /// The run ends.
    Stop,
}

impl Action {
    /// Their names on the command line.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("accept", Self::Accept),
        ("retry", Self::Retry),
        ("pause", Self::Pause),
        ("refuse", Self::Refuse),
        ("stop", Self::Stop),
    ];
}

/// A rule of `--on-status`: `409=retry`, `4xx=refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    statuses: Statuses,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statuses {
    One(u16),
    /// All that begin with this digit.
    Class(u16),
}

/// Why a rule could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (statuses, action) = text
            .split_once('=')
            .ok_or_else(|| RuleError(format!("'{text}' is not CODE=VERDICT, such as 409=retry")))?;
        let action = Action::NAMES
            .iter()
            .find(|(name, _)| *name == action)
            .map(|(_, action)| *action)
            .ok_or_else(|| {
                RuleError(format!("'{action}' is not a verdict: take accept, retry, pause, refuse or stop"))
            })?;
        let statuses = match statuses.as_bytes() {
            [class @ b'2'..=b'5', b'x', b'x'] => Statuses::Class(u16::from(class - b'0')),
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => Statuses::One(statuses.parse().unwrap_or(0)),
            _ => {
                let text =
                    format!("'{statuses}' is not a status: take one from 200 to 599, or a class such as 4xx");
                return Err(RuleError(text));
            }
        };
        Ok(Self { statuses, action })
    }
}

/// The table of verdicts, with the operator's own rows before the standing ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: BTreeMap<Statuses, Action>,
}

impl Policy {
    /// Adds a row. A row for one status goes before a row for its class; a later row for the same replaces.
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.insert(rule.statuses, rule.action);
        self
    }

    fn action(&self, status: u16) -> Option<Action> {
        let rule = |statuses| self.rules.get(&statuses).copied();
        rule(Statuses::One(status)).or_else(|| rule(Statuses::Class(status / 100)))
    }

    /// What this outcome means.
    pub fn judge(&self, outcome: &Result<Answer, SendError>) -> Verdict {
        match outcome {
            Ok(answer) => self.judge_answer(answer),
            Err(error) => match error.kind {
                SendErrorKind::Connect => Verdict::Pause { at_least: None, mend: None },
                SendErrorKind::Timeout | SendErrorKind::Broken | SendErrorKind::Stale => {
                    Verdict::Retry { at_least: None }
                }
            },
        }
    }

    fn judge_answer(&self, answer: &Answer) -> Verdict {
        let at_least = answer.retry_after;
        match self.action(answer.status) {
            Some(Action::Accept) => Verdict::Accepted,
            Some(Action::Retry) => Verdict::Retry { at_least },
            Some(Action::Pause) => Verdict::Pause { at_least, mend: None },
            Some(Action::Refuse) => Verdict::Refused,
            Some(Action::Stop) => Verdict::Stop,
            None => standing(answer.status, at_least),
        }
    }
}

/// The standing table.
fn standing(status: u16, at_least: Option<Duration>) -> Verdict {
    let mend = |text| Verdict::Pause { at_least, mend: Some(text) };
    match status {
        200..=299 => Verdict::Accepted,
        429 | 502 | 503 | 504 => Verdict::Pause { at_least, mend: None },
        401 => mend("the destination wants credentials, or other ones: check --header"),
        403 => mend("the destination forbids this: check the credentials and what they may do"),
        404 => mend("nothing is at this address: check the path in --url"),
        405 => mend("the address takes no POST: check --url"),
        407 => mend("a proxy on the way wants credentials"),
        300..=399 => {
            mend("the destination has moved and redirects are never followed: put its new address into --url")
        }
        410 => Verdict::Stop,
        408 | 425 => Verdict::Retry { at_least },
        400..=499 => Verdict::Refused,
        // 5xx, and what is no status at all (below 200 or above 599), which may be a fault on the way.
        _ => Verdict::Retry { at_least },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &Policy, status: u16) -> Verdict {
        policy.judge(&Ok(Answer { status, ..Answer::default() }))
    }

    #[test]
    fn the_standing_table() {
        let policy = Policy::default();
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&policy, status), Verdict::Accepted, "{status}");
        }
        for status in [408, 425, 500, 501, 505, 507, 599, 600, 999, 0] {
            assert_eq!(judge(&policy, status), Verdict::Retry { at_least: None }, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(judge(&policy, status), Verdict::Pause { at_least: None, mend: None }, "{status}");
        }
        for status in [401, 403, 404, 405, 407, 300, 301, 302, 304, 307, 308] {
            assert!(matches!(judge(&policy, status), Verdict::Pause { mend: Some(_), .. }), "{status}");
        }
        for status in [400, 402, 406, 409, 411, 413, 415, 418, 422, 451, 499] {
            assert_eq!(judge(&policy, status), Verdict::Refused, "{status}");
        }
        assert_eq!(judge(&policy, 410), Verdict::Stop);
    }

    #[test]
    fn no_connection_speaks_of_the_destination_and_silence_of_the_record() {
        let failed = |kind| Policy::default().judge(&Err(SendError { kind, text: String::new() }));
        assert_eq!(failed(SendErrorKind::Connect), Verdict::Pause { at_least: None, mend: None });
        assert_eq!(failed(SendErrorKind::Timeout), Verdict::Retry { at_least: None });
        assert_eq!(failed(SendErrorKind::Broken), Verdict::Retry { at_least: None });
    }

    #[test]
    fn retry_after_is_passed_on() {
        let retry_after = Some(Duration::from_secs(7));
        let outcome = Ok(Answer { status: 429, retry_after, ..Answer::default() });
        assert_eq!(Policy::default().judge(&outcome), Verdict::Pause { at_least: retry_after, mend: None });
    }

    #[test]
    fn a_row_for_one_status_goes_before_its_class() {
        let policy = ["4xx=refuse", "409=retry", "404=pause", "302=accept", "500=stop"]
            .iter()
            .fold(Policy::default(), |policy, rule| policy.with(rule.parse().expect("a rule")));
        assert_eq!(judge(&policy, 409), Verdict::Retry { at_least: None });
        assert_eq!(judge(&policy, 404), Verdict::Pause { at_least: None, mend: None });
        assert_eq!(judge(&policy, 401), Verdict::Refused);
        assert_eq!(judge(&policy, 302), Verdict::Accepted);
        assert_eq!(judge(&policy, 500), Verdict::Stop);
        assert_eq!(judge(&policy, 503), Verdict::Pause { at_least: None, mend: None });
    }

    #[test]
    fn a_rule_that_is_none_says_why() {
        for (text, why) in [
            ("409", "CODE=VERDICT"),
            ("409=again", "accept, retry, pause, refuse or stop"),
            ("99=retry", "not a status"),
            ("1xx=retry", "not a status"),
            ("600=retry", "not a status"),
            ("4x=retry", "not a status"),
            ("", "CODE=VERDICT"),
        ] {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
