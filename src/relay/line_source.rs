//! A source that reads a record from each line: of standard input, a text file or a file of dead letters.
//!
//! A thread of its own reads ahead, bounded in bytes, so that a slow writer at the other end of a pipe never holds
//! the loop up. A record's offset is the number of its line, counted from 1.
//!
//! | room | what is in it |
//! |---|---|
//! | `reader` | lines from bytes, read ahead by a thread |
//! | [deferred_error] | a source whose error comes once what it handed over is committed |

pub mod deferred_error;
mod reader;

pub use reader::{DamagedPart, LONGEST_LINE, Line, LineLimits, LinePosition};

use super::source::{Assigned, Commit, CommitError, PollLimit, Polled, Source, SourceError};
use crate::notice::{Notice, Severity};
use crate::record::{Checkpoint, Offset, Partition, Position, Record};
use reader::{Last, Piece, read};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Chunks read ahead.
const PIECES_AHEAD: usize = 3;
/// At most this many skipped lines are reported one by one; the others are counted.
const MOST_NOTICES: u64 = 20;

/// What a line is.
#[derive(Debug)]
pub struct ParsedLine {
    /// Its record; `None` if the line is skipped.
    pub(crate) record: Option<Record>,
    /// What is wrong with the line, if anything: the rest of a sentence that begins with the line's number.
    pub(crate) notice: Option<String>,
}

impl From<Record> for ParsedLine {
    fn from(record: Record) -> Self {
        Self { record: Some(record), notice: None }
    }
}

/// How lines become records, and what keeps positions.
pub trait LineFormat {
    /// Makes the record of a line, or skips it.
    ///
    /// # Errors
    /// What is wrong with the line, without its number: the run ends with it.
    fn record(&mut self, line: &Line, partition: &Partition) -> Result<ParsedLine, String>;

    /// What keeps positions; asked for once. `None` if they are not kept.
    fn progress_store(&mut self) -> Option<Box<dyn LineProgressStore>> {
        None
    }

    /// Whether a last line without a line break counts as one.
    fn takes_unfinished(&self) -> bool;

    /// Which lines are read.
    fn bounds(&self) -> LineLimits {
        LineLimits::TEXT
    }
}

/// How far lines are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineProgress {
    /// Where the first line begins that is not done.
    pub(crate) place: LinePosition,
    /// Where the first line begins that was not handed over: what the core notes beside a position concerns lines
    /// before this one.
    pub(crate) handed_over: LinePosition,
}

/// Keeps how far lines are done.
pub trait LineProgressStore: Send {
    /// Keeps how far lines are done, and what the core notes beside it.
    ///
    /// # Errors
    /// As of [`Commit::commit`].
    fn keep(&mut self, done: LineProgress, metadata: &str) -> Result<(), CommitError>;
}

/// Where the lines under way begin: written as lines are handed over, read as they are committed.
#[derive(Clone, Debug)]
pub struct LinePositions(Arc<Mutex<(VecDeque<LinePosition>, LinePosition)>>);

impl LinePositions {
    fn new(start: LinePosition) -> Self {
        Self(Arc::new(Mutex::new((VecDeque::new(), start))))
    }

    /// A line at `place` was handed over, or skipped; the next one begins at `next`.
    fn hand_over(&self, place: Option<LinePosition>, next: LinePosition) {
        // Whole after each statement: poison carries no news.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.0.extend(place);
        places.1 = next;
    }

