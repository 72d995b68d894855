//! One connection: a request is one write, and its answer is read to its exact end or the connection is not used again.
//! All buffers live as long as the connection.
//!
//! Once the head of the final answer is complete its status counts. The body is only an excerpt for the log, so the
//! wait for it is short; a server that never ends it, resets the connection or announces more than it sends can't turn
//! an answer into a failure.

use super::response_reader::{Malformed, ResponseReader};
use crate::net::Stream;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes of one read, at most. Most answers fit.
const READ_SIZE: usize = 8 << 10;
/// How often an early answer is looked for while the receiver does not read a long request.
const WRITE_SLICE: Duration = Duration::from_millis(250);
/// Reads per check, at most: more than the longest head takes.
const MOST_READS: usize = 16;
/// How long a body may stay silent after a complete head.
const BODY_GRACE: Duration = Duration::from_millis(250);
/// How long a body may take after a complete head in total.
const BODY_TIME: Duration = Duration::from_secs(2);
/// A kept connection that breaks within this many round trips of a request, as measured when it was made, had been
/// closed before.
const STALE_ROUND_TRIPS: u32 = 2;
/// The least time for that, since a scheduler may delay either side.
const SHORTEST_STALE: Duration = Duration::from_millis(50);
/// The most time for that, however slow connecting was: a later break is the receiver's failure.
const LONGEST_STALE: Duration = Duration::from_millis(500);

/// A stream that is ready for a request.
pub struct Reached {
    pub stream: Stream,
    /// Of the other end of the socket: the destination, or the proxy; none for a unix socket.
    pub address: Option<SocketAddr>,
    /// How long it took to get there and back: TCP's handshake, and the proxy's answer.
    pub round_trip: Duration,
}

/// How much of an answer the caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseScope {
    /// Its status; of the body what comes soon.
    Status,
    /// All of it, until the deadline.
    Body,
}

/// Why an exchange came to nothing.
#[derive(Debug)]
pub enum ExchangeError {
    /// The deadline passed.
    Timeout,
    /// The socket failed, while writing or reading.
    Io(io::Error),
    /// The received bytes are not an answer.
    Malformed(Malformed),
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no complete answer in time"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(malformed) => write!(f, "{malformed}"),
        }
    }
}

/// A connection to the destination or to the proxy before it.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    address: Option<SocketAddr>,
    /// The time that connecting took.
    round_trip: Duration,
    /// The head of the request.
    output: Vec<u8>,
    input: Box<[u8]>,
    /// The answer under way, then the last one.
    pub reading: ResponseReader,
    /// When it was made.
    pub since: Instant,
    /// When its last answer was complete.
    pub last_used: Instant,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// Whether another request may follow the last one.
    reusable: bool,
    /// When the request under way was begun.
    begun: Instant,
    /// Whether the answer under way is complete; if so, whether nothing came behind it.
    complete: Option<bool>,
}

impl Connection {
    /// A new one.
    pub fn new(reached: Reached, now: Instant) -> Self {
        Self {
            stream: reached.stream,
            address: reached.address,
            round_trip: reached.round_trip,
            output: Vec::new(),
            input: vec![0; READ_SIZE].into_boxed_slice(),
            reading: ResponseReader::default(),
            since: now,
            last_used: now,
            reused: false,
            reusable: false,
            begun: now,
            complete: None,
        }
    }

    /// Whether it may be kept for another request.
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether it is of no use any more: closed by the other side, or something came that nobody asked for.
    pub fn has_gone(&mut self) -> bool {
        self.stream.has_gone()
    }

    /// The other side's address; none for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether this failure of the last request means that the connection had been closed before: it broke within
    /// about a round trip, before a byte of an answer. On a new connection it never does.
    pub fn was_stale(&self, broken: &ExchangeError) -> bool {
        let closed = match broken {
            ExchangeError::Timeout => false,
            // TLS says why it ended.
            ExchangeError::Io(error) => error.kind() != ErrorKind::InvalidData,
            ExchangeError::Malformed(malformed) => *malformed == Malformed::Nothing,
        };
        let window = self.round_trip.saturating_mul(STALE_ROUND_TRIPS).clamp(SHORTEST_STALE, LONGEST_STALE);
        closed && self.reused && !self.reading.has_begun() && self.begun.elapsed() < window
    }

    /// The buffer for the head of the next request, empty.
    pub fn output(&mut self) -> &mut Vec<u8> {
        self.output.clear();
        &mut self.output
    }

    /// Sends what is in [`output`](Self::output), then `body`, and reads the answer into `reading`.
    pub fn exchange(
        &mut self,
        body: &[u8],
        wanted: ResponseScope,
        deadline: Instant,
    ) -> Result<(), ExchangeError> {
        self.reading.clear();
        self.converse(body, wanted, deadline).map(drop)
    }

    /// Sends the CONNECT that is in [`output`](Self::output). Whether nothing came behind the answer.
    pub fn open_tunnel(&mut self, deadline: Instant) -> Result<bool, ExchangeError> {
        self.reading.clear();
        self.reading.expect_tunnel();
        self.converse(&[], ResponseScope::Status, deadline)
    }

