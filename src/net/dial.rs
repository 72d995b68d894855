//! From a name to a connected socket: its addresses race, within one deadline.

use super::error::NetError;
use super::race::{Connected, race};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// TCP keep-alive probes start after this time without traffic.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// The time between two probes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The connection ends after this many probes without an answer.
const KEEP_ALIVE_QUESTIONS: u32 = 6;
/// Addresses of a name, at most.
const MOST_ADDRESSES: usize = 16;
/// Lookups waiting for a resolver, at most, each in a thread.
const MOST_LOOKUPS: usize = 64;

/// The addresses of a name, in the resolver's order (RFC 6724), at most sixteen. An IPv6 address may stand in
/// brackets. How long a resolver may take is the system's own setting (`resolv.conf`: 10 s by default).
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, NetError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let failed = |reason| NetError::Resolve { host: host.to_owned(), reason };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (bare, port).to_socket_addrs().map_err(failed)? {
        // A name may be listed once per protocol.
        if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")));
    }
    Ok(addresses)
}

/// The same, given up at the deadline: a resolver of the system knows none, so it is waited for in a thread of its
/// own, which ends when the resolver does.
pub fn resolve_until(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, NetError> {
    looked_up(host, port, deadline, resolve)
}

/// Looks a name up by `resolver`; an address that is written out needs nobody.
fn looked_up(
    host: &str,
    port: u16,
    deadline: Instant,
    resolver: fn(&str, u16) -> Result<Vec<SocketAddr>, NetError>,
) -> Result<Vec<SocketAddr>, NetError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let late = |kind: io::ErrorKind| NetError::Resolve { host: host.to_owned(), reason: kind.into() };
    let Some(lookup) = Lookup::begin() else {
        let reason = io::Error::other("too many earlier lookups are still without an answer");
        return Err(NetError::Resolve { host: host.to_owned(), reason });
    };
    let (answer, answers) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let look_up = move || {
        let _lookup = lookup;
        // Nobody listens any more after the deadline.
        let _ = answer.send(resolver(&name, port));
    };
    if let Err(reason) = std::thread::Builder::new().name("resolve".into()).spawn(look_up) {
        return Err(NetError::Resolve { host: host.to_owned(), reason });
    }
    let left = deadline.saturating_duration_since(Instant::now());
    answers.recv_timeout(left).unwrap_or_else(|_| Err(late(io::ErrorKind::TimedOut)))
}

/// A lookup under way, counted.
struct Lookup;

/// How many there are.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

impl Lookup {
    /// One more, unless there are too many.
    fn begin() -> Option<Self> {
        let more = |count: usize| (count < MOST_LOOKUPS).then_some(count + 1);
        LOOKUPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the first address that answers; see [`dial`].
pub fn connect(host_shown: &str, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, NetError> {
    dial(host_shown, addresses, deadline).map(|connected| connected.socket)
}

/// Connects to the first address that answers, at best the first of the list: a dead one costs a short head start
/// (RFC 8305), and 16 of them less than two seconds.
///
/// # Errors
/// None answered by `deadline`: [`NetError::Connect`].
pub fn dial(host_shown: &str, addresses: &[SocketAddr], deadline: Instant) -> Result<Connected, NetError> {
    let connected = race(host_shown, addresses, deadline)?;
    let failed =
        |reason| NetError::Connect { host: host_shown.to_owned(), tried: vec![(connected.address, reason)] };
    prepare(&connected.socket).map_err(failed)?;
    Ok(connected)
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE_AFTER)
        .with_interval(KEEP_ALIVE_INTERVAL)
        .with_retries(KEEP_ALIVE_QUESTIONS);
    socket2::SockRef::from(socket).set_tcp_keepalive(&keep_alive)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// An address on which nobody listens.
    fn deserted() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn finds_the_addresses_of_a_name_and_reads_literal_ones() {
        assert!(!resolve("localhost", 9092).unwrap().is_empty());
        assert_eq!(resolve("127.0.0.1", 9092).unwrap(), ["127.0.0.1:9092".parse().unwrap()]);
        for ipv6 in ["::1", "[::1]"] {
            assert_eq!(resolve(ipv6, 9092).unwrap(), ["[::1]:9092".parse().unwrap()]);
        }
    }

    #[test]
    fn names_the_host_that_has_no_address() {
        let error = resolve("no-such-host.invalid", 9092).unwrap_err();
        assert_eq!(error.kind(), Kind::Resolve);
        assert!(error.to_string().starts_with("no-such-host.invalid has no address ("), "{error}");
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_waited_for_until_the_deadline() {
        let silent = |_: &str, _: u16| -> Result<Vec<SocketAddr>, NetError> {
            std::thread::sleep(Duration::from_secs(3)); // as long as the resolver takes
            Ok(Vec::new())
        };
        let (begun, time) = (Instant::now(), Duration::from_millis(100));
        let error = looked_up("slow.example", 9092, begun + time, silent).unwrap_err();
        assert!(begun.elapsed() >= time && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(error.to_string().starts_with("slow.example has no address (no answer in time)"), "{error}");
        let never = |_: &str, _: u16| -> Result<Vec<SocketAddr>, NetError> { panic!("nobody is asked") };
        assert_eq!(looked_up("[::1]", 9092, begun, never).unwrap(), ["[::1]:9092".parse().unwrap()]);
        assert!(!resolve_until("localhost", 9092, soon()).unwrap().is_empty());
    }

    #[test]
    fn goes_on_to_the_next_address_when_one_is_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = listener.local_addr().unwrap();
        let socket = connect("here", &[deserted(), alive], soon()).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), alive);
        assert!(socket.nodelay().unwrap());
        assert!(socket2::SockRef::from(&socket).keepalive().unwrap());
    }

    #[test]
    fn names_each_address_that_was_tried() {
        let (one, other) = (deserted(), deserted());
        let error = connect("broker.example:9092", &[one, other], soon()).unwrap_err();
        assert_eq!(error.kind(), Kind::Connect);
        let expected = format!(
            "can't connect to broker.example:9092 ({one}: refused, {other}: refused): check that it runs, its port, \
             and what is between"
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn has_no_time_when_the_deadline_is_past() {
        let error = connect("here", &[deserted()], Instant::now()).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
    }
}
