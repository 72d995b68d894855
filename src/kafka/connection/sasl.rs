//! What is said to prove who we are, by mechanism. Knows no socket: messages in, messages out.

use super::scram::{Hash, Scram};
use super::token;
use crate::kafka::security::Sasl;
use std::time::Instant;

/// No exchange takes more messages of ours than this.
pub(super) const MOST_MESSAGES: usize = 4;

/// An exchange under way. An error is a sentence without secrets.
pub(super) enum Exchange {
    /// One message says it all.
    Plain,
    /// Both sides prove that they know the password.
    Scram(Box<Scram>),
    /// One message, and one more if the broker does not like it.
    OauthBearer,
}

/// What comes next.
pub(super) enum Step {
    /// This has to be said.
    Send(Vec<u8>),
    /// The broker has accepted us.
    Done,
}

impl Exchange {
    /// Begins: the exchange, and the message that opens it. A token is read here, by the deadline.
    pub(super) fn begin(sasl: &Sasl, deadline: Instant) -> Result<(Self, Vec<u8>), String> {
        match sasl {
            Sasl::Plain { username, password } => {
                let password = password.reveal();
                // RFC 4616 §2: authorization identity (none), name, password, apart by NUL.
                if username.contains('\0') || password.contains('\0') {
                    return Err("a name or password with a NUL can't be sent by PLAIN".into());
                }
                Ok((Self::Plain, format!("\0{username}\0{password}").into_bytes()))
            }
            Sasl::ScramSha256 { username, password } => Self::scram(Hash::sha256(), username, password),
            Sasl::ScramSha512 { username, password } => Self::scram(Hash::sha512(), username, password),
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

    /// What follows the broker's message.
    pub(super) fn next(&mut self, message: &[u8]) -> Result<Step, String> {
        match self {
            Self::Plain => Ok(Step::Done),
            Self::Scram(scram) => {
                let answer = scram.next(message)?;
                Ok(answer.map_or(Step::Done, |answer| Step::Send(answer.into_bytes())))
            }
            Self::OauthBearer if message.is_empty() => Ok(Step::Done),
            // RFC 7628 §3.2.3: the error is acknowledged, and then the broker says it once more, as a failure.
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
