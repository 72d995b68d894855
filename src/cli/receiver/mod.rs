//! A webhook to try things on: a small HTTP/1.1 receiver that counts what it sees. `demo` and `receive` are built on it.
//!
//! Everything a stranger can send is bounded: connections, heads, bodies, the bytes of all bodies together, the time
//! a request may take, and the ids that are remembered. It prints nothing itself.
//!
//! | room | what is in it |
//! |---|---|
//! | `http` | heads, bodies and answers |
//! | `tally` | the counters, and the ids that were seen |
//! | `verify` | signatures |

mod http;
mod tally;
mod verify;

pub(crate) use tally::Counts;
pub(crate) use verify::Verifier;

use http::{Fault, Head};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tally::Tally;

/// Connections at once; one more is closed. Above the most events of the demo, which sends them all at once.
pub(crate) const MOST_CONNECTIONS: usize = 1_024;
/// The largest body, in bytes.
pub(crate) const LARGEST_BODY: usize = 16 << 20;
/// All bodies that are held at once for their signatures to be verified, in bytes.
const MOST_BODY_BYTES: usize = 64 << 20;
/// How much of a body is kept where no signature is verified: enough to show its beginning.
const SHOWN_BYTES: usize = 1 << 10;
/// From one answer to the last byte of the next request. Bounds idle connections and slow senders alike.
const LONGEST_REQUEST: Duration = Duration::from_secs(60);
/// How long a client may take to read an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// How long the rest of a request that was turned away is read, so that the answer arrives before the connection ends.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);
/// How much of it, in bytes.
const MOST_DRAINED: u64 = 1 << 20;
/// The pause after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);
/// The stack of the thread of a connection, in bytes.
const STACK: usize = 256 << 10;

/// What a receiver does with requests.
pub(crate) struct Behaviour {
    /// Requests at once; those beyond are turned away.
    pub(crate) capacity: usize,
    /// The status for those.
    pub(crate) overloaded: u16,
    /// How long each request takes.
    pub(crate) delay: Duration,
    /// The statuses of all other answers, in turn. Never empty.
    pub(crate) statuses: Vec<u16>,
    /// Verifies signatures, if there is one.
    pub(crate) verifier: Option<Verifier>,
    /// Keeps how many requests were in flight from each moment on.
    pub(crate) keeps_flights: bool,
    /// Called before each answer is sent, by the thread of its connection.
    pub(crate) tell: fn(&Answered<'_>),
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            capacity: usize::MAX,
            overloaded: 429,
            delay: Duration::ZERO,
            statuses: vec![204],
            verifier: None,
            keeps_flights: false,
            tell: |_| {},
        }
    }
}

/// A request and its answer. The strings are as they came: not fit for a terminal.
pub(crate) struct Answered<'a> {
    pub(crate) status: u16,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// `webhook-id`
    pub(crate) id: Option<&'a str>,
    /// The beginning of the body.
    pub(crate) body: &'a [u8],
    /// The length of the whole body, in bytes.
    pub(crate) length: usize,
    /// An accepted event that was accepted before.
    pub(crate) duplicate: bool,
    /// Its signature was verified.
    pub(crate) verified: bool,
    /// Why it was not accepted; empty where nothing is to be said.
    pub(crate) reason: &'a str,
}

/// A receiver; it listens until the process ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    tally: Mutex<Tally>,
    /// How many answers took their status from [`Behaviour::statuses`].
    answers: AtomicUsize,
    connections: Arc<Allowance>,
    body_bytes: Arc<Allowance>,
}

impl Receiver {
    /// Listens. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use, or not one of this host's.
    pub(crate) fn start(listen: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let keeps_flights = behaviour.keeps_flights;
        let shared = Arc::new(Shared {
            behaviour,
            tally: Mutex::new(Tally::new(keeps_flights)),
            answers: AtomicUsize::new(0),
            connections: Allowance::of(MOST_CONNECTIONS),
            body_bytes: Allowance::of(MOST_BODY_BYTES),
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new().name("receiver".into()).spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => accept(stream, &accepting),
                    // Out of descriptors, most likely: without a pause this thread would spin until one is free.
                    Err(_) => std::thread::sleep(ACCEPT_AGAIN),
                }
            }
        })?;
        Ok(Self { address, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it has counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.tally().counts.clone()
    }
}

