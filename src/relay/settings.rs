//! The settings of a run, with their defaults.

use super::adaptive_limit::ConcurrencyBounds;
use super::filter::Filter;
use super::percent::Percent;
use super::rate::Rate;
use super::rejection_limit::RejectionLimit;
use super::verdict::Policy;
use crate::timing::backoff::Backoff;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// In which order records may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Any record may be sent next.
    #[default]
    None,
    /// A record is sent once its predecessor of the same partition is done.
    Partition,
    /// A record is sent once its predecessor of the same key in the same topic is done; records without a key are not
    /// ordered.
    Key,
}

/// When new records are admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// A batch at a time; the next one once all of it is done.
    #[default]
    Batch,
    /// As soon as there is room in the window.
    Sliding,
}

/// What to do with a rejected record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRejection {
    /// Stop the run, with nothing committed past it.
    #[default]
    Stop,
    /// Write it to the dead letters.
    DeadLetter,
    /// Count it, report it, and go on.
    Drop,
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Requests in flight, and sending threads, at most.
    pub max_concurrency: NonZeroUsize,
    /// Adapts the concurrency within these bounds; `None`: always `max_concurrency`.
    pub auto_concurrency: Option<ConcurrencyBounds>,
    /// When new records are admitted.
    pub intake: Intake,
    /// Records of a batch, at most.
    pub batch_size: NonZeroUsize,
    /// Bytes of records under way, at most; a single record may exceed it.
    pub batch_bytes: NonZeroUsize,
    /// Records of each partition in the window, at most: from the oldest unfinished one on, done or not.
    pub window_size: NonZeroUsize,
    /// The pause between two batches; not used with a sliding window.
    pub batch_interval: Duration,
    /// The highest rate of attempts, retries and probes included; `None`: unlimited.
    pub max_rate: Option<Rate>,
    /// The highest percentage of attempts that may be retries; `None`: unlimited.
    pub retry_budget: Option<Percent>,
    /// The order in which records are sent.
    pub order: Order,
    /// Which records are delivered.
    pub filter: Filter,
    /// What each answer means.
    pub policy: Policy,
    /// The time between two attempts of a record, and between two probes of a paused destination.
    pub backoff: Backoff,
    /// A record is rejected after this many counted failures; `None`: never.
    pub max_attempts: Option<NonZeroU32>,
    /// A record is rejected if it fails this long after its first attempt in this run; `None`: never.
    pub max_age: Option<Duration>,
    /// Pause after this many consecutive failures.
    pub pause_after: NonZeroU32,
    /// The longest `Retry-After` that is honoured.
    pub max_retry_after: Duration,
    /// The run ends when nothing was accepted for this long although records were sent; `None`: never.
    pub patience: Option<Duration>,
    /// What to do with rejected records.
    pub on_rejection: OnRejection,
    /// The run ends when more records than this are rejected; `None`: unlimited.
    pub max_rejected: Option<RejectionLimit>,
}

impl Default for RelaySettings {
    fn default() -> Self {
        const fn size(n: usize) -> NonZeroUsize {
            NonZeroUsize::new(n).expect("the literals below are not 0")
        }
        Self {
            max_concurrency: size(8),
            auto_concurrency: None,
            intake: Intake::Batch,
            batch_size: size(500),
            batch_bytes: size(8 << 20),
            window_size: size(1_000),
            batch_interval: Duration::ZERO,
            max_rate: None,
            retry_budget: None,
            order: Order::None,
            filter: Filter::default(),
            policy: Policy::default(),
            backoff: Backoff::default(),
            max_attempts: None,
            max_age: None,
            pause_after: const { NonZeroU32::new(10).expect("10 is not 0") },
            max_retry_after: Duration::from_secs(600),
            patience: None,
            on_rejection: OnRejection::Stop,
            max_rejected: None,
        }
    }
}
