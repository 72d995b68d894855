//! What people are told once a run of requests that could not be made quite as asked for.

use crate::files::Reporter;
use crate::record::Record;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// After this many different notices no more are told. Header names are the settings', so it takes a long list.
const MOST_NOTICES: usize = 256;

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct WarnOnce {
    reporter: Reporter,
    told: Mutex<BTreeSet<String>>,
}

impl WarnOnce {
    /// Nothing was told yet.
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter, told: Mutex::default() }
    }

    /// Tells of something of a record's that `name` stands for, the first time.
    pub fn once(&self, name: &str, record: &Record, what: impl fmt::Display) {
        {
            // A set of words is as good after a panic as before.
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
