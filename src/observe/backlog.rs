//! Log lines that wait to be written: bounded in number and bytes. Knows neither threads nor stderr.

use super::fields::{Fields, cut};
use log::Level;
use std::collections::VecDeque;
use std::time::SystemTime;

/// The most lines that wait.
pub(super) const MOST_LINES: usize = 8_192;
/// The most bytes that wait.
pub(super) const MOST_BYTES: usize = 2 << 20;
/// Lines of `-v` leave this part of the room to lines that everybody should see.
const RESERVED: usize = 2;
/// The count of dropped lines is logged once the queue is down to this part of its room, so that it doesn't fill with
/// such counts.
const REOPENED: usize = 4;
/// A longer line is cut.
pub(super) const LONGEST_LINE: usize = 16 << 10;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When it was logged.
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) text: String,
    /// What JSON lines have beside the text.
    pub(super) fields: Option<Fields>,
    /// In text form it has neither time nor level: the last words of a command.
    pub(super) plain: bool,
}

/// The queue. Once a line was dropped, lines of `-v` are until most of the queue is free: then one line tells how many,
/// at the place where they are missing.
pub(super) struct Backlog {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
    taken: u64,
}

impl Backlog {
    pub(super) const fn new() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, dropped: 0, taken: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many lines were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Queues a line, or drops it if it may be dropped and there is no room.
    pub(super) fn push(&mut self, mut line: Line, may_drop: bool) {
        cut(&mut line.text, LONGEST_LINE);
        line.fields.as_mut().into_iter().for_each(|fields| fields.cut(LONGEST_LINE));
        let verbose = line.level > Level::Info;
        let part = if verbose { RESERVED } else { 1 };
        let full = self.lines.len() >= MOST_LINES / part || self.bytes + line.size() > MOST_BYTES / part;
        if may_drop && (full || verbose && self.dropped > 0) {
            self.dropped += 1;
            return;
        }
        self.append(line);
    }

    /// The oldest line.
    pub(super) fn take(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.size();
        self.taken += 1;
        if self.lines.len() <= MOST_LINES / REOPENED && self.bytes <= MOST_BYTES / REOPENED {
            self.tell_dropped();
        }
        Some(line)
    }

    /// Queues a line that tells how many were dropped, if any were.
    pub(super) fn tell_dropped(&mut self) {
        if self.dropped == 0 {
            return;
        }
        let text =
            format!("log lines dropped here: {}, because stderr was not read fast enough", self.dropped);
        self.dropped = 0;
        self.append(Line::new(Level::Warn, text));
    }

    fn append(&mut self, line: Line) {
        self.bytes += line.size();
        self.lines.push_back(line);
    }
}

impl Line {
    fn size(&self) -> usize {
        self.text.len() + self.fields.as_ref().map_or(0, Fields::size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, text: impl Into<String>) -> Line {
        Line::new(level, text.into())
    }

    fn drain(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.take()).map(|line| line.text).collect()
    }

    #[test]
    fn lines_without_room_are_counted_where_they_are_missing() {
        let mut backlog = Backlog::new();
        let room = MOST_LINES / RESERVED;
        (0..room + 7).for_each(|n| backlog.push(line(Level::Debug, n.to_string()), true));
        assert_eq!(backlog.len(), room);
        // One free place opens nothing, or the queue would fill with lines about missing lines.
        assert_eq!(backlog.take().map(|line| line.text), Some("0".into()));
        backlog.push(line(Level::Debug, "x"), true);
        let mut texts: Vec<String> =
            (0..room - MOST_LINES / REOPENED).filter_map(|_| backlog.take()).map(|line| line.text).collect();
        backlog.push(line(Level::Debug, "y"), true);
        texts.extend(drain(&mut backlog));
        assert_eq!(texts.len(), room - 1 + 2);
        assert!(texts[room - 1].starts_with("log lines dropped here: 8,"), "{texts:?}");
        assert_eq!(texts.last().map(String::as_str), Some("y"));
    }

    #[test]
    fn a_flood_of_details_leaves_room_for_warnings() {
        let mut backlog = Backlog::new();
        (0..MOST_LINES * 2).for_each(|_| backlog.push(line(Level::Trace, "detail"), true));
        backlog.push(line(Level::Info, "ended"), true);
        assert!(drain(&mut backlog).contains(&"ended".into()));
    }

    #[test]
    fn lines_and_bytes_are_bounded() {
        for length in [1, LONGEST_LINE * 2] {
            let mut backlog = Backlog::new();
            (0..MOST_LINES * 2).for_each(|_| backlog.push(line(Level::Warn, "x".repeat(length)), true));
            assert!(backlog.bytes <= MOST_BYTES && backlog.len() <= MOST_LINES);
            assert!(backlog.len() >= MOST_LINES.min(MOST_BYTES / LONGEST_LINE) - 1);
            assert!(drain(&mut backlog).iter().any(|text| text.contains("dropped")));
            assert_eq!(backlog.bytes, 0);
        }
    }

    #[test]
    fn a_line_that_may_not_be_dropped_is_queued_without_room() {
        let mut backlog = Backlog::new();
        (0..=MOST_LINES).for_each(|_| backlog.push(line(Level::Info, "x"), true));
        backlog.push(line(Level::Error, "last words"), false);
        assert!(drain(&mut backlog).contains(&"last words".into()));
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let mut backlog = Backlog::new();
        backlog.push(line(Level::Info, "é".repeat(LONGEST_LINE)), true);
        let text = backlog.take().unwrap().text;
        assert!(text.ends_with("é…") && text.len() <= LONGEST_LINE + '…'.len_utf8());
    }
}
