//! The settings of TLS and SASL.

use crate::net::TlsSettings;
use std::fmt;
use std::path::PathBuf;

/// The layers of a connection to a broker (`security.protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Plain TCP.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// Plain TCP with SASL authentication.
    SaslPlaintext,
    /// TLS with SASL authentication.
    SaslSsl,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    /// Kafka's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Parses Kafka's name for it, in upper or lower case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Whether it uses TLS.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether it uses SASL.
    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// A password or a token; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent or hashed but never shown.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Credentials for a SASL mechanism (`sasl.mechanism`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// PLAIN (RFC 4616): sends the password itself, so it needs TLS.
    Plain {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// SCRAM with SHA-256 (RFC 7677): the password never leaves this host, and the broker proves that it knows it.
    ScramSha256 {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// SCRAM with SHA-512.
    ScramSha512 {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// OAUTHBEARER (RFC 7628): a bearer token, read for each authentication.
    OauthBearer(TokenSource),
}

impl Sasl {
    /// The name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
            Self::ScramSha512 { .. } => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }
}

/// The source of a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that contains the token, and is replaced when the token is renewed.
    File(PathBuf),
    /// The words of a command that prints the token, run without a shell.
    Command(Vec<String>),
}

impl TokenSource {
    /// Splits a command line at white space. `None` if it is empty.
    pub(crate) fn command(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self::Command(words))
    }
}

/// The security settings of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The layers of a connection.
    pub protocol: Protocol,
    /// Trusted certificates and the client's own, for protocols with TLS.
    pub tls: TlsSettings,
    /// Credentials, for protocols with SASL.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Checks whether the settings are consistent and supported by this build.
    pub(crate) fn check(&self) -> Result<(), SecurityError> {
        if self.protocol.has_tls() && cfg!(not(feature = "tls")) {
            return Err(SecurityError::NoTls(self.protocol));
        }
        if self.protocol.has_sasl() && self.sasl.is_none() {
            return Err(SecurityError::NoSasl(self.protocol));
        }
        Ok(())
    }

    /// The credentials, if the protocol has SASL.
    pub(crate) fn credentials(&self) -> Option<&Sasl> {
        self.sasl.as_ref().filter(|_| self.protocol.has_sasl())
    }
}

/// Why security settings can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityError {
    /// The protocol has TLS, but this build lacks the feature `tls`.
    NoTls(Protocol),
    /// The protocol has SASL, but there are no credentials.
    NoSasl(Protocol),
}

impl fmt::Display for SecurityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTls(protocol) => write!(
                f,
                "security.protocol={} needs the feature 'tls', which this binary was built without: build with \
                 --features tls",
                protocol.name()
            ),
            Self::NoSasl(protocol) => write!(
                f,
                "security.protocol={} needs a sasl.mechanism (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER) and \
                 its credentials",
                protocol.name()
            ),
        }
    }
}

impl std::error::Error for SecurityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let (username, password) = ("alice".to_owned(), Secret::new("alice-secret"));
        let security = Security {
            protocol: Protocol::SaslPlaintext,
            sasl: Some(Sasl::Plain { username, password }),
            ..Security::default()
        };
        let shown = format!("{security:?}");
        assert!(shown.contains("alice") && !shown.contains("alice-secret"), "{shown}");
    }

    #[test]
    fn asks_for_credentials_where_the_protocol_has_sasl() {
        let mut security = Security { protocol: Protocol::SaslPlaintext, ..Security::default() };
        let error = security.check().unwrap_err();
        assert!(
            error.to_string().starts_with("security.protocol=SASL_PLAINTEXT needs a sasl.mechanism"),
            "{error}"
        );
        security.sasl = TokenSource::command("print-token --for kafka").map(Sasl::OauthBearer);
        assert_eq!(security.check(), Ok(()));
        assert_eq!(TokenSource::command("  "), None);
    }

    #[test]
    fn credentials_go_unused_without_sasl() {
        let sasl = TokenSource::command("token").map(Sasl::OauthBearer);
        let security = Security { sasl, ..Security::default() };
        assert_eq!(security.credentials(), None);
    }

    #[test]
    fn reads_the_protocol_in_any_case() {
        assert_eq!(Protocol::parse("sasl_ssl"), Some(Protocol::SaslSsl));
        assert_eq!(Protocol::parse("SSL"), Some(Protocol::Ssl));
        assert_eq!(Protocol::parse("TLS"), None);
    }
}
