//! What to read and how: the settings of the Kafka clients, with the defaults that the command line shows.

#[cfg(feature = "kafka")]
use super::group::membership::Settings;
#[cfg(feature = "kafka")]
use std::time::Duration;

/// Puts an error or a notice of the client into words for people, with advice in the terms of the program that uses
/// the client: its flags and settings. The client itself states facts only. What comes is a
/// [`ConsumerError`](super::consumer::ConsumerError), a [`ConsumerNotice`](super::consumer::ConsumerNotice), a
/// [`ClusterError`](super::cluster::ClusterError) or a [`ProducerError`](super::producer::ProducerError).
#[cfg(feature = "kafka")]
pub type Explain = fn(&(dyn std::error::Error + 'static)) -> String;

/// The facts alone.
#[cfg(feature = "kafka")]
pub fn plainly(error: &(dyn std::error::Error + 'static)) -> String {
    error.to_string()
}

/// Where to begin in a partition in which the group has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// What to do when the position to go on from is no longer in the log, or not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Go on with the oldest record there is.
    #[default]
    Earliest,
    /// Go on with what comes from now on.
    Latest,
    /// End the run.
    Fail,
}

/// Which partitions are read, and who decides it.
#[cfg(feature = "kafka")]
#[derive(Clone, Debug)]
pub enum Share {
    /// A consumer group splits the topics' partitions among its members.
    Group(Settings),
    /// These partitions of each topic, or all of them: by the operator's word, without a group. Positions are
    /// committed under the group's name all the same.
    Fixed(Option<Vec<i32>>),
}

/// What the native client reads, and how.
#[cfg(feature = "kafka")]
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of topics; one that begins with `^` is a regular expression for names.
    pub topics: Vec<String>,
    /// The group whose positions are read and committed.
    pub group: String,
    /// Which partitions.
    pub share: Share,
    /// Where to begin without a committed position.
    pub start: Start,
    /// What to do when the position is outside of the log.
    pub reset: Reset,
    /// Come to an end after what is there at the start.
    pub until_end: bool,
    /// How many bytes of records are fetched ahead.
    pub buffer: usize,
    /// How many bytes a batch may unpack to.
    pub largest_batch: usize,
    /// Positions are committed: nothing is read of a partition before its first position is.
    pub commits: bool,
    /// The rack of this client: records are fetched from a replica in it (KIP-392).
    pub rack: String,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How old metadata may get: new partitions, and topics that match a pattern, are found within it.
    pub metadata_max_age: Duration,
    /// At most so many records may be on their way to the destination over all members of the group.
    pub group_limit: Option<GroupLimit>,
    /// How errors and notices are put into words.
    pub explain: Explain,
}

/// One limit for all members of a group.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimit {
    /// How many at once.
    pub most: std::num::NonZeroU32,
    /// How long one may be on its way: so much before its session ends, a member that hears nothing stops sending.
    pub longest: Duration,
}

#[cfg(feature = "kafka")]
impl Default for Config {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            group: "sluicegate".into(),
            share: Share::Fixed(None),
            start: Start::default(),
            reset: Reset::default(),
            until_end: false,
            buffer: 2 << 20,
            largest_batch: crate::kafka::record_batch::MAX_UNPACKED,
            commits: true,
            rack: String::new(),
            request_timeout: Duration::from_secs(30),
            metadata_max_age: Duration::from_secs(30),
            group_limit: None,
            explain: plainly,
        }
    }
}
