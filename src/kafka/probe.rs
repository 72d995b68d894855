//! Inspects a cluster: the brokers and their versions, the bounds of logs, the positions and members of a group. Joins
//! no group, commits nothing, fetches no records.

use super::cluster::{Address, Cluster, ClusterError, Connections, Subject, Target};
use super::connection::Connector;
use super::consumer::offsets::{self, EARLIEST, LATEST};
use super::consumer::topics::Topics;
use super::group::consumer_protocol::decode_assignment;
use super::protocol::describe_groups::DescribeGroupsRequest;
use super::protocol::{ApiKey, ErrorCode};
use crate::record::Partition;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many attempts to find a group's coordinator are made, within the time of one request.
const COORDINATOR_ATTEMPTS: u32 = 10;
/// The pause between two attempts.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(500);

/// The state of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The partition.
    pub partition: Partition,
    /// The log start offset.
    pub first: i64,
    /// The last stable offset.
    pub end: i64,
    /// The group's committed position.
    pub committed: Option<i64>,
}

/// The topics of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTopics {
    /// Those that exist.
    pub found: Vec<Arc<str>>,
    /// Those that are named but don't exist.
    pub missing: Vec<Arc<str>>,
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// The member id, given by the coordinator.
    pub(crate) member_id: String,
    /// The instance id of a static member, given by its operator.
    pub(crate) instance_id: Option<String>,
    /// The client id, followed by the host.
    pub(crate) client: String,
    /// Its assignment.
    pub(crate) partitions: Vec<Partition>,
}

/// The state of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Kafka's name of its state: `Stable`, `Empty`, `PreparingRebalance`...
    pub state: String,
    /// Its members.
    pub members: Vec<MemberState>,
}

/// Inspects a cluster, over connections of its own.
pub struct Probe {
    connections: Connections,
    coordinator: Option<i32>,
}

impl Probe {
    /// A probe of the cluster with these bootstrap brokers. Contacts nobody yet.
    pub fn new(connector: Connector, brokers: Vec<Address>, timeout: Duration) -> Self {
        let connections = Connections::new(Arc::new(Cluster::new(connector, brokers)), timeout);
        Self { connections, coordinator: None }
    }

    /// Finds the topics of a subscription. To be called first, since it fetches the metadata.
    ///
    /// # Errors
    /// No broker could be reached, or it refused.
    pub fn topics(&mut self, topics: &Topics) -> Result<FoundTopics, ClusterError> {
        self.connections.refresh(topics.names().as_deref())?;
        let sizes = self.connections.cluster().sizes();
        let (found, missing) =
            topics.choose(sizes.keys()).into_iter().partition(|name| sizes.contains_key(name));
        Ok(FoundTopics { found, missing })
    }

    /// Connects to each broker of the metadata. Returns a sentence about each.
    pub(crate) fn brokers(&mut self) -> Vec<(Address, Result<String, ClusterError>)> {
        let known: BTreeMap<i32, Address> = self.connections.cluster().brokers();
        let mut said = Vec::new();
        for (id, address) in known {
            let word = self.connections.open(Target::Broker(id)).map(|connection| {
                let range = |api| connection.versions().range(api).unwrap_or((0, 0));
                format!("broker {id} answers, and speaks like Kafka {}", release(range(ApiKey::Fetch)))
            });
            said.push((address, word));
        }
        said
    }

