//! One socket to one broker: connect, TLS, SASL, ApiVersions, then requests and responses with deadlines.
//!
//! A [Connector] has the settings and opens [Connection]s; it may be shared. A connection belongs to one thread, whose
//! reads and writes another thread can end with a [Canceller]. After a [`ConnectionError`] a connection can't be used
//! any more, and its owner opens another; an error code in a response leaves it usable.
//!
//! | room | what it is |
//! |---|---|
//! | `connector`, `logins` | opens connections, and decides what follows a refused login |
//! | `wire`, `inbox` | frames over a stream, matched by correlation id |
//! | `sasl`, `scram`, `token` | authentication, without a socket |
//! | `versions` | the API [versions](Versions) of the broker |
//! | `error` | [`ConnectionError`] |

mod connector;
mod error;
mod inbox;
mod logins;
mod sasl;
mod scram;
mod token;
mod versions;
mod wire;

pub use crate::net::Canceller;
pub use connector::{Connector, ConnectorSettings, share};
pub use error::ConnectionError;
pub use versions::{Missing, Versions};
pub use wire::Ticket;

use super::protocol::api_versions::ApiVersionsRequest;
use super::protocol::sasl_authenticate::SaslAuthenticateRequest;
use super::protocol::sasl_handshake::SaslHandshakeRequest;
use super::protocol::{ApiKey, ErrorCode, Hidden, Request};
use super::security::Sasl;
use crate::net::Stream;
use crate::timing::jitter::Jitter;
use sasl::{Exchange, MOST_MESSAGES, Step};
use std::fmt;
use std::time::{Duration, Instant};
use wire::Wire;

/// Reauthentication is due after this part of a session's lifetime (KIP-368; the value of Java's client),
const REAUTHENTICATE_AFTER_PERCENT: u32 = 85;
/// plus up to this part at random, so that not all connections reauthenticate at once.
const REAUTHENTICATE_SPREAD_PERCENT: u32 = 10;
/// Brokers refuse a reauthentication within a second of the last one.
const SOONEST_REAUTHENTICATION: Duration = Duration::from_millis(1050);
/// The maximum length of a broker's error message, in characters.
const LONGEST_REASON: usize = 300;

/// An authenticated connection to a broker.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    connector: Connector,
    versions: Versions,
    reauthenticate_at: Option<Instant>,
    last_used: Instant,
    /// Whether the broker has answered a request after the greeting.
    proven: bool,
}

impl Connection {
    /// Negotiates versions and authenticates.
    fn begin(
        connector: Connector,
        broker: String,
        stream: Stream,
        deadline: Instant,
    ) -> Result<Self, ConnectionError> {
        let settings = connector.settings();
        let wire = Wire::new(broker, settings.client_id.clone(), stream, settings.largest_frame);
        let mut connection = Self {
            wire,
            connector,
            versions: Versions::default(),
            reauthenticate_at: None,
            last_used: Instant::now(),
            proven: false,
        };
        connection.greet(deadline)?;
        connection.authenticate(deadline)?;
        Ok(connection)
    }

