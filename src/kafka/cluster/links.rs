//! The connections of one thread to the brokers: who is asked, and over which connection.

use super::{Address, Cluster, ClusterError, of_code};
use crate::kafka::connection::Connection;
use crate::kafka::protocol::find_coordinator::FindCoordinatorRequest;
use crate::kafka::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::kafka::protocol::{ApiKey, ErrorCode, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `key_type` of a FindCoordinator request.
const COORDINATOR_OF_GROUP: i8 = 0;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any broker that answers.
    Any,
    /// This one.
    Broker(i32),
}

/// One thread's connections: one a target.
#[derive(Debug)]
pub struct Links {
    cluster: Arc<Cluster>,
    open: HashMap<Target, Connection>,
    timeout: Duration,
    /// Where the search for any broker begins.
    turn: usize,
}

impl Links {
    /// No connection yet; a request may take `timeout`.
    pub fn new(cluster: Arc<Cluster>, timeout: Duration) -> Self {
        Self { cluster, open: HashMap::new(), timeout, turn: 0 }
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster they lead to.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Sends a request, waits for the answer and hands it to `read`. A fault ends the connection; the next call
    /// opens another.
    pub fn call<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.call_within(target, request, self.timeout, read)
    }

    /// The same with another time limit: for requests that wait at the broker.
    pub fn call_within<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        timeout: Duration,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.open(target)?;
        let Some(connection) = self.open.get_mut(&target) else {
            return Err(ClusterError::Retriable("the connection is gone".into()));
        };
        let outcome = connection.call(request, Instant::now() + timeout).map(read);
        if outcome.is_err() {
            // What was asked must not arrive any more behind what is asked next.
            self.reset(target);
        }
        Ok(outcome?)
    }

    /// Opens the connection to a target unless it is there, for who wants its canceller.
    pub fn open(&mut self, target: Target) -> Result<&mut Connection, ClusterError> {
        let useless =
            |connection: &mut Connection| connection.has_gone() || connection.is_stale(Instant::now());
        if self.open.get_mut(&target).is_some_and(useless) {
            self.open.remove(&target);
        }
        if !self.open.contains_key(&target) {
            let connection = match target {
                Target::Any => self.open_any()?,
                Target::Broker(id) => self.open_broker(id)?,
            };
            self.open.insert(target, connection);
        }
        self.open.get_mut(&target).ok_or_else(|| ClusterError::Retriable("the connection is gone".into()))
    }

    /// Whether this API can be called there.
    pub fn supports(&mut self, target: Target, api: ApiKey) -> Result<bool, ClusterError> {
        Ok(self.open(target)?.versions().supports(api))
    }

    /// Ends a connection, after an answer that makes it useless.
    pub fn close(&mut self, target: Target) {
        self.open.remove(&target);
    }

    /// Ends a connection so that nothing written on it arrives any more, as far as that is in our power.
    pub fn reset(&mut self, target: Target) {
        if let Some(connection) = self.open.remove(&target) {
            connection.reset();
        }
    }

    fn open_broker(&self, id: i32) -> Result<Connection, ClusterError> {
        let address = self.cluster.known().brokers().get(&id).cloned();
        let Some(address) = address else {
            return Err(ClusterError::Retriable(format!("the metadata doesn't name broker {id}")));
        };
        self.cluster.connector.open(&address.host, address.port, Instant::now() + self.timeout).map_err(
            |error| match ClusterError::from(error) {
                ClusterError::Retriable(text) => ClusterError::Retriable(format!(
                    "broker {id} says that it is at {address}, and there: {text}. If this goes on, check its \
                     advertised.listeners and the way from here to there"
                )),
                fatal => fatal,
            },
        )
    }

    /// Tries the brokers that are known, then those that were named at the start.
    fn open_any(&mut self) -> Result<Connection, ClusterError> {
        let mut addresses: Vec<Address> = self.cluster.known().brokers().values().cloned().collect();
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % addresses.len().max(1);
        addresses.rotate_left(first);
        for named in &self.cluster.bootstrap {
            if !addresses.contains(named) {
                addresses.push(named.clone());
            }
        }
        let mut said = Vec::new();
        let (mut fatals, mut strangers) = (0, 0);
        for Address { host, port } in &addresses {
            match self.cluster.connector.open(host, *port, Instant::now() + self.timeout) {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    fatals += usize::from(error.is_fatal());
                    strangers += usize::from(error.is_stranger());
                    said.push(error.to_string());
                }
            }
        }
        let text = format!("the brokers can't be reached: {}", said.join("; "));
        // At first one broker's no is enough; later, while brokers are changed one by one, it takes all of them. Where
        // something else than Kafka has answered from the start, the address is wrong.
        let first = self.cluster.known().brokers().is_empty();
        let all = |count: usize| count == addresses.len();
        Err(if all(fatals) || (first && (fatals > 0 || all(strangers))) {
            ClusterError::Fatal(text)
        } else {
            ClusterError::Retriable(text)
        })
    }

    /// Asks for metadata: of these topics, or of all. Gives the error of each topic that has one.
    pub fn refresh(&mut self, topics: Option<&[&str]>) -> Result<Vec<(Arc<str>, ErrorCode)>, ClusterError> {
        let cluster = Arc::clone(&self.cluster);
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(|name| of_name(name)).collect()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        self.call(Target::Any, &request, |answer| {
            if answer.error_code != ErrorCode::NONE {
                return Err(of_code(answer.error_code, "asking for metadata"));
            }
            cluster.learn(&answer, topics.is_none())?;
            let failed = answer.topics.iter().filter(|topic| topic.error_code != ErrorCode::NONE);
            let failed = failed.filter_map(|topic| Some((Arc::from(topic.name?), topic.error_code)));
            Ok(failed.collect())
        })?
    }

    /// The id of the group's coordinator, which can be asked from then on.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, ClusterError> {
        let cluster = Arc::clone(&self.cluster);
        let request =
            FindCoordinatorRequest { key: group, key_type: COORDINATOR_OF_GROUP, ..Default::default() };
        let found = self.call(Target::Any, &request, |answer| match answer.error_code {
            ErrorCode::NONE => {
                let port = u16::try_from(answer.port).unwrap_or(0);
                let address = Address { host: answer.host.to_owned(), port };
                cluster.known().add_broker(answer.node_id, address);
                Ok(answer.node_id)
            }
            code => Err(of_code(code, &format!("finding the coordinator of group {group}"))),
        })?;
        if found.is_err() {
            // Another broker may know more.
            self.close(Target::Any);
        }
        found
    }

    /// The same, asked for only where it is not `known` yet.
    pub fn coordinator_unless(&mut self, known: &mut Option<i32>, group: &str) -> Result<i32, ClusterError> {
        match *known {
            Some(id) => Ok(id),
            None => Ok(*known.insert(self.coordinator(group)?)),
        }
    }
}

fn of_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }
}
