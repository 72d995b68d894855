//! A source of records that lie in lines: of standard input, of a file of text, of a file of dead letters.
//!
//! A thread of its own reads ahead, bounded in bytes, so that a slow writer at the other end of a pipe never holds
//! the loop up. A record's offset is the number of its line, counted from 1.

use super::record::{Checkpoint, Offset, Partition, Position, Record};
use super::source::{Assigned, Commit, CommitError, Notice, Polled, Severity, Source, SourceError, Want};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest line that is read, in bytes. A record of 8 MB that is all control characters, escaped in JSON, fits.
pub const LONGEST_LINE: usize = 64 << 20;
/// Lines are handed over once they are so many bytes together, or once the writer takes a break.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces are read ahead.
const PIECES_AHEAD: usize = 2;

/// Where a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1.
    pub line: i64,
    /// How many bytes are before it.
    pub byte: u64,
}

impl Place {
    /// The beginning of it all.
    pub const START: Self = Self { line: 1, byte: 0 };
}

/// A line without its line break.
#[derive(Debug)]
pub struct Line {
    /// Where it begins.
    pub place: Place,
    /// What stands in it.
    pub bytes: Vec<u8>,
}

/// What comes after the last whole line.
#[derive(Debug)]
enum Last {
    Nothing,
    /// Bytes without a line break.
    Unfinished(Line),
    Failed(String),
}

enum Piece {
    Lines(Vec<Line>),
    Last(Last),
}

/// How lines become records, and what keeps positions.
pub trait LineFormat {
    /// Makes the record of a line.
    ///
    /// # Errors
    /// What is wrong with the line, in a sentence that need not name it: the run ends with it.
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<Record, String>;

    /// What keeps positions; asked for once. `None` if they are not kept.
    fn keeper(&mut self) -> Option<Box<dyn KeepPlace>> {
        None
    }

    /// Whether a last line without a line break counts as one.
    fn takes_unfinished(&self) -> bool;
}

/// Keeps how far lines are done.
pub trait KeepPlace: Send {
    /// Keeps the first line that is not done, and what the core notes beside it.
    ///
    /// # Errors
    /// As of [`Commit::commit`].
    fn keep(&mut self, place: Place, metadata: &str) -> Result<(), CommitError>;
}

/// Where the lines under way begin: written as lines are handed over, read as they are committed.
#[derive(Clone, Debug)]
struct Places(Arc<Mutex<(VecDeque<Place>, Place)>>);

impl Places {
    fn new(start: Place) -> Self {
        Self(Arc::new(Mutex::new((VecDeque::new(), start))))
    }

    /// A line at `place` was handed over; the next one begins at `next`.
    fn hand_over(&self, place: Place, next: Place) {
        // Whole after each statement: poison carries no news.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.0.push_back(place);
        places.1 = next;
    }

    /// Where the first line at or behind this number begins; what lies before is forgotten.
    fn first_not_before(&self, line: i64) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while places.0.front().is_some_and(|place| place.line < line) {
            places.0.pop_front();
        }
        places.0.front().copied().unwrap_or(places.1)
    }
}

/// Turns positions into places.
struct PlaceCommitter {
    places: Places,
    keeper: Option<Box<dyn KeepPlace>>,
}

impl Commit for PlaceCommitter {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let Some(Checkpoint { position, metadata, .. }) = checkpoints.last() else { return Ok(()) };
        let place = self.places.first_not_before(position.next.0);
        self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.keep(place, metadata))
    }
}

/// The lines as a source.
pub struct LineSource<F> {
    /// What is read, as people call it.
    name: String,
    format: F,
    partition: Partition,
    assigned: Option<Assigned>,
    pieces: Receiver<Piece>,
    lines: VecDeque<Line>,
    places: Places,
    notice: Option<Notice>,
    failure: Option<String>,
    ended: bool,
}

