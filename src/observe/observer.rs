//! Events of the core as log lines.
//!
//! `-v` shows each attempt, `-vv` the workers as well. Lines at `info` and above are bounded: at most ten rejected
//! records a second have a line of their own, and one stubborn record in half a minute; the others are counted.

use super::advice;
use super::fields::Fields;
use super::limit::LineLimit;
use super::log::tell;
use crate::notice::Severity;
use crate::record::{Offset, Partition, Record};
use crate::relay::control::REMIND_EVERY;
use crate::relay::dead_letter::Rejection;
use crate::relay::event::{Change, Event, Observer, Snapshot, Totals};
use crate::relay::settings::OnRejection;
use log::Level;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines about the progress, while there is any.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(10);
/// A record is named in a warning from this attempt on.
const STUBBORN_ATTEMPT: u32 = 10;
/// At most this many rejected records, and failed commits, are logged a second.
const LINES_A_SECOND: u32 = 10;

/// Writes events to the log.
#[derive(Debug)]
pub(crate) struct LogObserver {
    has_delivered: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    snapshot: Snapshot,
    rejections: LineLimit,
    stubborn: LineLimit,
    commit_failures: LineLimit,
}

impl LogObserver {
    pub(crate) fn new() -> Self {
        let at = Instant::now();
        let a_second = || LineLimit::new(LINES_A_SECOND, Duration::from_secs(1), at);
        let told = Told {
            at,
            snapshot: Snapshot::default(),
            rejections: a_second(),
            stubborn: LineLimit::new(1, REMIND_EVERY, at),
            commit_failures: a_second(),
        };
        Self { has_delivered: AtomicBool::new(false), told: Mutex::new(told) }
    }

    fn limited(&self, limit: fn(&mut Told) -> &mut LineLimit) -> Option<u64> {
        // Counters are whole whatever a panicking holder did.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        limit(&mut told).tell(Instant::now())
    }

    /// The first delivered event is what people wait for in their first minutes.
    fn delivered(&self, record: &Record, attempt: u32, took: Duration) {
        // Relaxed: which of two simultaneous ones is the first doesn't matter.
        if self.has_delivered.load(Ordering::Relaxed) || self.has_delivered.swap(true, Ordering::Relaxed) {
            return;
        }
        tell(Level::Info, || {
            let fields = Fields::of("first_delivered").record(record).number("attempt", attempt);
            let text = format!("the first event is delivered: {}, in {took:.1?}", Named(record));
            (fields.millis("duration_ms", took), text)
        });
    }

    fn progress(&self, snapshot: &Snapshot) {
        let (before, since) = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let since = told.at.elapsed();
            if since < SNAPSHOT_INTERVAL {
                return;
            }
            told.at = Instant::now();
            (std::mem::replace(&mut told.snapshot, snapshot.clone()), since)
        };
        if snapshot.totals.attempts != before.totals.attempts || snapshot.under_way > 0 {
            tell(Level::Info, || progress_line(snapshot, &before, since));
        }
    }

    fn rejected(&self, record: &Record, rejection: &Rejection, action: OnRejection) {
        let Some(untold) = self.limited(|told| &mut told.rejections) else { return };
        let Rejection { status, reason, attempts, .. } = rejection;
        let (word, fate) = match action {
            OnRejection::DeadLetter => ("dead_letter", "is in the dead letters"),
            OnRejection::Drop => ("drop", "was dropped"),
            OnRejection::Stop => ("stop", "stops the run"),
        };
        tell(Level::Warn, || {
            let answered = status.map_or("no answer".into(), |status| format!("status {status}"));
            let more = if untold > 0 { format!(" (and {untold} more before it)") } else { String::new() };
            let fields = Fields::of("rejected").record(record).status(*status).number("attempt", *attempts);
            let text = format!("{} {fate}: {answered}, attempt {attempts}: {reason}{more}", Named(record));
            (fields.text("cause", reason).text("fate", word), text)
        });
    }

    fn retrying(&self, record: &Record, attempt: u32, delay: Duration, cause: &str) {
        let fields = || {
            Fields::of("retry")
                .record(record)
                .number("attempt", attempt)
                .millis("delay_ms", delay)
                .text("cause", cause)
        };
        if attempt < STUBBORN_ATTEMPT {
            return tell(Level::Debug, || {
                (fields(), format!("{}: retry in {delay:.1?}, after {cause}", Named(record)))
            });
        }
        if let Some(untold) = self.limited(|told| &mut told.stubborn) {
            tell(Level::Warn, || {
                let more =
                    if untold > 0 { format!(" ({untold} more such lines left out)") } else { String::new() };
                let text = format!(
                    "{} failed {attempt} times, the last time with {cause}; retry in {delay:.1?}. To reject such \
                     records, set --max-attempts or --max-age{more}",
                    Named(record)
                );
                (fields(), text)
            });
        }
    }

    fn commit_failed(&self, error: &str) {
        if self.limited(|told| &mut told.commit_failures).is_some() {
            tell(Level::Warn, || {
                (Fields::of("commit_failed").text("cause", error), format!("{error}; trying again"))
            });
        }
    }
}

