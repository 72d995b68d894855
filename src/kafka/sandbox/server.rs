//! Sockets and threads: one thread per listener and one per connection, which handles one request at a time.

use super::broker::{Broker, Outcome};
use super::report::{Client, Closing, LARGEST_REQUEST};
use super::rules::Fault;
use crate::kafka::protocol::frame_length;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most open connections; further ones are closed immediately.
pub const MOST_CONNECTIONS: usize = 256;
/// An idle connection is closed after this.
const IDLE: Duration = Duration::from_secs(600);
/// A connection is closed if the client reads none of a response for this long.
const STUCK: Duration = Duration::from_secs(30);
/// The pause after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);
/// How long stopping waits for the connections' threads.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The open connections.
#[derive(Debug, Default)]
struct Open {
    sockets: BTreeMap<u64, TcpStream>,
    serial: u64,
    closed: bool,
}

/// The listeners of a sandbox with their connections.
#[derive(Debug)]
pub(super) struct Server {
    broker: Arc<Broker>,
    open: Arc<(Mutex<Open>, Condvar)>,
    listeners: Vec<(SocketAddr, JoinHandle<()>)>,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // Each change is a single insert or remove.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Starts serving; the first listener is node 1's.
    pub(super) fn start(broker: Arc<Broker>, listeners: Vec<TcpListener>) -> io::Result<Self> {
        let mut server = Self { broker, open: Arc::default(), listeners: Vec::new() };
        for (node, listener) in (1..).zip(listeners) {
            let address = listener.local_addr()?;
            let (broker, open) = (Arc::clone(&server.broker), Arc::clone(&server.open));
            let thread = std::thread::Builder::new().name(format!("sandbox-{node}"));
            let thread = thread.spawn(move || accept(&listener, node, &broker, &open))?;
            server.listeners.push((address, thread));
        }
        Ok(server)
    }

