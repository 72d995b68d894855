//! A thread that sends a member's requests one at a time, over its own connections, so that the member's thread never
//! waits for a response. It decides nothing.

use super::requests::{self, Joining, in_time};
use crate::kafka::cluster::{ClusterError, Connections, Target};
use crate::kafka::connection::Canceller;
use crate::kafka::consumer::spawn;
use crate::kafka::consumer::state::Shared;
use crate::kafka::group::exchange::{Answer, Ask, Request, RequestId};
use crate::kafka::protocol;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What to request.
pub(super) enum Job {
    /// A request to the coordinator. `coordinator` is its id if another thread has found it; `protocol` the assignor of
    /// the generation.
    Ask { ask: Ask, coordinator: Option<i32>, protocol: String },
    /// The partition counts of these topics, from any broker.
    Sizes(BTreeSet<Arc<str>>),
}

/// The outcome of a job.
pub(super) enum Reply {
    /// Of a [`Job::Ask`], with the coordinator's id if the job was to find it.
    Answer { id: RequestId, outcome: Result<Answer, ClusterError>, coordinator: Option<i32> },
    /// Of a [`Job::Sizes`]: whether the cluster knows them now.
    Sizes(BTreeSet<Arc<str>>, Result<(), ClusterError>),
}

/// Replies for the member's thread; at most one per job.
#[derive(Default)]
pub(super) struct Inbox(Mutex<VecDeque<Reply>>);

impl Inbox {
    pub(super) fn take(&self) -> Option<Reply> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn put(&self, reply: Reply) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }
}

/// Cancels the request in flight; shared by both threads.
#[derive(Default)]
struct Switch {
    canceller: Option<Canceller>,
    /// Requests up to this one are cancelled: those that are not sent yet never will be.
    given_up: Option<RequestId>,
}

/// The member's handle of the thread.
pub(super) struct RequestThread {
    jobs: Sender<Job>,
    switch: Arc<Mutex<Switch>>,
    last: Option<RequestId>,
}

impl RequestThread {
    /// Starts the thread. With `idle`, it closes its connection to the coordinator after this long without a job.
    pub(super) fn start(
        name: &'static str,
        connections: Connections,
        group: &str,
        idle: Option<Duration>,
        shared: &Arc<Shared>,
        inbox: &Arc<Inbox>,
    ) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let switch = Arc::new(Mutex::new(Switch::default()));
        let worker = Worker {
            connections,
            group: group.to_owned(),
            coordinator: None,
            idle,
            switch: Arc::clone(&switch),
            shared: Arc::clone(shared),
            inbox: Arc::clone(inbox),
        };
        spawn(name, name.into(), shared, move || worker.run(&waiting))?;
        Ok(Self { jobs, switch, last: None })
    }

    /// Queues a job.
    pub(super) fn add(&mut self, job: Job) {
        if let Job::Ask { ask, .. } = &job {
            self.last = Some(ask.id);
        }
        // If the thread has ended, its panic guard has reported that.
        let _ = self.jobs.send(job);
    }

    /// Cancels all requests. The one in flight is discarded if it has not arrived yet.
    pub(super) fn give_up(&self) {
        let mut switch = lock(&self.switch);
        switch.given_up = self.last;
        if let Some(canceller) = switch.canceller.take() {
            canceller.cancel();
        }
    }
}

