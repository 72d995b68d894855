//! The settings of the Kafka clients.

#[cfg(feature = "kafka")]
use super::group::membership::MembershipSettings;
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

/// Where to begin in a partition without a committed position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end of the log.
    Latest,
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
}

/// What to do when the position is outside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Go on at the oldest record.
    #[default]
    Earliest,
    /// Go on at the end of the log.
    Latest,
    /// Fail.
    Fail,
}

/// Which partitions are read, and who assigns them.
#[cfg(feature = "kafka")]
#[derive(Clone, Debug)]
pub enum Share {
    /// The members of a consumer group share the partitions.
    Group(MembershipSettings),
    /// These partitions of each topic, or all of them, without joining a group. Positions are committed under the
    /// group's name all the same.
    Fixed(Option<Vec<i32>>),
}

/// The settings of a [`Consumer`](super::consumer::Consumer).
#[cfg(feature = "kafka")]
#[derive(Clone, Debug)]
pub struct Config {
    /// The names of topics; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The group whose positions are read and committed.
    pub group: String,
    /// Which partitions, and who assigns them.
    pub share: Share,
    /// Where to begin without a committed position.
    pub start: Start,
    /// What to do when the position is outside the log.
    pub reset: Reset,
    /// Ends after the records that exist at the start.
    pub until_end: bool,
    /// The maximum size of the records fetched ahead, in bytes.
    pub buffer: usize,
    /// The maximum uncompressed size of a batch, in bytes.
    pub largest_batch: usize,
    /// Positions are committed. Then a partition without a position is not read before its start is committed.
    pub commits: bool,
    /// The rack of this client (`client.rack`): records are fetched from a replica there (KIP-392). May be empty.
    pub rack: String,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// The maximum age of metadata: new partitions, and new topics that match a pattern, are found within this time.
    pub metadata_max_age: Duration,
    /// Where the records go, to compare with the other members of the group.
    pub destination: Option<MemberDestination>,
    /// How errors and notices are put into words.
    pub explain: Explain,
}

/// Where a member of a group sends the records.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberDestination {
    /// Equal for equal destinations. Anybody who may describe the group can read it, so it must not reveal the address.
    pub digest: [u8; 8],
    /// A member that joins a group whose [members send elsewhere](super::group::destinations) fails. Otherwise there is
    /// a notice only.
    pub must_be_shared: bool,
}

/// A limit [shared](super::group::limit_shares) by all members of a group.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimit {
    /// How much all members may use together.
    pub most: std::num::NonZeroU32,
    /// The longest time that one use may take. The lease of a member ends this long before its session.
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
            destination: None,
            explain: plainly,
        }
    }
}
