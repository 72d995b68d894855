//! Splits bytes into lines in a thread of its own, with bounded memory.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::SyncSender;

/// The longest line of text that is read, in bytes.
pub const LONGEST_LINE: usize = 64 << 20;
/// Lines are handed over once they add up to this many bytes, or when the writer pauses.
const PIECE_BYTES: usize = 128 << 10;
/// Bytes of a damaged part that are kept for the log.
const LOST_HEAD: usize = 64;

/// Where a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinePosition {
    /// Its number, from 1.
    pub line: i64,
    /// How many bytes are before it.
    pub byte: u64,
}

impl LinePosition {
    /// The start of the input.
    pub const START: Self = Self { line: 1, byte: 0 };

    /// The position of the next line, after `span` bytes including the line break.
    pub(super) fn after(self, span: u64) -> Self {
        Self { line: self.line.saturating_add(1), byte: self.byte.saturating_add(span) }
    }
}

/// A line without its line break.
#[derive(Debug)]
pub struct Line {
    /// Where it begins.
    pub place: LinePosition,
    /// Its bytes, without a damaged part at its beginning.
    pub bytes: Vec<u8>,
    /// The damaged part, if there is one.
    pub lost: Option<DamagedPart>,
    /// Its length in the input, in bytes, line break included.
    pub(super) span: u64,
}

/// The beginning of a line, or a whole line, that is damaged and was not kept in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamagedPart {
    /// How many bytes.
    pub(crate) bytes: u64,
    /// How many of them are NUL.
    pub(crate) zeros: u64,
    /// The first few of them.
    pub(crate) head: Vec<u8>,
    /// Whether the line was longer than [`LineLimits::longest`].
    pub(crate) too_long: bool,
}

/// Which lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// The longest line, in bytes.
    pub longest: usize,
    /// What is longer, or holds NUL bytes (a power cut leaves them in the place of what was being written), is skipped
    /// as [`DamagedPart`] and not kept in memory. Otherwise NUL is text, and a line that is too long ends the run.
    pub skips_damage: bool,
}

impl LineLimits {
    /// For text of any kind.
    pub const TEXT: Self = Self { longest: LONGEST_LINE, skips_damage: false };
}

/// What comes after the last whole line.
#[derive(Debug)]
pub(super) enum Last {
    Nothing,
    /// Bytes without a line break.
    Unfinished(Line),
    Failed(String),
}

/// What the thread hands over.
pub(super) enum Piece {
    Lines(Vec<Line>),
    Last(Last),
}

/// Reads to the end, or until the receiver is gone.
pub(super) fn read(
    from: Box<dyn Read + Send>,
    mut next: LinePosition,
    bounds: LineLimits,
    send: &SyncSender<Piece>,
) {
    let mut from = BufReader::with_capacity(PIECE_BYTES, from);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let last = loop {
        let line = match read_line(&mut from, next, bounds) {
            Ok((line, true)) => line,
            Ok((line, false)) if line.span == 0 => break Last::Nothing,
            Ok((line, false)) => break Last::Unfinished(line),
            Err(error) => break Last::Failed(format!("line {} can't be read: {error}", next.line)),
        };
        bytes += line.bytes.len();
        next = next.after(line.span);
        lines.push(line);
        // Complete lines do not wait for more input. Empty lines use memory too.
        if bytes + lines.len() * size_of::<Line>() >= PIECE_BYTES || !from.buffer().contains(&b'\n') {
            bytes = 0;
            if send.send(Piece::Lines(std::mem::take(&mut lines))).is_err() {
                return;
            }
        }
    };
    if lines.is_empty() || send.send(Piece::Lines(lines)).is_ok() {
        // The receiver may be gone.
        let _ = send.send(Piece::Last(last));
    }
}

/// The next line without its line break, and whether it had one.
fn read_line(from: &mut impl BufRead, place: LinePosition, bounds: LineLimits) -> io::Result<(Line, bool)> {
    let mut line = Line { place, bytes: Vec::new(), lost: None, span: 0 };
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
        let text = part.get(..more).unwrap_or(part);
        if bounds.skips_damage {
            line.append(text, bounds.longest);
        } else if line.bytes.len() + more > bounds.longest {
            return Err(io::Error::other(format!("it is longer than {} bytes", bounds.longest)));
        } else {
            line.bytes.extend_from_slice(text);
        }
        let taken = end.map_or(more, |end| end + 1);
        line.span = line.span.saturating_add(taken as u64);
        from.consume(taken);
        if end.is_some() {
            return Ok((line, true));
        }
    }
}

impl Line {
    /// Appends what may follow the last NUL; all before that, and of a line that is too long all that comes, is lost.
    fn append(&mut self, text: &[u8], longest: usize) {
        let (damaged, sound) = match text.iter().rposition(|byte| *byte == 0) {
            Some(last) => text.split_at(last + 1),
            None => (&[][..], text),
        };
        if !damaged.is_empty() {
            self.lose(damaged);
            if let Some(lost) = &mut self.lost {
                lost.too_long = false;
            }
        }
        let is_endless = self.lost.as_ref().is_some_and(|lost| lost.too_long);
        if is_endless || self.bytes.len() + sound.len() > longest {
            self.lose(sound);
            if let Some(lost) = &mut self.lost {
                lost.too_long = true;
            }
        } else {
            self.bytes.extend_from_slice(sound);
        }
    }

    /// Loses what was kept so far, and this.
    fn lose(&mut self, more: &[u8]) {
        let kept = std::mem::take(&mut self.bytes);
        let lost = self.lost.get_or_insert_default();
        for part in [&kept[..], more] {
            lost.bytes = lost.bytes.saturating_add(part.len() as u64);
            lost.zeros = lost.zeros.saturating_add(part.iter().filter(|byte| **byte == 0).count() as u64);
            let room = LOST_HEAD.saturating_sub(lost.head.len());
            lost.head.extend(part.iter().take(room));
        }
    }
}
