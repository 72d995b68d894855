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
//! | [dispatcher] | which record is sent next, and what its answer means for it |
//! | `schedule` | the state of each record under way |
//! | `ledger` | how far each partition is done, and how far ahead it may be read |
//! | [partition_progress], [offset_runs] | what is done without a gap, and the runs done beyond it, as commit metadata |
//! | [order_queues] | records that wait for a predecessor |
//! | `brakes` | when another attempt may start: the latest time of those below |
//! | `destinations`, `pause` | the pauses of a destination and of its targets; probes, trials |
//! | `pacing` | the request rate for a destination that answers 429 |
//! | [rate] | the highest rate of attempts |
//! | [retry_budget], [percent] | how many attempts may be retries |
//! | [semaphore] | the one count of requests in flight |
//! | [adaptive_limit] | the concurrency that a destination handles well |
//! | [group_limit] | how much of the limit of a consumer group a member may use |
//! | [verdict] | what an answer means |
//! | [filter] | which records are delivered |
//! | [rejection_limit], `sliding_count` | how many rejected records are too many |
//! | [source] | the interface to the topic |
//! | [transport] | the interface to the destination |
//! | [dead_letter] | where rejected records go |
//! | [line_source], [memory_source] | sources of lines and of records in memory |
//! | [event] | what is reported to an observer |
//! | [settings], [stop] | what a run is given |
//! | `run`, `worker_pool`, `background` | the loop and its threads |
//! | `run_error` | why a run ended before its work was done |
//!
//! A relay from memory to a transport of one's own:
//!
//! ```
//! use sluicegate::timing::backoff::Backoff;
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
mod brakes;
pub mod control;
pub mod dead_letter;
mod destinations;
pub mod dispatcher;
pub mod event;
pub mod filter;
pub mod group_limit;
mod ledger;
pub mod line_source;
pub mod memory_source;
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
