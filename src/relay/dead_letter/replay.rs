//! Dead letters on their way back. While they are sent again they travel [with their headers](super::headers), under
//! the place they have in the topic or file of dead letters: there progress is kept. Towards the destination, the dead
//! letters and whoever watches, each is the record it was.

use super::filter::DeadLetterFilter;
use super::headers::{check, restore};
use super::{DeadLetter, DeadLetterError, DeadLetters};
use crate::record::{Offset, Partition, Record};
use crate::relay::group_limit::GroupPermits;
use crate::relay::source::{Commit, Outage, PollLimit, Polled, Source, SourceError};
use crate::relay::transport::{Answer, Attempt, SendError, SendErrorKind, Target, Transport};
use crate::timing::lease::Lease;
use std::time::Duration;

/// A source of dead letters: a record that is not a dead letter ends the run, so that nothing is sent under a wrong id.
pub struct ReplaySource {
    source: Box<dyn Source>,
    /// With a filter, records that are not dead letters are skipped.
    only_some: bool,
    failure: Option<SourceError>,
}

impl ReplaySource {
    /// The dead letters of `source`; the filter of the run passes those that are selected.
    pub fn new(source: Box<dyn Source>, selection: &DeadLetterFilter) -> Self {
        Self { source, only_some: !selection.is_all(), failure: None }
    }
}

impl Source for ReplaySource {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        if let Some(error) = self.failure.take_if(|_| want.records > 0) {
            return Err(error);
        }
        let mut polled = self.source.poll(want, wait)?;
        if let Polled::Records(records) = &mut polled
            && !self.only_some
            && let Some((at, error)) =
                records.iter().enumerate().find_map(|(at, record)| Some((at, check(record).err()?)))
        {
            let place = format!("{} offset {}", records[at].partition(), records[at].offset());
            let text = format!(
                "{place}: {error}. Nothing past it is sent; where dead letters are selected by a condition, such records are skipped"
            );
            let error = SourceError(text);
            if at == 0 {
                return Err(error);
            }
            records.truncate(at);
            self.failure = Some(error);
        }
        Ok(polled)
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        self.source.committer()
    }

    fn outage(&self) -> Option<Outage> {
        self.source.outage()
    }

    fn stalled(&self) -> usize {
        self.source.stalled()
    }

    fn hold(&mut self, partitions: &[Partition]) -> bool {
        self.source.hold(partitions)
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.source.release(partitions);
    }

    fn ends(&self) -> Vec<(Partition, Offset)> {
        self.source.ends()
    }

    fn lease(&self) -> Lease {
        self.source.lease()
    }

    fn share(&self) -> GroupPermits {
        self.source.share()
    }

    fn close(&mut self) {
        self.source.close();
    }
}

/// Sends letters as the records they were: with the id, body and headers of the first time.
pub struct RestoringTransport<'a, T>(pub &'a T);

impl<T: Transport> Transport for RestoringTransport<'_, T> {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        match restore(record) {
            Ok(letter) => self.0.send(&letter.record, attempt),
            // The source or the filter lets no such record through.
            Err(error) => Err(SendError { kind: SendErrorKind::Broken, text: error.to_string() }),
        }
    }

    fn target(&self, record: &Record) -> Target {
        restore(record).map_or(Target::ONLY, |letter| self.0.target(&letter.record))
    }
}

/// Keeps letters that were rejected again under their true origin.
pub struct RestoringDeadLetters(pub Box<dyn DeadLetters>);

impl DeadLetters for RestoringDeadLetters {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let origin = |letter: &DeadLetter| {
            let record = restore(&letter.record).map(|before| before.record);
            // What can't be restored keeps what it says of itself.
            DeadLetter {
                record: record.unwrap_or(letter.record.clone()),
                rejection: letter.rejection.clone(),
            }
        };
        let letters: Vec<DeadLetter> = letters.iter().map(origin).collect();
        self.0.put(&letters)
    }
}

#[cfg(test)]
mod tests {
    /// The methods of a trait, or of its implementation for a type, as they stand in a file.
    fn methods<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
        let body = text.split(head).nth(1).unwrap().split("\n}").next().unwrap();
        let mut names: Vec<&str> =
            body.split("\n    fn ").skip(1).map(|rest| rest.split('(').next().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_method_of_a_source_is_passed_on() {
        let of_trait = methods(include_str!("../source.rs"), "pub trait Source {");
        assert!(of_trait.contains(&"poll"));
        assert_eq!(methods(include_str!("replay.rs"), "impl Source for ReplaySource {"), of_trait);
        let other = include_str!("../line_source/deferred_error.rs");
        assert_eq!(methods(other, "impl<S: Source> Source for DeferredError<S> {"), of_trait);
    }
}
