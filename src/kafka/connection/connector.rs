//! Opens connections: resolves the broker's name, connects, and authenticates.
//!
//! Each address of the name gets a share of the time for all steps (TCP, TLS, ApiVersions, SASL), so an address that
//! accepts TCP connections but never answers does not use up the deadline.

use super::logins::{Logins, Refusal};
use super::{Connection, ConnectionError};
use crate::files::Reporter;
use crate::kafka::protocol::LARGEST_FRAME;
use crate::kafka::security::Security;
#[cfg(feature = "tls")]
use crate::net::TlsClient;
use crate::net::{Connected, NetError, Stream, dial, resolve_until};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time left is divided by at most this number plus one, so that each of many addresses gets a useful share.
const MOST_SHARERS: usize = 3;
/// The smallest share: enough for TLS and a login with a token from a slow command.
const LEAST_SHARE: Duration = Duration::from_millis(2_500);

/// The share of the time `left` for one attempt while `others` are still to be tried: an even share, but at least a
/// quarter, and at least 2.5 s. The last attempt gets all of it.
pub fn share(left: Duration, others: usize) -> Duration {
    let sharers = u32::try_from(others.min(MOST_SHARERS)).unwrap_or(0).saturating_add(1);
    (left / sharers).max(LEAST_SHARE).min(left)
}

/// The settings of a client's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorSettings {
    /// TLS and SASL.
    pub security: Security,
    /// The client's name in the brokers' logs and quotas (`client.id`).
    pub client_id: String,
    /// The time limit of the TCP handshake with any of a broker's addresses.
    pub connect_timeout: Duration,
    /// The time limit of the TLS handshake, and of each response while a connection is opened or reauthenticated.
    pub request_timeout: Duration,
    /// The maximum size of a response in bytes, without its length field.
    pub largest_frame: usize,
    /// A connection that was idle for longer is not used again, since a firewall may have dropped it
    /// (`connections.max.idle.ms`). Zero: no limit.
    pub max_idle: Duration,
    /// Told when a broker refuses a login after an earlier one succeeded.
    pub reporter: Reporter,
}

impl Default for ConnectorSettings {
    fn default() -> Self {
        Self {
            security: Security::default(),
            client_id: "sluicegate".into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            largest_frame: LARGEST_FRAME,
            // A minute less than brokers wait by default.
            max_idle: Duration::from_secs(540),
            reporter: Reporter::SILENT,
        }
    }
}

/// Opens connections. Cheap to clone; all clones are one client: they share TLS sessions and the history of logins.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Shared>);

/// Equal if they are clones of each other.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connector {}

#[derive(Debug)]
struct Shared {
    settings: ConnectorSettings,
    #[cfg(feature = "tls")]
    tls: Option<TlsClient>,
    logins: Mutex<Logins>,
}

/// The error of an attempt to connect, and the address that was tried last.
struct Failed {
    address: Option<SocketAddr>,
    error: ConnectionError,
}

impl From<NetError> for Failed {
    fn from(error: NetError) -> Self {
        Self { address: None, error: error.into() }
    }
}

impl Connector {
    /// Checks the settings and reads the certificate files. Contacts nobody.
    ///
    /// # Errors
    /// [`ConnectionError::Settings`], or [`ConnectionError::Net`] for a file that can't be used.
    pub fn new(settings: ConnectorSettings) -> Result<Self, ConnectionError> {
        settings.security.check()?;
        #[cfg(feature = "tls")]
        let tls = match settings.security.protocol.has_tls() {
            true => Some(TlsClient::new(&settings.security.tls)?),
            false => None,
        };
        Ok(Self(Arc::new(Shared {
            settings,
            #[cfg(feature = "tls")]
            tls,
            logins: Mutex::default(),
        })))
    }

    /// The settings of all its connections.
    pub(crate) fn settings(&self) -> &ConnectorSettings {
        &self.0.settings
    }

    /// Opens a connection to a broker through any of its addresses, and authenticates.
    ///
    /// # Errors
    /// [`ConnectionError::Addresses`] with the error of each address, if there are several. A refused login ends the
    /// attempt: all addresses of a name check the same credentials, and a wrong password at each of them may lock the
    /// account. Once a broker has accepted this client, a refused login is a [`ConnectionError::Refused`], which may be
    /// retried; until then [`ConnectionError::Paused`].
    pub fn open(&self, host: &str, port: u16, deadline: Instant) -> Result<Connection, ConnectionError> {
        self.open_by(host, port, deadline, || resolve_until(host, port, deadline))
    }

