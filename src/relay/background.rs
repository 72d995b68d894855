//! A thread that does one kind of blocking work for the loop, commits or dead letters, one job at a time. It is never
//! joined: if it hangs at the end of the run, it is abandoned.

use super::worker_pool::{Completion, WorkerPool};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// The loop's handle of the thread.
pub(super) struct Background<J> {
    jobs: SyncSender<J>,
    name: &'static str,
}

impl<J: Send + 'static> Background<J> {
    /// Starts the thread, which ends when this is dropped.
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

    /// Starts a job. The last one has ended, so there is always room.
    pub(super) fn begin(&self, job: J, pool: &WorkerPool) {
        if self.jobs.try_send(job).is_err() {
            pool.done(Completion::Panicked(self.name));
        }
    }
}

/// Reports a panic of the thread to the loop, which would wait for a result that never comes.
struct Alarm(Arc<WorkerPool>, &'static str);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.done(Completion::Panicked(self.1));
        }
    }
}