impl<F: LineFormat> LineSource<F> {
    /// Reads `from`, which begins at `start`. The records are of partition 0 of `topic`; `metadata` is what was kept
    /// beside that position.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn open(
        name: &str,
        topic: &str,
        from: Box<dyn Read + Send>,
        (start, metadata): (Place, String),
        format: F,
    ) -> io::Result<Self> {
        let (send, pieces) = sync_channel(PIECES_AHEAD);
        // Nobody waits for the thread: it may be in a read, and ends with its receiver.
        std::thread::Builder::new().name("lines".into()).spawn(move || read(from, start, &send))?;
        let partition = Partition::new(topic, 0);
        let position = Position { partition: partition.clone(), next: Offset(start.line) };
        Ok(Self {
            name: name.to_owned(),
            format,
            partition,
            assigned: Some(Assigned {
                checkpoint: Checkpoint { metadata, ..Checkpoint::from(position) },
                uncommitted: false,
            }),
            pieces,
            lines: VecDeque::new(),
            places: Places::new(start),
            notice: None,
            failure: None,
            ended: false,
        })
    }

    /// Waits for lines, unless some are there.
    fn fill(&mut self, wait: Duration) {
        if !self.lines.is_empty() || self.ended {
            return;
        }
        match self.pieces.recv_timeout(wait) {
            Ok(Piece::Lines(lines)) => self.lines.extend(lines),
            Ok(Piece::Last(last)) => {
                self.ended = true;
                self.finish(last);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                self.failure = Some(format!("reading {} ended unexpectedly", self.name));
            }
        }
    }

    fn finish(&mut self, last: Last) {
        match last {
            Last::Nothing => {}
            Last::Unfinished(line) if self.format.takes_unfinished() => self.lines.push_back(line),
            Last::Unfinished(line) => {
                let text = format!(
                    "line {} of {} has no end and is left out: its writer is at it, or was stopped in the middle",
                    line.place.line, self.name
                );
                self.notice = Some(Notice { severity: Severity::Warning, text });
            }
            Last::Failed(text) => self.failure = Some(format!("{}: {text}", self.name)),
        }
    }

    fn take(&mut self, want: Want) -> Vec<Record> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < want.records && (bytes < want.bytes || taken.is_empty()) {
            let Some(line) = self.lines.pop_front() else { break };
            match self.format.record(&line, &self.partition) {
                Ok(record) => {
                    bytes += record.weight();
                    let length = u64::try_from(line.bytes.len()).unwrap_or(u64::MAX);
                    let byte = line.place.byte.saturating_add(length).saturating_add(1);
                    let next = Place { line: line.place.line.saturating_add(1), byte };
                    self.places.hand_over(line.place, next);
                    taken.push(record);
                }
                Err(text) => {
                    self.failure = Some(format!("line {} of {}: {text}", line.place.line, self.name));
                    self.lines.clear();
                    self.ended = true;
                    break;
                }
            }
        }
        taken
    }
}

