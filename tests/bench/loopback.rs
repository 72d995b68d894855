//! Both ends of a request on loopback, as plain as std allows: what a delivery can cost at least on this machine.
//!
//! `receive MIN_US MAX_US [CERTIFICATE KEY]` answers each request after a time between the two. It prints its port, and
//! once its input ends how many requests came, how long that took from the first to the last answer, and how many were
//! in flight at most.
//!
//! `blast PORT THREADS COUNT SIZE [CA]` sends that many requests over kept connections: one write, one read each.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["receive", min, max, files @ ..] => receive(number(min), number(max), files),
        ["blast", port, threads, count, size, ca @ ..] => {
            blast(number(port), number(threads), number(count), number(size), ca.first().copied());
        }
        _ => panic!("receive MIN_US MAX_US [CERTIFICATE KEY] | blast PORT THREADS COUNT SIZE [CA]"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

// ---- receiving -------------------------------------------------------------------------------------------------

struct Seen {
    started: Instant,
    begun: AtomicU64,
    in_flight: AtomicU64,
    most: AtomicU64,
    /// The first request and the last answer, in microseconds since the start.
    first: AtomicU64,
    last: AtomicU64,
}

impl Seen {
    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn receive(min: u64, max: u64, files: &[&str]) {
    let tls = match files {
        [certificate, key] => Some(Arc::new(server_config(certificate, key))),
        _ => None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("it listens").port());
    let none = || AtomicU64::new(0);
    let first = AtomicU64::new(u64::MAX);
    let started = Instant::now();
    let seen = Seen { started, begun: none(), in_flight: none(), most: none(), first, last: none() };
    let seen = Arc::new(seen);
    let of_all = Arc::clone(&seen);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (seen, tls) = (Arc::clone(&of_all), tls.clone());
            std::thread::spawn(move || {
                let _ = socket.set_nodelay(true);
                match tls {
                    None => serve(socket, &seen, min, max),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).expect("a good configuration");
                        serve(rustls::StreamOwned::new(session, socket), &seen, min, max);
                    }
                }
            });
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let micros = seen.last.load(Relaxed).saturating_sub(seen.first.load(Relaxed));
    println!("{} {micros} {}", seen.begun.load(Relaxed), seen.most.load(Relaxed));
}

fn serve(mut wire: impl Wire, seen: &Seen, min: u64, max: u64) {
    let mut buffer = vec![0; 64 << 10];
    while read_request(&mut wire, &mut buffer).is_some() {
        let number = seen.begun.fetch_add(1, Relaxed);
        if number == 0 {
            seen.first.store(seen.micros(), Relaxed);
        }
        seen.most.fetch_max(seen.in_flight.fetch_add(1, Relaxed) + 1, Relaxed);
        // Spread evenly, and the same in each run.
        let delay = min + number * 7_919 % (max - min + 1);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay)); // the work of the receiver
        }
        seen.in_flight.fetch_sub(1, Relaxed);
        seen.last.fetch_max(seen.micros(), Relaxed);
        if wire.write_all(ANSWER).and_then(|()| wire.flush()).is_err() {
            break;
        }
    }
}

/// Reads a request to its end; `None`: there is no other.
fn read_request(wire: &mut impl Wire, buffer: &mut [u8]) -> Option<()> {
    let (mut filled, mut wanted) = (0, usize::MAX);
    while filled < wanted {
        match wire.read(buffer.get_mut(filled..)?) {
            Ok(0) | Err(_) => return None,
            Ok(read) => filled += read,
        }
        if wanted == usize::MAX
            && let Some(head) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?;
            wanted = head + 4 + length.parse::<usize>().ok()?;
        }
    }
    Some(())
}

fn server_config(certificate: &str, key: &str) -> rustls::ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .expect("certificate and key fit")
}

// ---- blasting --------------------------------------------------------------------------------------------------

fn blast(port: u64, threads: u64, count: u64, size: u64, ca: Option<&str>) {
    let head = format!(
        "POST /hook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    );
    let request = [head.into_bytes(), vec![b'x'; usize::try_from(size).expect("a size")]].concat();
    let tls = ca.map(|ca| Arc::new(client_config(ca)));
    let left = AtomicU64::new(count);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let socket = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the receiver listens");
                socket.set_nodelay(true).expect("a TCP socket");
                match tls.clone() {
                    None => send(socket, &request, &left),
                    Some(config) => {
                        let name = ServerName::try_from("localhost").expect("a name");
                        let session = rustls::ClientConnection::new(config, name).expect("a configuration");
                        send(rustls::StreamOwned::new(session, socket), &request, &left);
                    }
                }
            });
        }
    });
}

fn send(mut wire: impl Wire, request: &[u8], left: &AtomicU64) {
    let mut answer = [0; 8 << 10];
    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        wire.write_all(request).and_then(|()| wire.flush()).expect("the receiver takes it");
        let read = wire.read(&mut answer).expect("the receiver answers");
        assert_eq!(&answer[..read], ANSWER);
    }
}

fn client_config(ca: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("a CA");
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
