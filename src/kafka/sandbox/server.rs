//! The sockets: a thread for each node's listener and one for each connection, which reads a request, has it
//! answered, and writes the answer before it reads the next.

use super::broker::{Broker, Outcome};
use super::faults::Fault;
use crate::kafka::protocol::frame_length;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No more connections than this at once; further ones are closed at once.
pub const MOST_CONNECTIONS: usize = 256;
/// A request of more bytes than this ends its connection.
pub const LARGEST_REQUEST: usize = 16 << 20;
/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// A client that takes nothing of an answer for so long is given up.
const STUCK: Duration = Duration::from_secs(30);
/// Between two tries to accept, where that fails.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);
/// How long the end waits for the threads of connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections that are open.
#[derive(Debug, Default)]
struct Open {
    sockets: BTreeMap<u64, TcpStream>,
    serial: u64,
    closed: bool,
}

/// All listeners of a sandbox with their connections.
#[derive(Debug)]
pub(super) struct Server {
    broker: Arc<Broker>,
    open: Arc<(Mutex<Open>, Condvar)>,
    listeners: Vec<(SocketAddr, JoinHandle<()>)>,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // Entries come and go whole.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Begins to serve, on the listeners of node 1, 2 and so on.
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

    /// Ends all connections, as a broker that stops does. Their clients may connect again.
    pub(super) fn disconnect(&self) {
        for socket in lock(&self.open.0).sockets.values() {
            // It may be closed already.
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
            // Whoever waits for a connection gets one, and sees that it is over.
            let _ = TcpStream::connect_timeout(&reachable(address), CLOSE_TIMEOUT);
            // A thread that panicked is over as well.
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

/// An address under which this machine reaches a listener on all of its addresses.
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
            // Out of file descriptors, most likely: some connection will end.
            broker.pause(ACCEPT_AGAIN);
            continue;
        };
        let Some(serial) = register(&open.0, &socket) else { continue };
        let (broker, shared) = (Arc::clone(broker), Arc::clone(open));
        let thread = std::thread::Builder::new().name(format!("sandbox-{node}-{serial}"));
        let spawned = thread.spawn(move || {
            // How a connection ends is the client's business.
            let _ = converse(&socket, node, &broker);
            forget(&shared, serial);
        });
        if spawned.is_err() {
            forget(open, serial);
        }
    }
}

/// Keeps a way to end the connection; `None` where there are too many.
fn register(open: &Mutex<Open>, socket: &TcpStream) -> Option<u64> {
    let copy = socket.try_clone().ok()?;
    let mut open = lock(open);
    if open.sockets.len() >= MOST_CONNECTIONS {
        return None;
    }
    open.serial = open.serial.wrapping_add(1);
    let serial = open.serial;
    open.sockets.insert(serial, copy);
    Some(serial)
}

fn forget(open: &(Mutex<Open>, Condvar), serial: u64) {
    lock(&open.0).sockets.remove(&serial);
    open.1.notify_all();
}

/// Serves one client until it goes or nothing more can be said to it.
fn converse(socket: &TcpStream, node: i32, broker: &Broker) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(IDLE))?;
    socket.set_write_timeout(Some(STUCK))?;
    let addresses = (socket.local_addr()?.ip().to_canonical(), socket.peer_addr()?.ip().to_canonical());
    while let Some(frame) = read_frame(socket)? {
        let Ok(outcome) = broker.handle(&frame, node, addresses) else { break };
        let (throttle, goes_on) = (outcome.throttle, write(socket, outcome, broker)?);
        if !goes_on {
            break;
        }
        if !throttle.is_zero() {
            broker.pause(throttle);
        }
    }
    // Until the copy that is kept is gone too, only this ends the connection.
    socket.shutdown(Shutdown::Both)
}

/// `None` at the end of the connection.
fn read_frame(mut socket: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut prefix = [0; 4];
    match socket.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = frame_length(prefix, LARGEST_REQUEST)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let mut frame = Vec::new();
    // Room is made as bytes come, not by what the prefix claims.
    socket.take(length as u64).read_to_end(&mut frame)?;
    Ok((frame.len() == length).then_some(frame))
}

/// Writes the answer, or what the fault makes of it. `false` if the connection is to be closed.
fn write(mut socket: &TcpStream, outcome: Outcome, broker: &Broker) -> io::Result<bool> {
    /// Length and correlation id.
    const HEAD: usize = 8;
    let mut answer = outcome.answer.unwrap_or_default();
    match outcome.fault {
        Some(Fault::Slow(time)) => broker.pause(time),
        Some(Fault::Drop | Fault::Lose) => return Ok(false),
        Some(Fault::Hush) => return Ok(true),
        Some(Fault::HalfClose) => {
            socket.shutdown(Shutdown::Write)?;
            // What the client still says is heard, to its end.
            io::copy(&mut socket, &mut io::sink())?;
            return Ok(false);
        }
        Some(Fault::Cut(length)) => {
            answer.truncate(length);
            socket.write_all(&answer)?;
            return Ok(false);
        }
        Some(Fault::Garbage) => answer.iter_mut().skip(HEAD).for_each(|byte| *byte = 0xff),
        Some(Fault::Stranger) => answer.iter_mut().skip(HEAD - 1).take(1).for_each(|byte| *byte ^= 1),
        Some(Fault::Error(_) | Fault::Corrupt | Fault::Omit | Fault::NoBrokers | Fault::Throttle(_))
        | None => {}
    }
    socket.write_all(&answer)?;
    Ok(true)
}
