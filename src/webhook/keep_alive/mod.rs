//! HTTP/1.1 with kept connections: the default client, for one destination that many threads send to.
//!
//! Code of our own and not `ureq`: with 16 threads and bodies of 1 KB, taking turns before one receiver, `ureq` 3.5
//! took 2.3 times the CPU per request (13 times with a deadline for the whole, for which it starts threads) and a
//! binary 0.3 MB larger. One deadline, checked addresses, unix sockets and lenient reading of answers would have
//! been code of our own on top of it. The price is 2,000 lines, tests not counted.
//!
//! - A request is one write by the calling thread; other threads are one per name lookup, and one that closes idle
//!   connections.
//! - Each request in flight uses one connection, so there is at most one per permit; idle ones are kept for a bounded
//!   time ([`ClientSettings::ages`]).
//! - Everything ends by the deadline, whatever the other side does; connecting (name, TCP, proxy, TLS) has a
//!   shorter one of its own.
//! - Each call sends at most one request. A kept connection that turns out to be closed is
//!   [`SendErrorKind::Stale`]: the caller sends again and counts it. The receiver may have got that request, which
//!   it sees by its `webhook-id`.
//! - Once the head of an answer is complete its status counts, however odd the rest is.
//! - After a status that means trouble at the destination, or no answer in time, the connection is closed, so that
//!   the next request may reach another backend behind the same address. If a new connection then fares better, the
//!   idle ones, which may all lead to the sick backend, are closed as well. After other answers it is kept: another
//!   backend would say the same of the record, and a handshake for each refused one would cost a receiver more than
//!   the refusal.
//! - Redirects are not followed, `Expect` is not sent.
//!
//! | room | what is in it |
//! |---|---|
//! | [response_reader], `response_head`, `chunked` | bytes in, an answer out; knows no socket |
//! | `connection` | a request and its answer on one socket |
//! | `pool` | idle connections, until they expire |
//! | `dial` | connecting: proxy, TLS, unix socket |
//! | `name_cache`, `outage_notice` | addresses of a name, looked up again; when to log that they can't be |
//! | [proxy], [private_address] | forward proxies; addresses that are not on the Internet |

mod chunked;
mod connection;
mod dial;
mod name_cache;
mod outage_notice;
mod pool;
pub mod private_address;
pub mod proxy;
mod response_head;
pub mod response_reader;

pub use name_cache::{LONGEST_STALE, Resolver, system};
pub use pool::ConnectionAges;

use super::answer::{answer, blames_destination, printable};
use super::destination::Destination;
use super::request::WireRequest;
use crate::net::{NetError, TlsSettings};
use crate::relay::transport::{Answer, SendError, SendErrorKind};
use connection::{Connection, ExchangeError, ResponseScope};
use dial::Dial;
use name_cache::{NameCache, NameCacheSettings};
use pool::Pool;
use proxy::Proxy;
use response_reader::Malformed;
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The settings of a client.
#[derive(Clone)]
pub struct ClientSettings {
    /// The time for connecting: name, TCP, proxy and TLS.
    pub connect_timeout: Duration,
    /// How many idle connections are kept: as many as there may be requests at once.
    pub most_idle: usize,
    /// How long a connection is kept.
    pub ages: ConnectionAges,
    /// How old the addresses of a name may become.
    pub address_age: Duration,
    /// How long they are used while the name can't be looked up, since the last successful lookup.
    pub stale_age: Duration,
    /// How a name is looked up.
    pub resolver: Resolver,
    /// Warns of addresses that could not be renewed: at once, then ever more rarely.
    pub warn: fn(&str),
    /// Whom to trust, and who we are.
    pub tls: TlsSettings,
    /// No destination but an https one.
    pub https_only: bool,
    /// No address but one on the Internet.
    pub deny_private: bool,
    /// The way there.
    pub proxy: Option<Proxy>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            most_idle: 8,
            ages: ConnectionAges { idle: Duration::from_secs(30), life: Duration::from_secs(300) },
            address_age: Duration::from_secs(30),
            stale_age: LONGEST_STALE,
            resolver: system(),
            warn: |_| (),
            tls: TlsSettings::default(),
            https_only: false,
            deny_private: false,
            proxy: None,
        }
    }
}

/// Why the client can't be made; nothing was contacted.
#[derive(Debug)]
pub enum ClientError {
    /// Only https is allowed, and the URL has another scheme.
    NotHttps,
    /// Private addresses are denied, and a proxy looks names up itself.
    PrivateBehindProxy,
    /// Private addresses are denied, and the URL leads to this host or its network.
    Private(String),
    /// Certificates or keys.
    Tls(NetError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttps => f.write_str("only https is allowed: the URL has to begin with https://"),
            Self::PrivateBehindProxy => f.write_str(
                "private addresses can't be denied behind a proxy, which looks names up itself: let the proxy deny them",
            ),
            Self::Private(place) => write!(f, "private addresses are denied, and {place} is not on the Internet"),
            Self::Tls(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            _ => None,
        }
    }
}

