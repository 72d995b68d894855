//! Looks without touching: which brokers answer, what the topics hold, how far the group is. It commits nothing,
//! creates nothing and fetches no record.

use super::version::{self, Verdict};
use super::{Config, Fault, client, fetch};
use ::kafka::client::FetchOffset;

/// How one partition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub number: i32,
    /// The first offset in the log.
    pub first: i64,
    /// The offset behind the last.
    pub end: i64,
    /// What the group has committed.
    pub committed: Option<i64>,
}

/// Whether one broker answers, and as what: an error says what to do.
pub(crate) fn broker(address: &str) -> Result<(), String> {
    match version::ask(&[address.to_owned()]) {
        Verdict::Fits => Ok(()),
        Verdict::Unreachable(text) | Verdict::Unfit(text) => Err(text),
    }
}

/// How the partitions stand that a run with this configuration would read.
pub(crate) fn partitions(config: &Config) -> Result<Vec<PartitionState>, String> {
    look(config).map_err(|fault| fault.text().to_owned())
}

fn look(config: &Config) -> Result<Vec<PartitionState>, Fault> {
    let mut client = client(&config.brokers);
    super::guarded(|| client.load_metadata_all())?;
    let wanted = fetch::wanted_partitions(config, &client)?;
    let first = fetch::ends(&mut client, &config.topics, FetchOffset::Earliest)?;
    let end = fetch::ends(&mut client, &config.topics, FetchOffset::Latest)?;
    let committed = fetch::committed(&mut client, &config.group, &wanted)?;
    let state = |at: (String, i32)| {
        let no_leader = || Fault::Metadata(format!("{}-{} has no leader", at.0, at.1));
        Ok(PartitionState {
            first: *first.get(&at).ok_or_else(no_leader)?,
            end: *end.get(&at).ok_or_else(no_leader)?,
            committed: committed.get(&at).copied(),
            topic: at.0,
            number: at.1,
        })
    };
    wanted.into_iter().map(state).collect()
}
