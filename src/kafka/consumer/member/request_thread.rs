//! A thread that asks the brokers one thing at a time, on connections of its own, so that the member's thread never
//! waits for an answer. It decides nothing.

use super::requests::{self, Joining, in_time};
use crate::kafka::cluster::{ClusterError, Connections, Target};
use crate::kafka::connection::Canceller;
use crate::kafka::consumer::PanicGuard;
use crate::kafka::consumer::state::Shared;
use crate::kafka::group::exchange::{Answer, Ask, Request, RequestId};
use crate::kafka::protocol;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What to ask.
pub(super) enum Job {
    /// The coordinator: `coordinator` where another line has found it, and the assignor of the group's generation.
    Ask { ask: Ask, coordinator: Option<i32>, protocol: String },
    /// Any broker, for the sizes of these topics.
    Sizes(BTreeSet<Arc<str>>),
}

/// What came of it.
pub(super) enum Reply {
    /// Of an [`Job::Ask`]; with the coordinator where it was looked for.
    Answer { id: RequestId, outcome: Result<Answer, ClusterError>, coordinator: Option<i32> },
    /// Of [`Job::Sizes`]: whether they are known now.
    Sizes(BTreeSet<Arc<str>>, Result<(), ClusterError>),
}

/// Replies, to be taken by the member's thread; at most one a job.
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

/// What ends the request under way, seen by both threads.
#[derive(Default)]
struct Switch {
    canceller: Option<Canceller>,
    /// Requests up to this one are not wanted any more: those that aren't sent yet never are.
    given_up: Option<RequestId>,
}

/// The member's end of it.
pub(super) struct RequestThread {
    jobs: Sender<Job>,
    switch: Arc<Mutex<Switch>>,
    last: Option<RequestId>,
}

impl RequestThread {
    /// Starts the thread. One with `idle` closes its connection to the coordinator after so long without a job.
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
        let guard = PanicGuard { name, shared: Arc::clone(shared) };
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let _guard = guard;
            worker.run(&waiting);
        })?;
        Ok(Self { jobs, switch, last: None })
    }

    /// Gives it something to do; it comes after what is under way.
    pub(super) fn add(&mut self, job: Job) {
        if let Job::Ask { ask, .. } = &job {
            self.last = Some(ask.id);
        }
        // A thread that has ended has told so by its guard.
        let _ = self.jobs.send(job);
    }

    /// Ends what is under way, in a way that lets nothing of it arrive any more as far as that is in our power.
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
    // Each change is one assignment.
    switch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
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
            // Whoever looks at the inbox while it holds this lock either finds the reply or hears the bell.
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

    /// Resets the connection to the coordinator, which then is unknown.
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
        // So much of the time is left that one lost answer is no lost session.
        let step = Instant::now() + self.connections.timeout();
        let id = self.connections.coordinator_until(&self.group, ask.deadline.min(step))?;
        in_time(ask.deadline)?;
        self.coordinator = Some(id);
        self.connect(ask)?;
        Ok(Answer::Coordinator)
    }

    /// Opens the connection to the coordinator unless it is there; fails where the request was given up meanwhile.
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
            // What was asked must not arrive any more behind what is asked next.
            lock(&self.switch).canceller = None;
            self.connections.reset(target);
        }
        Ok(outcome?)
    }
}
