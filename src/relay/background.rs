//! A thread that does one kind of slow work for the loop: commits, or dead letters. One job at a time.
//!
//! Nobody waits for the thread: where it hangs at the end of the run, it is left behind.

use super::worker_pool::{Completion, WorkerPool};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// The thread, from the loop's side.
pub(super) struct Background<J> {
    jobs: SyncSender<J>,
    name: &'static str,
}

impl<J: Send + 'static> Background<J> {
    /// Starts it; it ends with this.
    pub(super) fn start(
        name: &'static str,
        pool: &Arc<WorkerPool>,
        mut work: impl FnMut(J) -> Completion + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<J>(1);
        let alarm = Alarm(Arc::clone(pool), name);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let alarm = alarm;
            while let Ok(job) = waiting.recv() {
                let done = work(job);
                alarm.0.done(done);
            }
        })?;
        Ok(Self { jobs, name })
    }

    /// Hands it a job. One at a time, so there is always room.
    pub(super) fn begin(&self, job: J, pool: &WorkerPool) {
        if self.jobs.try_send(job).is_err() {
            pool.done(Completion::Panicked(self.name));
        }
    }
}

/// Tells the loop when the thread unwinds: without it, a result would be waited for that never comes.
struct Alarm(Arc<WorkerPool>, &'static str);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.done(Completion::Panicked(self.1));
        }
    }
}
