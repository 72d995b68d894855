//! Connections that wait for their next request: last in, first out, so that the few that are needed stay warm
//! and the others grow old. The lock is held to push and pop alone; sockets are looked at and closed outside.

use super::connection::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection may be kept. Both bounds are there because the other side has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Idle for longer, it is closed: before the receiver does so, which often is after 60 s.
    pub idle: Duration,
    /// Made longer ago, it is closed: the name may lead elsewhere by now.
    pub life: Duration,
}

/// The idle connections of one destination.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<Connection>>,
    most: usize,
    ages: Ages,
}

impl Pool {
    /// Keeps at most `most`, none beyond `ages`.
    pub fn new(most: usize, ages: Ages) -> Self {
        Self { idle: Mutex::new(Vec::new()), most, ages }
    }

    /// One that is alive as far as can be seen.
    pub fn take(&self, now: Instant) -> Option<Connection> {
        // Each turn takes one out, and others put back no more than there are permits.
        for _ in 0..=self.most {
            let mut connection = self.lock().pop()?;
            if self.is_young(&connection, now) && !connection.has_gone() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps it, if it may be used again, and lets go of those that have grown old.
    pub fn put(&self, mut connection: Connection, now: Instant) {
        if !connection.is_reusable() || !self.is_young(&connection, now) {
            return;
        }
        connection.reused = true;
        let mut idle = self.lock();
        // The oldest are in front, since each is pushed when it was used last.
        let old = idle.iter().take_while(|connection| !self.is_young(connection, now)).count();
        let old: Vec<Connection> = idle.drain(..old).collect();
        let surplus = if idle.len() < self.most {
            idle.push(connection);
            None
        } else {
            Some(connection)
        };
        drop(idle);
        drop((old, surplus));
    }

    fn is_young(&self, connection: &Connection, now: Instant) -> bool {
        now.saturating_duration_since(connection.last_used) < self.ages.idle
            && now.saturating_duration_since(connection.since) < self.ages.life
    }

    /// A panic elsewhere leaves a list of connections as good as it was.
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
