//! Reads an answer from bytes, in whatever pieces they come (RFC 9112).
//!
//! It knows neither sockets nor clocks, so that tests can split and mutate its input. Invariants: the same bytes give
//! the same answer however they are split; its memory is bounded by [`HEAD_LIMIT`] and [`BODY_LIMIT`], whatever a
//! receiver sends; once the final head is complete its status counts, whatever becomes of the body; a connection is fit
//! for another request only if the answer was read to its exact end.

use super::chunked::{ChunkedReader, Step};
use super::response_head::{self, BodyEnd, ResponseHead, StatusLine};
use crate::webhook::answer::{BODY_LIMIT, HEAD_LIMIT};
use std::fmt;
use std::time::Duration;

/// The longest word of something that is not an answer that an error shows.
const LONGEST_WORD: usize = 32;
/// What every answer begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// Why the received bytes are not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No status line (RFC 9112 §4).
    NotHttp,
    /// Status line and headers, interim answers included, are longer than [`HEAD_LIMIT`].
    HeadTooLong,
    /// A status below 100 or above 599, or 101, which nobody asked for.
    Status(u16),
    /// The connection was closed before the first byte.
    Nothing,
    /// The connection was closed in the middle of the head.
    CutShort,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("the destination answered something that is not HTTP/1.1"),
            Self::HeadTooLong => write!(f, "the answer's headers are longer than {HEAD_LIMIT} bytes"),
            Self::Status(status) => write!(f, "the destination answered with status {status}"),
            Self::Nothing => f.write_str("the connection was closed without an answer"),
            Self::CutShort => f.write_str("the connection was closed in the middle of the answer"),
        }
    }
}

impl std::error::Error for Malformed {}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(ChunkedReader),
    UntilClose,
    Done,
}

/// An answer as far as it was received. Kept with its connection, so that its buffers are reused.
#[derive(Debug)]
pub struct ResponseReader {
    stage: Stage,
    /// The head under way, and then the final one.
    head: Vec<u8>,
    /// Bytes of all heads so far.
    head_bytes: usize,
    /// Of the head under way, then of the final one.
    line: Option<StatusLine>,
    body: Vec<u8>,
    retry_after: Option<Vec<u8>>,
    keep_millis: Option<u64>,
    reusable: bool,
    cut: bool,
    tunnel: bool,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self {
            stage: Stage::Head,
            head: Vec::new(),
            head_bytes: 0,
            line: None,
            body: Vec::new(),
            retry_after: None,
            keep_millis: None,
            reusable: false,
            cut: false,
            tunnel: false,
        }
    }
}

impl ResponseReader {
    /// Forgets the last answer.
    pub fn clear(&mut self) {
        let (mut head, mut body) = (std::mem::take(&mut self.head), std::mem::take(&mut self.body));
        head.clear();
        body.clear();
        *self = Self { head, body, ..Self::default() };
    }

