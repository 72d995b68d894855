//! The product itself: what is sent when, and what may be committed. std only; knows neither Kafka nor HTTP
//! nor flags, prints and logs nothing.

pub mod backoff;
pub mod dead_letter;
pub mod event;
pub mod record;
pub mod settings;
pub mod source;
pub mod stop;
pub mod transport;
pub mod verdict;

use std::time::Duration;

/// How often the loop looks up from waiting for answers, for revocations, signals and due commits.
pub const TICK: Duration = Duration::from_millis(50);
/// How often [`event::Event::Progress`] tells how things stand.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
