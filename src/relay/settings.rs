//! Everything a run can be told, with the defaults the command line shows.

use super::adaptive_limit::ConcurrencyBounds;
use super::backoff::Backoff;
use super::filter::Filter;
use super::percent::Percent;
use super::rate::Rate;
use super::rejection_limit::RejectionLimit;
use super::verdict::Policy;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// In which order records may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Any record may go next.
    #[default]
    None,
    /// A record goes once its predecessor of the same partition is done.
    Partition,
    /// A record goes once its predecessor of the same key in the same topic is done; records without a key are
    /// free.
    Key,
}

/// When new records are taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// A batch at a time; the next once all of it is done.
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
    /// Hand it to the dead letters.
    DeadLetter,
    /// Count it, tell it, and go on.
    Drop,
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Never more requests in flight than this, and never more threads for sending.
    pub max_concurrency: NonZeroUsize,
    /// Find out within these bounds how many requests at once are good; none: as many as there may be.
    pub auto_concurrency: Option<ConcurrencyBounds>,
    /// When new records are taken in.
    pub intake: Intake,
    /// A batch holds at most so many records.
    pub batch_size: NonZeroUsize,
    /// A batch, or the sliding window, holds at most so many bytes of records; one record may exceed it alone.
    pub batch_bytes: NonZeroUsize,
    /// The sliding window holds at most so many records of each partition: the oldest unfinished one, and those
    /// behind it, done or not.
    pub window_size: NonZeroUsize,
    /// The breath between two batches; none with a sliding window.
    pub batch_interval: Duration,
    /// No more attempts than this, retries and probes included; none: no limit.
    pub max_rate: Option<Rate>,
    /// At most this share of attempts may be retries; none: no limit.
    pub retry_budget: Option<Percent>,
    /// The order kept.
    pub order: Order,
    /// Which records are delivered at all.
    pub filter: Filter,
    /// What each answer means.
    pub policy: Policy,
    /// The time between two attempts of a record, and between two probes of a paused destination.
    pub backoff: Backoff,
    /// A record that failed so often is rejected; none: no limit.
    pub max_attempts: Option<NonZeroU32>,
    /// A record that fails so long after its first attempt of this run is rejected.
    pub max_age: Option<Duration>,
    /// So many failures in a row with no acceptance between pause all sending.
    pub pause_after: NonZeroU32,
    /// No `Retry-After` is honoured beyond this.
    pub max_retry_after: Duration,
    /// The run ends when nothing was accepted for so long although something was tried; none: never.
    pub patience: Option<Duration>,
    /// What to do with rejected records.
    pub on_rejection: OnRejection,
    /// The run ends when more than this were rejected; none: however many.
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