    /// The request is a CONNECT: an acceptance has no body, whatever it says (RFC 9110 §9.3.6).
    pub fn expect_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// Takes the next bytes. `Some(n)`: the answer is complete, and the first `n` of them belong to it. `None`: all of
    /// them do, and more are expected.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut taken = 0;
        while self.stage != Stage::Done {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            taken += match self.stage {
                Stage::Head => self.take_head(rest)?,
                Stage::Length(left) => self.take_counted(rest, left),
                Stage::Chunked(chunks) => self.take_chunked(rest, chunks),
                Stage::UntilClose => self.take_data(rest),
                Stage::Done => 0,
            };
        }
        Ok(Some(taken))
    }

    /// No more bytes will come: the connection was closed, or the time is over. This ends a body without a length; any
    /// other is incomplete, and its status still counts.
    ///
    /// # Errors
    /// The head is not complete.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.stage {
            Stage::Head if !self.has_begun() => return Err(Malformed::Nothing),
            Stage::Head => return Err(Malformed::CutShort),
            Stage::Length(_) | Stage::Chunked(_) => self.cut(),
            Stage::UntilClose | Stage::Done => self.stage = Stage::Done,
        }
        self.reusable = false;
        Ok(())
    }

    /// Whether a byte of an answer has come.
    pub fn has_begun(&self) -> bool {
        self.head_bytes > 0
    }

    /// Whether the final head is complete, so that the status counts.
    pub fn has_head(&self) -> bool {
        self.stage != Stage::Head
    }

    /// The final status, once its head is complete.
    pub fn status(&self) -> u16 {
        self.line.map_or(0, |line| line.status)
    }

    /// The beginning of an incomplete head, for error messages. Of anything but HTTP only the first word: a server that
    /// echoes a request would show its path, which may be a secret.
    pub fn beginning(&self) -> Option<String> {
        if let Some(line) = self.line {
            return Some(format!("it answered {}", line.status));
        }
        if let [0x14..=0x17, 3, ..] = self.head.as_slice() {
            return Some("it speaks TLS: the URL has to begin with https://".into());
        }
        let words = if self.head.starts_with(b"HTTP/") { 2 } else { 1 };
        let words = self.head.split(|byte| !byte.is_ascii_graphic()).take(words);
        let words: Vec<_> = words
            .filter_map(|word| std::str::from_utf8(word.get(..word.len().min(LONGEST_WORD))?).ok())
            .filter(|word| !word.is_empty())
            .collect();
        (!words.is_empty()).then(|| format!("it begins with '{}'", words.join(" ")))
    }

    /// `Retry-After`, as it came.
    pub fn retry_after(&self) -> Option<&[u8]> {
        self.retry_after.as_deref()
    }

    /// For how long the server keeps the connection while it is idle, less a margin; `None` if it didn't say.
    pub fn keeps(&self) -> Option<Duration> {
        self.keep_millis.map(Duration::from_millis)
    }

    /// The body, at most [`BODY_LIMIT`] of it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether there was more of the body than was read.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the connection may carry another request.
    pub fn is_reusable(&self) -> bool {
        self.stage == Stage::Done && self.reusable
    }

    /// The header fields of the complete answer.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        response_head::fields(&self.head)
    }

    /// A line, or what there is of it, so that no byte is looked at twice.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let room = HEAD_LIMIT.saturating_sub(self.head_bytes);
        if room == 0 {
            return self.give_up_head().map(|()| 0);
        }
        let line = bytes.iter().position(|b| *b == b'\n').map_or(bytes, |end| &bytes[..=end]);
        let line = line.get(..room).unwrap_or(line);
        self.head.extend_from_slice(line);
        self.head_bytes = self.head_bytes.saturating_add(line.len());
        match self.line {
            None => self.take_status_line()?,
            Some(status) if self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n") => {
                self.head_is_over(status);
            }
            Some(_) => {}
        }
        Ok(line.len())
    }

    /// Empty lines before it are skipped: some servers end their last answer with one too many.
    fn take_status_line(&mut self) -> Result<(), Malformed> {
        match self.head.as_slice() {
            b"\r" => return Ok(()),
            b"\r\n" | b"\n" => {
                self.head.clear();
                return Ok(());
            }
            head if !head.iter().zip(VERSION).all(|(one, other)| one == other) => {
                return Err(Malformed::NotHttp);
            }
            head if !head.ends_with(b"\n") => return Ok(()),
            _ => {}
        }
        let line = StatusLine::parse(&self.head).ok_or(Malformed::NotHttp)?;
        if !(100..=599).contains(&line.status) || line.status == 101 {
            return Err(Malformed::Status(line.status));
        }
        self.line = Some(line);
        Ok(())
    }

    fn head_is_over(&mut self, line: StatusLine) {
        if line.status < 200 {
            self.head.clear();
            self.line = None;
            return;
        }
        let ResponseHead { body, reusable, retry_after, keep_millis } = ResponseHead::read(line, &self.head);
        (self.reusable, self.retry_after, self.keep_millis) = (reusable, retry_after, keep_millis);
        self.stage = match body {
            _ if self.tunnel && line.status < 300 => Stage::Done,
            BodyEnd::Length(0) => Stage::Done,
            BodyEnd::Length(length) => Stage::Length(length),
            BodyEnd::Chunked => Stage::Chunked(ChunkedReader::default()),
            BodyEnd::Close => Stage::UntilClose,
        };
    }

    /// The head is too long. What its first line says counts, if it is a final one.
    fn give_up_head(&mut self) -> Result<(), Malformed> {
        let line = self.line.filter(|line| line.status >= 200).ok_or(Malformed::HeadTooLong)?;
        self.retry_after = ResponseHead::read(line, &self.head).retry_after;
        self.cut();
        Ok(())
    }

    fn take_counted(&mut self, bytes: &[u8], left: u64) -> usize {
        let wanted = usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left));
        let taken = self.take_data(bytes.get(..wanted).unwrap_or(bytes));
        if self.stage != Stage::Done {
            let left = left.saturating_sub(taken as u64);
            self.stage = if left == 0 { Stage::Done } else { Stage::Length(left) };
        }
        taken
    }

    fn take_chunked(&mut self, bytes: &[u8], mut chunks: ChunkedReader) -> usize {
        let (taken, step) = chunks.take(bytes);
        self.stage = Stage::Chunked(chunks);
        match step {
            Step::Framing => {}
            Step::Data => return self.take_data(bytes.get(..taken).unwrap_or(bytes)),
            Step::End => self.stage = Stage::Done,
            Step::Unreadable => self.cut(),
        }
        taken
    }

    /// Keeps the data up to the limit, and ends the answer there.
    fn take_data(&mut self, bytes: &[u8]) -> usize {
        let kept = bytes.len().min(BODY_LIMIT.saturating_sub(self.body.len()));
        self.body.extend_from_slice(bytes.get(..kept).unwrap_or(bytes));
        if kept < bytes.len() {
            self.cut();
        }
        kept
    }

    fn cut(&mut self) {
        self.cut = true;
        self.reusable = false;
        self.stage = Stage::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer in these bytes, and how many of them it is; the connection closes behind them.
    fn whole(bytes: &[u8]) -> Result<(ResponseReader, usize), Malformed> {
        let mut reading = ResponseReader::default();
        let taken = match reading.take(bytes)? {
            Some(taken) => taken,
            None => {
                reading.end()?;
                bytes.len()
            }
        };
        Ok((reading, taken))
    }

    fn read_body(bytes: &[u8]) -> (u16, Vec<u8>, bool) {
        let (reading, taken) = whole(bytes).unwrap();
        assert_eq!(taken, bytes.len());
        (reading.status(), reading.body().to_vec(), reading.is_reusable())
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        for (bytes, body, reusable) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], &b"hello"[..], true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello", b"hello", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", true),
            (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", true),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b"", true),
            (b"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", b"", true),
            (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok", true),
            (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length : 2\r\n\r\nok", b"ok", true),
            (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", b"ok", false),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", false),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", b"ok", true),
            (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", true),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding:Chunked\r\n\r\n00A;x=y\r\n0123456789\r\n0\r\nT: u\r\nV: w\r\n\r\n",
                b"0123456789",
                true,
            ),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n\x1f\x8b", b"\x1f\x8b", false),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                b"ok",
                false,
            ),
        ] {
            assert_eq!(read_body(bytes), (read_body(bytes).0, body.to_vec(), reusable), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn interim_answers_are_skipped_up_to_a_number_of_bytes() {
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        let last = b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
        let (reading, _) = whole(&[&interim.repeat(1_000)[..], last].concat()).unwrap();
        assert_eq!((reading.status(), reading.retry_after()), (429, Some(&b"7"[..])));
        assert_eq!(reading.headers().len(), 2);
        assert_eq!(whole(&interim.repeat(2_000)).unwrap_err(), Malformed::HeadTooLong);
        assert_eq!(whole(b"HTTP/1.1 101 Switching\r\n\r\n").unwrap_err(), Malformed::Status(101));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let long = [b"HTTP/1.1 103 X\r\nX: ", &[b'y'; 1 << 17][..]].concat();
        for (bytes, malformed) in [
            (&b""[..], Malformed::Nothing),
            (b"HTTP/1.1 2", Malformed::CutShort),
            (b"HTTP/1.1 200 OK\r\n", Malformed::CutShort),
            (b"\r\n", Malformed::CutShort),
            (b"\x00\xff\r\n\r\n", Malformed::NotHttp),
            (b"SSH-2.0-OpenSSH_9.6", Malformed::NotHttp),
            (b"\r\n\r\nHTTP/1.\r\n", Malformed::NotHttp),
            (b"HTTP/2 200\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/1.1 20 OK\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/1.1 600 OK\r\n\r\n", Malformed::Status(600)),
            (b"HTTP/1.1 099 OK\r\n\r\n", Malformed::Status(99)),
            (&long, Malformed::HeadTooLong),
        ] {
            assert_eq!(whole(bytes).unwrap_err(), malformed, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_status_counts_whatever_follows_its_head() {
        let chunked = "Transfer-Encoding: chunked";
        for (header, body) in [
            (chunked, "x"),
            (chunked, "\r\n"),
            (chunked, "1\n"),
            (chunked, "-1\r\n"),
            (chunked, "0x1\r\n"),
            (chunked, "11111111111111111\r\n"),
            (chunked, "1\r\nab"),
            (chunked, "1\r\na\n"),
            (chunked, "0\r\nX\n"),
            (chunked, ""),
            (chunked, "1"),
            (chunked, "1\r\n"),
            (chunked, "1\r\na\r\n"),
            (chunked, "0\r\n"),
            (chunked, "0\r\nX: y\r\n"),
            ("Content-Length: 9", "only"),
        ] {
            let bytes = format!("HTTP/1.1 503 X\r\n{header}\r\nRetry-After: 7\r\n\r\n{body}");
            let (reading, _) = whole(bytes.as_bytes()).unwrap();
            assert_eq!((reading.status(), reading.retry_after()), (503, Some(&b"7"[..])), "{body:?}");
            assert!(!reading.is_reusable() && reading.is_cut(), "{body:?}");
        }
    }

    #[test]
    fn a_head_that_is_too_long_leaves_its_status() {
        for more in ["A: b\r\n".repeat(1 << 14), "A".repeat(1 << 17)] {
            let bytes = format!("HTTP/1.1 429 X\r\nRetry-After: 7\r\n{more}\r\n");
            let (reading, taken) = whole(bytes.as_bytes()).unwrap();
            assert_eq!((reading.status(), reading.retry_after()), (429, Some(&b"7"[..])));
            assert!(taken <= HEAD_LIMIT && !reading.is_reusable());
        }
    }

    #[test]
    fn empty_lines_before_an_answer_are_skipped() {
        for before in ["\r\n", "\n", "\r\n\r\n\n"] {
            let bytes = format!("{before}HTTP/1.1 100 X\r\n\r\n{before}HTTP/1.1 204 X\r\n\r\n");
            assert_eq!(read_body(bytes.as_bytes()), (204, Vec::new(), true));
        }
    }

    #[test]
    fn what_came_of_no_answer_is_shown_without_what_could_be_a_secret() {
        let beginning = |bytes: &[u8]| {
            let mut reading = ResponseReader::default();
            let _ = reading.take(bytes);
            reading.beginning()
        };
        assert_eq!(beginning(b"HTTP/1.1 200 OK\r\nA: b\r\n").as_deref(), Some("it answered 200"));
        assert_eq!(beginning(b"HTTP/2 200 \x1b[31m\r\n").as_deref(), Some("it begins with 'HTTP/2 200'"));
        assert_eq!(beginning(b"POST /secret HTTP/1.1\r\n").as_deref(), Some("it begins with 'POST'"));
        assert_eq!(beginning(b"\xff\x1b[2J"), None);
        assert_eq!(beginning(b""), None);
        assert!(beginning(b"\x15\x03\x03\0\x02\x02\x46").is_some_and(|it| it.contains("https://")));
        assert!(beginning(&[b'x'; 1_000]).is_some_and(|it| it.len() < 2 * LONGEST_WORD));
    }

    #[test]
    fn what_is_beyond_the_bounds_is_left_and_the_answer_counts() {
        let long = vec![b'x'; BODY_LIMIT + 1];
        let extended = format!("1;{}\r\n", "y".repeat(1 << 17));
        for (head, body) in [
            ("Content-Length: 1073741824", &long[..]),
            ("Content-Length: 18446744073709551615", &long),
            ("Connection: close", &long),
            ("Transfer-Encoding: chunked", &[b"fffffffffffffff\r\n", &long[..]].concat()),
            ("Transfer-Encoding: chunked", extended.as_bytes()),
            ("Transfer-Encoding: chunked", &[b"0\r\n", &b"A: b\r\n".repeat(1 << 15)[..]].concat()),
        ] {
            let bytes = [format!("HTTP/1.1 202 X\r\n{head}\r\n\r\n").as_bytes(), body].concat();
            let (reading, taken) = whole(&bytes).unwrap();
            assert!(taken < bytes.len() && reading.is_cut() && !reading.is_reusable(), "{head}");
            assert!(reading.status() == 202 && reading.body().len() <= BODY_LIMIT, "{head}");
        }
    }

    #[test]
    fn what_comes_behind_an_answer_is_not_part_of_it() {
        let mut reading = ResponseReader::default();
        let bytes = b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 500 Y\r\n\r\n";
        assert_eq!(reading.take(bytes), Ok(Some(18)));
        reading.clear();
        assert_eq!(reading.take(&bytes[18..]), Ok(None), "500 has no length: it lasts until the end");
        assert!(!reading.is_reusable() && reading.has_begun());
        assert_eq!((reading.end(), reading.status()), (Ok(()), 500));
    }

    #[test]
    fn a_tunnel_has_no_body() {
        let mut reading = ResponseReader::default();
        reading.expect_tunnel();
        assert_eq!(reading.take(b"HTTP/1.1 200 Established\r\nContent-Length: 9\r\n\r\n"), Ok(Some(47)));
    }
}