/// Which connection a request may go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionChoice {
    /// A kept one, if there is one.
    AnyConnection,
    /// A new one.
    NewConnection,
}

/// An answer with all that was read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The final status.
    pub status: u16,
    /// The header fields, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The content, at most [`BODY_LIMIT`](super::answer::BODY_LIMIT) bytes of it.
    pub body: Vec<u8>,
    /// Whether there was more of it.
    pub cut: bool,
}

/// A client for one destination. Used by several threads at once.
pub struct KeepAlive {
    dial: Dial,
    pool: Pool,
    /// Whether the destination had trouble since a new connection was used with success.
    troubled: AtomicBool,
    connect_timeout: Duration,
    /// What stands before the target in a request line: the origin, where a proxy is asked (RFC 9112 §3.2.2).
    origin: String,
    /// `Host` and `Proxy-Authorization`.
    fixed: String,
}

impl KeepAlive {
    /// Reads certificates; contacts nobody.
    pub fn new(destination: Destination, settings: ClientSettings) -> Result<Self, ClientError> {
        if settings.https_only && !destination.is_https() {
            return Err(ClientError::NotHttps);
        }
        let proxy = settings.proxy.filter(|_| destination.socket().is_none());
        if settings.deny_private {
            if proxy.is_some() {
                return Err(ClientError::PrivateBehindProxy);
            }
            let host = destination.host();
            let private = host.parse().is_ok_and(private_address::is_private);
            if private || destination.socket().is_some() {
                return Err(ClientError::Private(destination.to_string()));
            }
        }
        let names = NameCacheSettings {
            resolver: settings.resolver,
            age: settings.address_age,
            stale: settings.stale_age,
            warn: settings.warn,
        };
        let (host, port) = match &proxy {
            Some(proxy) => (proxy.host.as_str(), proxy.port),
            None => (destination.host(), destination.port()),
        };
        let mut fixed = format!("Host: {}\r\n", destination.host_field());
        let mut origin = String::new();
        if let Some(proxy) = proxy.as_ref().filter(|_| !destination.is_https()) {
            origin = destination.origin();
            if let Some(authorization) = &proxy.authorization {
                fixed.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
            }
        }
        let dial = Dial {
            names: NameCache::new(host, port, names),
            proxy,
            deny_private: settings.deny_private,
            #[cfg(feature = "tls")]
            tls: match destination.is_https() {
                true => Some(crate::net::TlsClient::new(&settings.tls).map_err(ClientError::Tls)?),
                false => None,
            },
            destination,
        };
        let pool = Pool::new(settings.most_idle, settings.ages);
        Ok(Self {
            dial,
            pool,
            troubled: AtomicBool::new(false),
            connect_timeout: settings.connect_timeout,
            origin,
            fixed,
        })
    }

    /// Where it sends.
    pub fn destination(&self) -> &Destination {
        &self.dial.destination
    }

    /// Sends once and waits for the answer, until `deadline`; keeps what the core needs of it.
    ///
    /// # Errors
    /// There is no answer; [`SendErrorKind::Stale`] only over a kept connection.
    pub fn exchange(
        &self,
        request: &WireRequest<'_>,
        over: ConnectionChoice,
        deadline: Instant,
    ) -> Result<Answer, SendError> {
        let connection = self.converse(request, over, ResponseScope::Status, deadline)?;
        let reading = &connection.reading;
        let (status, retry_after) = (reading.status(), reading.retry_after());
        // Only a date in `Retry-After` is compared with it.
        let now = retry_after.map_or(SystemTime::UNIX_EPOCH, |_| SystemTime::now());
        let answer = answer(&request.target, status, retry_after, reading.body(), now);
        self.settle(connection, over);
        Ok(answer)
    }

    /// Sends once and waits for the whole answer, until `deadline`; keeps all of it, bounded.
    ///
    /// # Errors
    /// There is no answer; [`SendErrorKind::Stale`] only over a kept connection.
    pub fn call(
        &self,
        request: &WireRequest<'_>,
        over: ConnectionChoice,
        deadline: Instant,
    ) -> Result<RawAnswer, SendError> {
        let connection = self.converse(request, over, ResponseScope::Body, deadline)?;
        let reading = &connection.reading;
        let answer = RawAnswer {
            status: reading.status(),
            headers: reading.headers(),
            body: reading.body().to_vec(),
            cut: reading.is_cut(),
        };
        self.settle(connection, over);
        Ok(answer)
    }