    /// Where the first line begins that was not handed over.
    pub fn handed_over(&self) -> LinePosition {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// How far lines are done, if this is the number of the first that is not; what lies before is forgotten.
    pub fn done(&self, line: i64) -> LineProgress {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while places.0.front().is_some_and(|place| place.line < line) {
            places.0.pop_front();
        }
        LineProgress { place: places.0.front().copied().unwrap_or(places.1), handed_over: places.1 }
    }
}

/// Turns positions into places.
struct LineCommitter {
    places: LinePositions,
    store: Option<Box<dyn LineProgressStore>>,
}

impl Commit for LineCommitter {
    fn commit(&mut self, checkpoints: &[Checkpoint]) -> Result<(), CommitError> {
        let Some(Checkpoint { position, metadata, .. }) = checkpoints.last() else { return Ok(()) };
        let done = self.places.done(position.next.0);
        self.store.as_mut().map_or(Ok(()), |store| store.keep(done, metadata))
    }
}

/// The lines as a source.
pub struct LineSource<F> {
    /// The name of the input, for errors.
    name: String,
    format: F,
    partition: Partition,
    assigned: Option<Assigned>,
    pieces: Receiver<Piece>,
    lines: VecDeque<Line>,
    places: LinePositions,
    notices: VecDeque<Notice>,
    /// The number of lines skipped or used in part.
    odd: u64,
    /// The number of the next line, if the last one was skipped.
    skipped_to: Option<i64>,
    failure: Option<String>,
    ended: bool,
}

impl<F: LineFormat> LineSource<F> {
    /// Reads `from`, which begins at `start`. The records are of `partition`; `metadata` is what was kept beside that
    /// position.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn open(
        name: &str,
        partition: Partition,
        from: Box<dyn Read + Send>,
        (start, metadata): (LinePosition, String),
        format: F,
    ) -> io::Result<Self> {
        let (send, pieces) = sync_channel(PIECES_AHEAD);
        let bounds = format.bounds();
        // Nobody waits for the thread: it may be in a read, and ends with its receiver.
        std::thread::Builder::new().name("lines".into()).spawn(move || read(from, start, bounds, &send))?;
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
            places: LinePositions::new(start),
            notices: VecDeque::new(),
            odd: 0,
            skipped_to: None,
            failure: None,
            ended: false,
        })
    }

    /// The positions of its lines, shared with whatever saves progress.
    pub fn places(&self) -> LinePositions {
        self.places.clone()
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
            Last::Unfinished(line) => self.warn(format!(
                "line {} of {} ({} bytes) has no line break at its end and is skipped for now: its writer was stopped \
                 in the middle, or is still writing it",
                line.place.line, self.name, line.span
            )),
            Last::Failed(text) => self.failure = Some(format!("{}: {text}", self.name)),
        }
        if let Some(untold) = self.odd.checked_sub(MOST_NOTICES).filter(|untold| *untold > 0) {
            self.warn(format!("{}: {untold} more lines like these", self.name));
        }
    }

    fn warn(&mut self, text: String) {
        self.notices.push_back(Notice { severity: Severity::Warning, text });
    }

    fn take(&mut self, want: PollLimit) -> Vec<Record> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < want.records && (bytes < want.bytes || taken.is_empty()) {
            let Some(line) = self.lines.pop_front() else { break };
            match self.format.record(&line, &self.partition) {
                Ok(ParsedLine { record, notice }) => {
                    if let Some(text) = notice {
                        self.odd += 1;
                        if self.odd <= MOST_NOTICES {
                            self.warn(format!("line {} of {} {text}", line.place.line, self.name));
                        }
                    }
                    let next = line.place.after(line.span);
                    self.places.hand_over(record.is_some().then_some(line.place), next);
                    self.skipped_to = record.is_none().then_some(next.line);
                    if let Some(record) = record {
                        bytes += record.weight();
                        taken.push(record);
                    }
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
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        if let Some(assigned) = self.assigned.take() {
            return Ok(Polled::Assigned(vec![assigned]));
        }
        if let Some(notice) = self.notices.pop_front() {
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
        if let Some(notice) = self.notices.pop_front() {
            return Ok(Polled::Notice(notice));
        }
        if let Some(next) = self.skipped_to.take() {
            let position = Position { partition: self.partition.clone(), next: Offset(next) };
            return Ok(Polled::Skipped(vec![position]));
        }
        match self.failure.take() {
            Some(text) => Err(SourceError(text)),
            None if self.ended => Ok(Polled::End),
            None => Ok(Polled::Nothing),
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(LineCommitter { places: self.places.clone(), store: self.format.progress_store() })
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
        kept: Arc<Mutex<Vec<LinePosition>>>,
        takes_unfinished: bool,
        bounds: Option<LineLimits>,
    }

    impl LineFormat for Plain {
        fn record(&mut self, line: &Line, partition: &Partition) -> Result<ParsedLine, String> {
            let record =
                |bytes| Record::new(partition.clone(), Offset(line.place.line), -1, None, Some(bytes));
            match (&line.bytes[..], &line.lost) {
                (b"bad", _) => Err("it is bad".to_owned()),
                (b"", Some(lost)) => Ok(ParsedLine {
                    record: None,
                    notice: Some(format!("lost {} ({} zeros)", lost.bytes, lost.zeros)),
                }),
                (bytes, _) => Ok(record(bytes).into()),
            }
        }

        fn bounds(&self) -> LineLimits {
            self.bounds.unwrap_or(LineLimits::TEXT)
        }

        fn progress_store(&mut self) -> Option<Box<dyn LineProgressStore>> {
            Some(Box::new(self.clone()))
        }

        fn takes_unfinished(&self) -> bool {
            self.takes_unfinished
        }
    }

    impl LineProgressStore for Plain {
        fn keep(&mut self, done: LineProgress, _metadata: &str) -> Result<(), CommitError> {
            self.kept.lock().unwrap().push(done.place);
            Ok(())
        }
    }

    fn source(
        from: Box<dyn Read + Send>,
        start: LinePosition,
        takes_unfinished: bool,
    ) -> (LineSource<Plain>, Plain) {
        opened(from, start, Plain { takes_unfinished, ..Plain::default() })
    }

    fn opened(from: Box<dyn Read + Send>, start: LinePosition, plain: Plain) -> (LineSource<Plain>, Plain) {
        let partition = Partition::new("f", 0);
        let source = LineSource::open("f", partition, from, (start, String::new()), plain.clone());
        (source.unwrap(), plain)
    }

    fn mending(from: Box<dyn Read + Send>, longest: usize) -> LineSource<Plain> {
        let bounds = Some(LineLimits { longest, skips_damage: true });
        opened(from, LinePosition::START, Plain { bounds, ..Plain::default() }).0
    }

    fn text(text: &str) -> Box<dyn Read + Send> {
        Box::new(io::Cursor::new(text.as_bytes().to_vec()))
    }

    type Drained = (Vec<(i64, String)>, Result<(), String>, Vec<String>);

    /// All records as number and value, and how it ended.
    fn drain(source: &mut LineSource<Plain>, want: PollLimit) -> Drained {
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

    const MUCH: PollLimit = PollLimit { records: 100, bytes: usize::MAX };

    #[test]
    fn each_line_is_a_record_with_its_number() {
        let (mut lines, _) = source(text("a\n\nb c\r\nlast"), LinePosition::START, true);
        let (records, end, notices) = drain(&mut lines, MUCH);
        let expected = [(1, "a"), (2, ""), (3, "b c\r"), (4, "last")];
        assert_eq!(records, expected.map(|(n, text)| (n, text.to_owned())));
        assert_eq!((end, notices), (Ok(()), vec![]));
    }

    #[test]
    fn a_line_that_is_not_finished_is_left_out_where_it_does_not_count() {
        let (mut lines, _) = source(text("a\nhal"), LinePosition::START, false);
        let (records, end, notices) = drain(&mut lines, MUCH);
        assert_eq!((records.len(), end), (1, Ok(())));
        assert!(notices[0].contains("line 2 of f (3 bytes) has no line break"), "{notices:?}");
    }

    #[test]
    fn what_comes_before_a_bad_line_is_handed_over() {
        let (mut lines, _) = source(text("a\nb\nbad\nc\n"), LinePosition::START, true);
        let (records, end, _) = drain(&mut lines, MUCH);
        assert_eq!((records.len(), end), (2, Err("line 3 of f: it is bad".to_owned())));
    }

    #[test]
    fn an_endless_line_is_an_error_and_not_kept() {
        let (mut lines, _) = source(Box::new(io::repeat(b'x')), LinePosition::START, true);
        let (records, end, _) = drain(&mut lines, MUCH);
        assert!(records.is_empty() && end.unwrap_err().contains("longer than"));
    }

    #[test]
    fn zeros_and_lines_that_are_too_long_are_skipped_with_the_position_behind_them() {
        const ZEROS: u64 = 16 << 20;
        let zeros = io::repeat(0).take(ZEROS);
        let long = io::repeat(b'x').take(2_000);
        let from = (&b"a\nto\0rn"[..]).chain(&b"\n"[..]).chain(zeros).chain(&b"\n"[..]);
        let from = from.chain(long).chain(&b"\nb\n"[..]).chain(io::repeat(0).take(7)).chain(&b"\n"[..]);
        let mut lines = mending(Box::new(from), 1_000);
        let (mut records, mut notices, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match lines.poll(MUCH, WAIT).unwrap() {
                Polled::Records(more) => records.extend(more.iter().map(|it| it.offset().0)),
                Polled::Notice(notice) => notices.push(notice.text),
                Polled::Skipped(positions) => passed.extend(positions.iter().map(|it| it.next.0)),
                Polled::End => break,
                _ => {}
            }
        }
        assert_eq!(records, [1, 2, 5], "what is left behind the zeros of line 2 is its format's to judge");
        let expected = [
            format!("line 3 of f lost {ZEROS} ({ZEROS} zeros)"),
            "line 4 of f lost 2000 (0 zeros)".into(),
            "line 6 of f lost 7 (7 zeros)".into(),
        ];
        assert_eq!(notices, expected);
        assert_eq!(passed.last(), Some(&7));
        let end = LinePosition { line: 7, byte: 2 + 6 + ZEROS + 1 + 2_001 + 2 + 8 };
        assert_eq!(lines.places().done(7), LineProgress { place: end, handed_over: end });
    }

    #[test]
    fn many_bad_lines_are_counted_and_not_all_told() {
        let mut lines = mending(Box::new(io::Cursor::new(b"\0\n".repeat(100))), 10);
        let (_, end, notices) = drain(&mut lines, MUCH);
        assert_eq!((end, notices.len() as u64), (Ok(()), MOST_NOTICES + 1));
        assert_eq!(notices.last().unwrap(), "f: 80 more lines like these");
    }

    #[test]
    fn positions_are_kept_as_places_and_begin_there_again() {
        let all = "a\nbb\n\nccc\n";
        let (mut lines, kept) = source(text(all), LinePosition::START, true);
        let mut committer = lines.committer();
        assert_eq!(drain(&mut lines, MUCH).0.len(), 4);
        for next in [2, 3, 5] {
            let position = Position { partition: Partition::new("f", 0), next: Offset(next) };
            committer.commit(&[Checkpoint { metadata: "m".into(), ..position.into() }]).unwrap();
        }
        let places = kept.kept.lock().unwrap().clone();
        let place = |line, byte| LinePosition { line, byte };
        assert_eq!(places, [place(2, 2), place(3, 5), place(5, 10)]);
        let (mut rest, _) = source(text(&all[5..]), places[1], true);
        let Ok(Polled::Assigned(at)) = rest.poll(MUCH, WAIT) else { panic!("no position") };
        assert_eq!(at[0].checkpoint.position.next, Offset(3));
        assert_eq!(drain(&mut rest, MUCH).0, [(3, String::new()), (4, "ccc".to_owned())]);
    }

    #[test]
    fn a_slow_writer_holds_nobody_up() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut lines, _) = source(Box::new(reader), LinePosition::START, true);
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
            let (mut lines, _) = source(text(&all), LinePosition::START, true);
            let (found, end, _) = drain(&mut lines, PollLimit { records, bytes });
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(found.iter().map(|(_, text)| text).collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
            prop_assert!(found.iter().zip(1..).all(|((number, _), expected)| *number == expected));
        }
    }
}
