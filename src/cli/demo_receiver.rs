//! The demo's webhook: a small HTTP receiver on loopback that counts what it sees.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest header line, and body, that it takes; the demo's own are far below.
const LONGEST: u64 = 64 << 10;
/// How many header lines it takes.
const MOST_LINES: usize = 100;

/// What the receiver counted.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests that were accepted.
    pub accepted: usize,
    /// Requests beyond what it can take at once.
    pub failed: usize,
    /// The most requests in flight at once.
    pub most: usize,
    /// How many were in flight from each moment on.
    pub flights: Vec<(Instant, usize)>,
    in_flight: usize,
}

impl Seen {
    fn moved(&mut self, by: isize) {
        self.in_flight = self.in_flight.saturating_add_signed(by);
        self.most = self.most.max(self.in_flight);
        self.flights.push((Instant::now(), self.in_flight));
    }

    /// The time from the first request to the end of the last.
    pub fn took(&self) -> Duration {
        let ends = self.flights.first().zip(self.flights.last());
        ends.map_or(Duration::ZERO, |((first, _), (last, _))| last.duration_since(*first))
    }

    /// How often nothing was in flight for at least `gap`, between the first request and the last.
    pub fn pauses(&self, gap: Duration) -> usize {
        let quiet = |pair: &&[(Instant, usize)]| pair[0].1 == 0 && pair[1].0 - pair[0].0 >= gap;
        self.flights.windows(2).filter(quiet).count()
    }
}

/// A receiver that takes `delay` for each request and fails what is beyond `capacity` at once.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    /// Listens on a free port of loopback until the process ends.
    pub fn start(capacity: usize, delay: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let counted = Arc::clone(&seen);
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&counted);
                // A thread a connection: the demo bounds how many there are. Without a thread the connection is closed.
                let serve = move || serve(&stream, &seen, capacity, delay);
                let _ = std::thread::Builder::new().spawn(serve);
            }
        })?;
        Ok(Self { address, seen })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it has counted.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Counters are whole whatever a panicking holder did.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request; what is not one is dropped.
fn serve(stream: &TcpStream, seen: &Mutex<Seen>, capacity: usize, delay: Duration) {
    if read_request(stream).is_none() {
        return;
    }
    let fits = {
        let mut seen = lock(seen);
        seen.moved(1);
        seen.in_flight <= capacity
    };
    // The work a real receiver would do; one that is overloaded is not faster for it.
    std::thread::sleep(delay);
    {
        let mut seen = lock(seen);
        seen.moved(-1);
        *(if fits { &mut seen.accepted } else { &mut seen.failed }) += 1;
    }
    let status = if fits { "204 No Content" } else { "503 Service Unavailable" };
    let mut stream = stream;
    // A client that has gone is counted all the same.
    let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

fn read_request(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    for _ in 0..MOST_LINES {
        let mut line = String::new();
        reader.by_ref().take(LONGEST).read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok().map(drop);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok().filter(|length| *length <= LONGEST)?;
        }
    }
    None
}
