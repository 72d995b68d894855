//! Every attempt as a line of the log (`-v`): which record, what was answered, and how long it took.

use super::fields::Fields;
use super::log::tell;
use super::observer::Named;
use crate::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, Target, Transport, cause};
use log::Level;
use std::time::Instant;

/// A transport whose attempts are logged.
pub(crate) struct LoggedAttempts<'a>(pub(crate) &'a dyn Transport);

impl Transport for LoggedAttempts<'_> {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        if !super::log::is_told(Level::Debug) {
            return self.0.send(record, attempt);
        }
        let begun = Instant::now();
        let outcome = self.0.send(record, attempt);
        let took = begun.elapsed();
        tell(Level::Debug, || {
            let fields = Fields::of("attempt").record(record).number("attempt", attempt.number);
            let fields = match &outcome {
                Ok(answer) if answer.excerpt.is_empty() => fields.status(Some(answer.status)),
                Ok(answer) => fields.status(Some(answer.status)).text("cause", &*answer.excerpt),
                Err(error) => fields.text("cause", &*error.text),
            };
            let (number, answered) = (attempt.number, cause(&outcome));
            let text = format!("{}: attempt {number}, after {took:.1?}: {answered}", Named(record));
            (fields.millis("duration_ms", took), text)
        });
        outcome
    }

    fn target(&self, record: &Record) -> Target {
        self.0.target(record)
    }
}
