//! A request as both clients send it.

use super::headers::Headers;
use std::borrow::Cow;
use std::fmt;

/// A request as it is sent, without the headers of the connection (`Host`, `Content-Length`).
pub struct WireRequest<'r> {
    /// The request target: path and query (RFC 9112 §3.2.1).
    pub target: Cow<'r, str>,
    /// Its header lines.
    pub headers: Headers,
    /// Its body.
    pub body: Cow<'r, [u8]>,
}

/// Shows neither query, values nor body.
impl fmt::Debug for WireRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {:?} ({} bytes)", self.headers, self.body.len())
    }
}