impl Observer for LogObserver {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Assigned(positions) => tell(Level::Info, || {
                let list = crate::record::Checkpoint::list(positions);
                (Fields::of("assigned").text("positions", &*list), format!("assigned {list}"))
            }),
            Event::Revoked(partitions) => tell(Level::Info, || {
                let list = format!("{partitions:?}");
                (Fields::of("revoked").text("partitions", &*list), format!("giving up {list}"))
            }),
            Event::Lost(partitions) => tell(Level::Warn, || {
                let list = format!("{partitions:?}");
                let text = format!(
                    "lost {list}: their next owner sends again what was delivered of them but not committed"
                );
                (Fields::of("lost").text("partitions", list), text)
            }),
            Event::Notice(notice) => {
                let level = match notice.severity {
                    Severity::Info => Level::Info,
                    Severity::Warning => Level::Warn,
                    Severity::Error => Level::Error,
                };
                tell(level, || (Fields::of("notice"), notice.text.clone()));
            }
            Event::Delivered { record, attempt, took } => self.delivered(record, *attempt, *took),
            Event::Retrying { record, attempt, delay, cause } => {
                self.retrying(record, *attempt, *delay, cause)
            }
            Event::Rejected { record, rejection, action } => self.rejected(record, rejection, *action),
            Event::DeadLettersUnavailable { delay, error } => tell(Level::Error, || {
                let fields = Fields::of("dead_letters_unavailable").millis("delay_ms", *delay);
                let text = format!("dead letters can't be kept: {error}; retry in {delay:.1?}");
                (fields.text("cause", *error), text)
            }),
            Event::Committed(positions) => tell(Level::Debug, || {
                let list = crate::record::Checkpoint::list(positions);
                (Fields::of("committed").text("positions", &*list), format!("committed {list}"))
            }),
            Event::CommitFailed { error } => self.commit_failed(error),
            Event::Snapshot(snapshot) => self.progress(snapshot),
            Event::Change(change) => tell_change(change),
            Event::Draining => {
                tell(Level::Info, || (Fields::of("draining"), "finishing what is in flight".into()));
            }
            Event::Ended(totals) => tell(Level::Info, || ended_line(totals)),
            Event::FewerThreads { running, wanted, error } => tell(Level::Warn, || {
                let fields =
                    Fields::of("fewer_threads").number("running", *running).number("wanted", *wanted);
                let text = format!(
                    "only {running} of {wanted} threads can be started ({error}): sending continues with these. Raise \
                     the limit of processes (ulimit -u), or lower --max-concurrency"
                );
                (fields.text("cause", *error), text)
            }),
            other => tell_worker(other),
        }
    }
}

/// The story of the workers.
fn tell_worker(event: &Event<'_>) {
    let worker = |n: usize, text: &str| {
        tell(Level::Trace, || (Fields::of("worker").number("worker", n), format!("Worker {n}: {text}")));
    };
    match event {
        Event::WorkerWaiting(n) => worker(*n, "Waiting to acquire semaphore"),
        Event::WorkerRunning(n) => worker(*n, "Semaphore acquired, running"),
        Event::WorkerReleased(n) => worker(*n, "Semaphore released"),
        Event::Probing { record } => tell(Level::Debug, || {
            (Fields::of("probe").record(record), format!("{} goes first, as a probe", Named(record)))
        }),
        Event::BatchJoined => {
            tell(Level::Debug, || (Fields::of("batch_done"), "All workers have completed".into()));
        }
        Event::BatchInterval(interval) => tell(Level::Debug, || {
            let fields = Fields::of("batch_interval").millis("delay_ms", *interval);
            (fields, "Waiting for batch interval...".into())
        }),
        _ => {}
    }
}

