//! A connected socket, plain, with TLS or of the unix kind, whose reads and writes end by a deadline.
//!
//! std's timeouts apply to one system call each: a peer that sends a byte now and then could prolong a read for ever.
//! Here the remaining time is computed for each call, also for those that TLS makes.

use super::error::NetError;
#[cfg(feature = "tls")]
use super::tls::TlsClient;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest timeout of a system call; zero would mean none.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// `MSG_PEEK | MSG_DONTWAIT`, the same on all of Linux's architectures.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PEEK_NOW: std::ffi::c_int = 0x02 | 0x40;
/// Reads of unexpected data on an idle TLS connection, at most, before it is given up.
#[cfg(feature = "tls")]
const MOST_UNASKED_READS: usize = 16;

/// A connection to a peer. A read or write past its deadline fails with [`io::ErrorKind::TimedOut`]; without a
/// deadline ([`set_deadline`](Self::set_deadline) not called yet) they wait for as long as it takes.
pub struct Stream(Layer);

enum Layer {
    Bare(Timed),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Timed>>),
}

/// Both kinds of socket; both can be read and written through a shared reference.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket with a deadline.
struct Timed {
    /// Shared with the cancellers.
    socket: Arc<Socket>,
    deadline: Option<Instant>,
    /// The timeouts that the system has been told, for reads and for writes.
    armed: [Option<Duration>; 2],
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Ends what another thread does on a [Stream].
#[derive(Clone)]
pub struct Canceller(Arc<Socket>);

impl Stream {
    /// Takes a connected socket as it is.
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Self(Layer::Bare(Timed::new(Socket::Tcp(socket))))
    }

