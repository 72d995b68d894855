//! Small formats without I/O, for every room. std only.
//!
//! | room | what is in it |
//! |---|---|
//! | [base64] | RFC 4648 |
//! | [json] | as much of RFC 8259 as is needed |
//! | [terminal] | untrusted bytes made safe for a terminal |
//! | [time] | RFC 3339 |

pub mod base64;
pub mod json;
pub mod terminal;
pub mod time;
