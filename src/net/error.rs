//! Errors between two hosts, as sentences that name the host and say what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// How a [`NetError::Tls`] begins.
pub const NO_TLS: &str = "no TLS with";

/// Why there is no connection, or why one that there was has ended.
#[derive(Debug)]
pub enum NetError {
    /// The name has no address.
    Resolve {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        reason: io::Error,
    },
    /// None of the addresses took the connection.
    Connect {
        /// The host as the settings name it.
        host: String,
        /// Each address that was tried, with its error.
        tried: Vec<(SocketAddr, io::Error)>,
    },
    /// The path of a unix socket took no connection.
    Unix {
        /// The path.
        path: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The TLS handshake or session failed.
    Tls {
        /// The host as the settings name it.
        host: String,
        /// What rustls or the socket said.
        reason: io::Error,
        /// The same as text.
        cause: String,
        /// What to do about it.
        advice: String,
    },
    /// The peer did not answer, or did not read, until the deadline.
    Timeout {
        /// The host as the settings name it.
        host: String,
    },
    /// An established connection ended.
    Broken {
        /// The host as the settings name it.
        host: String,
        /// What the socket said.
        reason: io::Error,
    },
    /// The TLS settings can't be used: a file, a certificate, a key.
    Settings {
        /// The whole sentence.
        sentence: String,
    },
}

/// The kind of a [`NetError`], for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The name: DNS.
    Resolve,
    /// Refused, unreachable.
    Connect,
    /// TLS: certificates, versions, or no TLS spoken at all.
    Tls,
    /// No answer in time, while connecting, in the handshake or later.
    Timeout,
    /// The connection ended while it was in use.
    Broken,
    /// Our own settings; nothing was contacted.
    Settings,
}

impl NetError {
    /// What an error of a [Stream](super::Stream)'s read or write means. With TLS 1.3 a server's refusal of the
    /// client's certificate arrives only with the first read, so this is where it gets its name.
    pub(crate) fn of_io(host: &str, reason: io::Error) -> Self {
        let host = host.to_owned();
        if matches!(reason.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
            return Self::Timeout { host };
        }
        #[cfg(feature = "tls")]
        if let Some(error) = super::explain::session_error(&reason) {
            let super::explain::Explanation { cause, advice } = super::explain::explain(error);
            return Self::Tls { host, reason, cause, advice };
        }
        Self::Broken { host, reason }
    }

    /// Whether a retry would end alike: settings, certificates, a peer that refuses ours. A handshake that ended early
    /// may succeed next time.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Settings { .. } => true,
            #[cfg(feature = "tls")]
            Self::Tls { reason, .. } => super::explain::session_error(reason).is_some(),
            _ => false,
        }
    }

    /// What it speaks of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Resolve { .. } => Kind::Resolve,
            Self::Connect { tried, .. } if tried.iter().all(|(_, reason)| timed_out(reason)) => Kind::Timeout,
            Self::Connect { .. } => Kind::Connect,
            Self::Unix { reason, .. } if timed_out(reason) => Kind::Timeout,
            Self::Unix { .. } => Kind::Connect,
            Self::Tls { .. } => Kind::Tls,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Broken { .. } => Kind::Broken,
            Self::Settings { .. } => Kind::Settings,
        }
    }
}

fn timed_out(reason: &io::Error) -> bool {
    reason.kind() == io::ErrorKind::TimedOut
}

/// A system error in a few words, without its number.
pub(super) fn words(reason: &io::Error) -> String {
    match reason.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset by the other side".into(),
        io::ErrorKind::UnexpectedEof => "closed by the other side".into(),
        _ => reason.to_string(),
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, reason } => {
                write!(f, "{host} has no address ({}): check the name and this host's DNS", words(reason))
            }
            Self::Connect { host, tried } if tried.is_empty() => {
                write!(f, "no time was left to connect to {host}: allow more time")
            }
            Self::Connect { host, tried } => {
                write!(f, "can't connect to {host} (")?;
                for (number, (address, reason)) in tried.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}{address}: {}", words(reason))?;
                }
                f.write_str("): check that it runs, its port, and what is between")
            }
            Self::Unix { path, reason } => {
                write!(
                    f,
                    "can't connect to the socket {path} ({}): check that it is listened on",
                    words(reason)
                )
            }
            Self::Tls { host, cause, advice, .. } => write!(f, "{NO_TLS} {host} ({cause}): {advice}"),
            Self::Timeout { host } => {
                write!(f, "{host} did not answer in time: allow more time or look at its load")
            }
            Self::Broken { host, reason } => write!(f, "the connection to {host} ended: {}", words(reason)),
            Self::Settings { sentence } => f.write_str(sentence),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { reason, .. }
            | Self::Unix { reason, .. }
            | Self::Tls { reason, .. }
            | Self::Broken { reason, .. } => Some(reason),
            Self::Connect { tried, .. } => tried.last().map(|(_, reason)| reason as _),
            Self::Timeout { .. } | Self::Settings { .. } => None,
        }
    }
}
