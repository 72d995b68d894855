//! A lean HTTP receiver for many records: keeps connections, and keeps of a request only where its record is from.
//! The last segment of a request's path tells which of several senders it came from.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// A record as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub sender: usize,
    pub partition: u32,
    pub offset: i64,
    /// The record's value.
    pub number: u64,
    pub began: Instant,
    pub ended: Instant,
    pub accepted: bool,
}

/// Answers this status to the request that is the so-manieth.
pub type Answer = fn(usize) -> u16;

/// The receiver; it stops listening when dropped.
#[derive(Debug)]
pub struct Counter {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    closing: Arc<AtomicBool>,
}

impl Counter {
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let closing = Arc::new(AtomicBool::new(false));
        let (to, ending) = (Arc::clone(&received), Arc::clone(&closing));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ending.load(Ordering::SeqCst) {
                    return;
                }
                let to = Arc::clone(&to);
                std::thread::spawn(move || serve(&stream, &to, answer));
            }
        });
        Self { address, received, closing }
    }

    /// Where `sender` sends to.
    pub fn url(&self, sender: usize) -> String {
        format!("http://{}/{sender}", self.address)
    }

    /// All that was answered, in the order of its answers.
    pub fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
    }
}

/// Serves a connection until it ends.
fn serve(stream: &TcpStream, to: &Mutex<Vec<Received>>, answer: Answer) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let began = Instant::now();
        let sender = line.split(' ').nth(1)?.rsplit('/').next()?.parse().ok()?;
        let (mut length, mut partition, mut offset) = (0, 0, 0);
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "kafka-partition" => partition = value.trim().parse().ok()?,
                "kafka-offset" => offset = value.trim().parse().ok()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let number = std::str::from_utf8(&body).ok()?.parse().ok()?;
        let status = {
            let mut received = to.lock().unwrap();
            let status = answer(received.len());
            let accepted = (200..300).contains(&status);
            let ended = Instant::now();
            received.push(Received { sender, partition, offset, number, began, ended, accepted });
            status
        };
        let mut stream = stream;
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
    }
}
