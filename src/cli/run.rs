//! `run`: the topic through the gate to the webhook, until a signal, the end, or something that ends it.

use super::client::Client;
use super::config::unknown_variables;
use super::options::Options;
use super::requests::requests;
use super::signals::drain_on_signal;
use super::{Exit, Failure, letters, open_files, source};
use crate::observe::advice;
use crate::observe::{LogObserver, LoggedAttempts, log};
use crate::relay::dead_letter::DeadLetters;
use crate::relay::dead_letter::replay::{RestoringDeadLetters, RestoringTransport};
use crate::relay::event::Totals;
use crate::relay::settings::RelaySettings;
use crate::relay::source::Source;
use crate::relay::stop::Stop;
use crate::relay::{Relay, RunError};
use crate::webhook::destination::Destination;
use crate::webhook::template::check_authority;

/// A record with its bookkeeping takes at least about this much of the buffer, in bytes.
const SMALL_RECORD: usize = 1 << 10;

/// Runs until the work is done or something ends it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let prepared = source::prepare(options)?;
    let gate = Gate::open(options, prepared.warnings.clone())?;
    gate.announce(&options.topics.join(","), &format!("as group {}", prepared.group));
    let mut source = prepared.open()?;
    gate.deliver(source.as_mut())
}

/// All that a delivery needs beside its source, opened and checked.
pub(super) struct Gate {
    settings: RelaySettings,
    destination: Destination,
    client: Client,
    dead_letters: Box<dyn DeadLetters>,
    stop: Stop,
}

impl Gate {
    /// Looks whether the flags make sense, then begins to log and to listen to signals. Contacts nobody.
    pub(super) fn open(options: &Options, mut warnings: Vec<String>) -> Result<Self, Failure> {
        let (destination, client, more) = transport(options)?;
        warnings.extend(more);
        let (dead_letters, more) = letters::keeper(options)?;
        warnings.extend(more);
        let mut settings = options.settings.clone();
        let limit = open_files::raise_for(settings.max_concurrency.get());
        warnings.extend(open_files::fit(&mut settings, limit));
        warnings.extend(small_buffer(options));
        let names: Vec<String> =
            std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        warnings.extend(unknown_variables(names.iter().map(String::as_str)));
        log::set_verbosity(options.verbosity);
        warnings.iter().for_each(|warning| ::log::warn!(target: "sluicegate", "{warning}"));
        letters::look_ahead(options);
        let stop = Stop::new();
        drain_on_signal(&stop)?;
        Ok(Self { settings, destination, client, dead_letters, stop })
    }

    /// Says what is about to happen.
    pub(super) fn announce(&self, from: &str, how: &str) {
        let (to, n) = (&self.destination, self.settings.max_concurrency);
        ::log::info!(target: "sluicegate", "from {from} to {to}, at most {n} at once, {how}");
    }

    /// Delivers what comes from `source`.
    pub(super) fn deliver(self, source: &mut dyn Source) -> Result<(), Failure> {
        let relay = Relay {
            settings: self.settings.clone(),
            source,
            transport: &LoggedAttempts(&self.client),
            dead_letters: self.dead_letters,
            observer: &LogObserver::new(),
            stop: &self.stop,
        };
        ended(relay.run())
    }

    /// Delivers letters as the records they were.
    pub(super) fn deliver_again(self, source: &mut dyn Source) -> Result<(), Failure> {
        let relay = Relay {
            settings: self.settings.clone(),
            source,
            transport: &LoggedAttempts(&RestoringTransport(&self.client)),
            dead_letters: Box::new(RestoringDeadLetters(self.dead_letters)),
            observer: &LogObserver::new(),
            stop: &self.stop,
        };
        ended(relay.run())
    }
}

/// A warning where the buffer holds fewer records than there may be requests.
fn small_buffer(options: &Options) -> Option<String> {
    let (requests, buffer) = (options.settings.max_concurrency.get(), options.buffer.0);
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

/// Where to send and how, from the flags; and what people should be warned of.
pub(super) fn transport(options: &Options) -> Result<(Destination, Client, Vec<String>), Failure> {
    let Some(url) = &options.url else {
        return Err(Failure::usage("--url URL is missing: see sluicegate run --help"));
    };
    check_authority(url).map_err(|error| Failure::usage(format!("--url: {error}")))?;
    let destination = Destination::parse(url).map_err(|error| Failure::usage(format!("--url: {error}")))?;
    let (requests, warnings) = requests(&destination, options)?;
    Ok((destination.clone(), Client::open(destination, requests, options)?, warnings))
}