    /// Keeps or closes the connection.
    fn settle(&self, connection: Box<Connection>, over: ConnectionChoice) {
        if blames_destination(connection.reading.status()) {
            self.had_trouble(&connection);
            return;
        }
        if over == ConnectionChoice::NewConnection && self.troubled.swap(false, Ordering::Relaxed) {
            self.pool.clear();
        }
        let now = connection.last_used;
        self.pool.put(connection, now);
    }

    /// The next new connection goes to another address, if the name has one; and if it fares better, the kept ones
    /// are not used again.
    fn had_trouble(&self, connection: &Connection) {
        self.troubled.store(true, Ordering::Relaxed);
        if let Some(address) = connection.address() {
            self.dial.names.avoid(address);
        }
    }

    /// Connects without sending anything. Returns a description of the connection.
    pub fn probe(&self, deadline: Instant) -> Result<String, SendError> {
        let connection = self.connect(deadline)?;
        let way = match (&self.dial.proxy, connection.address()) {
            (Some(proxy), _) => format!("connects through the proxy {proxy}"),
            (None, Some(address)) => format!("resolves and connects ({address})"),
            (None, None) => "connects".into(),
        };
        Ok(if self.destination().is_https() { format!("{way}, and the certificate verifies") } else { way })
    }

    fn converse(
        &self,
        request: &WireRequest<'_>,
        over: ConnectionChoice,
        wanted: ResponseScope,
        deadline: Instant,
    ) -> Result<Box<Connection>, SendError> {
        let begun = Instant::now();
        let kept = match over {
            ConnectionChoice::AnyConnection => self.pool.take(begun),
            ConnectionChoice::NewConnection => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect(deadline)?,
        };
        self.render(request, &mut connection)?;
        match connection.exchange(&request.body, wanted, deadline) {
            Ok(()) => Ok(connection),
            Err(broken) if connection.was_stale(&broken) => Err(self.stale()),
            Err(broken) => {
                self.had_trouble(&connection);
                Err(self.broke(broken, &connection, begun))
            }
        }
    }

    fn connect(&self, deadline: Instant) -> Result<Box<Connection>, SendError> {
        let now = Instant::now();
        let own = now.checked_add(self.connect_timeout).unwrap_or(deadline);
        match self.dial.connect(deadline.min(own)) {
            Ok(reached) => Ok(Box::new(Connection::new(reached, Instant::now()))),
            Err(why) => Err(self.unconnected(&why)),
        }
    }

    /// The head of a request. Its header lines were looked at when they were made.
    fn render(&self, request: &WireRequest<'_>, connection: &mut Connection) -> Result<(), SendError> {
        let target = &*request.target;
        if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(broken("the request's target is no path: nothing was sent"));
        }
        let output = connection.output();
        for part in ["POST ", &self.origin, target, " HTTP/1.1\r\n", &self.fixed, request.headers.as_str()] {
            output.extend_from_slice(part.as_bytes());
        }
        // Writing to a Vec can't fail.
        let _ = write!(output, "Content-Length: {}\r\n\r\n", request.body.len());
        Ok(())
    }

    fn unconnected(&self, why: &str) -> SendError {
        failed(SendErrorKind::Connect, &format!("no connection to {}: {why}", self.destination()))
    }

    fn stale(&self) -> SendError {
        let text = format!("a kept connection to {} had been closed by the other side", self.destination());
        failed(SendErrorKind::Stale, &text)
    }

    fn broke(&self, why: ExchangeError, connection: &Connection, begun: Instant) -> SendError {
        let destination = self.destination();
        let said = connection.reading.beginning();
        match why {
            ExchangeError::Timeout => {
                let seconds = begun.elapsed().as_secs_f64();
                let text = match said {
                    Some(said) => {
                        format!("{said}, but {destination} did not complete its answer within {seconds:.1} s")
                    }
                    None => format!("no answer from {destination} within {seconds:.1} s"),
                };
                failed(SendErrorKind::Timeout, &text)
            }
            ExchangeError::Io(error) => match NetError::of_io(destination.host(), error) {
                // With TLS 1.3 a refusal of our certificate comes only now; the request was not even looked at.
                error @ NetError::Tls { .. } => self.unconnected(&error.to_string()),
                error => {
                    broken(&said.map_or_else(|| error.to_string(), |said| format!("{said}, but {error}")))
                }
            },
            ExchangeError::Malformed(malformed) => match said {
                Some(said) if malformed != Malformed::NotHttp => broken(&format!("{said}, but {malformed}")),
                Some(said) => broken(&format!("{malformed}: {said}")),
                None => broken(&malformed.to_string()),
            },
        }
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeepAlive({})", self.destination())
    }
}

fn broken(text: &str) -> SendError {
    failed(SendErrorKind::Broken, text)
}

/// Texts of systems, peers and certificates may be part of it.
fn failed(kind: SendErrorKind, text: &str) -> SendError {
    SendError { kind, text: printable(text) }
}
