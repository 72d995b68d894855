//! From a broker's name to a connection on which it may be asked.
//!
//! Each address of the name gets a turn that ends with the broker's last word of the greeting (TCP, TLS, ApiVersions,
//! SASL), so one that only accepts costs no more than its share of the time.

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

/// The time that is left is shared by no more than this and one, so that a long list leaves each a useful part of it.
const MOST_SHARERS: usize = 3;
/// No share is less than this: what TLS and a login with the token of a slow command take.
const LEAST_SHARE: Duration = Duration::from_millis(2_500);

/// How long one of several may take, of the time that is `left`, while so many `others` wait for their turn: an even
/// share, but no less than a quarter, nor than what a login may take. The last gets all of it.
pub fn share(left: Duration, others: usize) -> Duration {
    let sharers = u32::try_from(others.min(MOST_SHARERS)).unwrap_or(0).saturating_add(1);
    (left / sharers).max(LEAST_SHARE).min(left)
}

/// Settings of all connections of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How brokers are trusted and who we are.
    pub security: Security,
    /// What we call ourselves, in the brokers' logs and quotas (`client.id`).
    pub client_id: String,
    /// The longest time for reaching any of a broker's addresses, within the deadline of the opening.
    pub connect_timeout: Duration,
    /// The longest time for TLS, and for each answer while a connection is opened or authenticated anew.
    pub request_timeout: Duration,
    /// The largest answer that is taken, in bytes without its length.
    pub largest_frame: usize,
    /// A connection that was not used for so long is closed before any other use, since whatever is between may have
    /// forgotten it (`connections.max.idle.ms`); zero: never.
    pub max_idle: Duration,
    /// Who is told when brokers refuse a client that they let in before.
    pub reporter: Reporter,
}

impl Default for Settings {
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

/// Opens connections. Cheap to clone; all clones are one client to the brokers: they share their TLS sessions and what
/// became of their logins.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Shared>);

/// Whether they are the same client.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connector {}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    #[cfg(feature = "tls")]
    tls: Option<TlsClient>,
    logins: Mutex<Logins>,
}

/// Why none of a name's addresses led to a connection, and which of them had the last turn.
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
    /// Checks the settings and reads the certificates that they name. Contacts nobody.
    pub fn new(settings: Settings) -> Result<Self, ConnectionError> {
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

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Connects to a broker, by any of its name's addresses, and gets as far as being allowed to ask.
    ///
    /// # Errors
    /// [`ConnectionError::Addresses`] with what came of each address, where there are several. A login that is refused
    /// ends the attempt: all addresses of a name check the same credentials, and a wrong password at each of them may
    /// lock the account. Once a broker has let this client in, a refusal is [`ConnectionError::Refused`], which may be
    /// tried again; too soon after it is [`ConnectionError::Paused`].
    pub fn open(&self, host: &str, port: u16, deadline: Instant) -> Result<Connection, ConnectionError> {
        self.open_by(host, port, deadline, || resolve_until(host, port, deadline))
    }

    /// The same with addresses that somebody else has found for the name.
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
            // It begins behind the address with which the last attempt ended, perhaps for lack of time.
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
        // No change leaves it half done.
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an error of a login means, by what was before.
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

    /// Gives each address its turn, those that answer soonest first.
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

    /// All that follows TCP.
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

/// One error of several.
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
