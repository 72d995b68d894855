//! The entries of a file, taken one by one; what nobody took is unknown.

use super::PropertiesError;
use super::syntax::Entry;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is left of a file, and what there is to warn of.
pub(super) struct Entries {
    left: BTreeMap<String, Entry>,
    warnings: Vec<String>,
}

/// An entry with the name that it had.
pub(super) struct Taken {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) line: usize,
}

impl Entries {
    pub(super) fn new(left: BTreeMap<String, Entry>) -> Self {
        Self { left, warnings: Vec::new() }
    }

    /// The value under the first of these names that is there; the others are taken too.
    pub(super) fn take(&mut self, names: &[&'static str]) -> Option<Taken> {
        let mut found = None;
        for key in names {
            let Some(Entry { value, line }) = self.left.remove(*key) else { continue };
            match &found {
                None => found = Some(Taken { key, value, line }),
                Some(Taken { key: first, .. }) => {
                    self.warnings.push(format!("{key} is left aside for {first}"))
                }
            }
        }
        found
    }

    /// Text; empty is as good as not there.
    pub(super) fn text(&mut self, names: &[&'static str]) -> Option<String> {
        self.take(names).map(|entry| entry.value).filter(|value| !value.is_empty())
    }

    /// A time above zero.
    pub(super) fn time(&mut self, names: &[&'static str]) -> Result<Option<Duration>, PropertiesError> {
        self.number(names, 1, "a number of milliseconds above 0").map(|time| time.map(milliseconds))
    }

    /// A time, where -1 and 0 say that there is no limit (given as zero).
    pub(super) fn time_or_never(
        &mut self,
        names: &[&'static str],
    ) -> Result<Option<Duration>, PropertiesError> {
        self.number(names, -1, "a number of milliseconds, or -1").map(|time| time.map(milliseconds))
    }

    fn number(
        &mut self,
        names: &[&'static str],
        least: i32,
        expected: &str,
    ) -> Result<Option<i32>, PropertiesError> {
        let Some(entry) = self.take(names) else { return Ok(None) };
        match entry.value.parse::<i32>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => {
                let sentence = format!("{}={} has to be {expected}", entry.key, entry.value);
                Err(PropertiesError::at(entry.line, sentence))
            }
        }
    }

    pub(super) fn warn(&mut self, sentence: String) {
        self.warnings.push(sentence);
    }

    /// All warnings, with one for each key that nobody took and that does mean something.
    pub(super) fn warnings(self, means_nothing: &[&str]) -> Vec<String> {
        let mut warnings = self.warnings;
        for (key, entry) in self.left {
            let harmless = means_nothing
                .iter()
                .any(|known| key == *known || known.ends_with('.') && key.starts_with(known));
            if !harmless {
                warnings.push(format!("line {}: {key} has no effect here", entry.line));
            }
        }
        warnings
    }
}

fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or_default())
}