    /// Closes all connections, as a stopping broker does. Clients may reconnect.
    pub(super) fn disconnect(&self) {
        for socket in lock(&self.open.0).sockets.values() {
            // The connection may already be closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.broker.lock().closed = true;
        self.broker.wake();
        lock(&self.open.0).closed = true;
        for (address, thread) in self.listeners.drain(..) {
            // Connecting unblocks the accept loop, which then sees the closed flag.
            let _ = TcpStream::connect_timeout(&reachable(address), CLOSE_TIMEOUT);
            // A panicked thread has ended, too.
            let _ = thread.join();
        }
        self.disconnect();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut open = lock(&self.open.0);
        while !open.sockets.is_empty() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            open = self.open.1.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// An address by which this machine can reach a listener on a wildcard address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn accept(listener: &TcpListener, node: i32, broker: &Arc<Broker>, open: &Arc<(Mutex<Open>, Condvar)>) {
    loop {
        let accepted = listener.accept();
        if lock(&open.0).closed {
            return;
        }
        let Ok((socket, _)) = accepted else {
            // Most likely out of file descriptors; retry after some connection has closed.
            broker.pause(ACCEPT_AGAIN);
            continue;
        };
        // Otherwise it has already been closed.
        let Ok(address) = socket.peer_addr() else { continue };
        let client = Client::new(address);
        let serial = match register(&open.0, &socket) {
            Ok(serial) => serial,
            Err(closing) => {
                tell(broker, &client, &closing);
                continue;
            }
        };
        let (own, shared) = (Arc::clone(broker), Arc::clone(open));
        let thread = std::thread::Builder::new().name(format!("sandbox-{node}-{serial}"));
        let spawned = thread.spawn(move || {
            let mut client = Client::new(address);
            if let Err(closing) = converse(&socket, node, &own, &mut client) {
                tell(&own, &client, &closing);
            }
            // The registered clone keeps the socket open, so shut it down explicitly. It may already be closed.
            let _ = socket.shutdown(Shutdown::Both);
            forget(&shared, serial);
        });
        if let Err(error) = spawned {
            tell(broker, &client, &Closing::Because(format!("there is no thread to serve it: {error}")));
            forget(open, serial);
        }
    }
}

fn tell(broker: &Broker, client: &Client, closing: &Closing) {
    broker.settings.report.say(&format!("closed the connection of {client}: {closing}"));
}

/// Registers the connection, so that it can be closed from outside.
fn register(open: &Mutex<Open>, socket: &TcpStream) -> Result<u64, Closing> {
    let copy = socket.try_clone();
    let copy = copy.map_err(|error| Closing::Because(format!("there is no file left for it: {error}")))?;
    let mut open = lock(open);
    if open.sockets.len() >= MOST_CONNECTIONS {
        return Err(Closing::Because(format!("there are {MOST_CONNECTIONS} others, and no room for more")));
    }
    open.serial = open.serial.wrapping_add(1);
    let serial = open.serial;
    open.sockets.insert(serial, copy);
    Ok(serial)
}

fn forget(open: &(Mutex<Open>, Condvar), serial: u64) {
    lock(&open.0).sockets.remove(&serial);
    open.1.notify_all();
}

/// Serves a client until it disconnects or has to be disconnected.
fn converse(socket: &TcpStream, node: i32, broker: &Broker, client: &mut Client) -> Result<(), Closing> {
    let failed = |error: io::Error| Closing::Because(format!("its connection can't be used: {error}"));
    socket.set_nodelay(true).map_err(failed)?;
    socket.set_read_timeout(Some(IDLE)).map_err(failed)?;
    socket.set_write_timeout(Some(STUCK)).map_err(failed)?;
    let here = socket.local_addr().map_err(failed)?.ip().to_canonical();
    let there = socket.peer_addr().map_err(failed)?.ip().to_canonical();
    while let Some(frame) = read_frame(socket)? {
        let outcome = broker.handle(&frame, node, (here, there), client)?;
        let throttle = outcome.throttle;
        if let Some(fault) = write(socket, outcome, broker)? {
            return Err(Closing::Because(format!("it was asked to misbehave: {fault:?}")));
        }
        if !throttle.is_zero() {
            broker.pause(throttle);
        }
    }
    Ok(())
}

/// Reads a request frame; `None` when the client has closed the connection.
fn read_frame(mut socket: &TcpStream) -> Result<Option<Vec<u8>>, Closing> {
    let mut prefix = [0; 4];
    match socket.read_exact(&mut prefix) {
        Err(error) if is_timeout(&error) => {
            return Err(Closing::Because(format!("it asked for nothing in {} s", IDLE.as_secs())));
        }
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    let length = frame_length(prefix, LARGEST_REQUEST).map_err(|_| Closing::of_length(prefix))?;
    let mut frame = Vec::new();
    // The buffer grows with the bytes received, never by what the prefix claims.
    let read = socket.take(length as u64).read_to_end(&mut frame);
    match read.is_ok() && frame.len() == length {
        true => Ok(Some(frame)),
        false => {
            let read = frame.len();
            Err(Closing::Because(format!("its request ended after {read} of {length} bytes")))
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Writes the response as the fault demands; returns the fault if the connection has to be closed.
fn write(mut socket: &TcpStream, outcome: Outcome, broker: &Broker) -> Result<Option<Fault>, Closing> {
    /// Bytes of the length and the correlation id.
    const HEAD: usize = 8;
    let mut answer = outcome.answer.unwrap_or_default();
    match outcome.fault {
        Some(Fault::Slow(time)) => broker.pause(time),
        Some(Fault::Drop | Fault::Lose) => return Ok(outcome.fault),
        Some(Fault::NoAnswer) => return Ok(None),
        Some(Fault::HalfClose) => {
            // Read and discard until the client closes its side.
            let heard =
                socket.shutdown(Shutdown::Write).and_then(|()| io::copy(&mut socket, &mut io::sink()));
            return Ok(outcome.fault.filter(|_| heard.is_ok()));
        }
        Some(Fault::Cut(length)) => answer.truncate(length),
        Some(Fault::Garbage) => answer.iter_mut().skip(HEAD).for_each(|byte| *byte = 0xff),
        Some(Fault::Stranger) => answer.iter_mut().skip(HEAD - 1).take(1).for_each(|byte| *byte ^= 1),
        Some(Fault::Error(_) | Fault::Corrupt | Fault::Omit | Fault::NoBrokers | Fault::Throttle(_))
        | None => {}
    }
    match socket.write_all(&answer) {
        Err(error) if is_timeout(&error) => {
            return Err(Closing::Because(format!("it took nothing of an answer in {} s", STUCK.as_secs())));
        }
        // A write error means that the client is gone; the next read will notice.
        Err(_) | Ok(()) => {}
    }
    Ok(outcome.fault.filter(|fault| matches!(fault, Fault::Cut(_))))
}
