//! Which records are delivered. The others count as done as soon as they are admitted.
//!
//! Pure: it looks at the record alone, so that every instance and every run decides the same.

use super::dead_letter::filter::DeadLetterFilter;
use crate::record::Record;

/// Conditions on records. The default passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names in lower case, each with the values that will do.
    headers: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    skip_tombstones: bool,
    letters: DeadLetterFilter,
}

impl Filter {
    /// Passes only records with this header. Same name: OR; different names: AND. Names ignore case, values don't.
    pub fn want_header(&mut self, name: &str, value: &[u8]) {
        let name = name.to_ascii_lowercase().into_bytes();
        match self.headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value.to_vec()),
            None => self.headers.push((name, vec![value.to_vec()])),
        }
    }

    /// Whether records without a value are excluded.
    pub fn skip_tombstones(&mut self, skip: bool) {
        self.skip_tombstones = skip;
    }

    /// Of dead letters that are replayed, passes only these.
    pub fn want_dead_letters(&mut self, letters: DeadLetterFilter) {
        self.letters = letters;
    }

    /// Whether everything passes.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the record passes.
    pub(crate) fn passes(&self, record: &Record) -> bool {
        let wanted = |(name, values): &(Vec<u8>, Vec<Vec<u8>>)| {
            record.headers().any(|header| {
                header.name.eq_ignore_ascii_case(name)
                    && header.value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
            })
        };
        !(self.skip_tombstones && record.value().is_none())
            && self.headers.iter().all(wanted)
            && (self.letters.is_all() || self.letters.wants_record(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Offset, Partition};

    fn record(value: Option<&[u8]>, headers: &[(&str, &str)]) -> Record {
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| Header { name: name.as_bytes(), value: Some(value.as_bytes()) })
            .collect();
        Record::with_headers(Partition::new("t", 0), Offset(0), 0, None, value, &headers)
    }

    #[test]
    fn any_value_of_a_name_and_every_name() {
        let mut filter = Filter::default();
        assert!(filter.passes(&record(None, &[])));
        for (name, value) in [("Kind", "a"), ("kind", "b"), ("tenant", "x=y")] {
            filter.want_header(name, value.as_bytes());
        }
        assert!(filter.passes(&record(None, &[("KIND", "b"), ("tenant", "x=y")])));
        assert!(filter.passes(&record(None, &[("kind", "z"), ("kind", "a"), ("tenant", "x=y")])));
        for headers in [&[][..], &[("kind", "a")], &[("kind", "A"), ("tenant", "x=y")], &[("tenant", "x=y")]]
        {
            assert!(!filter.passes(&record(None, headers)), "{headers:?}");
        }
    }

    #[test]
    fn tombstones_may_be_skipped_and_empty_values_are_none() {
        let mut filter = Filter::default();
        filter.skip_tombstones(true);
        assert!(!filter.passes(&record(None, &[])));
        assert!(filter.passes(&record(Some(b""), &[])));
    }
}
