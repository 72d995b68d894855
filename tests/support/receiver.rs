//! An HTTP receiver on loopback that counts what it sees and misbehaves on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many came before it.
    pub number: usize,
    /// How many connections were made before the one that it came over.
    pub connection: usize,
    /// How many with the same webhook-id came before it.
    pub earlier: usize,
    /// The request line.
    pub line: String,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub began: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id").unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(binary)")
    }
}

/// What to answer. After the first three the connection is kept, unless the client or the receiver wants none.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// Status, header lines, body.
    With(u16, Vec<String>, String),
    /// Status, after a while.
    After(Duration, u16),
    /// Exactly these bytes, then close.
    Raw(Vec<u8>),
    /// Exactly these bytes, and on to the next request.
    Kept(Vec<u8>),
    /// These bytes, one each so often, until the client has gone.
    Drip(&'static [u8], Duration),
    /// Nothing at all, until the client has gone.
    Silence,
    /// A head that announces 1 GiB, and as much of it as the client takes.
    Flood,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Handled {
    pub request: Request,
    pub ended: Instant,
    /// Whether it was answered with 2xx.
    pub accepted: bool,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    in_flight: usize,
    most: usize,
    begun: usize,
    by_id: HashMap<String, usize>,
    handled: Vec<Handled>,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// The receiver; it stops listening when dropped.
pub struct Receiver {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    closing: Arc<AtomicBool>,
    keeps: Arc<AtomicBool>,
}

impl Receiver {
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, script)
    }

    /// Closes each connection after its first answer.
    pub fn closing(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let receiver = Self::start(script);
        receiver.keeps.store(false, Ordering::SeqCst);
        receiver
    }

    /// Accepts everything.
    pub fn accepting() -> Self {
        Self::start(|_| Reply::Status(204))
    }

    pub fn start_at(port: u16, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let closing = Arc::new(AtomicBool::new(false));
        let keeps = Arc::new(AtomicBool::new(true));
        let script: Arc<Script> = Arc::new(script);
        {
            let (seen, closing, keeps) = (Arc::clone(&seen), Arc::clone(&closing), Arc::clone(&keeps));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    let connection = {
                        let mut seen = seen.lock().unwrap();
                        seen.connections += 1;
                        seen.connections - 1
                    };
                    let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                    let (closing, keeps) = (Arc::clone(&closing), Arc::clone(&keeps));
                    std::thread::spawn(move || {
                        let mut reader = BufReader::new(&stream);
                        while let Some(request) = read(&mut reader, connection) {
                            let keeps = keeps.load(Ordering::SeqCst)
                                && request
                                    .header("connection")
                                    .is_none_or(|it| !it.eq_ignore_ascii_case("close"));
                            if closing.load(Ordering::SeqCst)
                                || !serve(&stream, request, &seen, &*script, keeps)
                            {
                                return;
                            }
                        }
                    });
                }
            });
        }
        Self { address, seen, closing, keeps }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// All that was answered or given up, in the order of its end.
    pub fn handled(&self) -> Vec<Handled> {
        self.seen.lock().unwrap().handled.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub fn begun(&self) -> usize {
        self.seen.lock().unwrap().begun
    }

    pub fn most_in_flight(&self) -> usize {
        self.seen.lock().unwrap().most
    }

    /// How often each body was accepted.
    pub fn accepted(&self) -> HashMap<Vec<u8>, usize> {
        let mut bodies = HashMap::new();
        for handled in self.seen.lock().unwrap().handled.iter().filter(|handled| handled.accepted) {
            *bodies.entry(handled.request.body.clone()).or_insert(0) += 1;
        }
        bodies
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
    }
}

/// Whether the connection stays.
fn serve(stream: &TcpStream, mut request: Request, seen: &Mutex<Seen>, script: &Script, keeps: bool) -> bool {
    {
        let mut seen = seen.lock().unwrap();
        request.number = seen.begun;
        seen.begun += 1;
        let earlier = seen.by_id.entry(request.id().to_owned()).or_insert(0);
        request.earlier = std::mem::replace(earlier, *earlier + 1);
        seen.in_flight += 1;
        seen.most = seen.most.max(seen.in_flight);
    }
    let reply = script(&request);
    let status = match &reply {
        Reply::Status(status) | Reply::With(status, ..) => Some(*status),
        Reply::After(time, status) => {
            std::thread::sleep(*time); // a slow receiver is the point
            Some(*status)
        }
        Reply::Raw(bytes) | Reply::Kept(bytes) if bytes.windows(4).any(|w| w == b" 204") => Some(204),
        _ => None,
    };
    // Counted as ended before the answer goes out: whoever has the answer may send the next at once.
    {
        let mut seen = seen.lock().unwrap();
        seen.in_flight -= 1;
        let accepted = status.is_some_and(|status| (200..300).contains(&status));
        seen.handled.push(Handled { request, ended: Instant::now(), accepted });
    }
    answer(stream, reply, keeps)
}

fn answer(mut stream: &TcpStream, reply: Reply, keeps: bool) -> bool {
    let keeps =
        keeps && matches!(reply, Reply::Status(_) | Reply::With(..) | Reply::After(..) | Reply::Kept(_));
    let head = |status: u16, lines: &[String], body: &str| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let connection = if keeps { "" } else { "Connection: close\r\n" };
        format!("HTTP/1.1 {status} X\r\n{connection}Content-Length: {}\r\n{lines}\r\n{body}", body.len())
    };
    let sent = match reply {
        Reply::Status(status) | Reply::After(_, status) => stream.write_all(head(status, &[], "").as_bytes()),
        Reply::With(status, lines, body) => stream.write_all(head(status, &lines, &body).as_bytes()),
        Reply::Raw(bytes) | Reply::Kept(bytes) => stream.write_all(&bytes),
        Reply::Drip(bytes, gap) => bytes.iter().cycle().try_for_each(|byte| {
            std::thread::sleep(gap); // dripping is the point
            stream.write_all(&[*byte])
        }),
        // The client's end of the connection is what ends the wait.
        Reply::Silence => stream.read(&mut [0]).map(drop),
        Reply::Flood => {
            let _ = stream.write_all(b"HTTP/1.1 204 X\r\nContent-Length: 1073741824\r\n\r\n");
            (0..1 << 14).try_for_each(|_| stream.write_all(&[b'x'; 1 << 16]))
        }
    };
    keeps && sent.is_ok()
}

fn read(reader: &mut impl BufRead, connection: usize) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let began = Instant::now();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        match header.trim_end().split_once(": ").or(header.trim_end().split_once(':')) {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().into();
    Some(Request { number: 0, connection, earlier: 0, line, headers, body, began })
}
