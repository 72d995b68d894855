//! The destination: what a record looks like as an HTTP request, and the clients that send it.
//!
//! [`request`] decides what is sent, [`destination`] where to, [`answer`] what is kept of the answer; a client
//! (`keep_alive`, or the smaller `minreq`) moves the bytes. Nothing here decides what an answer means: that is
//! [`relay::verdict`](crate::relay::verdict).

pub mod answer;
pub mod destination;
#[cfg(feature = "keep-alive")]
pub mod keep_alive;
#[cfg(feature = "minreq")]
pub mod minreq;
pub mod request;
#[cfg(feature = "keep-alive")]
pub mod sender;
pub mod signature;
