//! Warnings of requests that could not be made quite as configured, each once per run.

use crate::files::Reporter;
use crate::record::Record;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Different warnings, at most.
const MOST_NOTICES: usize = 256;

/// Remembers what was warned of.
#[derive(Debug, Default)]
pub struct WarnOnce {
    reporter: Reporter,
    told: Mutex<BTreeSet<String>>,
}

impl WarnOnce {
    /// Nothing warned of yet.
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter, told: Mutex::default() }
    }

    /// Warns of `what` the first time that it happens for `name`.
    pub fn once(&self, name: &str, record: &Record, what: impl fmt::Display) {
        {
            // The set is valid even after a panic.
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= MOST_NOTICES || told.contains(name) {
                return;
            }
            told.insert(name.to_owned());
        }
        let partition = record.partition();
        (self.reporter.warn)(&format!(
            "topic {} partition {} offset {}: {what} (said once; the same goes for other records)",
            partition.topic(),
            partition.number(),
            record.offset()
        ));
    }
}