/// Serves a connection on a thread of its own. Without a thread, or with too many, the connection is closed.
fn accept(stream: TcpStream, shared: &Arc<Shared>) {
    let Some(slot) = shared.connections.take(1) else { return };
    let shared = Arc::clone(shared);
    let serve = move || {
        // An answer that can't be written has nobody who waits for it.
        let _ = shared.serve(&stream);
        drop(slot);
    };
    let _ = std::thread::Builder::new().stack_size(STACK).spawn(serve);
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counters are whole whatever a panicking holder did.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of a connection, one after the other.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(LONGEST_ANSWER))?;
        let mut reader = BufReader::new(Timed { stream, until: Instant::now() });
        loop {
            reader.get_mut().until = Instant::now() + LONGEST_REQUEST;
            let fault = match http::read_head(&mut reader) {
                Ok(head) => match self.exchange(stream, &mut reader, &head) {
                    Ok(()) if head.keep_alive => continue,
                    Ok(()) | Err(Fault::Closed) => return Ok(()),
                    Err(fault) => fault,
                },
                Err(Fault::Closed) => return Ok(()),
                Err(fault) => fault,
            };
            return self.turn_away(stream, reader, &fault);
        }
    }

    /// Reads the body of a request, does what a receiver would do, and answers.
    fn exchange(
        &self,
        stream: &TcpStream,
        reader: &mut BufReader<Timed<'_>>,
        head: &Head,
    ) -> Result<(), Fault> {
        let is_verified = self.behaviour.verifier.is_some();
        let kept = if is_verified { head.length } else { SHOWN_BYTES.min(head.length) };
        let held = if is_verified { head.length } else { 0 };
        let _held = self.body_bytes.take(held).ok_or(Fault::Busy)?;
        if head.expects_continue {
            (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Fault::Closed)?;
        }
        let body = http::read_body(reader, head.length, kept)?;
        let fits = self.tally().begin() <= self.behaviour.capacity;
        // An overloaded receiver is no faster for it.
        std::thread::sleep(self.behaviour.delay);
        let signature = self.behaviour.verifier.as_ref().map(|verifier| verifier.verify(head, &body));
        let (status, reason) = match &signature {
            _ if !fits => (self.behaviour.overloaded, "more requests in flight than --capacity"),
            Some(Err(reason)) => (401, *reason),
            _ => (self.next_status(), ""),
        };
        let accepted = (200..300).contains(&status);
        let duplicate = {
            let mut tally = self.tally();
            tally.end();
            match &signature {
                _ if accepted => {}
                _ if !fits => tally.counts.turned_away += 1,
                Some(Err(_)) => tally.counts.unverified += 1,
                _ => tally.counts.refused += 1,
            }
            accepted && tally.accept(head.id.as_deref())
        };
        (self.behaviour.tell)(&Answered {
            status,
            method: &head.method,
            path: &head.path,
            id: head.id.as_deref(),
            body: &body,
            length: head.length,
            duplicate,
            verified: matches!(signature, Some(Ok(()))),
            reason,
        });
        http::answer(stream, status, reason, head.keep_alive).map_err(|_| Fault::Closed)
    }

    fn next_status(&self) -> u16 {
        let statuses = &self.behaviour.statuses;
        let turn = self.answers.fetch_add(1, Ordering::Relaxed) % statuses.len().max(1);
        statuses.get(turn).copied().unwrap_or(204)
    }

    /// Answers a request that is not an event, and ends the connection.
    fn turn_away(
        &self,
        stream: &TcpStream,
        mut reader: BufReader<Timed<'_>>,
        fault: &Fault,
    ) -> io::Result<()> {
        let (status, reason) = fault.answer();
        self.tally().counts.unreadable += 1;
        (self.behaviour.tell)(&Answered {
            status,
            method: "-",
            path: "-",
            id: None,
            body: &[],
            length: 0,
            duplicate: false,
            verified: false,
            reason,
        });
        http::answer(stream, status, reason, false)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        reader.get_mut().until = Instant::now() + LONGEST_DRAIN;
        io::copy(&mut reader.take(MOST_DRAINED), &mut io::sink()).map(drop)
    }
}

/// A stream that is read until a moment and no longer.
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut stream = self.stream;
        stream.read(buffer)
    }
}

/// So much of something there is.
struct Allowance {
    taken: AtomicUsize,
    most: usize,
}

impl Allowance {
    fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most })
    }

    fn take(self: &Arc<Self>, amount: usize) -> Option<Taken> {
        let more = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Taken { of: Arc::clone(self), amount })
    }
}

/// A part of an [`Allowance`], given back when dropped.
struct Taken {
    of: Arc<Allowance>,
    amount: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(receiver: &Receiver, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A connection that is reset after its answer has been read is as good as one that was closed.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn start(behaviour: Behaviour) -> Receiver {
        Receiver::start(([127, 0, 0, 1], 0).into(), behaviour).unwrap()
    }

    #[test]
    fn statuses_are_answered_in_turn_over_one_connection() {
        let receiver = start(Behaviour { statuses: vec![503, 200], ..Behaviour::default() });
        let post = "POST /a HTTP/1.1\r\nHost: h\r\nwebhook-id: 1\r\nContent-Length: 2\r\n\r\n{}";
        let answers = exchange(&receiver, post.repeat(4).as_bytes());
        let statuses: Vec<&str> = answers.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
        assert_eq!(statuses, ["HTTP/1.1 503 Service Unavailable", "HTTP/1.1 200 OK"].repeat(2), "{answers}");
        let counts = receiver.counts();
        assert_eq!((counts.accepted, counts.duplicates, counts.refused, counts.most), (2, 1, 2, 1));
    }

    #[test]
    fn whatever_is_no_event_is_answered_and_counted() {
        let receiver = start(Behaviour::default());
        let long = format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(http::LARGEST_HEAD));
        let large = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", LARGEST_BODY + 1);
        for (request, status) in [
            ("nonsense\r\n\r\n", "400 "),
            ("GET / HTTP/1.1\r\n\r\n", "405 "),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411 "),
            ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400 "),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 "),
            (&large, "413 "),
            (&long, "431 "),
        ] {
            let answer = exchange(&receiver, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60}: {answer}");
        }
        // An end where a request could begin is no fault; one in the midst of a body is nobody's event.
        assert_eq!(exchange(&receiver, b""), "");
        assert_eq!(exchange(&receiver, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}"), "");
        assert_eq!((receiver.counts().unreadable, receiver.counts().accepted), (7, 0));
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let allowance = Allowance::of(3);
        let two = allowance.take(2).unwrap();
        assert!(allowance.take(2).is_none() && allowance.take(usize::MAX).is_none());
        drop(two);
        assert!(allowance.take(3).is_some());
    }
}
