//! An answer on its way in: bytes go in, in whatever pieces they come, and one answer comes out (RFC 9112).
//!
//! It knows neither sockets nor clocks, so that tests can cut and mutate its input at will. Invariants: the same
//! bytes give the same answer however they are split; what it holds is bounded by [`HEAD_LIMIT`] and
//! [`BODY_LIMIT`], whatever a receiver sends; a connection is fit for another request only if the answer was read
//! to its exact end.

use super::chunks::{Chunks, Step};
use crate::webhook::answer::{BODY_LIMIT, HEAD_LIMIT};
use std::fmt;

/// At most so many header fields in an answer.
pub const MOST_HEADERS: usize = 128;

/// Why what came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No status line and header lines as RFC 9112 has them.
    NotHttp,
    /// Status line and headers, interim answers included, are longer than [`HEAD_LIMIT`].
    HeadTooLong,
    /// More than [`MOST_HEADERS`] header fields.
    TooManyHeaders,
    /// A status below 100 or above 599, or 101, which nobody asked for.
    Status(u16),
    /// A `Content-Length` that is no number, or several that contradict each other (RFC 9112 §6.3).
    Length,
    /// A chunked body that breaks the rules of RFC 9112 §7.1.
    Chunks,
    /// The connection was closed before the first byte.
    Nothing,
    /// The connection was closed in the middle.
    CutShort,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("the destination answered something that is not HTTP/1.1"),
            Self::HeadTooLong => write!(f, "the answer's headers are longer than {HEAD_LIMIT} bytes"),
            Self::TooManyHeaders => write!(f, "the answer has more than {MOST_HEADERS} headers"),
            Self::Status(status) => write!(f, "the destination answered with status {status}"),
            Self::Length => f.write_str("the answer's Content-Length is malformed or contradicts itself"),
            Self::Chunks => f.write_str("the answer's chunked body is malformed"),
            Self::Nothing => f.write_str("the connection was closed without an answer"),
            Self::CutShort => f.write_str("the connection was closed in the middle of the answer"),
        }
    }
}

impl std::error::Error for Malformed {}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Done,
}

/// What a head says.
#[derive(Debug)]
struct Head {
    status: u16,
    reusable: bool,
    stage: Stage,
    retry_after: Option<Vec<u8>>,
}

/// An answer as far as it has come. Kept with its connection, so that its buffers are reused.
#[derive(Debug)]
pub struct Reading {
    stage: Stage,
    /// The head under way, and then the final one.
    head: Vec<u8>,
    /// Bytes of all heads so far.
    head_bytes: usize,
    body: Vec<u8>,
    status: u16,
    retry_after: Option<Vec<u8>>,
    reusable: bool,
    cut: bool,
    tunnel: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            stage: Stage::Head,
            head: Vec::new(),
            head_bytes: 0,
            body: Vec::new(),
            status: 0,
            retry_after: None,
            reusable: false,
            cut: false,
            tunnel: false,
        }
    }
}

impl Reading {
    /// Forgets the last answer.
    pub fn clear(&mut self) {
        self.stage = Stage::Head;
        self.head.clear();
        self.head_bytes = 0;
        self.body.clear();
        self.status = 0;
        self.retry_after = None;
        self.reusable = false;
        self.cut = false;
        self.tunnel = false;
    }

    /// The request is a CONNECT: an acceptance has no body, whatever it says (RFC 9110 §9.3.6).
    pub fn expect_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// Takes what came next. `Some(n)`: the answer is complete, and `n` of these bytes belonged to it. `None`: all
    /// of them did, and more are wanted.
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
                Stage::Chunked(chunks) => self.take_chunked(rest, chunks)?,
                Stage::UntilClose => self.take_data(rest),
                Stage::Done => 0,
            };
        }
        Ok(Some(taken))
    }

    /// The connection was closed: an end for a body without a length, too early for any other.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.stage {
            Stage::UntilClose | Stage::Done => {
                self.stage = Stage::Done;
                self.reusable = false;
                Ok(())
            }
            Stage::Head if !self.has_begun() => Err(Malformed::Nothing),
            _ => Err(Malformed::CutShort),
        }
    }

    /// Whether a byte of an answer has come.
    pub fn has_begun(&self) -> bool {
        self.head_bytes > 0
    }

    /// The final status, once complete.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// `Retry-After`, as it came.
    pub fn retry_after(&self) -> Option<&[u8]> {
        self.retry_after.as_deref()
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
        let mut fields = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        // It parsed before; a head that would not has no fields.
        let _ = config().parse_response(&mut response, &self.head);
        let fields = response.headers.iter().filter(|field| !field.name.is_empty());
        fields.map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
    }

    /// Line by line up to the empty one, so that no byte is looked at twice.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let line = bytes.iter().position(|b| *b == b'\n').map_or(bytes, |end| &bytes[..=end]);
        self.head.extend_from_slice(line);
        self.head_bytes = self.head_bytes.saturating_add(line.len());
        if self.head_bytes > HEAD_LIMIT {
            return Err(Malformed::HeadTooLong);
        }
        let is_over = self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n");
        if is_over || self.head == b"\r\n" || self.head == b"\n" {
            let head = read(&self.head)?;
            if head.status < 200 {
                self.head.clear();
            } else {
                self.status = head.status;
                self.reusable = head.reusable;
                self.retry_after = head.retry_after;
                self.stage = if self.tunnel && head.status < 300 { Stage::Done } else { head.stage };
            }
        }
        Ok(line.len())
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

    fn take_chunked(&mut self, bytes: &[u8], mut chunks: Chunks) -> Result<usize, Malformed> {
        let (taken, step) = chunks.take(bytes)?;
        self.stage = Stage::Chunked(chunks);
        match step {
            Step::Framing => {}
            Step::Data => {
                let data = bytes.get(..taken).unwrap_or(bytes);
                return Ok(self.take_data(data));
            }
            Step::End => self.stage = Stage::Done,
            Step::TooMuchFraming => self.cut(),
        }
        Ok(taken)
    }

    /// Keeps what there is room for; beyond it the answer is over as far as anybody here cares.
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