    /// Connects to a unix socket, and keeps the deadline for what follows.
    pub(crate) fn unix(path: &Path, deadline: Instant) -> Result<Self, NetError> {
        let failed = |reason| NetError::Unix { path: path.display().to_string(), reason };
        let left = deadline.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT);
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).map_err(failed)?;
        let address = socket2::SockAddr::unix(path).map_err(failed)?;
        // A full backlog blocks a unix socket's connect for as long as its send timeout says.
        socket.set_write_timeout(Some(left)).map_err(failed)?;
        socket.connect(&address).map_err(|reason| failed(as_timeout(reason)))?;
        let mut timed = Timed::new(Socket::Unix(UnixStream::from(std::os::fd::OwnedFd::from(socket))));
        timed.deadline = Some(deadline);
        Ok(Self(Layer::Bare(timed)))
    }

    /// Takes a connected unix socket as it is.
    pub(crate) fn local(socket: UnixStream) -> Self {
        Self(Layer::Bare(Timed::new(Socket::Unix(socket))))
    }

    /// Shakes hands as a TLS client. `server_name`, a name or an address, is what the certificate has to be for;
    /// that is always verified. The deadline holds for what follows too.
    #[cfg(feature = "tls")]
    pub fn tls(
        socket: TcpStream,
        client: &TlsClient,
        server_name: &str,
        deadline: Instant,
    ) -> Result<Self, NetError> {
        let shown = socket.peer_addr().map(|address| format!("{server_name} ({address})"));
        let shown = shown.unwrap_or_else(|_| server_name.to_owned());
        let mut timed = Timed::new(Socket::Tcp(socket));
        timed.deadline = Some(deadline);
        let mut stream = rustls::StreamOwned::new(client.session(server_name)?, timed);
        while stream.conn.is_handshaking() {
            if let Err(reason) = stream.conn.complete_io(&mut stream.sock) {
                return Err(super::tls::handshake_error(&shown, reason));
            }
        }
        Ok(Self(Layer::Tls(Box::new(stream))))
    }

    /// When the reads and writes from now on have to be over.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.timed_mut().deadline = Some(deadline);
    }

    /// What lets another thread end a read or write that waits. Costs no file descriptor.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.timed().socket))
    }

    /// Lets the connection end by a reset once it is dropped, and with it its [cancellers](Canceller): what was
    /// written and has not left yet is thrown away, and what the peer has not read yet it need not read.
    pub(crate) fn abort_on_drop(&self) {
        if let Socket::Tcp(socket) = &*self.timed().socket {
            // If it fails the connection ends the usual way.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// The address of the peer; `None` for a unix socket, or when the connection is gone.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match &*self.timed().socket {
            Socket::Tcp(socket) => socket.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Whether an idle connection is unusable: the peer closed it, or sent unexpected data. Does not wait. The peer may
    /// still close it right after.
    pub fn has_gone(&mut self) -> bool {
        match (self.timed().socket.peek_now(), &mut self.0) {
            (Err(error), _) => !would_block(&error),
            (Ok(_), Layer::Bare(_)) => true,
            // It may be no more than a session ticket.
            #[cfg(feature = "tls")]
            (Ok(_), Layer::Tls(stream)) => {
                let socket = Arc::clone(&stream.sock.socket);
                if socket.set_nonblocking(true).is_err() {
                    return true;
                }
                let gone = session_has_gone(&mut stream.conn, &socket);
                socket.set_nonblocking(false).is_err() || gone
            }
        }
    }

    /// Reads what is already there, without waiting; `None` if nothing is.
    ///
    /// # Errors
    /// The connection is broken. An end of TLS that was not announced is [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let socket = Arc::clone(&self.timed().socket);
        socket.set_nonblocking(true)?;
        let read = match &mut self.0 {
            Layer::Bare(_) => (&*socket).read(buffer),
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => read_session(&mut stream.conn, &socket, buffer),
        };
        socket.set_nonblocking(false)?;
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if would_block(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn timed(&self) -> &Timed {
        match &self.0 {
            Layer::Bare(timed) => timed,
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => &stream.sock,
        }
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match &mut self.0 {
            Layer::Bare(timed) => timed,
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => &mut stream.sock,
        }
    }
}

/// Session tickets may arrive on an idle session (RFC 8446 §4.6.1); anything else means that it is over.
#[cfg(feature = "tls")]
fn session_has_gone(session: &mut rustls::ClientConnection, mut socket: &Socket) -> bool {
    for _ in 0..MOST_UNASKED_READS {
        match session.read_tls(&mut socket) {
            Err(error) if would_block(&error) => return false,
            Ok(0) | Err(_) => return true,
            Ok(_) => match session.process_new_packets() {
                Ok(state) if !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {}
                _ => return true,
            },
        }
    }
    true
}

/// Reads from a session whose socket doesn't wait.
#[cfg(feature = "tls")]
fn read_session(
    session: &mut rustls::ClientConnection,
    mut socket: &Socket,
    buffer: &mut [u8],
) -> io::Result<usize> {
    for _ in 0..MOST_UNASKED_READS {
        match session.reader().read(buffer) {
            Err(error) if would_block(&error) => {}
            read => return read,
        }
        session.read_tls(&mut socket)?;
        let processed = session.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether the peer takes nothing more.
#[cfg(feature = "tls")]
fn is_write_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

/// What a session still wants to write and can't keeps rustls from reading; what the peer said last, an alert or
/// an early answer, is read here all the same.
#[cfg(feature = "tls")]
fn read_last(
    stream: &mut rustls::StreamOwned<rustls::ClientConnection, Timed>,
    buffer: &mut [u8],
    refused: io::Error,
) -> io::Result<usize> {
    for _ in 0..MOST_UNASKED_READS {
        if !matches!(stream.conn.read_tls(&mut stream.sock), Ok(1..)) {
            break;
        }
        let processed = stream.conn.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Ok(read @ 1..) = stream.conn.reader().read(buffer) {
            return Ok(read);
        }
    }
    Err(refused)
}

impl Canceller {
    /// Shuts the socket down: a read or write that waits ends, and all that follow fail. Calling it once more, or
    /// after the connection has ended, does nothing.
    pub fn cancel(&self) {
        let _ = match &*self.0 {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

impl Socket {
    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(on),
            Self::Unix(socket) => socket.set_nonblocking(on),
        }
    }

    fn set_timeout(&self, direction: Direction, time: Option<Duration>) -> io::Result<()> {
        match (self, direction) {
            (Self::Tcp(socket), Direction::Read) => socket.set_read_timeout(time),
            (Self::Tcp(socket), Direction::Write) => socket.set_write_timeout(time),
            (Self::Unix(socket), Direction::Read) => socket.set_read_timeout(time),
            (Self::Unix(socket), Direction::Write) => socket.set_write_timeout(time),
        }
    }

    /// How many bytes could be read, at most one, without waiting for any; it stays where it is.
    fn peek_now(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        let socket = match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket),
            Self::Unix(socket) => socket2::SockRef::from(socket),
        };
        // Each request over a kept connection asks this, so it is one system call where that can be had.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return socket.recv_with_flags(&mut byte, PEEK_NOW);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            socket.set_nonblocking(true)?;
            let peeked = socket.peek(&mut byte);
            socket.set_nonblocking(false)?;
            peeked
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).read(buffer),
            Socket::Unix(socket) => (&*socket).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).write(buffer),
            Socket::Unix(socket) => (&*socket).write(buffer),
        }
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).write_vectored(buffers),
            Socket::Unix(socket) => (&*socket).write_vectored(buffers),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Timed {
    fn new(socket: Socket) -> Self {
        Self { socket: Arc::new(socket), deadline: None, armed: [None, None] }
    }

    /// Tells the system how long the next call may wait, unless what it was told last still does: anything from
    /// half of the time left to all of it, since a call that ends early is made again.
    fn arm(&mut self, direction: Direction) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let armed = &mut self.armed[direction as usize];
        if armed.is_none_or(|time| time > left || time < left / 2) {
            let time = (left - left / 8).max(SHORTEST_WAIT);
            self.socket.set_timeout(direction, Some(time))?;
            *armed = Some(time);
        }
        Ok(())
    }

    /// Calls until something other than the end of a wait comes of it, or the deadline has passed.
    fn within(
        &mut self,
        direction: Direction,
        mut call: impl FnMut(&mut &Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            self.arm(direction)?;
            match call(&mut &*self.socket) {
                Err(error) if would_block(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn as_timeout(error: io::Error) -> io::Error {
    if would_block(&error) { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.within(Direction::Read, |socket| socket.read(buffer))
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.within(Direction::Write, |socket| socket.write(buffer))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.within(Direction::Write, |socket| socket.write_vectored(buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Bare(timed) => timed.read(buffer),
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => match stream.read(buffer) {
                Err(error) if is_write_refused(&error) => read_last(stream, buffer, error),
                result => result,
            },
        }
    }
}

/// With TLS, what was written is on its way only after a flush.
impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Bare(timed) => timed.write(buffer),
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => stream.write(buffer),
        }
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Bare(timed) => timed.write_vectored(buffers),
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => stream.write_vectored(buffers),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Layer::Bare(timed) => timed.flush(),
            #[cfg(feature = "tls")]
            Layer::Tls(stream) => stream.flush(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (&self.0, &*self.timed().socket) {
            #[cfg(feature = "tls")]
            (Layer::Tls(_), _) => "tls",
            (_, Socket::Tcp(_)) => "tcp",
            (_, Socket::Unix(_)) => "unix",
        };
        write!(f, "Stream({kind}, {:?})", self.peer_address())
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canceller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    const SHORT: Duration = Duration::from_millis(60);
    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Stream::plain(ours), listener.accept().unwrap().0)
    }

    #[test]
    fn a_silent_peer_costs_no_more_than_the_deadline() {
        let (mut stream, _peer) = pair();
        let begun = Instant::now();
        stream.set_deadline(begun + SHORT);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG);
    }

    #[test]
    fn a_dripping_peer_does_not_prolong_a_read() {
        let (mut stream, mut peer) = pair();
        let drips = std::thread::spawn(move || while peer.write_all(b".").is_ok() {});
        let deadline = Instant::now() + SHORT;
        stream.set_deadline(deadline);
        let error = loop {
            // A byte at a time: each call succeeds until the deadline, and none does after it.
            if let Err(error) = stream.read_exact(&mut [0]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
        drop(stream);
        drips.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_does_not_hold_a_write() {
        let (mut stream, _peer) = pair();
        stream.set_deadline(Instant::now() + SHORT);
        let error = stream.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_new_deadline_counts_anew() {
        let (mut stream, mut peer) = pair();
        stream.set_deadline(Instant::now());
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        for time in [LONG, LONG * 3, LONG / 9] {
            stream.set_deadline(Instant::now() + time);
            peer.write_all(b"x").unwrap();
            assert_eq!(stream.read(&mut [0; 9]).unwrap(), 1);
        }
    }

    #[test]
    fn another_thread_ends_a_read_that_waits() {
        let (mut stream, _peer) = pair();
        stream.set_deadline(Instant::now() + LONG);
        let canceller = stream.canceller();
        std::thread::scope(|scope| {
            let read = scope.spawn(move || stream.read(&mut [0]));
            canceller.cancel();
            assert_eq!(read.join().unwrap().unwrap(), 0, "the end of the stream");
        });
        canceller.cancel();
    }

    #[test]
    fn tells_a_kept_connection_from_one_that_has_gone() {
        let (mut stream, peer) = pair();
        assert!(!stream.has_gone());
        assert!(!stream.has_gone(), "looking changes nothing");
        drop(peer);
        stream.set_deadline(Instant::now() + LONG);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "reads wait again, here for the end");
        assert!(stream.has_gone());
    }

    /// Waits until something has come, and leaves it there.
    fn await_byte(stream: &Stream) {
        let Socket::Tcp(socket) = &*stream.timed().socket else { panic!("a TCP socket") };
        assert_eq!(socket.peek(&mut [0]).unwrap(), 1);
    }

    #[test]
    fn reads_what_is_there_without_waiting() {
        let (mut stream, mut peer) = pair();
        let mut buffer = [0; 4];
        assert_eq!(stream.try_read(&mut buffer).unwrap(), None);
        peer.write_all(b"ping").unwrap();
        await_byte(&stream);
        assert_eq!((stream.try_read(&mut buffer).unwrap(), &buffer), (Some(4), b"ping"));
        drop(peer);
        stream.set_deadline(Instant::now() + LONG);
        assert_eq!(stream.read(&mut buffer).unwrap(), 0, "it waits again, here for the end");
        assert_eq!(stream.try_read(&mut buffer).unwrap(), Some(0));
    }

    #[test]
    fn a_connection_on_which_something_came_unasked_has_gone() {
        let (mut stream, mut peer) = pair();
        peer.write_all(b"HTTP/1.1 408 ").unwrap();
        await_byte(&stream);
        assert!(stream.has_gone());
    }

    #[test]
    fn speaks_over_a_unix_socket() {
        let path = std::env::temp_dir().join(format!("sluicegate-net-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let mut stream = Stream::unix(&path, Instant::now() + LONG).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut read = [0; 4];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"ping");
        assert!(!stream.has_gone());
        drop(peer);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        let error = Stream::unix(&path, Instant::now() + LONG).unwrap_err();
        assert!(error.to_string().starts_with("can't connect to the socket /"), "{error}");
    }
}
