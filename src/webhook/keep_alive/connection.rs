//! One connection: a request goes out in one write, and its answer is read to the exact end or the connection is
//! not used again. All buffers live as long as the connection does.

use super::reading::{Malformed, Reading};
use crate::net::Stream;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What one read takes at most. Most answers fit.
const READ_SIZE: usize = 8 << 10;
/// While a receiver does not read a long request, it is asked so often whether it has answered already.
const WRITE_SLICE: Duration = Duration::from_millis(250);

/// Why an exchange came to nothing.
#[derive(Debug)]
pub enum Broken {
    /// The deadline passed.
    Timeout,
    /// The socket said so, while writing or reading.
    Io(io::Error),
    /// What came is no answer.
    Malformed(Malformed),
}

impl fmt::Display for Broken {
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
    /// The head of the request.
    output: Vec<u8>,
    input: Box<[u8]>,
    /// The answer under way, then the last one.
    pub reading: Reading,
    /// When it was made.
    pub since: Instant,
    /// When its last answer was complete.
    pub last_used: Instant,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// Whether another request may follow the last one.
    reusable: bool,
}

impl Connection {
    /// A new one.
    pub fn new(stream: Stream, now: Instant) -> Self {
        Self {
            stream,
            output: Vec::new(),
            input: vec![0; READ_SIZE].into_boxed_slice(),
            reading: Reading::default(),
            since: now,
            last_used: now,
            reused: false,
            reusable: false,
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
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.stream.peer_address()
    }

    /// The buffer for the head of the next request, empty.
    pub fn output(&mut self) -> &mut Vec<u8> {
        self.output.clear();
        &mut self.output
    }

    /// Sends what is in [`output`](Self::output), then `body`, and reads the answer into `reading`.
    pub fn exchange(&mut self, body: &[u8], deadline: Instant) -> Result<(), Broken> {
        self.reading.clear();
        self.converse(body, deadline).map(drop)
    }

    /// Sends the CONNECT that is in [`output`](Self::output). Whether nothing came behind the answer.
    pub fn open_tunnel(&mut self, deadline: Instant) -> Result<bool, Broken> {
        self.reading.clear();
        self.reading.expect_tunnel();
        self.converse(&[], deadline)
    }

    fn converse(&mut self, body: &[u8], deadline: Instant) -> Result<bool, Broken> {
        self.reusable = false;
        let written = self.write(body, deadline);
        // A receiver may answer before it has read everything, and even close then: what it said counts, if it can
        // still be read. It has not read the rest, though, so nothing more goes over this connection.
        let complete = matches!(written, Ok(true));
        if let Err(Broken::Timeout) = written {
            return Err(Broken::Timeout);
        }
        self.stream.set_deadline(deadline);
        match (self.read(), written) {
            (Ok(exact), _) => {
                self.reusable = exact && complete && self.reading.is_reusable();
                self.last_used = Instant::now();
                Ok(exact)
            }
            // An alert of TLS says why the write failed.
            (Err(Broken::Io(error)), Err(_)) if error.kind() == ErrorKind::InvalidData => {
                Err(Broken::Io(error))
            }
            // Why the write failed says more than that nothing could be read after it.
            (Err(Broken::Io(_) | Broken::Malformed(Malformed::Nothing)), Err(broken)) => Err(broken),
            (Err(broken), _) => Err(broken),
        }
    }

    /// Whether all was written; if not, an answer has come before.
    fn write(&mut self, body: &[u8], deadline: Instant) -> Result<bool, Broken> {
        let total = self.output.len().saturating_add(body.len());
        let mut done = 0;
        while done < total {
            let head = self.output.get(done..).unwrap_or_default();
            let rest = body.get(done.saturating_sub(self.output.len())..).unwrap_or_default();
            let now = Instant::now();
            if now >= deadline {
                return Err(Broken::Timeout);
            }
            self.stream.set_deadline(deadline.min(now.checked_add(WRITE_SLICE).unwrap_or(deadline)));
            match self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(rest)]) {
                Ok(0) => return Err(Broken::Io(ErrorKind::WriteZero.into())),
                Ok(written) => done = done.saturating_add(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    if self.stream.has_gone() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        self.flush(deadline)?;
        Ok(true)
    }

    /// TLS may still hold some of what was written.
    fn flush(&mut self, deadline: Instant) -> Result<(), Broken> {
        self.stream.set_deadline(deadline);
        match self.stream.flush() {
            Ok(()) => Ok(()),
            Err(error) if is_timeout(&error) => Err(Broken::Timeout),
            Err(error) => Err(Broken::Io(error)),
        }
    }

    /// Reads one answer; whether nothing came after it.
    fn read(&mut self) -> Result<bool, Broken> {
        loop {
            let came = match self.stream.read(&mut self.input) {
                Ok(0) => {
                    self.reading.end().map_err(Broken::Malformed)?;
                    return Ok(false);
                }
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => return Err(Broken::Timeout),
                // Many servers end TLS without saying so; a length or a chunk tells whether something is missing.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.reading.end().map_err(Broken::Malformed)?;
                    return Ok(false);
                }
                Err(error) => return Err(Broken::Io(error)),
            };
            let bytes = self.input.get(..came).unwrap_or(&self.input);
            if let Some(taken) = self.reading.take(bytes).map_err(Broken::Malformed)? {
                return Ok(taken == came);
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
