//! Addresses, sockets and TLS: what a broker's connection and a webhook's have in common. Knows neither protocol.
//!
//! [resolve] a name, [connect] to one of its addresses, wrap the socket as a [Stream]: from then on each read and
//! write ends by the stream's deadline, whatever the peer does, or when its [Canceller] is used.
//!
//! | room | what is in it |
//! |---|---|
//! | `dial`, `race` | from a name to a connected socket |
//! | `stream` | reads and writes with a deadline |
//! | `tls`, `trust` | TLS clients and their settings |
//! | `error`, `explain` | errors, and what rustls means by them |

mod dial;
mod error;
#[cfg(feature = "tls")]
mod explain;
mod race;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod trust;

pub use dial::{connect, dial, resolve, resolve_until};
pub use error::{Kind, NO_TLS, NetError};
pub use race::Connected;
pub use stream::{Canceller, Stream};
#[cfg(feature = "tls")]
pub use tls::TlsClient;
pub use trust::{Pem, TlsSettings};
