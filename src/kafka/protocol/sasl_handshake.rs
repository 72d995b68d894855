//! `SaslHandshake`: chooses a SASL mechanism.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// The mechanism wanted.
    pub struct SaslHandshakeRequest<'a> {
        mechanism: &'a str => 0..; "Its name."
    }

    /// The broker's word on it.
    pub struct SaslHandshakeResponse<'a> {
        error_code: ErrorCode => 0..; "Why it can't be."
        mechanisms: Vec<&'a str> => 0..; "Those that the broker has enabled."
    }
}

request!(SaslHandshakeRequest<'_>, SaslHandshake, 'r SaslHandshakeResponse<'r>);
