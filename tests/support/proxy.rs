//! A TCP proxy on loopback that can stop passing anything on: peers behind it then accept and never answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// What becomes of bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// They are passed on.
    Open,
    /// Connections are accepted and kept, and nothing on them is passed on.
    Hole,
    /// Connections are closed, new ones at once.
    Cut,
    /// The proxy is gone.
    Closed,
}

/// The proxy; it stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: Arc<AtomicU8>,
}

impl Proxy {
    /// Listens on this port (0: a free one) for what is meant for `upstream`, which need not be there yet.
    pub fn start(port: u16, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(AtomicU8::new(Way::Open as u8));
        let shared = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let way = Arc::clone(&shared);
                if is(&way, Way::Closed) {
                    return;
                }
                thread::spawn(move || serve(client, upstream, &way));
            }
        });
        Self { address, way }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it goes this way. Connections that were in the hole don't come out of it: they are closed.
    pub fn turn(&self, way: Way) {
        self.way.store(way as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.turn(Way::Closed);
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
    }
}

fn is(at: &AtomicU8, way: Way) -> bool {
    at.load(Ordering::SeqCst) == way as u8
}

fn serve(client: TcpStream, upstream: SocketAddr, way: &AtomicU8) {
    if is(way, Way::Hole) {
        return swallow(&client, way);
    }
    let Ok(server) = TcpStream::connect(upstream) else { return };
    if !is(way, Way::Open) {
        return;
    }
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, way));
        pass(&server, &client, way);
    });
}

/// Passes bytes on until the way changes; then both ends are closed, or swallowed first.
fn pass(mut from: &TcpStream, mut to: &TcpStream, way: &AtomicU8) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut bytes = [0; 16 << 10];
    loop {
        if is(way, Way::Hole) {
            swallow(from, way);
            break;
        }
        if !is(way, Way::Open) {
            break;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(_) if is(way, Way::Hole) => {}
            Ok(read) if to.write_all(&bytes[..read]).is_ok() => {}
            Err(error) if is_timeout(&error) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Reads and drops what comes for as long as the hole is there.
fn swallow(mut from: &TcpStream, way: &AtomicU8) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut bytes = [0; 16 << 10];
    while is(way, Way::Hole) {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Err(error) if !is_timeout(&error) => break,
            Ok(_) | Err(_) => {}
        }
    }
}

/// How often a connection on which nothing comes looks which way it goes.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
