//! The connections of one thread to the brokers: who is asked, over which connection, and by when.
//!
//! A connection belongs to an address, so "any broker" and "that broker" share it where they are the same. Any broker
//! is one of those that the metadata names, the same one until it fails or [`Connections::ask_another`] is called; those
//! named at the start stand in while none is known or none of those tried can be reached. Invariant: a call ends by its
//! deadline, whatever has to be opened, looked up or logged in to for it.

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

/// `key_type` of a FindCoordinator request.
const COORDINATOR_OF_GROUP: i8 = 0;

/// A call to [`Target::Any`] tries no more of the known brokers than this before those that were named at the start.
const MOST_BROKERS_TRIED: usize = 4;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any broker that answers. What it is asked must be fit to be asked again, at another one.
    Any,
    /// This one.
    Broker(i32),
}

/// One thread's connections: one an address, whoever is meant by it.
#[derive(Debug)]
pub struct Connections {
    cluster: Arc<Cluster>,
    open: Vec<(Address, Connection)>,
    timeout: Duration,
    /// Who is asked by [`Target::Any`]: a known broker, or one named at the start while no known one can be reached.
    any: Option<Address>,
    /// The next call begins with those named at the start: the brokers ask for it, or the last one had no time for them.
    starts_over: bool,
    /// The first to be tried of those named at the start.
    first_named: usize,
}

impl Connections {
    /// No connection yet; a request may take `timeout`, with whatever has to be opened for it.
    pub fn new(cluster: Arc<Cluster>, timeout: Duration) -> Self {
        Self { cluster, open: Vec::new(), timeout, any: None, starts_over: false, first_named: 0 }
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster they lead to.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Who is told what people should know of these connections.
    pub fn reporter(&self) -> Reporter {
        self.cluster.connector.settings().reporter
    }

    /// Sends a request, waits for the answer and hands it to `read`. A fault ends the connection; the next call
    /// opens another.
    pub fn call<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.call_until(target, request, Instant::now() + self.timeout, read)
    }

    /// The same with another time limit: for requests that wait at the broker.
    pub fn call_within<R: Request, T>(
        &mut self,
        target: Target,
        request: &R,
        timeout: Duration,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        self.call_until(target, request, Instant::now() + timeout, read)
    }

    /// The same by a deadline, which holds for all that is needed: the connection, TLS, the login, the answer. By
    /// [`Target::Any`], a broker that does not answer costs its [share] of the time, and then the next one is asked.
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
                // Where it can't even be reached, its address says more than the error.
                self.open_at(&address, deadline).map_err(|error| unreachable(id, &address, error))?;
                Ok(self.ask_at(&address, request, deadline, &mut read)?)
            }
            Target::Any => self.of_any(deadline, |connections, address, until| {
                connections.ask_at(address, request, until, &mut read)
            }),
        }
    }

    /// Opens the connection to a target unless it is there, for who wants its canceller.
    pub fn open(&mut self, target: Target) -> Result<&mut Connection, ClusterError> {
        self.open_until(target, Instant::now() + self.timeout)
    }

    /// The same by a deadline.
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

    /// Whether this API can be called there.
    pub fn supports(&mut self, target: Target, api: ApiKey) -> Result<bool, ClusterError> {
        Ok(self.open(target)?.versions().supports(api))
    }

    /// Lets the next call to [`Target::Any`] go to another broker than the last one, for when an answer may be out of
    /// date: to the next of those that are known, in turn. No connection is closed.
    pub fn ask_another(&mut self) {
        let known = self.known();
        let place = self.any.as_ref().and_then(|any| known.iter().position(|address| address == any));
        self.any = place.and_then(|place| known.get((place + 1) % known.len().max(1)).cloned());
    }

    /// Ends a connection, after an answer that makes it useless. Of [`Target::Any`], another is asked next.
    pub fn close(&mut self, target: Target) {
        self.take(target);
    }

    /// Ends a connection so that nothing written on it arrives any more, as far as that is in our power.
    pub fn reset(&mut self, target: Target) {
        if let Some(connection) = self.take(target) {
            connection.reset();
        }
    }

    /// How many connections are kept.
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

    /// The connection to an address, kept or new. Those that were not used for too long are closed.
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

    /// Asks at an address; `read` is used up by an answer alone.
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
            // What was asked must not arrive any more behind what is asked next.
            connection.reset();
        }
        outcome
    }

    /// Does it with one broker after another until it works, each for its share of the time: some that are known,
    /// then those that were named at the start (KIP-899).
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
                    // While none is known, the next call goes to one that is known by then.
                    self.any = (!known.is_empty()).then(|| address.clone());
                    self.starts_over = false;
                    return Ok(done);
                }
                Err(error) => failed.push(error),
            }
            if failed.last().is_some_and(ConnectionError::is_refused_login) {
                // The same credentials at each of them could lock the account.
                break;
            }
        }
        self.move_on(candidates.get(..failed.len()).unwrap_or_default(), &known);
        Err(ClusterError::NoBroker { failed, foreign, at_first: known.is_empty() })
    }

    /// Lets the next call begin with those that this one, which was in vain, had no time for.
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

    /// Whom to try, in this order.
    fn candidates(&self, known: &[Address]) -> Vec<Address> {
        let named = &self.cluster.bootstrap;
        let named: Vec<&Address> = named.iter().cycle().skip(self.first_named).take(named.len()).collect();
        let is_open = |address: &Address| self.open.iter().any(|(other, _)| other == address);
        let place = |wanted: &dyn Fn(&Address) -> bool| known.iter().position(wanted);
        let first = match &self.any {
            Some(any) => place(&|address| address == any).unwrap_or(0),
            // A connection that is there is used; else each client begins with another broker.
            None => place(&is_open).unwrap_or_else(|| any_number() % known.len().max(1)),
        };
        // One named at the start that was reached when no known one was is asked for as long as it answers.
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

    /// Asks for metadata: of these topics, or of all. Gives the error of each topic that has one.
    pub fn refresh(&mut self, topics: Option<&[&str]>) -> Result<Vec<(Arc<str>, ErrorCode)>, ClusterError> {
        self.refresh_until(topics, Instant::now() + self.timeout)
    }

    /// The same by a deadline.
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
            // Those that are known now are tried before one that was named at the start is asked again.
            self.any = self.any.take().filter(|any| now.contains(any));
        }
        // KIP-1102: the cluster that is meant is found where it was found at first.
        self.starts_over = matches!(answered, Err(ErrorCode::REBOOTSTRAP_REQUIRED));
        let answered = answered.map_err(|code| ClusterError::of_cluster(ApiKey::Metadata, code)).flatten();
        answered.inspect_err(|_| self.ask_another())
    }

    /// The id of the group's coordinator, which can be asked from then on.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, ClusterError> {
        self.coordinator_until(group, Instant::now() + self.timeout)
    }

    /// The same by a deadline.
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
            // Another broker may know more.
            self.ask_another();
        }
        found
    }

    /// The same, asked for only where it is not `known` yet.
    pub fn coordinator_unless(&mut self, known: &mut Option<i32>, group: &str) -> Result<i32, ClusterError> {
        self.coordinator_unless_until(known, group, Instant::now() + self.timeout)
    }

    /// The same by a deadline.
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
        false => ClusterError::Unreachable { broker, address: address.clone(), reason },
    }
}

/// Spreads clients over brokers.
fn any_number() -> usize {
    usize::try_from(RandomState::new().build_hasher().finish() >> 33).unwrap_or(0)
}

fn of_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }
}