impl Drop for RequestThread {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn lock(switch: &Mutex<Switch>) -> MutexGuard<'_, Switch> {
    // A panic can't leave it half changed: each change is one assignment.
    switch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of the thread.
struct Worker {
    connections: Connections,
    group: String,
    coordinator: Option<i32>,
    idle: Option<Duration>,
    switch: Arc<Mutex<Switch>>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(job) = self.next(jobs) {
            let reply = match job {
                Job::Ask { ask, coordinator, protocol } => {
                    if coordinator.is_some() && coordinator != self.coordinator {
                        self.hang_up();
                        self.coordinator = coordinator;
                    }
                    let outcome = self.ask(&ask, &protocol);
                    let found = matches!(outcome, Ok(Answer::Coordinator));
                    let coordinator = self.coordinator.filter(|_| found);
                    Reply::Answer { id: ask.id, outcome, coordinator }
                }
                Job::Sizes(topics) => {
                    let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
                    let outcome = self.connections.refresh(Some(&names)).map(drop);
                    Reply::Sizes(topics, outcome)
                }
            };
            self.inbox.put(reply);
            // Whoever checks the inbox under this lock either finds the reply or is woken.
            drop(self.shared.lock());
            self.shared.wake();
        }
    }

    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        let Some(idle) = self.idle else { return jobs.recv().ok() };
        match jobs.recv_timeout(idle) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                self.hang_up();
                jobs.recv().ok()
            }
        }
    }

    /// Resets the connection to the coordinator and forgets which broker it is.
    fn hang_up(&mut self) {
        lock(&self.switch).canceller = None;
        if let Some(id) = self.coordinator.take() {
            self.connections.reset(Target::Broker(id));
        }
    }

    fn ask(&mut self, ask: &Ask, protocol: &str) -> Result<Answer, ClusterError> {
        in_time(ask.deadline)?;
        let group = self.group.clone();
        match &ask.request {
            Request::FindCoordinator => self.find_coordinator(ask),
            Request::Join { member_id, instance_id, session_timeout, rebalance_timeout, protocols } => {
                let joining = Joining {
                    group: &group,
                    member_id,
                    instance_id: instance_id.as_deref(),
                    session_timeout: *session_timeout,
                    rebalance_timeout: *rebalance_timeout,
                };
                let encoded = requests::subscriptions(protocols)?;
                self.call(ask, &joining.request(&encoded), requests::joined)?
            }
            Request::Sync { stamp, assignments } => {
                let encoded = requests::assignments(assignments)?;
                self.call(ask, &requests::sync(&group, stamp, protocol, &encoded), |answer| {
                    requests::synced(&answer)
                })?
            }
            Request::Heartbeat { stamp } => self
                .call(ask, &requests::heartbeat(&group, stamp), |answer| requests::done(answer.error_code)),
            Request::Leave { member_id } => {
                self.call(ask, &requests::leave(&group, member_id), |answer| requests::left(&answer))
            }
        }
    }

    fn find_coordinator(&mut self, ask: &Ask) -> Result<Answer, ClusterError> {
        self.hang_up();
        // Only part of the time, so that one lost response does not cost the session.
        let step = Instant::now() + self.connections.timeout();
        let id = self.connections.coordinator_until(&self.group, ask.deadline.min(step))?;
        in_time(ask.deadline)?;
        self.coordinator = Some(id);
        self.connect(ask)?;
        Ok(Answer::Coordinator)
    }

    /// Opens the connection to the coordinator unless it is open. Fails if the request was cancelled meanwhile.
    fn connect(&mut self, ask: &Ask) -> Result<Target, ClusterError> {
        let id = self.coordinator.ok_or(ClusterError::NoCoordinator)?;
        let target = Target::Broker(id);
        let canceller = self.connections.open_until(target, ask.deadline)?.canceller();
        let mut switch = lock(&self.switch);
        if switch.given_up.is_some_and(|until| ask.id <= until) {
            return Err(ClusterError::Cancelled);
        }
        switch.canceller = Some(canceller);
        Ok(target)
    }

    fn call<R: protocol::Request, T>(
        &mut self,
        ask: &Ask,
        request: &R,
        read: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, ClusterError> {
        let target = self.connect(ask)?;
        in_time(ask.deadline)?;
        let outcome =
            self.connections.open_until(target, ask.deadline)?.call(request, ask.deadline).map(read);
        if outcome.is_err() {
            // The failed request must not arrive after the next one.
            lock(&self.switch).canceller = None;
            self.connections.reset(target);
        }
        Ok(outcome?)
    }
}
