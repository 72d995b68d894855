//! The `kafka` crate as client, for brokers up to 3.9.
//!
//! It speaks version 0 of each API, so brokers from 4.0 on, which dropped it, are told at start. What it can't
//! do, and what is done about it here:
//!
//! - **No group membership.** One process owns the topic's partitions in its group; two would both send
//!   everything. `--partitions` splits them by hand.
//! - **No headers, no timestamps**, no way to tell a null value from an empty one (empty it is), no lz4, no zstd,
//!   no TLS, no SASL. Records of aborted transactions are delivered like any other.
//! - **It loses records** when uncompressed batches come before a compressed one in an answer: it returns the
//!   latter alone. Each gap in the offsets is therefore asked for again in smaller pieces (`fetch.rs`) until the
//!   missing records come or the gap is known to be a real hole.
//! - **It never replaces a dead socket**, so each fault makes a new client, with a bounded backoff.
//! - **It panics on malformed frames**, which is caught and treated as such a fault.
//! - **Its commit can spin for ever** once its own retries are used up, so it has a thread of its own (`commit.rs`)
//!   that nobody waits for longer than [`COMMIT_TIMEOUT`].
//!
//! Its `Consumer` is not used: it moves its offsets before it returns an error. Positions are ours.
//!
//! | room | what it is |
//! |---|---|
//! | `fetch`, `commit` | the threads that fetch and commit |
//! | `probe`, `version` | inspect a cluster; the API versions of a broker |

mod commit;
mod fetch;
pub mod probe;
mod version;

use super::config::Start;
use crate::notice::{Notice, Severity};
use crate::record::{Offset, Partition, Position, Record};
use crate::relay::source::{Commit, PollLimit, Polled, Source, SourceError};
use commit::Committer;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a commit may take before it counts as failed for now.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a fetch waits at the broker for new records. They are sent as soon as there are any.
const LONG_POLL: Duration = Duration::from_millis(100);

/// What to read.
#[derive(Clone, Debug)]
pub struct Config {
    /// `HOST:PORT` of some brokers; the others are found through them.
    pub brokers: Vec<String>,
    /// The topics.
    pub topics: Vec<String>,
    /// The group whose positions are read and committed.
    pub group: String,
    /// Only these partitions of each topic; none: all.
    pub partitions: Option<Vec<i32>>,
    /// Where to begin without a committed position.
    pub start: Start,
    /// Come to an end after what is there at the start.
    pub until_end: bool,
    /// How many bytes of records are fetched ahead.
    pub buffer: usize,
}

/// Records of topics by the `kafka` crate.
pub(crate) struct KafkaCrate {
    shared: Arc<Shared>,
    committer: Committer,
    fetcher: Option<JoinHandle<()>>,
}

/// What the fetch thread and the source share.
struct Shared {
    state: Mutex<State>,
    /// Records, news or room.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    bytes: usize,
    news: VecDeque<Polled>,
    failure: Option<SourceError>,
    ends: HashMap<Partition, Offset>,
    /// Everything there was at the start has been fetched.
    at_end: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a push or an assignment, whole in itself, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, news: Polled) {
        self.lock().news.push_back(news);
        self.changed.notify_all();
    }

    fn notice(&self, severity: Severity, text: String) {
        self.tell(Polled::Notice(Notice { severity, text }));
    }

    fn fail(&self, error: SourceError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Waits until there is room for more records; `false` once closed.
    fn await_room(&self, limit: usize) -> bool {
        let mut state = self.lock();
        while !state.closed && state.bytes >= limit {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    /// Waits, at most for `time`; `false` once closed.
    fn pause(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.closed
    }

    /// A partition goes on elsewhere: what was fetched of it before is dropped.
    fn restart(&self, position: Position) {
        let mut state = self.lock();
        state.records.retain(|record| *record.partition() != position.partition);
        state.bytes = state.records.iter().map(Record::weight).sum();
        state.news.push_back(Polled::Assigned(vec![position.into()]));
        drop(state);
        self.changed.notify_all();
    }

    fn push(&self, records: Vec<Record>, ends: impl IntoIterator<Item = (Partition, Offset)>) {
        let mut state = self.lock();
        state.bytes += records.iter().map(Record::weight).sum::<usize>();
        state.records.extend(records);
        state.ends.extend(ends);
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn take(&mut self, want: PollLimit) -> Vec<Record> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(record) = self.records.front() {
            bytes += record.weight();
            if taken.len() >= want.records || (bytes > want.bytes && !taken.is_empty()) {
                break;
            }
            taken.extend(self.records.pop_front());
        }
        self.bytes = self.bytes.saturating_sub(taken.iter().map(Record::weight).sum());
        taken
    }
}

impl KafkaCrate {
    /// Begins to fetch in a thread of its own. Nothing fails here: brokers that can't be reached are tried again,
    /// and what can't be mended comes out of the first poll.
    pub(crate) fn open(config: Config) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let committer = Committer::start(config.brokers.clone(), config.group.clone());
        let fetcher = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || fetch::Fetcher::new(config, &shared).run())
        };
        Self { shared, committer, fetcher: Some(fetcher) }
    }
}

