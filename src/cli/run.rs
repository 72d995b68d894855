//! `run`: the topic through the gate to the webhook, until a signal, the end, or something that ends it.

use super::client::Client;
use super::options::{DeadLetter, LogFormat, Options};
use super::requests::requests;
use super::{Exit, Failure, source};
use crate::observe::log::{self, LogObserver};
use crate::relay::dead_letter::file::DeadLetterFile;
use crate::relay::dead_letter::{DeadLetters, Drop};
use crate::relay::stop::Stop;
use crate::relay::{Relay, RunError};
use crate::webhook::destination::Destination;
use crate::webhook::template::check_authority;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Runs until the work is done or something ends it.
pub fn run(options: &Options) -> Result<(), Failure> {
    let mut prepared = source::prepare(options)?;
    let (destination, transport, warnings) = transport(options)?;
    prepared.warnings.extend(warnings);
    let mut dead_letters = dead_letters(options)?;
    log::start(options.verbosity, options.log_format == LogFormat::Json);
    prepared.warnings.iter().for_each(|warning| ::log::warn!(target: "sluicegate", "{warning}"));
    let stop = Stop::new();
    drain_on_signal(&stop)?;
    let topics = options.topics.join(",");
    let n = options.settings.max_concurrency;
    ::log::info!(target: "sluicegate", "from {topics} to {destination}, at most {n} at once, as group {}", prepared.group);
    let mut source = prepared.open()?;
    let relay = Relay {
        settings: options.settings.clone(),
        source: source.as_mut(),
        transport: &transport,
        dead_letters: dead_letters.as_mut(),
        observer: &LogObserver::new(),
        stop: &stop,
    };
    relay.run().map(drop).map_err(|error| Failure { exit: exit(&error), text: error.to_string() })
}

fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Refused(_)
        | RunError::TooManyRefused(..)
        | RunError::Gone(_)
        | RunError::OutOfPatience(_) => Exit::Stopped,
        RunError::Source(_) | RunError::Commit(_) | RunError::DeadLetters(_) | RunError::Worker(_) => {
            Exit::Failed
        }
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

fn dead_letters(options: &Options) -> Result<Box<dyn DeadLetters>, Failure> {
    match &options.dead_letter {
        // Without dead letters the core stops at a refused record and never puts one.
        None | Some(DeadLetter::Drop) => Ok(Box::new(Drop)),
        Some(DeadLetter::File(path)) => match DeadLetterFile::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Failure::usage(format!("--dead-letter: {error}"))),
        },
    }
}

/// The first SIGTERM or SIGINT drains; the second ends the process at once, with nothing more committed.
fn drain_on_signal(stop: &Stop) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("signals can't be watched: {error}"),
    })?;
    let stop = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if stop.requested() {
                ::log::warn!(target: "sluicegate", "a second signal: ending at once, with nothing more committed");
                std::process::exit(Exit::Failed as i32);
            }
            stop.request();
        }
    });
    Ok(())
}