    fn converse(
        &mut self,
        body: &[u8],
        wanted: ResponseScope,
        deadline: Instant,
    ) -> Result<bool, ExchangeError> {
        (self.reusable, self.complete, self.begun) = (false, None, Instant::now());
        let written = self.write(body, deadline);
        // A receiver may answer before it has read everything, and even close then: what it said counts, if it can
        // still be read. It has not read the rest, though, so nothing more goes over this connection.
        let all_written = matches!(written, Ok(true));
        if let Err(ExchangeError::Malformed(malformed)) = written {
            return Err(ExchangeError::Malformed(malformed));
        }
        match (self.read(wanted, deadline), written) {
            (Ok(exact), _) => {
                self.reusable = exact && all_written && self.reading.is_reusable();
                self.last_used = Instant::now();
                Ok(exact)
            }
            // An alert of TLS says why the write failed.
            (Err(ExchangeError::Io(error)), Err(_)) if error.kind() == ErrorKind::InvalidData => {
                Err(ExchangeError::Io(error))
            }
            // Why the write failed says more than that nothing could be read after it.
            (Err(ExchangeError::Io(_) | ExchangeError::Malformed(Malformed::Nothing)), Err(broken)) => {
                Err(broken)
            }
            (Err(broken), _) => Err(broken),
        }
    }

    /// Whether all was written; if not, the final answer has come before, or the other side has closed.
    fn write(&mut self, body: &[u8], deadline: Instant) -> Result<bool, ExchangeError> {
        let total = self.output.len().saturating_add(body.len());
        let (mut done, mut now) = (0, self.begun);
        while done < total {
            let head = self.output.get(done..).unwrap_or_default();
            let rest = body.get(done.saturating_sub(self.output.len())..).unwrap_or_default();
            if now >= deadline {
                return if self.hear()? { Ok(false) } else { Err(ExchangeError::Timeout) };
            }
            self.stream.set_deadline(deadline.min(now.checked_add(WRITE_SLICE).unwrap_or(deadline)));
            match self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(rest)]) {
                Ok(0) => return Err(ExchangeError::Io(ErrorKind::WriteZero.into())),
                Ok(written) => {
                    done = done.saturating_add(written);
                    if done >= total {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Interim answers are no reason to stop: many servers send `100 Continue` unasked.
                Err(error) if is_timeout(&error) => {
                    if self.hear()? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(ExchangeError::Io(error)),
            }
            now = Instant::now();
        }
        self.flush(deadline)
    }

    /// TLS may still have some of what was written in its buffer. Whether all of it went out. The first try is bound by
    /// the deadline of the last write.
    fn flush(&mut self, deadline: Instant) -> Result<bool, ExchangeError> {
        loop {
            match self.stream.flush() {
                Ok(()) => return Ok(true),
                Err(error) if is_timeout(&error) => {
                    if self.hear()? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(ExchangeError::Io(error)),
            }
            let now = Instant::now();
            if now >= deadline {
                return if self.hear()? { Ok(false) } else { Err(ExchangeError::Timeout) };
            }
            self.stream.set_deadline(deadline.min(now.checked_add(WRITE_SLICE).unwrap_or(deadline)));
        }
    }

    /// Reads the answer as far as it has arrived, without waiting. Whether writing should stop: the final head is
    /// complete, or the other side has closed.
    fn hear(&mut self) -> Result<bool, ExchangeError> {
        for _ in 0..MOST_READS {
            match self.stream.try_read(&mut self.input) {
                Ok(None) => break,
                Ok(Some(0)) => return Ok(true),
                Ok(Some(came)) => {
                    if self.feed(came)? {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(true),
                Err(error) => return Err(ExchangeError::Io(error)),
            }
        }
        Ok(self.reading.has_head())
    }

    /// Reads one answer; whether nothing came after it.
    fn read(&mut self, wanted: ResponseScope, deadline: Instant) -> Result<bool, ExchangeError> {
        self.stream.set_deadline(deadline);
        let mut body_ends = None;
        loop {
            if let Some(exact) = self.complete {
                return Ok(exact);
            }
            if wanted == ResponseScope::Status && self.reading.has_head() {
                let now = Instant::now();
                let after = |time| now.checked_add(time).unwrap_or(deadline);
                let ends = *body_ends.get_or_insert(deadline.min(after(BODY_TIME)));
                self.stream.set_deadline(ends.min(after(BODY_GRACE)));
            }
            match self.stream.read(&mut self.input) {
                Ok(0) => return self.ended(),
                Ok(came) => drop(self.feed(came)?),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Many servers end TLS without saying so; a length or a chunk tells whether something is missing.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return self.ended(),
                Err(_) if self.reading.has_head() => return self.ended(),
                Err(error) if is_timeout(&error) => return Err(ExchangeError::Timeout),
                Err(error) => return Err(ExchangeError::Io(error)),
            }
        }
    }

    /// Hands what was read to the answer under way; whether it is complete.
    fn feed(&mut self, came: usize) -> Result<bool, ExchangeError> {
        let bytes = self.input.get(..came).unwrap_or(&self.input);
        if let Some(taken) = self.reading.take(bytes).map_err(ExchangeError::Malformed)? {
            self.complete = Some(taken == came);
        }
        Ok(self.complete.is_some())
    }

    /// Nothing more will be read of this answer.
    fn ended(&mut self) -> Result<bool, ExchangeError> {
        self.reading.end().map_err(ExchangeError::Malformed)?;
        Ok(false)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