    /// Sends a request and waits for the response, which borrows from the connection. Error codes in the response are
    /// up to the caller. Reauthenticates first if that is due.
    pub fn call<R: Request>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response<'_>, ConnectionError> {
        let ticket = self.send(request, deadline)?;
        self.receive::<R>(ticket, deadline)
    }

    /// Sends a request without waiting. Responses have to be [received](Self::receive) in the order of their requests.
    pub fn send<R: Request>(&mut self, request: &R, deadline: Instant) -> Result<Ticket, ConnectionError> {
        let version = self.prepare(R::API, request.newest(), deadline)?;
        self.wire.send(request, version, deadline)
    }

    /// Reauthenticates if that is due, and gives the version to call an API in, at most `newest`.
    fn prepare(&mut self, api: ApiKey, newest: i16, deadline: Instant) -> Result<i16, ConnectionError> {
        let now = Instant::now();
        self.reauthenticate_if_due(now, deadline)?;
        let version = self.version(api, newest)?;
        self.last_used = now;
        Ok(version)
    }

    /// Waits for the response to the request `R` that returned the ticket.
    pub fn receive<R: Request>(
        &mut self,
        ticket: Ticket,
        deadline: Instant,
    ) -> Result<R::Response<'_>, ConnectionError> {
        let Self { wire, connector, proven, .. } = self;
        let greeted = (!*proven).then(|| (wire.broker.clone(), connector.settings().security.protocol));
        let response = wire.receive::<R>(ticket, deadline).map_err(|error| match greeted {
            // A SASL listener closes the connection at the first request of a client that does not authenticate.
            Some((broker, protocol)) => error.at_greeting(&broker, protocol),
            None => error,
        })?;
        *proven = true;
        Ok(response)
    }

    /// Lets another thread end the reads and writes of this connection, which then fail.
    pub fn canceller(&self) -> Canceller {
        self.wire.stream().canceller()
    }

    /// Whether it has been idle for longer than [`ConnectorSettings::max_idle`].
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let most = self.connector.settings().max_idle;
        !most.is_zero() && now.saturating_duration_since(self.last_used) > most
    }

    /// Closes the connection with a TCP reset, which discards sent data that the broker has not read. Its cancellers
    /// have to be dropped too.
    pub(crate) fn reset(self) {
        self.wire.stream().abort_on_drop();
    }

    /// The broker's address as the caller gave it, `HOST:PORT`.
    pub fn broker(&self) -> &str {
        &self.wire.broker
    }

    /// The API versions of the broker.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// When the last request was sent.
    pub fn last_used(&self) -> Instant {
        self.last_used
    }

    /// Whether it can't be used any more: it has failed, or the broker has closed it while it was idle.
    pub fn has_gone(&mut self) -> bool {
        self.wire.has_gone()
    }

    /// Reauthenticates if the session is about to end (KIP-368) and no response is due. A connection that always awaits
    /// a response is closed by its broker when the session ends.
    pub(crate) fn reauthenticate_if_due(
        &mut self,
        now: Instant,
        deadline: Instant,
    ) -> Result<(), ConnectionError> {
        if self.reauthenticate_at.is_some_and(|due| due <= now) && !self.wire.awaits_answers() {
            let renewed = self.authenticate(deadline);
            renewed.map_err(|error| self.connector.refused(&self.wire.broker, error))?;
        }
        Ok(())
    }

    /// The version to call an API in, at most `newest`.
    fn version(&self, api: ApiKey, newest: i16) -> Result<i16, ConnectionError> {
        self.versions.negotiated_up_to(api, newest).ok_or_else(|| ConnectionError::Unsupported {
            broker: self.wire.broker.clone(),
            missing: self.versions.missing(api),
        })
    }

    /// The deadline of one response while the connection is opened.
    fn by(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.connector.settings().request_timeout)
    }

    /// Requests the broker's API versions: with our latest version of ApiVersions, and if the broker does not support
    /// that, with its latest (KIP-511).
    fn greet(&mut self, deadline: Instant) -> Result<(), ConnectionError> {
        let by = self.by(deadline);
        let newest = ApiKey::ApiVersions.newest();
        if self.ask_versions(newest, by)? {
            return Ok(());
        }
        // Before Kafka 2.4 the error does not say which versions are supported; version 0 is.
        let known = self
            .versions
            .range(ApiKey::ApiVersions)
            .map_or(Some(0), |_| self.versions.negotiated(ApiKey::ApiVersions));
        if let Some(version) = known
            && self.ask_versions(version, by)?
        {
            return Ok(());
        }
        Err(ConnectionError::Unsupported {
            broker: self.wire.broker.clone(),
            missing: vec![Missing {
                api: ApiKey::ApiVersions,
                range: self.versions.range(ApiKey::ApiVersions),
            }],
        })
    }

    /// Requests the API versions. Returns whether the broker supports this version of the request.
    fn ask_versions(&mut self, version: i16, by: Instant) -> Result<bool, ConnectionError> {
        let (broker, protocol) = (self.wire.broker.clone(), self.connector.settings().security.protocol);
        let request = ApiVersionsRequest {
            client_software_name: env!("CARGO_PKG_NAME"),
            client_software_version: env!("CARGO_PKG_VERSION"),
        };
        let response = self.wire.call(&request, version, by);
        let response = response.map_err(|error| error.at_greeting(&broker, protocol))?;
        let answered = response.error_code != ErrorCode::UNSUPPORTED_VERSION;
        self.versions = Versions::new(response.api_keys);
        Ok(answered)
    }

    /// Authenticates by SASL, if the settings ask for it.
    fn authenticate(&mut self, deadline: Instant) -> Result<(), ConnectionError> {
        let connector = self.connector.clone();
        let Some(sasl) = connector.settings().security.credentials() else { return Ok(()) };
        // SaslHandshake 0 is followed by tokens without frames, which is not supported here.
        let handshake = self.version(ApiKey::SaslHandshake, ApiKey::SaslHandshake.newest())?;
        let authenticate = self.version(ApiKey::SaslAuthenticate, ApiKey::SaslAuthenticate.newest())?;
        let begun = Instant::now();
        let deadline = self.by(deadline);
        self.agree_on(sasl, handshake, deadline)?;
        let lifetime = self.exchange(sasl, authenticate, deadline)?;
        self.reauthenticate_at =
            lifetime.and_then(|lifetime| begun.checked_add(reauthenticate_after(lifetime)));
        Ok(())
    }

    fn agree_on(&mut self, sasl: &Sasl, version: i16, deadline: Instant) -> Result<(), ConnectionError> {
        let mechanism = sasl.mechanism();
        let response = self.wire.call(&SaslHandshakeRequest { mechanism }, version, deadline)?;
        let (error_code, enabled) = (response.error_code, response.mechanisms.join(", "));
        match error_code {
            ErrorCode::NONE => Ok(()),
            ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
                let reason =
                    format!("the broker has enabled {}: set sasl.mechanism to that", shortened(&enabled));
                Err(self.unauthenticated(sasl, Some(error_code), reason, true))
            }
            code => Err(self.unauthenticated(sasl, Some(code), code.to_string(), !code.is_retriable())),
        }
    }

    /// Runs the SASL exchange. Returns the lifetime of the session; `None` if it does not end.
    fn exchange(
        &mut self,
        sasl: &Sasl,
        version: i16,
        deadline: Instant,
    ) -> Result<Option<Duration>, ConnectionError> {
        let begun = Exchange::begin(sasl, deadline);
        // A token that can't be read now may be there at the next attempt.
        let (mut exchange, mut message) =
            begun.map_err(|reason| self.unauthenticated(sasl, None, reason, false))?;
        for _ in 0..MOST_MESSAGES {
            let request = SaslAuthenticateRequest { auth_bytes: Hidden(&message) };
            let response = self.wire.call(&request, version, deadline)?;
            let code = response.error_code;
            if !code.is_none() {
                let said = response.error_message.map(shortened).unwrap_or_else(|| code.to_string());
                let reason = format!("{said}: check the credentials and that the broker knows them");
                return Err(self.unauthenticated(sasl, Some(code), reason, !code.is_retriable()));
            }
            let lifetime = u64::try_from(response.session_lifetime_ms).ok().filter(|lifetime| *lifetime > 0);
            match exchange.next(response.auth_bytes.0) {
                Ok(Step::Done) => return Ok(lifetime.map(Duration::from_millis)),
                Ok(Step::Send(next)) => message = next,
                Err(reason) => return Err(self.unauthenticated(sasl, None, reason, true)),
            }
        }
        Err(self.unauthenticated(sasl, None, "the exchange has no end".into(), true))
    }

    fn unauthenticated(
        &self,
        sasl: &Sasl,
        code: Option<ErrorCode>,
        reason: String,
        fatal: bool,
    ) -> ConnectionError {
        let (broker, mechanism) = (self.wire.broker.clone(), sasl.mechanism());
        ConnectionError::Authentication { broker, mechanism, code, reason, fatal }
    }
}

