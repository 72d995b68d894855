//! The value of `Authorization`, and how it is renewed during a run.
//!
//! A token or password lies in a file that others may rewrite ([`SecretFile`]), or is fetched from an authorization
//! server ([`ClientCredentials`]). Either way a destination that answers 401 gets one more try with what there is
//! then, in the same attempt.
//!
//! Invariant: no secret is in an error, a warning or `Debug`.

use super::oauth::ClientCredentials;
use super::secret_file::SecretFile;
use crate::relay::transport::SendError;
use std::sync::Arc;
use std::time::Instant;

/// Where credentials come from.
#[derive(Debug)]
pub enum Authorization {
    /// A file.
    File(SecretFile),
    /// An authorization server.
    OAuth2(Box<ClientCredentials>),
}

impl Authorization {
    /// The value of `Authorization` for a request, available by `deadline`.
    ///
    /// # Errors
    /// No token could be fetched and no valid one is left.
    pub(crate) fn value(&self, deadline: Instant) -> Result<Arc<str>, SendError> {
        match self {
            Self::File(file) => Ok(file.value(Instant::now())),
            Self::OAuth2(client) => client.value(deadline),
        }
    }

    /// The destination answered 401 to this value. Returns whether another one is, or may become, available.
    pub(crate) fn renew(&self, used: &str) -> bool {
        match self {
            Self::File(file) => file.renew(used, Instant::now()),
            Self::OAuth2(client) => client.renew(used, Instant::now()),
        }
    }
}
