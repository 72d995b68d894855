//! The way to the destination: a unix socket, a TCP connection, or one through a proxy, with TLS on top for https.
//! Where private addresses are denied it leads only to addresses that were checked, never to a name that is looked up
//! again, and never to this host itself, whatever its addresses are.

use super::connection::{Connection, Reached};
use super::name_cache::NameCache;
use super::private_address::{is_own, is_private};
use super::proxy::Proxy;
#[cfg(feature = "tls")]
use crate::net::TlsClient;
use crate::net::{self, Stream};
use crate::webhook::destination::Destination;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connecting fails after this many addresses that accept a connection and then fail at the proxy or at TLS. The next
/// attempt begins with the others.
const MOST_HANDSHAKES: u32 = 3;

/// How to get there.
pub struct Dial {
    pub destination: Destination,
    /// Of whoever is connected to: the destination, or the proxy.
    pub names: NameCache,
    pub proxy: Option<Proxy>,
    pub deny_private: bool,
    #[cfg(feature = "tls")]
    pub tls: Option<TlsClient>,
}

/// Why no address of a name may be connected to.
#[derive(Debug, PartialEq, Eq)]
enum Denial {
    /// One may.
    None,
    /// None is on the Internet.
    Private,
    /// This one would do, but it is this host's own.
    Own(SocketAddr),
}

/// Leaves the addresses of other hosts on the Internet.
fn public(found: &mut Vec<SocketAddr>, is_private: impl Fn(IpAddr) -> bool) -> Denial {
    found.retain(|address| !is_private(address.ip()));
    let first = found.first().copied();
    found.retain(|address| !is_own(address.ip()));
    match first {
        _ if !found.is_empty() => Denial::None,
        Some(own) => Denial::Own(own),
        None => Denial::Private,
    }
}

impl Dial {
    /// Connects. An error is a sentence.
    pub fn connect(&self, deadline: Instant) -> Result<Reached, String> {
        if let Some(path) = self.destination.socket() {
            let stream = Stream::unix(path, deadline).map_err(|error| error.to_string())?;
            return Ok(Reached { stream, address: None, round_trip: Duration::ZERO });
        }
        let mut addresses = self.addresses(deadline)?;
        let shown = match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.destination.host().to_owned(),
        };
        let mut first_failure: Option<String> = None;
        for _ in 0..MOST_HANDSHAKES {
            let connected = match net::dial(&shown, &addresses, deadline) {
                Ok(connected) => connected,
                Err(error) => return Err(first_failure.unwrap_or_else(|| error.to_string())),
            };
            connected.slower.iter().for_each(|address| self.names.avoid(*address));
            let address = connected.address;
            match self.ready(connected, deadline) {
                Ok(reached) => return Ok(reached),
                Err(why) => first_failure = first_failure.or(Some(why)),
            }
            self.names.avoid(address);
            addresses.retain(|other| *other != address);
        }
        Err(first_failure.unwrap_or_default())
    }

    /// Makes a stream of a socket: through the proxy, and with TLS.
    fn ready(&self, connected: net::Connected, deadline: Instant) -> Result<Reached, String> {
        let net::Connected { socket, address, took, .. } = connected;
        if self.deny_private && socket.local_addr().is_ok_and(|own| own.ip() == address.ip()) {
            return Err(self.leads_here(address));
        }
        let tunnelled = Instant::now();
        if let Some(proxy) = self.proxy.as_ref().filter(|_| self.destination.is_https()) {
            self.open_tunnel(proxy, &socket, deadline)?;
        }
        let round_trip = took.saturating_add(tunnelled.elapsed());
        let stream = match self.destination.is_https() {
            true => self.secure(socket, deadline)?,
            false => Stream::plain(socket),
        };
        Ok(Reached { stream, address: Some(address), round_trip })
    }

    #[cfg(feature = "tls")]
    fn secure(&self, socket: TcpStream, deadline: Instant) -> Result<Stream, String> {
        let Some(tls) = &self.tls else { return Err("TLS was not set up".into()) };
        Stream::tls(socket, tls, self.destination.host(), deadline).map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, _socket: TcpStream, _deadline: Instant) -> Result<Stream, String> {
        Err("https is not built in".into())
    }

    fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        let mut found = self.names.addresses(deadline)?;
        let Some(first) = found.first().copied().filter(|_| self.deny_private) else { return Ok(found) };
        match public(&mut found, is_private) {
            Denial::None => Ok(found),
            Denial::Own(address) => Err(self.leads_here(address)),
            Denial::Private => Err(format!(
                "{} is at {}, which is not on the Internet: private addresses are denied",
                self.destination.host(),
                first.ip()
            )),
        }
    }

    fn leads_here(&self, address: SocketAddr) -> String {
        let host = self.destination.host();
        format!("{host} is at {}, an address of this very host: private addresses are denied", address.ip())
    }

    /// Asks the proxy for a connection to the destination (RFC 9110 §9.3.6).
    fn open_tunnel(&self, proxy: &Proxy, socket: &TcpStream, deadline: Instant) -> Result<(), String> {
        let socket = socket.try_clone().map_err(|error| format!("the socket can't be shared: {error}"))?;
        let reached = Reached { stream: Stream::plain(socket), address: None, round_trip: Duration::ZERO };
        let mut connection = Connection::new(reached, Instant::now());
        let authority = self.destination.authority();
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &proxy.authorization {
            head.push_str("Proxy-Authorization: ");
            head.push_str(authorization);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        connection.output().extend_from_slice(head.as_bytes());
        let exact = connection
            .open_tunnel(deadline)
            .map_err(|broken| format!("the proxy {proxy} opened no connection: {broken}"))?;
        match connection.reading.status() {
            200..=299 if exact => Ok(()),
            200..=299 => Err(format!("the proxy {proxy} said more than that the connection is open")),
            407 => Err(format!("the proxy {proxy} wants other credentials (407)")),
            status => Err(format!("the proxy {proxy} opened no connection: it answered {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_host_is_none_of_the_internet_even_if_it_is_public() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (own, other) = (address("127.0.0.9:80"), address("8.8.8.8:80"));
        // As if loopback were a public address of this host: every test machine has one of its own to try.
        let nothing_is_private = |_| false;
        let mut found = vec![own];
        assert_eq!(public(&mut found, nothing_is_private), Denial::Own(own));
        let mut found = vec![own, other, address("[::1]:80")];
        assert_eq!((public(&mut found, nothing_is_private), found), (Denial::None, vec![other]));
        let mut found = vec![own, address("10.0.0.1:80")];
        assert_eq!(public(&mut found, is_private), Denial::Private);
    }
}
