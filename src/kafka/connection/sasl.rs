//! The SASL mechanisms: messages in, messages out. Knows no sockets.

use super::scram::{Hash, Scram};
use super::token;
use crate::kafka::security::Sasl;
use std::time::Instant;

/// The maximum number of client messages in an exchange.
pub(super) const MOST_MESSAGES: usize = 4;

/// A SASL exchange. Errors are sentences without secrets.
pub(super) enum Exchange {
    /// One message.
    Plain,
    /// Both sides prove that they know the password.
    Scram(Box<Scram>),
    /// One message, and another one to acknowledge an error.
    OauthBearer,
}

/// The next step of an exchange.
pub(super) enum Step {
    /// Send this message.
    Send(Vec<u8>),
    /// The exchange is complete.
    Done,
}

impl Exchange {
    /// Starts an exchange. Returns it with its first message. A token is read here, by the deadline.
    pub(super) fn begin(sasl: &Sasl, deadline: Instant) -> Result<(Self, Vec<u8>), String> {
        match sasl {
            Sasl::Plain { username, password } => {
                let password = password.reveal();
                // RFC 4616 §2: authorization identity (empty), name and password, separated by NUL.
                if username.contains('\0') || password.contains('\0') {
                    return Err("a name or password with a NUL can't be sent by PLAIN".into());
                }
                Ok((Self::Plain, format!("\0{username}\0{password}").into_bytes()))
            }
            Sasl::ScramSha256 { username, password } => Self::scram(Hash::Sha256, username, password),
            Sasl::ScramSha512 { username, password } => Self::scram(Hash::Sha512, username, password),
            Sasl::OauthBearer(source) => {
                let token = token::read(source, deadline)?;
                // RFC 7628 §3.1
                Ok((Self::OauthBearer, format!("n,,\x01auth=Bearer {}\x01\x01", token.reveal()).into_bytes()))
            }
        }
    }

    fn scram(
        hash: Hash,
        username: &str,
        password: &crate::kafka::security::Secret,
    ) -> Result<(Self, Vec<u8>), String> {
        let scram = Scram::new(hash, username, password)?;
        let first = scram.first().into_bytes();
        Ok((Self::Scram(Box::new(scram)), first))
    }

    /// Processes the broker's message.
    pub(super) fn next(&mut self, message: &[u8]) -> Result<Step, String> {
        match self {
            Self::Plain => Ok(Step::Done),
            Self::Scram(scram) => {
                let answer = scram.next(message)?;
                Ok(answer.map_or(Step::Done, |answer| Step::Send(answer.into_bytes())))
            }
            Self::OauthBearer if message.is_empty() => Ok(Step::Done),
            // RFC 7628 §3.2.3: the client acknowledges the error, then the broker sends it as a failure.
            Self::OauthBearer => Ok(Step::Send(b"\x01".to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::security::{Secret, TokenSource};
    use std::time::Duration;

    fn begin(sasl: &Sasl) -> Result<(Exchange, Vec<u8>), String> {
        Exchange::begin(sasl, Instant::now() + Duration::from_secs(20))
    }

    #[test]
    fn plain_says_name_and_password() {
        let sasl = Sasl::Plain { username: "alice".into(), password: Secret::new("pä") };
        let (mut exchange, first) = begin(&sasl).unwrap();
        assert_eq!(first, "\0alice\0pä".as_bytes());
        assert!(matches!(exchange.next(b""), Ok(Step::Done)));
        let sasl = Sasl::Plain { username: "a\0b".into(), password: Secret::new("p") };
        assert!(begin(&sasl).err().unwrap().contains("NUL"));
    }

    #[test]
    fn a_bearer_says_its_token_and_acknowledges_an_error() {
        let sasl = Sasl::OauthBearer(TokenSource::Command(vec!["echo".into(), "abc".into()]));
        let (mut exchange, first) = begin(&sasl).unwrap();
        assert_eq!(first, b"n,,\x01auth=Bearer abc\x01\x01");
        let Ok(Step::Send(answer)) = exchange.next(b"{\"status\":\"invalid_token\"}") else { panic!() };
        assert_eq!(answer, b"\x01");
        assert!(matches!(exchange.next(b""), Ok(Step::Done)));
    }
}
