//! Our consumer, driven by hand, with a ledger of what it handed over.

use crate::support::LONG;
use sluicegate::kafka::cluster::Address;
use sluicegate::kafka::config::{Config, Share};
use sluicegate::kafka::connection::{Connector, ConnectorSettings};
use sluicegate::kafka::group::assignor::Assignor;
use sluicegate::kafka::group::membership;
use sluicegate::kafka::record_batch::NewRecord;
use sluicegate::kafka::sandbox::{Sandbox, SandboxSettings};
use sluicegate::kafka::source::KafkaSource;
use sluicegate::record::{Checkpoint, Offset, Partition, Position};
use sluicegate::relay::source::{Assigned, Commit, CommitError, PollLimit, Polled, Source, SourceError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const TOPIC: &str = "orders";
pub const GROUP: &str = "billing";
/// How long a request may take here: faults shall not take long to be noticed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(700);

/// A sandbox that appears as so many brokers.
pub fn sandbox(nodes: usize) -> Sandbox {
    let sandbox = Sandbox::start(SandboxSettings { nodes, ..SandboxSettings::default() }).unwrap();
    sandbox.create(TOPIC, 4).unwrap();
    sandbox
}

/// Writes `count` batches of three records to each partition; their values are their offsets.
pub fn write(sandbox: &Sandbox, count: usize) {
    for _ in 0..count {
        for partition in 0..4 {
            let (_, end) = sandbox.range(TOPIC, partition).unwrap();
            let values: Vec<String> = (end..end + 3).map(|offset| offset.to_string()).collect();
            let record = |value| NewRecord {
                timestamp: 1_700_000_000_000,
                key: None,
                value: Some(value),
                headers: &[],
            };
            let records: Vec<NewRecord<'_>> = values.iter().map(|value| record(value.as_bytes())).collect();
            sandbox.produce(TOPIC, partition, &records).unwrap();
        }
    }
}

/// Where the logs end.
pub fn ends(sandbox: &Sandbox) -> BTreeMap<Partition, i64> {
    (0..4).map(|n| (Partition::new(TOPIC, n), sandbox.range(TOPIC, n).unwrap().1)).collect()
}

pub fn group() -> membership::MembershipSettings {
    membership::MembershipSettings {
        group: GROUP.into(),
        assignors: vec![Assignor::CooperativeSticky],
        session_timeout: Duration::from_millis(1_500),
        rebalance_timeout: Duration::from_millis(3_000),
        heartbeat_interval: Duration::from_millis(100),
        request_timeout: REQUEST_TIMEOUT,
        ..membership::MembershipSettings::default()
    }
}

pub fn config(share: Share) -> Config {
    Config {
        topics: vec![TOPIC.into()],
        group: GROUP.into(),
        share,
        request_timeout: REQUEST_TIMEOUT,
        explain: sluicegate::cli::advice::sentence,
        ..Config::default()
    }
}

/// A consumer and what it handed over.
pub struct Reader {
    pub consumer: KafkaSource,
    committer: Box<dyn Commit>,
    /// The number of each partition's assignment.
    assignments: BTreeMap<Partition, u64>,
    /// Offsets in the order in which they came.
    pub seen: BTreeMap<Partition, Vec<i64>>,
    pub owned: BTreeSet<Partition>,
    pub notices: Vec<String>,
    /// How often partitions were assigned.
    pub assigned: usize,
    pub fenced: usize,
    /// What is committed beside each position.
    pub metadata: String,
    /// What is handed over and not yet committed.
    open: BTreeMap<Partition, i64>,
}

impl Reader {
    pub fn open(sandbox: &Sandbox, config: Config) -> Self {
        let settings = ConnectorSettings {
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: REQUEST_TIMEOUT,
            ..ConnectorSettings::default()
        };
        let address = sandbox.address();
        let brokers = vec![Address { host: address.ip().to_string(), port: address.port() }];
        let connector = Connector::new(settings).unwrap();
        let mut consumer = KafkaSource::open(config, None, connector, brokers).unwrap();
        Self {
            committer: consumer.committer(),
            assignments: BTreeMap::new(),
            consumer,
            seen: BTreeMap::new(),
            owned: BTreeSet::new(),
            notices: Vec::new(),
            assigned: 0,
            fenced: 0,
            metadata: String::new(),
            open: BTreeMap::new(),
        }
    }

    /// A member of the group.
    pub fn member(sandbox: &Sandbox) -> Self {
        Self::open(sandbox, config(Share::Group(group())))
    }

    /// Takes what comes next, and commits it.
    pub fn step(&mut self) -> Result<(), SourceError> {
        self.step_with(|_| ())
    }

    /// The same; `changed` is told what is owned, before what is given up is released.
    pub fn step_with(&mut self, changed: impl Fn(&BTreeSet<Partition>)) -> Result<(), SourceError> {
        let want = PollLimit { records: 100, bytes: 1 << 20 };
        match self.consumer.poll(want, Duration::from_millis(20))? {
            Polled::Records(records) => {
                for record in records {
                    let (partition, Offset(offset)) = (record.partition().clone(), record.offset());
                    assert!(self.owned.contains(&partition), "{partition} is not ours");
                    assert_eq!(record.value(), Some(offset.to_string().as_bytes()), "{partition}");
                    self.open.insert(partition.clone(), offset + 1);
                    self.seen.entry(partition).or_default().push(offset);
                }
            }
            Polled::Assigned(positions) => {
                self.assigned += 1;
                for Assigned { checkpoint, uncommitted } in &positions {
                    let partition = checkpoint.position.partition.clone();
                    self.assignments.insert(partition.clone(), checkpoint.assignment);
                    if *uncommitted {
                        self.open.insert(partition, checkpoint.position.next.0);
                    }
                }
                self.owned.extend(positions.into_iter().map(|one| one.checkpoint.position.partition));
                changed(&self.owned);
            }
            Polled::Revoked(partitions) => {
                self.commit()?;
                self.forget(&partitions);
                changed(&self.owned);
                self.consumer.release(&partitions);
            }
            Polled::Lost(partitions) => {
                self.forget(&partitions);
                changed(&self.owned);
            }
            Polled::Notice(notice) => self.notices.push(notice.text),
            Polled::Skipped(_) | Polled::Nothing | Polled::End => {}
        }
        self.commit()
    }

    fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.owned.remove(partition);
            self.open.remove(partition);
        }
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let checkpoint = |(partition, next): (&Partition, &i64)| Checkpoint {
            metadata: self.metadata.clone(),
            assignment: self.assignments[partition],
            ..Checkpoint::from(Position { partition: partition.clone(), next: Offset(*next) })
        };
        let checkpoints: Vec<Checkpoint> = self.open.iter().map(checkpoint).collect();
        match self.committer.commit(&checkpoints) {
            Ok(()) => self.open.clear(),
            // Tried again with the next step.
            Err(CommitError::Retriable(_)) => {}
            Err(CommitError::Partial { partitions, .. }) => {
                self.open.retain(|partition, _| partitions.contains(partition))
            }
            Err(CommitError::Fenced(_)) => {
                self.fenced += 1;
                self.open.clear();
            }
            Err(CommitError::Fatal(text)) => return Err(SourceError(text)),
        }
        Ok(())
    }

    /// Goes on until this holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "{what} never came about: owned {:?}, seen {:?}, notices {:#?}",
                self.owned,
                self.seen,
                self.notices
            );
            self.step().unwrap_or_else(|error| panic!("{what}: {error}: {:#?}", self.notices));
        }
    }

    /// Goes on until everything that is there was handed over and committed.
    #[track_caller]
    pub fn until_all(&mut self, what: &str, sandbox: &Sandbox) {
        let ends = ends(sandbox);
        self.until(what, |_| sandbox.committed(GROUP) == ends);
        self.check_all(what, &ends);
    }

    /// Every record up to these ends was handed over, none out of order but where a partition came back.
    #[track_caller]
    pub fn check_all(&self, what: &str, ends: &BTreeMap<Partition, i64>) {
        for (partition, end) in ends {
            let offsets = &self.seen[partition];
            let distinct: BTreeSet<i64> = offsets.iter().copied().collect();
            assert_eq!(distinct.len() as i64, *end, "{what}: {partition} lost some: {offsets:?}");
            let backwards = offsets.windows(2).filter(|pair| pair[1] != pair[0] + 1);
            assert!(
                backwards.clone().all(|pair| pair[1] <= pair[0]),
                "{what}: {partition} skipped: {offsets:?}"
            );
            assert!(backwards.count() < self.assigned, "{what}: {partition} again: {offsets:?}");
        }
    }

    /// Goes on until it ends; why it did.
    #[track_caller]
    pub fn fails(&mut self, what: &str) -> String {
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline, "{what}: it never failed: {:#?}", self.notices);
            if let Err(SourceError(text)) = self.step() {
                return text;
            }
        }
    }

    /// Whether a notice said this.
    pub fn was_told(&self, text: &str) -> bool {
        self.notices.iter().any(|notice| notice.contains(text))
    }
}
