//! What a log line tells programs beside its text: the name of its event, and named values.

use crate::record::{Offset, Partition, Record};
use crate::text::json::escape;
use std::fmt::Write;
use std::time::Duration;

/// The fields of a line. Text logs show none of them: whatever people should know is in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    event: &'static str,
    values: Vec<(&'static str, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

impl Fields {
    pub(super) fn of(event: &'static str) -> Self {
        Self { event, values: Vec::new() }
    }

    /// Numbers beyond `i64::MAX` are written as that.
    pub(super) fn number(mut self, name: &'static str, number: impl TryInto<i64>) -> Self {
        self.values.push((name, Value::Number(number.try_into().unwrap_or(i64::MAX))));
        self
    }

    pub(super) fn text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.values.push((name, Value::Text(text.into())));
        self
    }

    /// `topic`, `partition` and `offset`
    pub(super) fn place(self, partition: &Partition, offset: Offset) -> Self {
        self.text("topic", partition.topic())
            .number("partition", partition.number())
            .number("offset", offset.0)
    }

    /// The place of a record.
    pub(super) fn record(self, record: &Record) -> Self {
        self.place(record.partition(), record.offset())
    }

    /// `status`, where there is one.
    pub(super) fn status(self, status: Option<u16>) -> Self {
        match status {
            Some(status) => self.number("status", status),
            None => self,
        }
    }

    /// A time in milliseconds; its name ends with `_ms`.
    pub(super) fn millis(self, name: &'static str, time: Duration) -> Self {
        self.number(name, time.as_millis())
    }

    /// About how many bytes of memory the fields take.
    pub(super) fn size(&self) -> usize {
        let values = self.values.iter().map(|(_, value)| match value {
            Value::Number(_) => size_of::<Value>(),
            Value::Text(text) => size_of::<Value>() + text.len(),
        });
        values.sum()
    }

    /// The longest text is cut to this many bytes.
    pub(super) fn cut(&mut self, longest: usize) {
        for (_, value) in &mut self.values {
            if let Value::Text(text) = value {
                cut(text, longest);
            }
        }
    }

    /// Members of a JSON object, each with a comma before it.
    pub(super) fn write_json(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, ",\"event\":\"{}\"", self.event);
        for (name, value) in &self.values {
            let _ = match value {
                Value::Number(number) => write!(out, ",\"{name}\":{number}"),
                Value::Text(text) => write!(out, ",\"{name}\":\"{}\"", escape(text)),
            };
        }
    }
}

/// Cuts a text to this many bytes or a little less.
pub(super) fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_members_of_a_json_object() {
        let record = Record::new(Partition::new("orders", 3), Offset(41), 0, None, None);
        let fields = Fields::of("attempt").record(&record).status(Some(503)).status(None);
        let mut out = String::new();
        fields
            .millis("duration_ms", Duration::from_millis(12))
            .text("cause", "a \"b\"\n")
            .write_json(&mut out);
        assert_eq!(
            out,
            r#","event":"attempt","topic":"orders","partition":3,"offset":41,"status":503,"duration_ms":12,"cause":"a \"b\"\n""#
        );
        out.clear();
        Fields::of("e").number("n", u64::MAX).write_json(&mut out);
        assert_eq!(out, format!(r#","event":"e","n":{}"#, i64::MAX));
    }

    #[test]
    fn texts_count_and_are_cut() {
        let mut fields = Fields::of("e").text("cause", "é".repeat(100));
        assert!(fields.size() >= 200);
        fields.cut(11);
        assert_eq!(fields, Fields::of("e").text("cause", "ééééé…"));
    }
}