    /// The state of the partitions of these topics, or only of those with these `numbers`.
    ///
    /// # Errors
    /// The first request that failed, or a partition without a leader.
    pub fn partitions(
        &mut self,
        group: &str,
        topics: &[Arc<str>],
        numbers: Option<&[i32]>,
    ) -> Result<Vec<PartitionState>, ClusterError> {
        let sizes = self.connections.cluster().sizes();
        let mut partitions = Vec::new();
        for topic in topics {
            let all: Vec<i32> = (0..sizes.get(topic).copied().unwrap_or(0)).collect();
            let chosen = all.iter().filter(|number| numbers.is_none_or(|some| some.contains(number)));
            partitions.extend(chosen.map(|number| Partition::new(Arc::clone(topic), *number)));
        }
        self.find_coordinator(group)?;
        let mut committed = HashMap::new();
        for (partition, answer) in
            offsets::committed(&mut self.connections, &mut self.coordinator, group, &partitions)?
        {
            match answer {
                Ok(Some(found)) => committed.insert(partition, found.next),
                Ok(None) => None,
                Err(code) => {
                    return Err(ClusterError::of_partition(ApiKey::OffsetFetch, &partition, code));
                }
            };
        }
        let firsts = offsets::list(&mut self.connections, EARLIEST, &partitions, false);
        let ends = offsets::list(&mut self.connections, LATEST, &partitions, false);
        let (firsts, ends) = (firsts.all()?, ends.all()?);
        let state = |partition: Partition| {
            let of = |offsets: &HashMap<Partition, Option<i64>>| offsets.get(&partition).copied().flatten();
            let (first, end) = (of(&firsts), of(&ends));
            let committed = committed.get(&partition).copied();
            PartitionState { first: first.unwrap_or(0), end: end.unwrap_or(0), committed, partition }
        };
        Ok(partitions.into_iter().map(state).collect())
    }

    /// Retries, since the first lookup of a cluster creates `__consumer_offsets`.
    fn find_coordinator(&mut self, group: &str) -> Result<i32, ClusterError> {
        if let Some(id) = self.coordinator {
            return Ok(id);
        }
        let deadline = Instant::now() + self.connections.timeout();
        let mut found = self.connections.coordinator_until(group, deadline);
        for _ in 1..COORDINATOR_ATTEMPTS {
            let is_late = Instant::now() + COORDINATOR_PAUSE >= deadline;
            if is_late || found.as_ref().map_or_else(ClusterError::is_fatal, |_| true) {
                break;
            }
            std::thread::sleep(COORDINATOR_PAUSE);
            found = self.connections.coordinator_until(group, deadline);
        }
        found.inspect(|id| self.coordinator = Some(*id))
    }

    /// The state of a group; `None` if the brokers lack DescribeGroups.
    ///
    /// # Errors
    /// The coordinator could not be reached, or it refused.
    pub fn group(&mut self, group: &str) -> Result<Option<GroupState>, ClusterError> {
        let id = self.find_coordinator(group)?;
        if !self.connections.supports(Target::Broker(id), ApiKey::DescribeGroups)? {
            return Ok(None);
        }
        let request = DescribeGroupsRequest { groups: vec![group], include_authorized_operations: false };
        self.connections.call(Target::Broker(id), &request, |answer| {
            let Some(described) = answer.groups.first() else {
                let subject = Subject::Group(group.into());
                return Err(ClusterError::Incomplete { api: ApiKey::DescribeGroups, subject });
            };
            if described.error_code == ErrorCode::GROUP_ID_NOT_FOUND {
                // As versions before 6 report it.
                return Ok(Some(GroupState { state: "Dead".into(), members: Vec::new() }));
            }
            if described.error_code != ErrorCode::NONE {
                return Err(ClusterError::of_group(ApiKey::DescribeGroups, group, described.error_code));
            }
            let member =
                |member: &super::protocol::describe_groups::DescribeGroupsResponseMember<'_>| MemberState {
                    member_id: member.member_id.to_owned(),
                    instance_id: member.group_instance_id.map(str::to_owned),
                    client: format!("{}{}", member.client_id, member.client_host),
                    // A joining member has none yet, and that of another protocol type can't be decoded.
                    partitions: decode_assignment(member.member_assignment).unwrap_or_default().partitions,
                };
            let members = described.members.iter().map(member).collect();
            Ok(Some(GroupState { state: described.group_state.to_owned(), members }))
        })?
    }
}

/// The releases of Apache Kafka with this range of Fetch versions. Brokers don't report their release, and other
/// products speak the same protocol.
fn release((least, most): (i16, i16)) -> &'static str {
    match (least, most) {
        (_, ..=10) => "before 2.3",
        (_, 11) => "2.3 to 2.6",
        (_, 12) => "2.7 to 3.0",
        (_, 13) => "3.1 to 3.4",
        (_, 14 | 15) => "3.5 or 3.6",
        (_, 16) => "3.7 or 3.8",
        (..=3, 17) => "3.9",
        (_, 17) => "4.0",
        (_, 18..) => "4.1 or newer",
    }
}
