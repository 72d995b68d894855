//! `send`: the lines of a file or of standard input through the gate, without Kafka.
//!
//! A line is a record: of partition 0 of a topic that is called after the file, its offset the number of the line, and
//! its time that of the file's last change, or for standard input the time it began; so ids are the same when a file
//! is sent again, and those of another input are others. How far a file was sent is kept beside it; of standard input
//! nothing is kept.

use super::Failure;
use super::letters::{keep_places, unreadable};
use super::options::Options;
use super::replay::tell;
use super::run::Gate;
use crate::relay::dead_letter::headers::{LONGEST_TOPIC, millis};
use crate::relay::dead_letter::replayed::{Replayed, Resume};
use crate::relay::lines::{KeepPlace, Line, LineFormat, LineSource, Place};
use crate::relay::record::{Offset, Partition, Record};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, stdin};
use std::path::Path;
use std::time::SystemTime;

/// What standard input is called as a topic.
const STDIN: &str = "stdin";

/// Lines of text.
struct TextLines {
    timestamp: i64,
    key_separator: Option<Vec<u8>>,
    replayed: Option<Replayed>,
}

impl LineFormat for TextLines {
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<Record, String> {
        let (key, value) = match &self.key_separator {
            Some(separator) => split(&line.bytes, separator),
            None => (None, &line.bytes[..]),
        };
        Ok(Record::new(partition.clone(), Offset(line.place.line), self.timestamp, key, Some(value)))
    }

    fn keeper(&mut self) -> Option<Box<dyn KeepPlace>> {
        keep_places(self.replayed.take())
    }

    fn takes_unfinished(&self) -> bool {
        true
    }
}

/// What is before the first separator, and what is behind it; a line without one has no key.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    let at = line.windows(separator.len().max(1)).position(|window| window == separator);
    match at.and_then(|at| Some((line.get(..at)?, line.get(at + separator.len()..)?))) {
        Some((key, value)) => (Some(key), value),
        None => (None, line),
    }
}

/// Delivers until the end of the input.
pub fn run(options: &Options) -> Result<(), Failure> {
    let operand = options.operand.as_ref();
    let operand =
        operand.ok_or_else(|| Failure::usage("FILE or - is missing: see sluicegate send --help"))?;
    if operand == "-" { input(options) } else { file(Path::new(operand), options) }
}

fn input(options: &Options) -> Result<(), Failure> {
    let gate = Gate::open(options, Vec::new())?;
    gate.announce("standard input", "of which a run that is stopped leaves no trace of how far it came");
    let format = format(options, SystemTime::now(), None);
    let start = (Place::START, String::new());
    let source = LineSource::open("standard input", STDIN, Box::new(stdin()), start, format);
    gate.deliver(&mut source.map_err(|error| unreadable(Path::new("-"), &error))?)
}

fn file(path: &Path, options: &Options) -> Result<(), Failure> {
    let unreadable = |error| unreadable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let gate = Gate::open(options, Vec::new())?;
    // Of a pipe there is no second time.
    let (replayed, mut resume) = if metadata.is_file() {
        let opened = Replayed::open(path, "send".into());
        opened.map(|(replayed, resume)| (Some(replayed), resume)).map_err(unreadable)?
    } else {
        (None, Resume::from_start(None))
    };
    gate.announce(&path.display().to_string(), "a record a line");
    tell(&mut resume);
    if resume.place != Place::START {
        file.seek(SeekFrom::Start(resume.place.byte)).map_err(unreadable)?;
    }
    let format = format(options, metadata.modified().unwrap_or_else(|_| SystemTime::now()), replayed);
    let from: Box<dyn Read + Send> = Box::new(file);
    let start = (resume.place, resume.metadata);
    let name = path.display().to_string();
    gate.deliver(&mut LineSource::open(&name, &topic(path), from, start, format).map_err(unreadable)?)
}

fn format(options: &Options, time: SystemTime, replayed: Option<Replayed>) -> TextLines {
    let timestamp = i64::try_from(millis(time)).unwrap_or(i64::MAX);
    let key_separator = options.key_separator.clone().map(String::into_bytes);
    TextLines { timestamp, key_separator, replayed }
}

/// The file's name, made fit for a topic.
fn topic(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fit = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(fit).take(LONGEST_TOPIC).collect();
    if name.is_empty() { "file".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_stands_before_the_separator() {
        assert_eq!(split(b"k::v::w", b"::"), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(split(b"::v", b"::"), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"v", b"::"), (None, &b"v"[..]));
        assert_eq!(split(b"", b"\t"), (None, &b""[..]));
    }

    #[test]
    fn a_file_is_a_topic_by_its_name() {
        for (path, name) in [("/tmp/orders 1.jsonl", "orders_1.jsonl"), ("é", "_"), ("/", "file")] {
            assert_eq!(topic(Path::new(path)), name);
        }
    }
}
