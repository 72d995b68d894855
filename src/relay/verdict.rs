//! What an answer means: it is about the record or about the destination. An answer about the destination would meet
//! every record alike, so it must never empty a topic into the dead letters.

use super::transport::{Answer, SendError, SendErrorKind};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The record is done.
    Accepted,
    /// Perhaps because of the record: it is retried after a backoff of its own, others go on.
    Retry {
        /// The destination's `Retry-After`.
        after: Option<Duration>,
    },
    /// Because of the destination, for now: sending pauses, and the record is retried.
    Pause {
        /// The destination's `Retry-After`.
        after: Option<Duration>,
        /// What may explain it.
        cause: PauseCause,
    },
    /// The record will never be accepted.
    Rejected,
    /// The destination wants no more: the run ends.
    Stop,
    /// The request met a connection that was closed: it is sent again at once.
    Again,
}

/// What may explain that a destination turns a record away, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseCause {
    /// Too many requests in too short a time (429).
    Rate,
    /// Overload or a short outage (502, 503, 504).
    Load,
    /// No connection: the origin is away, for all its targets.
    Connection,
    /// Credentials or the address, which no wait mends; `None` where a rule of the operator's says so.
    Setup(Option<SetupFault>),
}

impl PauseCause {
    /// Whether load or a short outage may explain it.
    pub(crate) fn may_be_load(self) -> bool {
        !matches!(self, Self::Setup(_))
    }

    /// What is wrong with credentials or address, where that is known.
    pub(crate) fn fault(self) -> Option<SetupFault> {
        if let Self::Setup(fault) = self { fault } else { None }
    }
}

/// What is wrong with credentials or address: only a person can fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupFault {
    /// No credentials, or wrong ones.
    Unauthorized,
    /// The credentials don't allow it.
    Forbidden,
    /// Nothing is at the path.
    NotFound,
    /// The path takes no POST.
    MethodNotAllowed,
    /// A proxy wants credentials.
    ProxyUnauthorized,
    /// The destination has another address by now; redirects are never followed.
    Moved,
}

impl fmt::Display for SetupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized => "the destination wants credentials, or other ones",
            Self::Forbidden => "the destination forbids this: check the credentials and what they may do",
            Self::NotFound => "nothing is at this address",
            Self::MethodNotAllowed => "the address takes no POST",
            Self::ProxyUnauthorized => "a proxy on the way wants credentials",
            Self::Moved => "the destination has moved and redirects are never followed",
        })
    }
}

impl Verdict {
    /// What a [`Rule`] may ask for, by name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("accept", Self::Accepted),
        ("retry", Self::Retry { after: None }),
        ("pause", Self::Pause { after: None, cause: PauseCause::Load }),
        ("refuse", Self::Rejected),
        ("stop", Self::Stop),
    ];

    /// The same with the destination's `Retry-After`.
    fn after(self, after: Option<Duration>) -> Self {
        match self {
            Self::Retry { .. } => Self::Retry { after },
            Self::Pause { cause, .. } => Self::Pause { after, cause },
            other => other,
        }
    }
}

/// A rule by which statuses get a verdict: `409=retry`, `4xx=refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    statuses: Statuses,
    verdict: Verdict,
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
        let (statuses, name) = text
            .split_once('=')
            .ok_or_else(|| RuleError(format!("'{text}' is not CODE=VERDICT, such as 409=retry")))?;
        let verdict =
            Verdict::NAMES.iter().find(|(known, _)| *known == name).map(|(_, verdict)| *verdict).ok_or_else(
                || RuleError(format!("'{name}' is not a verdict: take accept, retry, pause, refuse or stop")),
            )?;
        let statuses = match statuses.as_bytes() {
            [class @ b'2'..=b'5', b'x', b'x'] => Statuses::Class(u16::from(class - b'0')),
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => Statuses::One(statuses.parse().unwrap_or(0)),
            _ => {
                let text =
                    format!("'{statuses}' is not a status: take one from 200 to 599, or a class such as 4xx");
                return Err(RuleError(text));
            }
        };
        Ok(Self { statuses, verdict })
    }
}

/// The table of verdicts: the operator's rules go before the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: BTreeMap<Statuses, Verdict>,
}

