//! The connections of one thread to the brokers: which broker is asked, over which connection, by which deadline.
//!
//! Connections are kept by address, so [`Target::Any`] and [`Target::Broker`] share one where they mean the same
//! broker. `Any` is a broker of the metadata, the same one until it fails or [`Connections::ask_another`] is called.
//! The bootstrap addresses are used while no broker is known, or when none of those tried can be reached. Invariant: a
//! call ends by its deadline, including DNS, TCP, TLS and login.

use super::{Address, Cluster, ClusterError};
use crate::files::Reporter;
use crate::kafka::connection::{Connection, ConnectionError, share};
use crate::kafka::protocol::find_coordinator::FindCoordinatorRequest;
use crate::kafka::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::kafka::protocol::{ApiKey, ErrorCode, Request};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `key_type` of a FindCoordinator request for a consumer group.
const COORDINATOR_OF_GROUP: i8 = 0;

/// How many known brokers a call to [`Target::Any`] tries before it falls back to the bootstrap addresses.
const MOST_BROKERS_TRIED: usize = 4;

/// The broker that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any broker that answers. The request must be idempotent, since it may be sent to another one after a failure.
    Any,
    /// The broker with this id.
    Broker(i32),
}

/// One thread's connections, one per address.
#[derive(Debug)]
pub struct Connections {
    cluster: Arc<Cluster>,
    open: Vec<(Address, Connection)>,
    timeout: Duration,
    /// The address of [`Target::Any`]: a known broker, or a bootstrap address while no known broker can be reached.
    any: Option<Address>,
    /// The next call begins with the bootstrap addresses: a broker asked for that, or the last call ran out of time
    /// before it came to them.
    starts_over: bool,
    /// The bootstrap address to try first.
    first_named: usize,
}

impl Connections {
    /// Opens nothing yet. `timeout` bounds each request, including the opening of its connection.
    pub fn new(cluster: Arc<Cluster>, timeout: Duration) -> Self {
        Self { cluster, open: Vec::new(), timeout, any: None, starts_over: false, first_named: 0 }
    }

    /// The time limit of a request.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster that they connect to.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Where messages about these connections go.
    pub(crate) fn reporter(&self) -> Reporter {
        self.cluster.connector.settings().reporter
    }