    /// Like [`open`](Self::open) with addresses that the caller has resolved.
    pub fn open_at(
        &self,
        host: &str,
        port: u16,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Connection, ConnectionError> {
        self.open_by(host, port, deadline, || Ok(addresses.to_vec()))
    }

    fn open_by(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        resolve: impl FnOnce() -> Result<Vec<SocketAddr>, NetError>,
    ) -> Result<Connection, ConnectionError> {
        let broker = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let admitted = self.logins().begin(&broker, Instant::now());
        let failed = admitted.map_err(|left| ConnectionError::Paused { broker: broker.clone(), left })?;
        let reached = resolve().map_err(Failed::from).and_then(|mut addresses| {
            // Starts after the address that the last attempt ended with, perhaps for lack of time.
            let last = failed.and_then(|failed| addresses.iter().position(|address| *address == failed));
            addresses.rotate_left(last.map_or(0, |last| last + 1));
            self.reach(host, &broker, addresses, deadline)
        });
        match reached {
            Ok(connection) => {
                self.logins().accepted(&broker);
                Ok(connection)
            }
            Err(Failed { address, error }) => {
                if let Some(address) = address {
                    self.logins().failed(&broker, address);
                }
                Err(self.refused(&broker, error))
            }
        }
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        // A panic can't leave it half changed.
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides whether a fatal error of a login may be retried, by the history of logins.
    pub(super) fn refused(&self, broker: &str, error: ConnectionError) -> ConnectionError {
        if !error.is_fatal() {
            return error;
        }
        match self.logins().refused(broker, Instant::now()) {
            Refusal::Final => error,
            Refusal::Retry { pause, refusals, tell } => {
                let error = ConnectionError::Refused { pause, refusals, reason: Box::new(error) };
                if tell {
                    (self.settings().reporter.warn)(&error.to_string());
                }
                error
            }
        }
    }

    /// Tries each address, the ones that answer fastest first.
    fn reach(
        &self,
        host: &str,
        broker: &str,
        mut addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<Connection, Failed> {
        let mut tried = Vec::new();
        while !addresses.is_empty() {
            let connect_by = deadline.min(Instant::now() + self.settings().connect_timeout);
            let Connected { socket, address, slower, .. } = match dial(broker, &addresses, connect_by) {
                Ok(connected) => connected,
                Err(unreachable) => return Err(none_of(broker, tried, Some(unreachable))),
            };
            addresses.retain(|other| *other != address);
            addresses.sort_by_key(|address| slower.contains(address));
            let now = Instant::now();
            let turn = now + share(deadline.saturating_duration_since(now), addresses.len());
            match self.greet(socket, host, broker, turn) {
                Ok(connection) => return Ok(connection),
                Err(error @ ConnectionError::Authentication { .. }) => {
                    return Err(Failed { address: Some(address), error });
                }
                Err(error) => tried.push((address, error)),
            }
        }
        Err(none_of(broker, tried, None))
    }

    /// TLS, versions and authentication.
    fn greet(
        &self,
        socket: TcpStream,
        host: &str,
        broker: &str,
        deadline: Instant,
    ) -> Result<Connection, ConnectionError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.0.tls {
            let by = deadline.min(Instant::now() + self.settings().request_timeout);
            let stream = Stream::tls(socket, tls, host, by)?;
            return Connection::begin(self.clone(), broker.to_owned(), stream, deadline);
        }
        #[cfg(not(feature = "tls"))]
        let _ = host;
        Connection::begin(self.clone(), broker.to_owned(), Stream::plain(socket), deadline)
    }
}

/// Combines the errors of several addresses.
fn none_of(
    broker: &str,
    mut tried: Vec<(SocketAddr, ConnectionError)>,
    unreachable: Option<NetError>,
) -> Failed {
    match (tried.len(), unreachable) {
        (0, Some(error)) => error.into(),
        (1, None) => {
            let (address, error) = tried.remove(0);
            Failed { address: Some(address), error }
        }
        (_, unreachable) => {
            let address = tried.last().map(|(address, _)| *address);
            let (broker, unreachable) = (broker.to_owned(), unreachable.map(Box::new));
            let error = ConnectionError::Addresses { broker, tried, unreachable };
            Failed { address, error }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_shared_and_the_last_gets_all_of_it() {
        let left = Duration::from_secs(30);
        assert_eq!(share(left, 0), left);
        assert_eq!(share(left, 1), left / 2);
        assert_eq!(share(left, 3), left / 4);
        assert_eq!(share(left, 1000), left / 4, "a useful part");
        for short in [Duration::ZERO, Duration::from_millis(100), LEAST_SHARE] {
            assert_eq!(share(short, 5), short, "too little to be shared");
        }
        assert_eq!(share(LEAST_SHARE * 2, 5), LEAST_SHARE);
    }
}
