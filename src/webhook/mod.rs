//! The destination: records as HTTP requests, and the clients that send them.
//!
//! [`request`] decides what is sent, [`destination`] where to, [`answer`] what is kept of the answer; a client
//! (`keep_alive`, or the smaller `minreq`) moves the bytes. Nothing here decides what an answer means: that is
//! [`relay::verdict`](crate::relay::verdict).
//!
//! | room | what a request gets from it |
//! |---|---|
//! | [request] | all its parts put together |
//! | [headers], [wire_request] | header lines, and the request as clients send it |
//! | [template] | the values of placeholders in its path, query and headers |
//! | [cloud_event], [envelope] | its form: an event, or the whole record as JSON |
//! | [signature] | the proof of who sent it |
//! | [authorization], [secret_file], [oauth] | credentials |
//! | [destination] | where it goes |
//! | [answer] | what is kept of its answer |
//! | `keep_alive`, `sender`, `minreq` | the clients that send it |

pub mod answer;
pub mod authorization;
pub mod cloud_event;
pub mod destination;
pub mod envelope;
pub mod headers;
#[cfg(feature = "keep-alive")]
pub mod keep_alive;
#[cfg(feature = "minreq")]
pub mod minreq;
pub mod oauth;
pub mod request;
pub mod secret_file;
#[cfg(feature = "keep-alive")]
pub mod sender;
pub mod signature;
pub mod template;
pub mod wire_request;
