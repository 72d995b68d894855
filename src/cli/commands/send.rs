//! `send`: the lines of a file or of standard input to the webhook, without Kafka.
//!
//! A line is a record: of partition 0 of a topic that is called after the file, its offset the number of the line, and
//! its time that of the file's last change, or for standard input the time it began; so ids are the same when a file
//! is sent again, and those of another input are others. How far a file was sent is kept beside it; of standard input
//! nothing is kept.

use crate::cli::Failure;
use crate::cli::delivery::DeliveryPlan;
use crate::cli::plan::{Input, SendPlan};
use crate::observe::log::warning;
use crate::record::{Offset, Partition, Record};
use crate::relay::dead_letter::headers::LONGEST_TOPIC;
use crate::relay::dead_letter::replay_progress::{FileProgress, ReplayProgress, ResumePoint, path_beside};
use crate::relay::line_source::deferred_error::DeferredError;
use crate::relay::line_source::{
    Line, LineFormat, LinePosition, LineProgress, LineProgressStore, LineSource, ParsedLine,
};
use crate::relay::source::CommitError;
use crate::text::terminal;
use crate::text::time::timestamp;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, stdin};
use std::path::Path;
use std::time::SystemTime;

/// What standard input is called as a topic.
const STDIN: &str = "stdin";

/// Lines of text.
struct TextLines {
    timestamp: i64,
    key_separator: Option<Vec<u8>>,
    beside: Option<Beside>,
}

/// Keeps how far a file is done beside it.
struct Beside {
    replayed: ReplayProgress,
    file: File,
}

impl LineProgressStore for Beside {
    fn keep(&mut self, done: LineProgress, metadata: &str) -> Result<(), CommitError> {
        let kept = self.replayed.keep(&[FileProgress { file: &self.file, done, metadata }]);
        kept.map_err(|error| {
            let path = terminal::path(self.replayed.path());
            CommitError::Retriable(format!("progress can't be saved in {path}: {error}"))
        })
    }
}

impl LineFormat for TextLines {
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<ParsedLine, String> {
        let (key, value) = match &self.key_separator {
            Some(separator) => split(&line.bytes, separator),
            None => (None, &line.bytes[..]),
        };
        let offset = Offset(line.place.line);
        Ok(Record::new(partition.clone(), offset, self.timestamp, key, Some(value)).into())
    }

    fn progress_store(&mut self) -> Option<Box<dyn LineProgressStore>> {
        Some(Box::new(self.beside.take()?))
    }

    fn takes_unfinished(&self) -> bool {
        true
    }
}

/// Key and value: the parts before and after the first separator. A line without one has no key.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    let at = line.windows(separator.len().max(1)).position(|window| window == separator);
    match at.and_then(|at| Some((line.get(..at)?, line.get(at + separator.len()..)?))) {
        Some((key, value)) => (Some(key), value),
        None => (None, line),
    }
}

/// Delivers until the end of the input.
pub(crate) fn run(plan: SendPlan) -> Result<(), Failure> {
    let SendPlan { input, key_separator, delivery } = plan;
    let key_separator = key_separator.map(String::into_bytes);
    match input {
        Input::Stdin => standard_input(key_separator, delivery),
        Input::File(path) => file(&path, key_separator, delivery),
    }
}

fn standard_input(key_separator: Option<Vec<u8>>, delivery: DeliveryPlan) -> Result<(), Failure> {
    let delivery = delivery.open(&[])?;
    delivery.announce("lines of standard input, whose progress is not saved,");
    let format = TextLines { timestamp: timestamp(SystemTime::now()), key_separator, beside: None };
    let start = (LinePosition::START, String::new());
    let source =
        LineSource::open("standard input", Partition::new(STDIN, 0), Box::new(stdin()), start, format);
    let source = source.map_err(|error| Failure::unreadable(Path::new("-"), &error))?;
    delivery.deliver(&mut DeferredError::new(source))
}

fn file(path: &Path, key_separator: Option<Vec<u8>>, delivery: DeliveryPlan) -> Result<(), Failure> {
    let unreadable = |error| Failure::unreadable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let delivery = delivery.open(&[])?;
    let name = terminal::path(path);
    delivery.announce(&format!("lines of {name}"));
    let (mut beside, mut resume) = (None, ResumePoint::START);
    // Of a pipe there is no second time.
    if metadata.is_file() {
        let kept = path_beside(path);
        let opened = ReplayProgress::open(kept.clone(), "send".into());
        let (replayed, notice) = opened.map_err(|error| Failure::unkept(&kept, &error))?;
        tell(notice);
        let again = File::open(path).map_err(unreadable)?;
        match replayed.entries().resume(&again).map_err(unreadable)? {
            Some(found) => resume = found,
            None => tell(replayed.entries().stranger()),
        }
        if resume.place.line > 1 {
            tell(Some(replayed.entries().resumed(&name, resume.place.line)));
            tell(pass_line_break(&mut file, &mut resume.place).map_err(unreadable)?);
        }
        beside = Some(Beside { replayed, file: again });
    }
    let modified = timestamp(metadata.modified().unwrap_or_else(|_| SystemTime::now()));
    let format = TextLines { timestamp: modified, key_separator, beside };
    let start = (resume.place, resume.metadata);
    let partition = Partition::new(topic(path), 0);
    let source = LineSource::open(&name, partition, Box::new(file), start, format).map_err(unreadable)?;
    delivery.deliver(&mut DeferredError::new(source))
}

/// Says what was found of an earlier run.
fn tell(notice: Option<String>) {
    notice.iter().for_each(|notice| warning(notice));
}

/// Moves the file to where it resumes. A last line that was sent without its line break may have got one since.
fn pass_line_break(file: &mut File, place: &mut LinePosition) -> io::Result<Option<String>> {
    let mut around = Vec::new();
    file.seek(SeekFrom::Start(place.byte.saturating_sub(1)))?;
    Read::take(&mut *file, 2).read_to_end(&mut around)?;
    let notice = match around[..] {
        [b'\n', ..] | [_] | [] => None,
        [_, b'\n', ..] => {
            place.byte += 1;
            None
        }
        [_, _, ..] => Some(format!(
            "line {} was continued after it had been sent: the rest of it is sent as another line",
            place.line.saturating_sub(1)
        )),
    };
    file.seek(SeekFrom::Start(place.byte))?;
    Ok(notice)
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
