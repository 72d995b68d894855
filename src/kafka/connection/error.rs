//! What can go wrong between us and a broker, as sentences that name it and say what to do.

use super::versions::{Missing, oldest_asked};
use crate::kafka::protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use crate::kafka::security::{Protocol, SecurityError};
use crate::net::{Kind, NetError};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Why there is no answer. After any of these but [`Unsupported`](Self::Unsupported) and
/// [`Encode`](Self::Encode), which send nothing, the connection can't be used any more.
#[derive(Debug)]
pub enum ConnectionError {
    /// The settings don't fit together.
    Settings(SecurityError),
    /// Connecting, TLS, a deadline that passed, a connection that ended.
    Net(NetError),
    /// The broker did not answer as one in the first exchange: another kind of listener, or no broker.
    Greeting {
        /// The broker's address as it was given.
        broker: String,
        /// What we spoke.
        protocol: Protocol,
        /// What came of it.
        reason: Box<ConnectionError>,
    },
    /// A frame whose length can't be true.
    Frame {
        /// The broker's address as it was given.
        broker: String,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// An answer to something else than what was asked.
    Order {
        /// The broker's address as it was given.
        broker: String,
        /// The number that the request carried.
        expected: i32,
        /// The number that the answer carries.
        got: i32,
    },
    /// An answer that can't be read.
    Decode {
        /// The broker's address as it was given.
        broker: String,
        /// What was asked.
        api: ApiKey,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A request that can't be written.
    Encode {
        /// What was to be asked.
        api: ApiKey,
        /// What is wrong with it.
        reason: EncodeError,
    },
    /// The broker speaks none of our versions of some APIs.
    Unsupported {
        /// The broker's address as it was given.
        broker: String,
        /// What was to be asked, and whatever else is missing.
        missing: Vec<Missing>,
    },
    /// The broker does not accept who we are, or did not prove who it is.
    Authentication {
        /// The broker's address as it was given.
        broker: String,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// The broker's error code, if it is the broker that refuses.
        code: Option<ErrorCode>,
        /// What was said. Holds no secret.
        reason: String,
        /// Whether trying again is of no use before somebody mends something.
        fatal: bool,
    },
    /// None of the addresses of a broker's name led to a connection.
    Addresses {
        /// The broker's address as it was given.
        broker: String,
        /// Those that took the connection, with what came of it.
        tried: Vec<(SocketAddr, ConnectionError)>,
        /// The others, if there were any.
        unreachable: Option<Box<NetError>>,
    },
    /// A broker refuses a client that was let in before, by this broker or another. It may be tried again.
    Refused {
        /// How long no login is tried there.
        pause: Duration,
        /// How many refusals there were in a row.
        refusals: u32,
        /// The refusal.
        reason: Box<ConnectionError>,
    },
    /// Nothing was sent, because the broker refused a login a moment ago.
    Paused {
        /// The broker's address as it was given.
        broker: String,
        /// How long it is until the next one may be tried.
        left: Duration,
    },
    /// The connection failed before.
    Unusable {
        /// The broker's address as it was given.
        broker: String,
    },
}

impl ConnectionError {
    /// Whether another attempt, here or at another broker, would end in the same way: versions, credentials,
    /// certificates, settings.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Encode { .. } | Self::Unsupported { .. } => true,
            Self::Net(error) => error.is_fatal(),
            Self::Authentication { fatal, .. } => *fatal,
            Self::Greeting { .. } | Self::Frame { .. } | Self::Order { .. } | Self::Decode { .. } => false,
            // One that only broke, or was out of reach, may go better.
            Self::Addresses { tried, unreachable, .. } => {
                unreachable.is_none() && tried.iter().all(|(_, error)| error.is_fatal())
            }
            Self::Refused { .. } | Self::Paused { .. } | Self::Unusable { .. } => false,
        }
    }

    /// Whether the broker, or one that passes for it, did not agree on who we are.
    pub fn is_refused_login(&self) -> bool {
        match self {
            Self::Authentication { fatal, .. } => *fatal,
            Self::Refused { reason, .. } => reason.is_refused_login(),
            _ => false,
        }
    }

    /// Whether whoever listens there has answered, and not as a broker does.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::Greeting { reason, .. } => reason.is_foreign(),
            Self::Frame { .. } | Self::Order { .. } | Self::Decode { .. } => true,
            Self::Addresses { tried, unreachable, .. } => {
                unreachable.is_none() && tried.iter().all(|(_, error)| error.is_foreign())
            }
            _ => false,
        }
    }

    /// Whether it was the deadline that passed.
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

    /// The same, if it came of the first exchange, where it most often means the wrong kind of listener.
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

/// Of a client that was let in before.
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
    // Where the broker has words of its own for it, its code is not among them.
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