/// Lenient where the meaning is clear (folded lines, a space before a colon), strict elsewhere.
fn config() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    config.allow_spaces_after_header_name_in_responses(true);
    config
}

fn read(bytes: &[u8]) -> Result<Head, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    match config().parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyHeaders),
        _ => return Err(Malformed::NotHttp),
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Malformed::NotHttp);
    };
    if !(100..=599).contains(&status) || status == 101 {
        return Err(Malformed::Status(status));
    }
    let mut said = Said::default();
    for field in response.headers.iter() {
        said.hear(field.name, field.value)?;
    }
    let stage = match status {
        204 | 304 => Stage::Done,
        _ if said.chunked => Stage::Chunked(Chunks::default()),
        _ if said.coded => Stage::UntilClose,
        _ => match said.length {
            Some(0) => Stage::Done,
            Some(length) => Stage::Length(length),
            None => Stage::UntilClose,
        },
    };
    let keeps = if version == 0 { said.keep_alive } else { !said.close };
    // Who announces a body's end in two ways may be two who read it differently: no second request there.
    let one_end = !said.coded || (said.length.is_none() && version != 0);
    let reusable = keeps && one_end && stage != Stage::UntilClose;
    Ok(Head { status, reusable, stage, retry_after: said.retry_after })
}

/// What the header fields say about the message.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    retry_after: Option<Vec<u8>>,
}

impl Said {
    fn hear(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        if name.eq_ignore_ascii_case("content-length") {
            for part in value.split(|b| *b == b',') {
                let length = number(part.trim_ascii()).ok_or(Malformed::Length)?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(Malformed::Length);
                }
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // Only one coding is known here; any other body is read up to the connection's end.
            self.chunked = !self.coded && value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.coded = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name.eq_ignore_ascii_case("retry-after") && self.retry_after.is_none() {
            self.retry_after = Some(value.to_vec());
        }
        Ok(())
    }
}

/// Digits and nothing else; a sign or a number beyond 64 bits is no length.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer in these bytes, and how many of them it is; the connection closes behind them.
    fn whole(bytes: &[u8]) -> Result<(Reading, usize), Malformed> {
        let mut reading = Reading::default();
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
    fn what_breaks_the_rules_is_named() {
        let long = [b"HTTP/1.1 200 OK\r\nX: ", &[b'y'; 1 << 17][..]].concat();
        let many = [b"HTTP/1.1 200 OK\r\n", &b"A: b\r\n".repeat(MOST_HEADERS + 1)[..], b"\r\n"].concat();
        for (bytes, malformed) in [
            (&b""[..], Malformed::Nothing),
            (b"HTTP/1.1 2", Malformed::CutShort),
            (b"HTTP/1.1 200 OK\r\n", Malformed::CutShort),
            (b"\r\n", Malformed::NotHttp),
            (b"\x00\xff\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/2 200\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/1.1 20 OK\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Malformed::NotHttp),
            (b"HTTP/1.1 600 OK\r\n\r\n", Malformed::Status(600)),
            (b"HTTP/1.1 099 OK\r\n\r\n", Malformed::Status(99)),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", Malformed::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly", Malformed::CutShort),
            (&long, Malformed::HeadTooLong),
            (&many, Malformed::TooManyHeaders),
        ] {
            assert_eq!(whole(bytes).unwrap_err(), malformed, "{}", bytes.escape_ascii());
        }
        for body in [
            "x",
            "\r\n",
            "1\n",
            "-1\r\n",
            "0x1\r\n",
            "11111111111111111\r\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\nX\n",
        ] {
            let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(whole(bytes.as_bytes()).unwrap_err(), Malformed::Chunks, "{body:?}");
        }
        for body in ["", "1", "1\r\n", "1\r\na\r\n", "0\r\n", "0\r\nX: y\r\n"] {
            let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(whole(bytes.as_bytes()).unwrap_err(), Malformed::CutShort, "{body:?}");
        }
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
        let mut reading = Reading::default();
        let bytes = b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 500 Y\r\n\r\n";
        assert_eq!(reading.take(bytes), Ok(Some(18)));
        reading.clear();
        assert_eq!(reading.take(&bytes[18..]), Ok(None), "500 has no length: it lasts until the end");
        assert!(!reading.is_reusable() && reading.has_begun());
        assert_eq!((reading.end(), reading.status()), (Ok(()), 500));
    }

    #[test]
    fn a_tunnel_has_no_body() {
        let mut reading = Reading::default();
        reading.expect_tunnel();
        assert_eq!(reading.take(b"HTTP/1.1 200 Established\r\nContent-Length: 9\r\n\r\n"), Ok(Some(47)));
    }
}