    /// Sends a request, waits for the response and passes it to `read`. After a failure the connection is closed, and
    /// the next call opens another.
    pub fn call<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.call_until(target, request, Instant::now() + self.timeout, read)
    }

    /// Like [`call`](Self::call) with another time limit, for requests that the broker holds back.
    pub(crate) fn call_within<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        timeout: Duration,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.call_until(target, request, Instant::now() + timeout, read)
    }

    /// Like [`call`](Self::call) with a deadline for everything: DNS, TCP, TLS, login and response. With
    /// [`Target::Any`], a broker that does not answer uses up its [share] of the time, then the next one is asked.
    pub fn call_until<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        deadline: Instant,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        let mut read = Some(read);
        match target {
            Target::Broker(id) => {
                let address = self.address(id)?;
                // If it can't be reached, its advertised address may be wrong.
                self.open_at(&address, deadline).map_err(|error| unreachable(id, &address, error))?;
                Ok(self.ask_at(&address, request, deadline, &mut read)?)
            }
            Target::Any => self.of_any(deadline, |connections, address, until| {
                connections.ask_at(address, request, until, &mut read)
            }),
        }
    }

    /// Opens the connection to a target unless it is open, for example to get its canceller.
    pub fn open(&mut self, target: Target) -> Result<&mut Connection, ClusterError> {
        self.open_until(target, Instant::now() + self.timeout)
    }

    /// Like [`open`](Self::open) with a deadline.
    pub fn open_until(&mut self, target: Target, deadline: Instant) -> Result<&mut Connection, ClusterError> {
        let address = match target {
            Target::Broker(id) => {
                let address = self.address(id)?;
                self.open_at(&address, deadline).map_err(|error| unreachable(id, &address, error))?;
                address
            }
            Target::Any => self.of_any(deadline, |connections, address, until| {
                connections.open_at(address, until).map(|_| address.clone())
            })?,
        };
        Ok(self.open_at(&address, deadline)?)
    }

    /// Whether the broker offers this API in a version spoken here.
    pub(crate) fn supports(&mut self, target: Target, api: ApiKey) -> Result<bool, ClusterError> {
        Ok(self.open(target)?.versions().supports(api))
    }

    /// Directs the next call to [`Target::Any`] to the next known broker, because the last response may be stale.
    /// Closes no connection.
    pub fn ask_another(&mut self) {
        let known = self.known();
        let place = self.any.as_ref().and_then(|any| known.iter().position(|address| address == any));
        self.any = place.and_then(|place| known.get((place + 1) % known.len().max(1)).cloned());
    }

    /// Closes a connection. With [`Target::Any`], another broker is asked next.
    pub fn close(&mut self, target: Target) {
        self.take(target);
    }

    /// Resets a connection, so that requests still in flight on it are discarded if they have not arrived yet.
    pub(crate) fn reset(&mut self, target: Target) {
        if let Some(connection) = self.take(target) {
            connection.reset();
        }
    }

    /// The number of open connections.
    pub fn kept(&self) -> usize {
        self.open.len()
    }

    fn take(&mut self, target: Target) -> Option<Connection> {
        let address = match target {
            Target::Broker(id) => self.address(id).ok(),
            Target::Any => {
                let asked = self.any.clone();
                self.ask_another();
                asked
            }
        };
        self.take_at(&address?)
    }

    fn take_at(&mut self, address: &Address) -> Option<Connection> {
        let place = self.open.iter().position(|(other, _)| other == address)?;
        Some(self.open.swap_remove(place).1)
    }

    fn address(&self, id: i32) -> Result<Address, ClusterError> {
        let address = self.cluster.known().brokers().get(&id).cloned();
        address.ok_or(ClusterError::UnknownBroker(id))
    }

    fn known(&self) -> Vec<Address> {
        self.cluster.known().brokers().values().cloned().collect()
    }

    /// The connection to an address, kept or new. Closes those that were idle for too long.
    fn open_at(&mut self, address: &Address, deadline: Instant) -> Result<&mut Connection, ConnectionError> {
        let now = Instant::now();
        self.open.retain(|(_, connection)| !connection.is_stale(now));
        let mut place = self.open.iter().position(|(other, _)| other == address);
        if let Some((_, connection)) = place.and_then(|place| self.open.get_mut(place))
            && connection.has_gone()
        {
            self.take_at(address);
            place = None;
        }
        let place = match place {
            Some(place) => place,
            None => {
                let connection = self.cluster.connector.open(&address.host, address.port, deadline)?;
                self.open.push((address.clone(), connection));
                self.open.len() - 1
            }
        };
        let gone = || ConnectionError::Unusable { broker: address.to_string() };
        self.open.get_mut(place).map(|(_, connection)| connection).ok_or_else(gone)
    }

    /// Calls the broker at an address. Takes `read` only if a response has come.
    fn ask_at<R: Request, T>(
        &mut self,
        address: &Address,
        request: &R,
        deadline: Instant,
        read: &mut Option<impl FnOnce(R::Response<'_>) -> T>,
    ) -> Result<T, ConnectionError> {
        let gone = || ConnectionError::Unusable { broker: address.to_string() };
        let connection = self.open_at(address, deadline)?;
        let outcome = match connection.call(request, deadline) {
            Ok(answer) => read.take().map(|read| read(answer)).ok_or_else(gone),
            Err(error) => Err(error),
        };
        if outcome.is_err()
            && let Some(connection) = self.take_at(address)
        {
            // The failed request must not arrive after the next one.
            connection.reset();
        }
        outcome
    }

    /// Tries one broker after another until `act` succeeds, each for its share of the time: some known brokers, then
    /// the bootstrap addresses (KIP-899).
    fn of_any<T>(
        &mut self,
        deadline: Instant,
        mut act: impl FnMut(&mut Self, &Address, Instant) -> Result<T, ConnectionError>,
    ) -> Result<T, ClusterError> {
        let known = self.known();
        let candidates = self.candidates(&known);
        let (mut failed, mut foreign) = (Vec::new(), 0);
        for (place, address) in candidates.iter().enumerate() {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() && place > 0 {
                break;
            }
            let until = now + share(left, candidates.len() - place - 1);
            let opened = self.open_at(address, until).map(drop);
            foreign += usize::from(opened.as_ref().is_err_and(|error| error.is_foreign()));
            match opened.and_then(|()| act(self, address, until)) {
                Ok(done) => {
                    // As long as no broker is known, the next call chooses anew.
                    self.any = (!known.is_empty()).then(|| address.clone());
                    self.starts_over = false;
                    return Ok(done);
                }
                Err(error) => failed.push(error),
            }
            if failed.last().is_some_and(ConnectionError::is_refused_login) {
                // Trying the same credentials at each broker could lock the account.
                break;
            }
        }
        self.move_on(candidates.get(..failed.len()).unwrap_or_default(), &known);
        Err(ClusterError::NoBroker { failed, foreign, at_first: known.is_empty() })
    }

    /// After a failed call: the next one begins with the brokers that this one had no time for.
    fn move_on(&mut self, tried: &[Address], known: &[Address]) {
        if !self.starts_over {
            self.any = tried.iter().rfind(|address| known.contains(address)).cloned();
            self.ask_another();
        }
        let named = &self.cluster.bootstrap;
        let last = tried.iter().rev().find_map(|address| named.iter().position(|other| other == address));
        self.starts_over = last.is_none();
        self.first_named = last.map_or(self.first_named, |place| (place + 1) % named.len().max(1));
    }

    /// The addresses to try, in order.
    fn candidates(&self, known: &[Address]) -> Vec<Address> {
        let named = &self.cluster.bootstrap;
        let named: Vec<&Address> = named.iter().cycle().skip(self.first_named).take(named.len()).collect();
        let is_open = |address: &Address| self.open.iter().any(|(other, _)| other == address);
        let place = |wanted: &dyn Fn(&Address) -> bool| known.iter().position(wanted);
        let first = match &self.any {
            Some(any) => place(&|address| address == any).unwrap_or(0),
            // An open connection first; otherwise a random broker, to spread the clients.
            None => place(&is_open).unwrap_or_else(|| any_number() % known.len().max(1)),
        };
        // After a fallback to a bootstrap address, that address is used as long as it answers.
        let fallen_back = self.any.as_ref().filter(|any| !known.contains(any) && is_open(any));
        let first_of_all = if self.starts_over { named.as_slice() } else { &[] };
        let mut candidates: Vec<Address> = first_of_all.iter().copied().chain(fallen_back).cloned().collect();
        candidates
            .extend(known.iter().cycle().skip(first).take(known.len().min(MOST_BROKERS_TRIED)).cloned());
        candidates.extend(named.into_iter().cloned());
        let mut seen = Vec::with_capacity(candidates.len());
        candidates.retain(|address| {
            let is_new = !seen.contains(address);
            seen.push(address.clone());
            is_new
        });
        candidates
    }

    /// Fetches metadata of these topics, or of all. Returns the topics that have an error code.
    pub fn refresh(&mut self, topics: Option<&[&str]>) -> Result<Vec<(Arc<str>, ErrorCode)>, ClusterError> {
        self.refresh_until(topics, Instant::now() + self.timeout)
    }

    /// Like [`refresh`](Self::refresh) with a deadline.
    pub fn refresh_until(
        &mut self,
        topics: Option<&[&str]>,
        deadline: Instant,
    ) -> Result<Vec<(Arc<str>, ErrorCode)>, ClusterError> {
        let cluster = Arc::clone(&self.cluster);
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(|name| of_name(name)).collect()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        let before = self.known();
        let answered = self.call_until(Target::Any, &request, deadline, |answer| {
            if answer.error_code != ErrorCode::NONE {
                return Err(answer.error_code);
            }
            let learned = cluster.learn(&answer, topics.is_none());
            let failed = answer.topics.iter().filter(|topic| topic.error_code != ErrorCode::NONE);
            let failed = failed.filter_map(|topic| Some((Arc::from(topic.name?), topic.error_code)));
            Ok(learned.map(|()| failed.collect()))
        })?;
        let now = self.known();
        if now != before {
            // Known brokers go before a bootstrap address.
            self.any = self.any.take().filter(|any| now.contains(any));
        }
        // KIP-1102: the client has to start over with its bootstrap addresses.
        self.starts_over = matches!(answered, Err(ErrorCode::REBOOTSTRAP_REQUIRED));
        let answered = answered.map_err(|code| ClusterError::of_cluster(ApiKey::Metadata, code)).flatten();
        answered.inspect_err(|_| self.ask_another())
    }

    /// Finds the group's coordinator. Returns its id, which is a valid [`Target::Broker`] from then on.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, ClusterError> {
        self.coordinator_until(group, Instant::now() + self.timeout)
    }

    /// Like [`coordinator`](Self::coordinator) with a deadline.
    pub fn coordinator_until(&mut self, group: &str, deadline: Instant) -> Result<i32, ClusterError> {
        let cluster = Arc::clone(&self.cluster);
        let request =
            FindCoordinatorRequest { key: group, key_type: COORDINATOR_OF_GROUP, ..Default::default() };
        let found = self.call_until(Target::Any, &request, deadline, |answer| match answer.error_code {
            ErrorCode::NONE => {
                let port = u16::try_from(answer.port).unwrap_or(0);
                let address = Address { host: answer.host.to_owned(), port };
                cluster.known().add_broker(answer.node_id, address);
                Ok(answer.node_id)
            }
            code => Err(ClusterError::of_group(ApiKey::FindCoordinator, group, code)),
        })?;
        if found.is_err() {
            // Another broker may know the coordinator.
            self.ask_another();
        }
        found
    }

    /// The coordinator if it is `known`, else [found](Self::coordinator) and remembered there.
    pub fn coordinator_unless(&mut self, known: &mut Option<i32>, group: &str) -> Result<i32, ClusterError> {
        self.coordinator_unless_until(known, group, Instant::now() + self.timeout)
    }

    /// Like [`coordinator_unless`](Self::coordinator_unless) with a deadline.
    pub fn coordinator_unless_until(
        &mut self,
        known: &mut Option<i32>,
        group: &str,
        deadline: Instant,
    ) -> Result<i32, ClusterError> {
        match *known {
            Some(id) => Ok(id),
            None => Ok(*known.insert(self.coordinator_until(group, deadline)?)),
        }
    }
}

/// Names the advertised address, where that may be what is wrong.
fn unreachable(broker: i32, address: &Address, reason: ConnectionError) -> ClusterError {
    match reason.is_fatal() {
        true => reason.into(),
        false => ClusterError::Unreachable { broker, address: address.clone(), reason: Box::new(reason) },
    }
}

/// A random number, so that clients begin with different brokers.
fn any_number() -> usize {
    usize::try_from(RandomState::new().build_hasher().finish() >> 33).unwrap_or(0)
}

fn of_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }
}
