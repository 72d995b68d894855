//! Errors of a connection, as sentences that name the broker.

use super::versions::{Missing, oldest_asked};
use crate::kafka::protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use crate::kafka::security::{Protocol, SecurityError};
use crate::net::{Kind, NetError};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a request was not answered. After any error but [`Unsupported`](Self::Unsupported) and [`Encode`](Self::Encode),
/// which send nothing, the connection can't be used any more.
#[derive(Debug)]
pub enum ConnectionError {
    /// The security settings are inconsistent.
    Settings(SecurityError),
    /// DNS, TCP or TLS failed, a deadline passed, or the connection was closed.
    Net(NetError),
    /// The first exchange failed: another kind of listener, or not a broker at all.
    Greeting {
        /// The broker's address as it was given.
        broker: String,
        /// The protocol that was used.
        protocol: Protocol,
        /// The error.
        reason: Box<ConnectionError>,
    },
    /// A frame with an invalid length.
    Frame {
        /// The broker's address as it was given.
        broker: String,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A response to another request.
    Order {
        /// The broker's address as it was given.
        broker: String,
        /// The correlation id of the request.
        expected: i32,
        /// The correlation id of the response.
        got: i32,
    },
    /// A response that can't be decoded.
    Decode {
        /// The broker's address as it was given.
        broker: String,
        /// The request.
        api: ApiKey,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A request that can't be encoded.
    Encode {
        /// The request.
        api: ApiKey,
        /// What is wrong with it.
        reason: EncodeError,
    },
    /// There is no common version of some APIs.
    Unsupported {
        /// The broker's address as it was given.
        broker: String,
        /// The API of the request, and all others that are missing.
        missing: Vec<Missing>,
    },
    /// Authentication failed, of this client or of the broker.
    Authentication {
        /// The broker's address as it was given.
        broker: String,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// The broker's error code, if the broker has refused.
        code: Option<ErrorCode>,
        /// The reason, without secrets.
        reason: String,
        /// Whether a retry would fail in the same way until somebody changes something.
        fatal: bool,
    },
    /// No address of a broker's name led to a connection.
    Addresses {
        /// The broker's address as it was given.
        broker: String,
        /// The addresses that accepted a TCP connection, with their errors.
        tried: Vec<(SocketAddr, ConnectionError)>,
        /// The error of the other addresses, if there were any.
        unreachable: Option<Box<NetError>>,
    },
    /// A broker refuses a client that it or another broker has accepted before. It may be retried.
    Refused {
        /// The pause until the next login there.
        pause: Duration,
        /// The number of consecutive refusals.
        refusals: u32,
        /// The refusal.
        reason: Box<ConnectionError>,
    },
    /// Nothing was sent, because the broker has refused a login a moment ago.
    Paused {
        /// The broker's address as it was given.
        broker: String,
        /// The time until the next login.
        left: Duration,
    },
    /// The connection failed before.
    Unusable {
        /// The broker's address as it was given.
        broker: String,
    },
}

impl ConnectionError {
    /// Whether a retry, at this or another broker, would fail in the same way: versions, credentials, certificates,
    /// settings.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Encode { .. } | Self::Unsupported { .. } => true,
            Self::Net(error) => error.is_fatal(),
            Self::Authentication { fatal, .. } => *fatal,
            Self::Greeting { .. } | Self::Frame { .. } | Self::Order { .. } | Self::Decode { .. } => false,
            // A broken connection or an unreachable address may work at the next attempt.
            Self::Addresses { tried, unreachable, .. } => {
                unreachable.is_none() && tried.iter().all(|(_, error)| error.is_fatal())
            }
            Self::Refused { .. } | Self::Paused { .. } | Self::Unusable { .. } => false,
        }
    }

    /// Whether the login was refused.
    pub(crate) fn is_refused_login(&self) -> bool {
        match self {
            Self::Authentication { fatal, .. } => *fatal,
            Self::Refused { reason, .. } => reason.is_refused_login(),
            _ => false,
        }
    }