impl Policy {
    /// Adds a row. A row for one status goes before a row for its class; a later row for the same replaces.
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.insert(rule.statuses, rule.verdict);
        self
    }

    fn rule(&self, status: u16) -> Option<Verdict> {
        let rule = |statuses| self.rules.get(&statuses).copied();
        rule(Statuses::One(status)).or_else(|| rule(Statuses::Class(status / 100)))
    }

    /// The verdict on the result of an attempt.
    pub(crate) fn judge(&self, outcome: &Result<Answer, SendError>) -> Verdict {
        match outcome {
            Ok(answer) => self
                .rule(answer.status)
                .unwrap_or_else(|| by_default(answer.status))
                .after(answer.retry_after),
            Err(error) => match error.kind {
                SendErrorKind::Connect => Verdict::Pause { after: None, cause: PauseCause::Connection },
                SendErrorKind::Timeout | SendErrorKind::Broken => Verdict::Retry { after: None },
                SendErrorKind::Stale => Verdict::Again,
                SendErrorKind::Unsendable => Verdict::Rejected,
            },
        }
    }
}

/// The default table.
fn by_default(status: u16) -> Verdict {
    let pause = |cause| Verdict::Pause { after: None, cause };
    let setup = |fault| pause(PauseCause::Setup(Some(fault)));
    match status {
        200..=299 => Verdict::Accepted,
        429 => pause(PauseCause::Rate),
        502..=504 => pause(PauseCause::Load),
        401 => setup(SetupFault::Unauthorized),
        403 => setup(SetupFault::Forbidden),
        404 => setup(SetupFault::NotFound),
        405 => setup(SetupFault::MethodNotAllowed),
        407 => setup(SetupFault::ProxyUnauthorized),
        300..=399 => setup(SetupFault::Moved),
        410 => Verdict::Stop,
        408 | 425 => Verdict::Retry { after: None },
        400..=499 => Verdict::Rejected,
        // Other 5xx, and invalid statuses, which may come from a faulty proxy.
        _ => Verdict::Retry { after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &Policy, status: u16) -> Verdict {
        policy.judge(&Ok(Answer { status, ..Answer::default() }))
    }

    #[test]
    fn the_default_table() {
        let policy = Policy::default();
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&policy, status), Verdict::Accepted, "{status}");
        }
        for status in [408, 425, 500, 501, 505, 507, 599, 600, 999, 0] {
            assert_eq!(judge(&policy, status), Verdict::Retry { after: None }, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(judge(&policy, status), Verdict::Pause { cause, .. } if cause.may_be_load()),
                "{status}"
            );
        }
        for status in [401, 403, 404, 405, 407, 300, 301, 302, 304, 307, 308] {
            assert!(
                matches!(judge(&policy, status), Verdict::Pause { cause: PauseCause::Setup(Some(_)), .. }),
                "{status}"
            );
        }
        for status in [400, 402, 406, 409, 411, 413, 415, 418, 422, 451, 499] {
            assert_eq!(judge(&policy, status), Verdict::Rejected, "{status}");
        }
        assert_eq!(judge(&policy, 410), Verdict::Stop);
    }

    #[test]
    fn no_connection_speaks_of_the_destination_and_silence_of_the_record() {
        let failed = |kind| Policy::default().judge(&Err(SendError { kind, text: String::new() }));
        assert_eq!(
            failed(SendErrorKind::Connect),
            Verdict::Pause { after: None, cause: PauseCause::Connection }
        );
        assert_eq!(failed(SendErrorKind::Stale), Verdict::Again);
        assert_eq!(failed(SendErrorKind::Unsendable), Verdict::Rejected);
        assert_eq!(failed(SendErrorKind::Timeout), Verdict::Retry { after: None });
        assert_eq!(failed(SendErrorKind::Broken), Verdict::Retry { after: None });
    }

    #[test]
    fn retry_after_is_passed_on() {
        let retry_after = Some(Duration::from_secs(7));
        let outcome = Ok(Answer { status: 429, retry_after, ..Answer::default() });
        assert_eq!(
            Policy::default().judge(&outcome),
            Verdict::Pause { after: retry_after, cause: PauseCause::Rate }
        );
    }

    #[test]
    fn a_row_for_one_status_goes_before_its_class() {
        let policy = ["4xx=refuse", "409=retry", "404=pause", "302=accept", "500=stop"]
            .iter()
            .fold(Policy::default(), |policy, rule| policy.with(rule.parse().expect("a rule")));
        assert_eq!(judge(&policy, 409), Verdict::Retry { after: None });
        assert_eq!(judge(&policy, 404), Verdict::Pause { after: None, cause: PauseCause::Load });
        assert_eq!(judge(&policy, 401), Verdict::Rejected);
        assert_eq!(judge(&policy, 302), Verdict::Accepted);
        assert_eq!(judge(&policy, 500), Verdict::Stop);
        assert_eq!(judge(&policy, 503), Verdict::Pause { after: None, cause: PauseCause::Load });
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
