//! A delivery: everything that `run`, `send` and `replay` need beside their source. Planned, then opened, then run.

use super::client::Client;
use super::config::unknown_variables;
use super::dead_letters::DeadLetterPlan;
use super::signals::drain_on_signal;
use super::{Exit, Failure, open_files};
use crate::observe::advice;
use crate::observe::log::{self, warning};
use crate::observe::{LogObserver, LoggedAttempts};
use crate::relay::dead_letter::DeadLetters;
use crate::relay::dead_letter::replay::{RestoringDeadLetters, RestoringTransport};
use crate::relay::event::Totals;
use crate::relay::settings::{Intake, RelaySettings};
use crate::relay::source::Source;
use crate::relay::stop::Stop;
use crate::relay::transport::Transport;
use crate::relay::{Relay, RunError};
use crate::webhook::destination::Destination;
use std::fmt::Write as _;

/// A record with its bookkeeping takes at least about this much of the buffer, in bytes.
const SMALL_RECORD: usize = 1 << 10;

/// What a delivery does, before it does anything.
pub(super) struct DeliveryPlan {
    pub(super) settings: RelaySettings,
    pub(super) destination: Destination,
    pub(super) client: Client,
    pub(super) dead_letters: DeadLetterPlan,
    /// `--group-max-concurrency`
    pub(super) group_limit: Option<u32>,
    /// In bytes.
    pub(super) buffer: usize,
    pub(super) verbosity: i8,
    /// Sentences.
    pub(super) warnings: Vec<String>,
}

/// A delivery that is ready to begin.
pub(super) struct Delivery {
    plan: DeliveryPlan,
    dead_letters: Box<dyn DeadLetters>,
    stop: Stop,
}

impl DeliveryPlan {
    /// Opens the dead letters, and begins to log and to listen to signals. Contacts nobody.
    pub(super) fn open(mut self, warnings: &[String]) -> Result<Delivery, Failure> {
        let (dead_letters, of_letters) = self.dead_letters.open()?;
        let wanted = self.settings.max_concurrency.get();
        let limit = open_files::raise_for(wanted);
        let mut warnings = [warnings, &self.warnings, &of_letters].concat();
        warnings.extend(open_files::fit(&mut self.settings, limit));
        warnings.extend(small_buffer(wanted, self.buffer));
        let names: Vec<String> =
            std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        warnings.extend(unknown_variables(names.iter().map(String::as_str)));
        log::set_verbosity(self.verbosity);
        warnings.iter().for_each(|text| warning(text));
        self.dead_letters.look_ahead();
        let stop = Stop::new();
        drain_on_signal(&stop)?;
        Ok(Delivery { plan: self, dead_letters, stop })
    }

    /// Everything that people should know at the start, in one line.
    fn summary(&self, from: &str) -> String {
        let RelaySettings { max_concurrency, auto_concurrency, intake, batch_size, window_size, .. } =
            &self.settings;
        // Writing to a String cannot fail, here and below.
        let mut line = format!("sluicegate {}: {from} to {}; ", env!("CARGO_PKG_VERSION"), self.destination);
        let _ = match intake {
            Intake::Batch => write!(line, "batches of up to {batch_size} records"),
            Intake::Sliding => write!(line, "a sliding window of {window_size} records a partition"),
        };
        let _ = match auto_concurrency {
            None => write!(line, ", at most {max_concurrency} requests in flight"),
            Some(bounds) => write!(line, ", {} to {} requests in flight (auto)", bounds.min(), bounds.max()),
        };
        if let Some(most) = self.group_limit {
            let _ = write!(line, ", {most} in the whole group");
        }
        if let Some(rate) = self.settings.max_rate {
            let _ = write!(line, ", one attempt every {:?}", rate.interval());
        }
        if let Some(share) = self.settings.retry_budget {
            let _ = write!(line, ", {share} of them retries");
        }
        if let Some(most) = self.settings.max_attempts {
            let _ = write!(line, ", {most} attempts a record");
        }
        if let Some(age) = self.settings.max_age {
            let _ = write!(line, ", {age:?} for a record");
        }
        let _ = write!(line, "; {}", self.dead_letters);
        line
    }
}

impl Delivery {
    /// Logs the summary.
    pub(super) fn announce(&self, from: &str) {
        ::log::info!(target: "sluicegate", "{}", self.plan.summary(from));
    }

    /// Delivers what comes from `source`.
    pub(super) fn deliver(self, source: &mut dyn Source) -> Result<(), Failure> {
        let Self { plan, dead_letters, stop } = self;
        relay(&plan, source, &plan.client, dead_letters, &stop)
    }

    /// Delivers letters as the records they were.
    pub(super) fn deliver_again(self, source: &mut dyn Source) -> Result<(), Failure> {
        let Self { plan, dead_letters, stop } = self;
        relay(
            &plan,
            source,
            &RestoringTransport(&plan.client),
            Box::new(RestoringDeadLetters(dead_letters)),
            &stop,
        )
    }
}

fn relay(
    plan: &DeliveryPlan,
    source: &mut dyn Source,
    transport: &dyn Transport,
    dead_letters: Box<dyn DeadLetters>,
    stop: &Stop,
) -> Result<(), Failure> {
    let relay = Relay {
        settings: plan.settings.clone(),
        source,
        transport: &LoggedAttempts(transport),
        dead_letters,
        observer: &LogObserver::new(),
        stop,
    };
    ended(relay.run())
}

/// A warning where the buffer holds fewer records than there may be requests.
fn small_buffer(requests: usize, buffer: usize) -> Option<String> {
    (requests.saturating_mul(SMALL_RECORD) > buffer).then(|| {
        format!(
            "--buffer of {buffer} bytes may hold fewer records than --max-concurrency {requests} could send at once: \
             raise --buffer or lower --max-concurrency"
        )
    })
}

fn ended(outcome: Result<Totals, RunError>) -> Result<(), Failure> {
    outcome.map(drop).map_err(|error| Failure { exit: exit(&error), text: advice::run_error(&error) })
}

fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Rejected(_)
        | RunError::TooManyRejected(..)
        | RunError::Gone(_)
        | RunError::OutOfPatience(..)
        | RunError::OutOfPatienceWithSource(..) => Exit::Stopped,
        RunError::Source(_)
        | RunError::Commit(_)
        | RunError::Uncommitted(..)
        | RunError::Twice(..)
        | RunError::Threads(_)
        | RunError::DeadLetters(_)
        | RunError::Worker(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_too_small_for_the_requests_is_told() {
        assert_eq!(small_buffer(8, 8 << 10), None);
        assert!(small_buffer(9, 8 << 10).is_some_and(|text| text.contains("--max-concurrency 9")));
    }
}
