//! What can go wrong between us and a broker, as sentences that name it and say what to do.

use super::versions::{Missing, oldest_asked};
use crate::kafka::protocol::{ApiKey, DecodeError, EncodeError};
use crate::kafka::security::{Protocol, SecurityError};
use crate::net::{Kind, NetError};
use std::fmt;

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
        /// What was said. Holds no secret.
        reason: String,
        /// Whether trying again is of no use before somebody mends something.
        fatal: bool,
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
            Self::Unusable { .. } => false,
        }
    }

    /// Whether whoever listens there has answered, and not as a broker does.
    pub fn is_stranger(&self) -> bool {
        match self {
            Self::Greeting { reason, .. } => reason.is_stranger(),
            Self::Frame { .. } | Self::Order { .. } | Self::Decode { .. } => true,
            _ => false,
        }
    }

    /// Whether it was the deadline that passed.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Net(error) => error.kind() == Kind::Timeout,
            Self::Greeting { reason, .. } => reason.is_timeout(),
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
            Self::Unusable { broker } => write!(f, "the connection to {broker} failed before: open another"),
        }
    }
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
            Self::Order { .. } | Self::Unsupported { .. } => None,
            Self::Authentication { .. } | Self::Unusable { .. } => None,
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
