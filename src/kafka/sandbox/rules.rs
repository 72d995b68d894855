//! Which responses fail, how, and how often. Pure.

use crate::kafka::protocol::{ApiKey, ErrorCode};
use crate::record::Partition;
use std::time::{Duration, Instant};

/// A way for a response to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is not carried out and fails with this code.
    Error(ErrorCode),
    /// One bit of the fetched records is flipped.
    Corrupt,
    /// A Metadata response omits the requested topic.
    Omit,
    /// A Metadata response contains no brokers.
    NoBrokers,
    /// The response has this throttle time, and nothing is read from the client meanwhile.
    Throttle(Duration),
    /// The request is carried out; the response is delayed by this.
    Slow(Duration),
    /// The request is not carried out and the connection is closed.
    Drop,
    /// The request is carried out, but the connection is closed instead of a response.
    Lose,
    /// The request is carried out, but no response comes, and the connection stays open.
    NoAnswer,
    /// The request is carried out; the connection is closed after this many bytes of the response.
    Cut(usize),
    /// The request is carried out; the response has a valid length and correlation id, then garbage.
    Garbage,
    /// The request is carried out; the response has a wrong correlation id.
    Stranger,
    /// The request is not carried out; the connection is shut down for writing only.
    HalfClose,
}

impl Fault {
    /// Whether it applies to the connection or the raw bytes rather than to the response's content.
    fn is_of_connection(self) -> bool {
        !matches!(self, Self::Error(_) | Self::Corrupt | Self::Omit | Self::NoBrokers | Self::Throttle(_))
    }
}

/// A fault with its scope and remaining count.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) api: ApiKey,
    pub(super) place: Option<Partition>,
    pub(super) fault: Fault,
    pub(super) left: usize,
    pub(super) until: Option<Instant>,
}

/// All faults that are still pending.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    /// How many responses of this API are still going to fail.
    pub(super) fn left(&self, api: ApiKey) -> usize {
        self.0.iter().filter(|rule| rule.api == api).map(|rule| rule.left).sum()
    }

    /// Removes all faults.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn take(&mut self, api: ApiKey, wanted: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let at = self.0.iter().position(|rule| rule.api == api && wanted(rule))?;
        let rule = self.0.get_mut(at)?;
        let fault = rule.fault;
        rule.left = rule.left.saturating_sub(1);
        if rule.left == 0 {
            self.0.remove(at);
        }
        Some(fault)
    }

    /// Removes the faults whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|rule| rule.until.is_none_or(|until| now < until));
    }

    /// Whether to omit a topic from a Metadata response.
    pub(super) fn omits(&mut self, topic: &str) -> bool {
        let wanted = |rule: &Rule| rule.fault == Fault::Omit && rule.is_at(Some((topic, 0)));
        self.take(ApiKey::Metadata, wanted).is_some()
    }

    /// Whether to return no brokers in a Metadata response.
    pub(super) fn hides_brokers(&mut self) -> bool {
        self.take(ApiKey::Metadata, |rule| rule.fault == Fault::NoBrokers).is_some()
    }

    /// The error code to respond with; for APIs that respond per partition, for this partition.
    pub(super) fn error(&mut self, api: ApiKey, place: Option<(&str, i32)>) -> Option<ErrorCode> {
        let wanted = |rule: &Rule| matches!(rule.fault, Fault::Error(_)) && rule.is_at(place);
        match self.take(api, wanted)? {
            Fault::Error(code) => Some(code),
            _ => None,
        }
    }

    /// Whether to corrupt the records fetched from a partition.
    pub(super) fn corrupts(&mut self, topic: &str, partition: i32) -> bool {
        let wanted = |rule: &Rule| rule.fault == Fault::Corrupt && rule.is_at(Some((topic, partition)));
        self.take(ApiKey::Fetch, wanted).is_some()
    }

    /// The throttle time of the response.
    pub(super) fn throttle(&mut self, api: ApiKey) -> Option<Duration> {
        match self.take(api, |rule| matches!(rule.fault, Fault::Throttle(_)))? {
            Fault::Throttle(time) => Some(time),
            _ => None,
        }
    }

    /// The fault to apply to the connection or the raw bytes.
    pub(super) fn of_connection(&mut self, api: ApiKey) -> Option<Fault> {
        self.take(api, |rule| rule.fault.is_of_connection())
    }
}

impl Rule {
    fn is_at(&self, place: Option<(&str, i32)>) -> bool {
        match (&self.place, place) {
            (None, _) => true,
            (Some(of), Some((topic, partition))) => of.topic() == topic && of.number() == partition,
            (Some(_), None) => false,
        }
    }
}
