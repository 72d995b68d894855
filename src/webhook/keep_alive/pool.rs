//! Idle connections: last in, first out, so that the few that are needed stay in use and the others expire. The lock is
//! held only to push and pop; sockets are checked and closed outside.
//!
//! A thread, the sweeper, closes idle connections at their age even without traffic. There is at most one, and only
//! while connections are idle; it sleeps until the next one is too old, ends with the pool, and doesn't keep the
//! process alive. If it can't be started, old connections are closed with the next request.

use super::connection::Connection;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The sweeper closes in one go all connections that reach their age within this time.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);
/// The sweeper looks again after this time at the latest.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// How long a connection may be kept. Both bounds are there because the other side has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionAges {
    /// Idle for longer, it is closed: before the receiver does so, which often is after 60 s.
    pub idle: Duration,
    /// Made longer ago, it is closed: the name may lead elsewhere by now.
    pub life: Duration,
}

/// The idle connections of one destination.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Debug)]
struct Shared {
    idle: Mutex<Idle>,
    closing: Condvar,
    ages: ConnectionAges,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one used last is at the end.
    #[allow(clippy::vec_box, reason = "a connection is large, and each request moves one out and in")]
    connections: Vec<Box<Connection>>,
    /// Whether there is a sweeper.
    sweeping: bool,
    /// The pool has gone.
    closed: bool,
}

impl Pool {
    /// Keeps at most `most`, none beyond `ages`.
    pub fn new(most: usize, ages: ConnectionAges) -> Self {
        let shared = Shared { idle: Mutex::default(), closing: Condvar::new(), ages };
        Self { shared: Arc::new(shared), most }
    }

    /// A connection that seems alive.
    pub fn take(&self, now: Instant) -> Option<Box<Connection>> {
        // Each turn removes one, and other threads put back no more than there are permits.
        for _ in 0..=self.most {
            let mut connection = self.shared.lock().connections.pop()?;
            if self.shared.is_young(&connection, now) && !connection.has_gone() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps the connection if it is reusable, and closes expired ones.
    pub fn put(&self, mut connection: Box<Connection>, now: Instant) {
        if !connection.is_reusable() || !self.shared.is_young(&connection, now) {
            return;
        }
        connection.reused = true;
        let mut idle = self.shared.lock();
        // The oldest are in front, nearly always; the sweeper finds the others.
        let old = idle.connections.iter().take_while(|it| !self.shared.is_young(it, now)).count();
        let old: Vec<Box<Connection>> = idle.connections.drain(..old).collect();
        let surplus = if idle.connections.len() < self.most {
            idle.connections.push(connection);
            None
        } else {
            Some(connection)
        };
        let sweep = !std::mem::replace(&mut idle.sweeping, true);
        drop(idle);
        drop((old, surplus));
        if sweep && self.start_sweeper().is_err() {
            self.shared.lock().sweeping = false;
        }
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        let connections = std::mem::take(&mut self.shared.lock().connections);
        drop(connections);
    }

    fn start_sweeper(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("idle sweep".into()).spawn(move || shared.sweep())?;
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut idle = self.shared.lock();
        idle.closed = true;
        let connections = std::mem::take(&mut idle.connections);
        drop(idle);
        drop(connections);
        self.shared.closing.notify_all();
    }
}

impl Shared {
    /// Closes connections as they grow old, until there are none.
    fn sweep(&self) {
        let mut idle = self.lock();
        loop {
            let now = Instant::now();
            let old: Vec<Box<Connection>> =
                idle.connections.extract_if(.., |connection| !self.is_young(connection, now)).collect();
            if !old.is_empty() {
                drop(idle);
                drop(old);
                idle = self.lock();
                continue;
            }
            if idle.closed || idle.connections.is_empty() {
                idle.sweeping = false;
                return;
            }
            let next = idle.connections.iter().filter_map(|it| self.time_left(it, now)).min();
            let sleep = next.unwrap_or(LONGEST_SLEEP).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
            let waited = self.closing.wait_timeout(idle, sleep);
            idle = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_young(&self, connection: &Connection, now: Instant) -> bool {
        self.time_left(connection, now).is_some()
    }

    /// How much longer it may be kept; `None` if it may not.
    fn time_left(&self, connection: &Connection, now: Instant) -> Option<Duration> {
        let kept = connection.reading.keeps().unwrap_or(Duration::MAX);
        let idle = self.ages.idle.min(kept).checked_sub(now.saturating_duration_since(connection.last_used));
        let life = self.ages.life.checked_sub(now.saturating_duration_since(connection.since));
        idle.zip(life).map(|(idle, life)| idle.min(life)).filter(|left| !left.is_zero())
    }

    /// A panic elsewhere leaves a list of connections as good as it was.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
