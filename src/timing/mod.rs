//! Rules about time: how long to wait before a retry, and until when one may act. std only; nothing here waits or
//! starts a thread.
//!
//! | room | what it is |
//! |---|---|
//! | [backoff] | the wait before a retry |
//! | [jitter] | the random part of a wait |
//! | [lease] | a right to act that ends unless it is renewed |

pub mod backoff;
pub mod jitter;
pub mod lease;
