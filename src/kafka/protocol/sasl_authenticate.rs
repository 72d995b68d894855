//! `SaslAuthenticate`: one step of a SASL exchange. Its bytes may be a password, so `Debug` shows only how many
//! there are.

use super::describe::{describe, request};
use super::{ErrorCode, Hidden};

describe! {
    /// What the client says.
    pub struct SaslAuthenticateRequest<'a> {
        auth_bytes: Hidden<'a> => 0..; "In the mechanism's own form."
    }

    /// What the broker says.
    pub struct SaslAuthenticateResponse<'a> {
        error_code: ErrorCode => 0..; "Why it doesn't accept."
        error_message: Option<&'a str> = Some("") => 0..; "The same in words."
        auth_bytes: Hidden<'a> => 0..; "In the mechanism's own form."
        session_lifetime_ms: i64 => 1.., ignorable;
            "After how long to authenticate again, in milliseconds (KIP-368); 0 for never."
    }
}

request!(SaslAuthenticateRequest<'_>, SaslAuthenticate, 'r SaslAuthenticateResponse<'r>);