impl<F: LineFormat> Source for LineSource<F> {
    fn poll(&mut self, want: Want, wait: Duration) -> Result<Polled, SourceError> {
        if let Some(assigned) = self.assigned.take() {
            return Ok(Polled::Assigned(vec![assigned]));
        }
        if let Some(notice) = self.notice.take() {
            return Ok(Polled::Notice(notice));
        }
        if want.records == 0 {
            return Ok(Polled::Nothing);
        }
        self.fill(wait);
        let records = self.take(want);
        if !records.is_empty() {
            return Ok(Polled::Records(records));
        }
        if let Some(notice) = self.notice.take() {
            return Ok(Polled::Notice(notice));
        }
        match self.failure.take() {
            Some(text) => Err(SourceError(text)),
            None if self.ended => Ok(Polled::End),
            None => Ok(Polled::Nothing),
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(PlaceCommitter { places: self.places.clone(), keeper: self.format.keeper() })
    }
}

/// Reads to the end, or until nobody wants more.
fn read(from: Box<dyn Read + Send>, mut next: Place, send: &SyncSender<Piece>) {
    let mut from = BufReader::with_capacity(PIECE_BYTES / 4, from);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let last = loop {
        let line = match read_line(&mut from) {
            Ok((line, true)) => line,
            Ok((line, false)) if line.is_empty() => break Last::Nothing,
            Ok((bytes, false)) => break Last::Unfinished(Line { place: next, bytes }),
            Err(error) => break Last::Failed(format!("line {} can't be read: {error}", next.line)),
        };
        bytes += line.len();
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        lines.push(Line { place: next, bytes: line });
        next.line = next.line.saturating_add(1);
        next.byte = next.byte.saturating_add(length).saturating_add(1);
        // What is here is not held back until more comes. An empty line weighs something too.
        if bytes + lines.len() * size_of::<Line>() >= PIECE_BYTES || !from.buffer().contains(&b'\n') {
            bytes = 0;
            if send.send(Piece::Lines(std::mem::take(&mut lines))).is_err() {
                return;
            }
        }
    };
    if lines.is_empty() || send.send(Piece::Lines(lines)).is_ok() {
        // Whoever has gone needs no end.
        let _ = send.send(Piece::Last(last));
    }
}

/// The next line without its line break, and whether it had one.
fn read_line(from: &mut impl BufRead) -> io::Result<(Vec<u8>, bool)> {
    let mut line = Vec::new();
    loop {
        let part = match from.fill_buf() {
            Ok(part) => part,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if part.is_empty() {
            return Ok((line, false));
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let more = end.unwrap_or(part.len());
        if line.len() + more > LONGEST_LINE {
            return Err(io::Error::other(format!("it is longer than {LONGEST_LINE} bytes")));
        }
        line.extend_from_slice(part.get(..more).unwrap_or(part));
        from.consume(end.map_or(more, |end| end + 1));
        if end.is_some() {
            return Ok((line, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    const WAIT: Duration = Duration::from_secs(60);

    #[derive(Clone, Default)]
    struct Plain {
        kept: Arc<Mutex<Vec<Place>>>,
        takes_unfinished: bool,
    }

    impl LineFormat for Plain {
        fn record(&mut self, line: &Line, partition: &Partition) -> Result<Record, String> {
            match &line.bytes[..] {
                b"bad" => Err("it is bad".to_owned()),
                bytes => Ok(Record::new(partition.clone(), Offset(line.place.line), -1, None, Some(bytes))),
            }
        }

        fn keeper(&mut self) -> Option<Box<dyn KeepPlace>> {
            Some(Box::new(self.clone()))
        }

        fn takes_unfinished(&self) -> bool {
            self.takes_unfinished
        }
    }

    impl KeepPlace for Plain {
        fn keep(&mut self, place: Place, _metadata: &str) -> Result<(), CommitError> {
            self.kept.lock().unwrap().push(place);
            Ok(())
        }
    }

    fn source(
        from: Box<dyn Read + Send>,
        start: Place,
        takes_unfinished: bool,
    ) -> (LineSource<Plain>, Plain) {
        let plain = Plain { takes_unfinished, ..Plain::default() };
        let source = LineSource::open("f", "f", from, (start, String::new()), plain.clone());
        (source.unwrap(), plain)
    }

    fn text(text: &str) -> Box<dyn Read + Send> {
        Box::new(io::Cursor::new(text.as_bytes().to_vec()))
    }

    type Drained = (Vec<(i64, String)>, Result<(), String>, Vec<String>);

    /// All records as number and value, and how it ended.
    fn drain(source: &mut LineSource<Plain>, want: Want) -> Drained {
        let (mut records, mut notices) = (Vec::new(), Vec::new());
        loop {
            match source.poll(want, WAIT) {
                Ok(Polled::Records(more)) => {
                    assert!(more.len() <= want.records);
                    let shown = |r: &Record| String::from_utf8_lossy(r.value().unwrap()).into_owned();
                    records.extend(more.iter().map(|record| (record.offset().0, shown(record))));
                }
                Ok(Polled::Notice(notice)) => notices.push(notice.text),
                Ok(Polled::End) => return (records, Ok(()), notices),
                Ok(_) => {}
                Err(error) => return (records, Err(error.to_string()), notices),
            }
        }
    }

    const MUCH: Want = Want { records: 100, bytes: usize::MAX };

    #[test]
    fn each_line_is_a_record_with_its_number() {
        let (mut lines, _) = source(text("a\n\nb c\r\nlast"), Place::START, true);
        let (records, end, notices) = drain(&mut lines, MUCH);
        let expected = [(1, "a"), (2, ""), (3, "b c\r"), (4, "last")];
        assert_eq!(records, expected.map(|(n, text)| (n, text.to_owned())));
        assert_eq!((end, notices), (Ok(()), vec![]));
    }

    #[test]
    fn a_line_that_is_not_finished_is_left_out_where_it_does_not_count() {
        let (mut lines, _) = source(text("a\nhal"), Place::START, false);
        let (records, end, notices) = drain(&mut lines, MUCH);
        assert_eq!((records.len(), end), (1, Ok(())));
        assert!(notices[0].contains("line 2 of f has no end"), "{notices:?}");
    }

    #[test]
    fn what_comes_before_a_bad_line_is_handed_over() {
        let (mut lines, _) = source(text("a\nb\nbad\nc\n"), Place::START, true);
        let (records, end, _) = drain(&mut lines, MUCH);
        assert_eq!((records.len(), end), (2, Err("line 3 of f: it is bad".to_owned())));
    }

    #[test]
    fn an_endless_line_is_an_error_and_not_kept() {
        let (mut lines, _) = source(Box::new(io::repeat(b'x')), Place::START, true);
        let (records, end, _) = drain(&mut lines, MUCH);
        assert!(records.is_empty() && end.unwrap_err().contains("longer than"));
    }

    #[test]
    fn positions_are_kept_as_places_and_begin_there_again() {
        let all = "a\nbb\n\nccc\n";
        let (mut lines, kept) = source(text(all), Place::START, true);
        let mut committer = lines.committer();
        assert_eq!(drain(&mut lines, MUCH).0.len(), 4);
        for next in [2, 3, 5] {
            let position = Position { partition: Partition::new("f", 0), next: Offset(next) };
            committer.commit(&[Checkpoint { metadata: "m".into(), ..position.into() }]).unwrap();
        }
        let places = kept.kept.lock().unwrap().clone();
        let place = |line, byte| Place { line, byte };
        assert_eq!(places, [place(2, 2), place(3, 5), place(5, 10)]);
        let (mut rest, _) = source(text(&all[5..]), places[1], true);
        let Ok(Polled::Assigned(at)) = rest.poll(MUCH, WAIT) else { panic!("no position") };
        assert_eq!(at[0].checkpoint.position.next, Offset(3));
        assert_eq!(drain(&mut rest, MUCH).0, [(3, String::new()), (4, "ccc".to_owned())]);
    }

    #[test]
    fn a_slow_writer_holds_nobody_up() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut lines, _) = source(Box::new(reader), Place::START, true);
        assert!(matches!(lines.poll(MUCH, WAIT), Ok(Polled::Assigned(_))));
        assert!(matches!(lines.poll(MUCH, Duration::from_millis(1)), Ok(Polled::Nothing)));
        io::Write::write_all(&mut writer, b"first\nsec").unwrap();
        let Ok(Polled::Records(records)) = lines.poll(MUCH, WAIT) else { panic!("no records") };
        assert_eq!(records[0].value(), Some(&b"first"[..]), "though the second is not there yet");
        drop(writer);
        assert_eq!(drain(&mut lines, MUCH).0, [(2, "sec".to_owned())]);
    }

    proptest! {
        #[test]
        fn no_line_is_lost_or_torn(
            texts in prop::collection::vec("[a-c]{0,6}", 0..40),
            records in 1usize..5,
            bytes in 1usize..400,
        ) {
            let all: String = texts.iter().map(|text| format!("{text}\n")).collect();
            let (mut lines, _) = source(text(&all), Place::START, true);
            let (found, end, _) = drain(&mut lines, Want { records, bytes });
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(found.iter().map(|(_, text)| text).collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
            prop_assert!(found.iter().zip(1..).all(|((number, _), expected)| *number == expected));
        }
    }
}