/// A change of state, once.
fn tell_change(change: &Change) {
    match change {
        Change::Paused { record, delay, cause, fault, everything } => {
            let level = if fault.is_some() { Level::Error } else { Level::Warn };
            tell(level, || {
                let what = if *everything { "all sending" } else { "sending to one target" };
                let advice = fault.map(|fault| format!("; {}", advice::setup(fault))).unwrap_or_default();
                let fields = Fields::of("paused").record(record).millis("delay_ms", *delay);
                let text =
                    format!("pausing {what} for {delay:.1?}: {} was answered {cause}{advice}", Named(record));
                (fields.text("cause", cause), text)
            });
        }
        Change::StillPaused { since, cause } => tell(Level::Warn, || {
            let fields = Fields::of("still_paused").millis("duration_ms", *since).text("cause", cause);
            (fields, format!("all sending is still paused after {since:.0?}; the last answer: {cause}"))
        }),
        Change::Reopened { after, everything } => tell(Level::Info, || {
            let what = if *everything { "destination" } else { "target" };
            let fields = Fields::of("resumed").millis("duration_ms", *after);
            (fields, format!("the {what} accepts again after {after:.1?}"))
        }),
        Change::Paced { per_second } => tell(Level::Info, || {
            let text =
                format!("the destination limits requests: sending {per_second:.1}/s, and more again later");
            (Fields::of("paced").text("per_second", format!("{per_second:.1}")), text)
        }),
        Change::Suspected { partition, offset, cause } => tell(Level::Warn, || {
            let fields = Fields::of("suspected").place(partition, *offset).text("cause", cause);
            let text = format!(
                "{} was answered {cause} while others are accepted: it is retried by itself and pauses nothing. To \
                 reject such records, set --max-attempts or --max-age",
                Place(partition, *offset)
            );
            (fields, text)
        }),
        Change::Stuck { partition, offset, attempts, cause } => tell(Level::Error, || {
            let fields = Fields::of("stuck").place(partition, *offset).number("attempt", *attempts);
            let fields = match cause {
                Some(cause) => fields.text("cause", cause),
                None => fields,
            };
            let cause = cause.as_ref().map(|cause| format!(" (last answer: {cause})")).unwrap_or_default();
            let text = format!(
                "topic {} partition {} waits for offset {offset}, sent {attempts} times{cause}: the partition is \
                 --window-size records ahead of it. --max-attempts or --max-age would reject it",
                partition.topic(),
                partition.number()
            );
            (fields, text)
        }),
        Change::Dropped { .. } => {}
    }
}

/// A place in a topic, in words.
struct Place<'a>(&'a Partition, Offset);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topic {} partition {} offset {}", self.0.topic(), self.0.number(), self.1)
    }
}

/// A record by its place.
pub(super) struct Named<'a>(pub(super) &'a Record);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Place(self.0.partition(), self.0.offset()).fmt(f)
    }
}

fn progress_line(now: &Snapshot, before: &Snapshot, since: Duration) -> (Fields, String) {
    let delivered = now.totals.delivered - before.totals.delivered.min(now.totals.delivered);
    let rate = delivered as f64 / since.as_secs_f64();
    let mut line = format!(
        "delivered {} ({rate:.1}/s), in flight {} of {}, retrying {}",
        now.totals.delivered, now.in_flight, now.limit, now.retrying
    );
    let mut fields = Fields::of("progress")
        .number("delivered", now.totals.delivered)
        .number("attempts", now.totals.attempts)
        .number("in_flight", now.in_flight)
        .number("limit", now.limit)
        .number("retrying", now.retrying);
    if now.paused {
        line.push_str(", paused");
    }
    if let Some(lag) = now.lag {
        line.push_str(&format!(", lag {lag}"));
        fields = fields.number("lag", lag);
    }
    if now.stalled > 0 {
        line.push_str(&format!(", {} stalled", partitions(now.stalled)));
        fields = fields.number("stalled", now.stalled);
    }
    if let Some(oldest) = now.oldest {
        line.push_str(&format!(", oldest unacknowledged {oldest:.1?}"));
        fields = fields.millis("oldest_ms", oldest);
    }
    (fields, line)
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".into() } else { format!("{count} partitions") }
}

fn ended_line(totals: &Totals) -> (Fields, String) {
    let Totals { delivered, attempts, dead_lettered, dropped, pauses, most_in_flight, elapsed, .. } = totals;
    let unless_none = |what: &str, n: u64| if n == 0 { String::new() } else { format!(", {what} {n}") };
    let filtered = unless_none("filtered", totals.filtered);
    let remembered = unless_none("done before the start", totals.remembered);
    let fields = Fields::of("ended")
        .number("delivered", *delivered)
        .number("attempts", *attempts)
        .number("dead_letters", *dead_lettered)
        .number("dropped", *dropped)
        .number("filtered", totals.filtered)
        .number("most_in_flight", *most_in_flight)
        .millis("duration_ms", *elapsed);
    let text = format!(
        "ended: delivered {delivered} in {elapsed:.1?} with {attempts} requests, at most {most_in_flight} at once; dead \
         letters {dead_lettered}, dropped {dropped}, pauses {pauses}{filtered}{remembered}"
    );
    (fields, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_line_says_what_an_operator_asks() {
        let totals = Totals { delivered: 150, ..Totals::default() };
        let oldest = Some(Duration::from_millis(1_500));
        let now = Snapshot {
            totals,
            in_flight: 3,
            limit: 8,
            retrying: 2,
            lag: Some(7),
            oldest,
            paused: true,
            ..Snapshot::default()
        };
        let (fields, line) = progress_line(&now, &Snapshot::default(), Duration::from_secs(10));
        assert_eq!(
            line,
            "delivered 150 (15.0/s), in flight 3 of 8, retrying 2, paused, lag 7, oldest unacknowledged 1.5s"
        );
        let mut json = String::new();
        fields.write_json(&mut json);
        assert!(
            json.contains(r#","event":"progress","delivered":150,"#)
                && json.ends_with(r#","oldest_ms":1500"#)
        );
    }
}