impl Source for KafkaCrate {
    fn poll(&mut self, want: PollLimit, wait: Duration) -> Result<Polled, SourceError> {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.lock();
        loop {
            if let Some(news) = state.news.pop_front() {
                return Ok(news);
            }
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if want.records > 0 && !state.records.is_empty() {
                let records = state.take(want);
                drop(state);
                self.shared.changed.notify_all();
                return Ok(Polled::Records(records));
            }
            if want.records > 0 && state.at_end {
                return Ok(Polled::End);
            }
            if self.fetcher.as_ref().is_some_and(JoinHandle::is_finished) && !state.at_end {
                return Err(SourceError("the fetch thread panicked; please report this".into()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Polled::Nothing);
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn committer(&mut self) -> Box<dyn Commit> {
        Box::new(self.committer.clone())
    }

    fn ends(&self) -> Vec<(Partition, Offset)> {
        self.shared.lock().ends.iter().map(|(partition, end)| (partition.clone(), *end)).collect()
    }

    fn close(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        // The thread is not waited for: it may be in a read of the crate, and has nothing left to lose.
        drop(self.fetcher.take());
    }
}

impl Drop for KafkaCrate {
    fn drop(&mut self) {
        self.close();
    }
}

/// Calls into the crate, whose panics on malformed frames become an error in words like any other.
fn guarded<T>(call: impl FnOnce() -> ::kafka::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::of(&error)),
        Err(_) => Err(Fault::Connection("the broker's answer made the kafka crate panic".into())),
    }
}

/// What an error of the crate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// A new client, after a while.
    Connection(String),
    /// New metadata, after a while.
    Metadata(String),
    /// The committed position is outside of the log.
    OutOfRange,
    /// Nothing helps.
    Fatal(String),
}

impl Fault {
    fn of(error: &::kafka::Error) -> Self {
        use ::kafka::Error as E;
        use ::kafka::error::KafkaCode as Code;
        match error {
            E::ArcSelf(inner) => Self::of(inner),
            E::Kafka(code) | E::TopicPartitionError { error_code: code, .. } => match code {
                Code::OffsetOutOfRange => Self::OutOfRange,
                Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => {
                    Self::Fatal(format!("the broker forbids this ({code:?}): grant read on the topic and the group"))
                }
                Code::InvalidTopic | Code::InvalidGroupId | Code::UnsupportedVersion => {
                    Self::Fatal(format!("the broker refused the request: {code:?}"))
                }
                code => Self::Metadata(format!("the broker answered {code:?}")),
            },
            E::UnsupportedCompression => Self::Fatal(
                "the topic holds batches compressed with lz4 or zstd, which the kafka crate can't read: use another \
                 compression, or the native client"
                    .into(),
            ),
            E::InvalidSnappy(_) => Self::Fatal("a batch compressed with snappy is corrupt".into()),
            E::NoHostReachable => Self::Connection("none of the brokers can be reached".into()),
            other => Self::Connection(other.to_string()),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Connection(text) | Self::Metadata(text) | Self::Fatal(text) => text,
            Self::OutOfRange => "the position is outside of the log",
        }
    }
}

/// A client that is told how we want to work.
fn client(brokers: &[String]) -> ::kafka::client::KafkaClient {
    let mut client = ::kafka::client::KafkaClient::new(brokers.to_vec());
    client.set_client_id("sluicegate".into());
    client.set_group_offset_storage(Some(::kafka::client::GroupOffsetStorage::Kafka));
    // Any record at all ends the wait at the broker.
    client.set_fetch_min_bytes(1);
    client.set_fetch_crc_validation(true);
    client.set_retry_backoff_time(LONG_POLL);
    client
}
