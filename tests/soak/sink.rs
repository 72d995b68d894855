//! The receiver of a soak. It keeps two bits of a record: whether it was accepted, and whether it was refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records with the same number modulo this have the same key.
pub const KEYS: usize = 10_000;
/// One request in so many is answered with 500.
const FAILS: u64 = 100;
/// One record in so many is refused whenever it comes.
const REFUSED: usize = 1_000;
/// How long an answer takes.
const TAKES: Duration = Duration::from_millis(2);

/// A bit for each record.
#[derive(Debug)]
pub struct Bits(Vec<AtomicU64>);

impl Bits {
    pub fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn has(&self, n: usize) -> bool {
        self.0[n / 64].load(Ordering::SeqCst) & (1 << (n % 64)) != 0
    }

    /// Says whether it was set before.
    pub fn set(&self, n: usize) -> bool {
        self.0[n / 64].fetch_or(1 << (n % 64), Ordering::SeqCst) & (1 << (n % 64)) != 0
    }
}

/// What came, and what was made of it.
#[derive(Debug)]
pub struct Sink {
    pub accepted: Bits,
    refused: Bits,
    /// Records that were accepted or refused.
    pub done: AtomicU64,
    pub requests: AtomicU64,
    /// Accepted more than once.
    pub duplicates: AtomicU64,
    /// Requests for a record whose predecessor by key was not done.
    pub breaks: AtomicU64,
    pub failed: AtomicU64,
    pub turned_away: AtomicU64,
    pub connections: AtomicU64,
    began: Instant,
    /// Until when all are turned away, in milliseconds since it began.
    storm_until: AtomicU64,
    closing: AtomicBool,
}

/// Whether a record is refused whenever it comes.
pub fn is_refused(n: usize) -> bool {
    n % REFUSED == REFUSED / 2
}

impl Sink {
    /// Listens until [closed](Self::close); for the records from 0 to `count - 1`.
    pub fn start(count: usize) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let none = || AtomicU64::new(0);
        let sink = Arc::new(Self {
            accepted: Bits::new(count),
            refused: Bits::new(count),
            done: none(),
            requests: none(),
            duplicates: none(),
            breaks: none(),
            failed: none(),
            turned_away: none(),
            connections: none(),
            began: Instant::now(),
            storm_until: none(),
            closing: AtomicBool::new(false),
        });
        let shared = Arc::clone(&sink);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.closing.load(Ordering::SeqCst) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let sink = Arc::clone(&shared);
                std::thread::spawn(move || sink.serve(&stream));
            }
        });
        (sink, address)
    }

    pub fn close(&self, address: SocketAddr) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(address);
    }

    /// Turns everything away for so long.
    pub fn storm(&self, time: Duration) {
        let until = self.began.elapsed() + time;
        self.storm_until.store(until.as_millis() as u64, Ordering::SeqCst);
    }

    /// Serves a connection until it ends.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        let (mut line, mut body) = (String::new(), Vec::new());
        loop {
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    // The request line ends in a version.
                    if line.len() > 2 { continue } else { break }
                };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok()?;
                }
            }
            body.resize(length, 0);
            reader.read_exact(&mut body).ok()?;
            let number = std::str::from_utf8(&body).ok()?.parse().ok()?;
            let answer = self.answer(number);
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }

    fn answer(&self, n: usize) -> &'static str {
        let request = self.requests.fetch_add(1, Ordering::SeqCst);
        let is_done = |n: usize| self.accepted.has(n) || self.refused.has(n);
        if n >= KEYS && !is_done(n - KEYS) {
            self.breaks.fetch_add(1, Ordering::SeqCst);
        }
        if (self.began.elapsed().as_millis() as u64) < self.storm_until.load(Ordering::SeqCst) {
            self.turned_away.fetch_add(1, Ordering::SeqCst);
            return "HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
        }
        std::thread::sleep(TAKES); // the work
        if request % FAILS == FAILS / 2 {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n";
        }
        let refuses = is_refused(n);
        let before = if refuses { self.refused.set(n) } else { self.accepted.set(n) };
        if !before {
            self.done.fetch_add(1, Ordering::SeqCst);
        } else if !refuses {
            self.duplicates.fetch_add(1, Ordering::SeqCst);
        }
        if refuses { "HTTP/1.1 422 X\r\nContent-Length: 0\r\n\r\n" } else { "HTTP/1.1 204 X\r\n\r\n" }
    }
}