    /// Whether the peer has answered, but not with Kafka's protocol.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Greeting { reason, .. } => reason.is_foreign(),
            Self::Frame { .. } | Self::Order { .. } | Self::Decode { .. } => true,
            Self::Addresses { tried, unreachable, .. } => {
                unreachable.is_none() && tried.iter().all(|(_, error)| error.is_foreign())
            }
            _ => false,
        }
    }

    /// Whether the deadline has passed.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Net(error) => error.kind() == Kind::Timeout,
            Self::Greeting { reason, .. } => reason.is_timeout(),
            Self::Addresses { tried, unreachable, .. } => {
                let of_socket = unreachable.as_ref().is_none_or(|error| error.kind() == Kind::Timeout);
                of_socket && tried.iter().all(|(_, error)| error.is_timeout())
            }
            _ => false,
        }
    }

    /// The error as one of the first exchange, where it most often means the wrong kind of listener.
    pub(super) fn at_greeting(self, broker: &str, protocol: Protocol) -> Self {
        match self {
            Self::Net(ref error) if error.kind() == Kind::Broken => {}
            Self::Net(_) | Self::Unsupported { .. } | Self::Authentication { .. } | Self::Encode { .. } => {
                return self;
            }
            _ => {}
        }
        Self::Greeting { broker: broker.to_owned(), protocol, reason: Box::new(self) }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Net(error) => error.fmt(f),
            Self::Greeting { broker, protocol, reason } => write!(
                f,
                "{broker} does not answer like a Kafka listener for security.protocol={}, so check the port and that \
                 setting: {reason}",
                protocol.name()
            ),
            Self::Frame { broker, reason } => write!(f, "{broker} sent no frame of Kafka's: {reason}"),
            Self::Order { broker, expected, got } => {
                write!(f, "{broker} answered request {got} where the answer to request {expected} was due")
            }
            Self::Decode { broker, api, reason } => {
                write!(f, "{broker} sent an unreadable {api} answer: {reason}")
            }
            Self::Encode { api, reason } => write!(f, "the {api} request can't be sent: {reason}"),
            Self::Unsupported { broker, missing } => unsupported(f, broker, missing),
            Self::Authentication { broker, mechanism, reason, .. } => {
                write!(f, "no authentication with {broker} by {mechanism}: {reason}")
            }
            Self::Addresses { broker, tried, unreachable } => {
                write!(f, "no address of {broker} leads to a connection: ")?;
                for (place, (address, error)) in tried.iter().enumerate() {
                    let between = if place == 0 { "" } else { "; " };
                    write!(f, "{between}{address}: {error}")?;
                }
                unreachable.as_ref().map_or(Ok(()), |error| write!(f, "; {error}"))
            }
            Self::Refused { pause, refusals, reason } => refused(f, *pause, *refusals, reason),
            Self::Paused { broker, left } => write!(
                f,
                "{broker} refused a login a moment ago, so the next one waits for another {} ms",
                left.as_millis()
            ),
            Self::Unusable { broker } => write!(f, "the connection to {broker} failed before: open another"),
        }
    }
}

/// The text of [`ConnectionError::Refused`].
fn refused(
    f: &mut fmt::Formatter<'_>,
    pause: Duration,
    refusals: u32,
    reason: &ConnectionError,
) -> fmt::Result {
    let said = reason.to_string();
    f.write_str(&said)?;
    let code = match reason {
        ConnectionError::Authentication { code, .. } => *code,
        _ => None,
    };
    // The broker's own text lacks the code.
    if let Some(code) = code.filter(|code| !said.contains(&code.to_string())) {
        write!(f, " ({code})")?;
    }
    write!(f, ". Brokers let this client in before, so it tries again in {} ms", pause.as_millis())?;
    if refusals > 1 {
        write!(f, " ({refusals} refusals in a row)")?;
    }
    if code == Some(ErrorCode::SASL_AUTHENTICATION_FAILED) {
        f.write_str(
            "; Amazon MSK refuses good credentials like this while it gets too many new connections",
        )?;
    }
    Ok(())
}

fn unsupported(f: &mut fmt::Formatter<'_>, broker: &str, missing: &[Missing]) -> fmt::Result {
    write!(f, "{broker} does not speak ")?;
    for (place, Missing { api, range }) in missing.iter().enumerate() {
        let (first, last) = (oldest_asked(*api), api.newest());
        let between = if place == 0 { "" } else { ", " };
        write!(f, "{between}{api} {first} to {last} (it has ")?;
        match range {
            None => f.write_str("none)")?,
            Some((lowest, highest)) => write!(f, "{lowest} to {highest})")?,
        }
    }
    let too_new = |one: &Missing| one.range.is_some_and(|(lowest, _)| lowest > one.api.newest());
    f.write_str(if missing.iter().all(too_new) {
        ": use a later sluicegate"
    } else {
        ": use Kafka 2.4 or later, or what is compatible with it"
    })
}

impl std::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Settings(error) => Some(error),
            Self::Net(error) => Some(error),
            Self::Greeting { reason, .. } => Some(reason),
            Self::Frame { reason, .. } | Self::Decode { reason, .. } => Some(reason),
            Self::Encode { reason, .. } => Some(reason),
            Self::Authentication { code, .. } => code.as_ref().map(|code| code as _),
            Self::Addresses { tried, unreachable, .. } => {
                let first = tried.first().map(|(_, error)| error as _);
                first.or(unreachable.as_deref().map(|error| error as _))
            }
            Self::Refused { reason, .. } => Some(reason),
            Self::Order { .. } | Self::Unsupported { .. } => None,
            Self::Paused { .. } | Self::Unusable { .. } => None,
        }
    }
}

impl From<NetError> for ConnectionError {
    fn from(error: NetError) -> Self {
        Self::Net(error)
    }
}

impl From<SecurityError> for ConnectionError {
    fn from(error: SecurityError) -> Self {
        Self::Settings(error)
    }
}
