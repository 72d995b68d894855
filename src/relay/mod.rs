//! The product itself: what is sent when, and what may be committed. std only; knows neither Kafka nor HTTP
//! nor flags, prints and logs nothing.
//!
//! One thread, the caller's, runs the loop: it takes the [steps](control::Step) that [control] decides on: polls the
//! [source](source::Source), hands commits and dead letters to a background thread each, waits. Scoped worker threads
//! pull: each takes a [permit](semaphore) first, then the next record that may go. With batches they are joined at
//! the end of each; with a sliding window they stay while the loop takes more in.
//!
//! | room | what it decides |
//! |---|---|
//! | [control] | what the loop does next |
//! | [dispatcher] | which record is sent next, and what an answer did to it |
//! | `schedule` | in which state each record under way is |
//! | `ledger` | how far each partition is done, and how far it may be read ahead |
//! | `brakes` | when another attempt may start: the maximum of those below |
//! | `destinations`, `pause` | the pauses of a destination and of its targets; probes, trials |
//! | `pacing` | how fast a destination that answers 429 may be sent to |
//! | [rate] | how many attempts in a time |
//! | [retry_budget] | how many of them may be retries |
//! | [adaptive_limit] | how many at once are good, where that is to be found out |
//! | [semaphore] | how many requests at once: the one count of them |
//! | [group_limit] | how many of those that all members of a group may have |
//! | [order_queues] | who waits for whom, where order is asked for |
//! | [filter] | which records are delivered at all |
//! | [backoff] | how long until another attempt |
//! | [verdict] | what an answer means |
//! | [rejection_limit] | how many rejected records are too many |
//! | [partition_progress] | what is done without a gap, hence what may be committed |
//! | [offset_runs] | what is done beyond that, in the words that are committed beside it |
//! | `run`, `worker_pool`, `background` | the loop and the threads around all that |
//!
//! A relay from memory to a transport of one's own:
//!
//! ```
//! use sluicegate::relay::backoff::Backoff;
//! use sluicegate::relay::dead_letter::Drop;
//! use sluicegate::relay::event::Unobserved;
//! use sluicegate::relay::memory_source::MemorySource;
//! use sluicegate::record::{Offset, Record};
//! use sluicegate::relay::settings::RelaySettings;
//! use sluicegate::relay::stop::Stop;
//! use sluicegate::relay::transport::{Answer, Attempt, SendError, Transport};
//! use sluicegate::relay::{Relay, RunError};
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! /// Accepts each record at its second attempt.
//! struct Stubborn;
//!
//! impl Transport for Stubborn {
//!     fn send(&self, _record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
//!         let status = if attempt.number == 1 { 500 } else { 200 };
//!         Ok(Answer { status, ..Answer::default() })
//!     }
//! }
//!
//! let mut source = MemorySource::new("orders", (0..10).map(|n| format!("order {n}").into_bytes()));
//! let committed = source.committed();
//! let two_at_once = NonZeroUsize::MIN.saturating_add(1);
//! let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(10)).unwrap_or_default();
//! let relay = Relay {
//!     settings: RelaySettings { max_concurrency: two_at_once, backoff, ..RelaySettings::default() },
//!     source: &mut source,
//!     transport: &Stubborn,
//!     dead_letters: Box::new(Drop),
//!     observer: &Unobserved,
//!     stop: &Stop::new(),
//! };
//! let totals = relay.run()?;
//! assert_eq!((totals.delivered, totals.attempts), (10, 20));
//! assert!(totals.most_in_flight <= 2);
//! assert_eq!(committed.get(), Some(Offset(10)));
//! # Ok::<(), RunError>(())
//! ```

pub mod adaptive_limit;
mod background;
pub mod backoff;
mod brakes;
pub mod control;
pub mod dead_letter;
mod destinations;
pub mod dispatcher;
pub mod event;
pub mod filter;
pub mod group_limit;
pub mod jitter;
pub mod lease;
mod ledger;
pub mod line_source;
pub mod memory_source;
pub mod notice;
pub mod offset_runs;
pub mod order_queues;
mod pacing;
pub mod partition_progress;
mod pause;
pub mod percent;
pub mod rate;
pub mod rejection_limit;
pub mod retry_budget;
mod run;
mod run_error;
mod schedule;
pub mod semaphore;
pub mod settings;
mod sliding_count;
pub mod source;
pub mod stop;
pub mod transport;
pub mod verdict;
mod worker_pool;

pub use control::{COMMIT_INTERVAL, SNAPSHOT_INTERVAL, TICK};
pub use ledger::{RENEW_AFTER, RENEW_ASSIGNED_AFTER};
pub use run::Relay;
pub use run_error::RunError;
