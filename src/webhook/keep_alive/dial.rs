//! The way to the destination: a unix socket, a TCP connection, or one through a proxy, with TLS on top for https.
//! With `--deny-private` it leads only to addresses that were checked, never to a name that is looked up again.

use super::connection::Connection;
use super::names::Names;
use super::private::is_private;
use super::proxy::Proxy;
#[cfg(feature = "tls")]
use crate::net::TlsClient;
use crate::net::{self, Stream};
use crate::webhook::destination::Destination;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// How to get there.
pub struct Dial {
    pub destination: Destination,
    /// Of whoever is connected to: the destination, or the proxy.
    pub names: Names,
    pub proxy: Option<Proxy>,
    pub deny_private: bool,
    #[cfg(feature = "tls")]
    pub tls: Option<TlsClient>,
}

impl Dial {
    /// A connection that is ready for a request; an error is a sentence.
    pub fn connect(&self, deadline: Instant) -> Result<Stream, String> {
        if let Some(path) = self.destination.socket() {
            return Stream::unix(path, deadline).map_err(|error| error.to_string());
        }
        let addresses = self.addresses(deadline)?;
        let shown = match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.destination.host().to_owned(),
        };
        let socket = net::connect(&shown, &addresses, deadline).map_err(|error| error.to_string())?;
        if !self.destination.is_https() {
            return Ok(Stream::plain(socket));
        }
        if let Some(proxy) = &self.proxy {
            self.open_tunnel(proxy, &socket, deadline)?;
        }
        self.secure(socket, deadline)
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

    fn addresses(&self, deadline: Instant) -> Result<Arc<[SocketAddr]>, String> {
        let found = self.names.addresses(deadline)?;
        if !self.deny_private {
            return Ok(found);
        }
        let open: Arc<[SocketAddr]> = found.iter().copied().filter(|it| !is_private(it.ip())).collect();
        match (open.is_empty(), found.first()) {
            (true, Some(private)) => Err(format!(
                "--deny-private: {} is at {}, which is not on the Internet",
                self.destination.host(),
                private.ip()
            )),
            _ => Ok(open),
        }
    }

    /// Asks the proxy for a connection to the destination (RFC 9110 §9.3.6).
    fn open_tunnel(&self, proxy: &Proxy, socket: &TcpStream, deadline: Instant) -> Result<(), String> {
        let socket = socket.try_clone().map_err(|error| format!("the socket can't be shared: {error}"))?;
        let mut connection = Connection::new(Stream::plain(socket), Instant::now());
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
            407 => Err(format!("the proxy {proxy} wants other credentials (407): mend --proxy")),
            status => Err(format!("the proxy {proxy} opened no connection: it answered {status}")),
        }
    }
}