/// The time from one authentication to the next.
fn reauthenticate_after(lifetime: Duration) -> Duration {
    let percent = |share: u32| lifetime / 100 * share;
    let spread = Jitter::new().up_to(percent(REAUTHENTICATE_SPREAD_PERCENT));
    (percent(REAUTHENTICATE_AFTER_PERCENT) + spread).max(SOONEST_REAUTHENTICATION)
}

/// A broker's text, shortened to a line.
fn shortened(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authenticates_anew_in_the_last_part_of_a_session() {
        for seconds in [2, 60, 3600] {
            let lifetime = Duration::from_secs(seconds);
            for _ in 0..1000 {
                let after = reauthenticate_after(lifetime);
                assert!(
                    after >= lifetime * 85 / 100 && after <= lifetime * 95 / 100,
                    "{after:?} of {lifetime:?}"
                );
            }
        }
        assert!(reauthenticate_after(Duration::from_millis(u64::MAX)) > Duration::from_secs(3600));
        assert_eq!(reauthenticate_after(Duration::from_millis(1)), SOONEST_REAUTHENTICATION);
    }

    #[test]
    fn a_brokers_words_are_kept_short() {
        assert_eq!(shortened("a\x1b[31mb\n"), "a[31mb");
        assert_eq!(shortened(&"ä".repeat(1000)).chars().count(), LONGEST_REASON);
    }
}
