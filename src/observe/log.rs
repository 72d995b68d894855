//! Events as log lines, through the `log` facade.
//!
//! What comes with every record is `debug` (`-v`); what a person should see is `info` and above, and bounded:
//! of refusals at most ten a second are told one by one, of stubborn records one in half a minute; the rest is counted.

use super::backlog::Line;
use super::sink::{LONGEST_FLUSH, SINK};
use crate::relay::control::REMIND_EVERY;
use crate::relay::event::{Change, Event, Observer, Snapshot, Totals};
use crate::relay::record::Record;
use crate::relay::settings::OnRefusal;
use crate::relay::source::Severity;
use log::{Level, LevelFilter, debug, error, info, log, trace, warn};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a line says how things stand, while there is something to tell.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// A record is named in a warning from this attempt on.
const STUBBORN_ATTEMPT: u32 = 10;
/// How many refusals are told in a second.
const LINES_A_SECOND: u32 = 10;
/// What our lines are filed under.
pub(super) const TARGET: &str = "sluicegate";

/// Writes events to the log.
#[derive(Debug)]
pub struct LogObserver {
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    snapshot: Snapshot,
    refusals: Limit,
    stubborn: Limit,
    commit_failures: Limit,
}

/// At most a number of lines in a time.
#[derive(Debug)]
struct Limit {
    lines: u32,
    span: Duration,
    since: Instant,
    told: u32,
    untold: u64,
}

impl Limit {
    fn new(lines: u32, span: Duration, now: Instant) -> Self {
        Self { lines, span, since: now, told: 0, untold: 0 }
    }

    /// Whether to tell this one, and how many were passed over before it.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= self.span {
            (self.since, self.told) = (now, 0);
        }
        if self.told >= self.lines {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

impl LogObserver {
    /// Has told nothing yet.
    pub fn new() -> Self {
        let at = Instant::now();
        let a_second = || Limit::new(LINES_A_SECOND, Duration::from_secs(1), at);
        let (refusals, commit_failures) = (a_second(), a_second());
        let stubborn = Limit::new(1, REMIND_EVERY, at);
        let snapshot = Snapshot::default();
        Self { told: Mutex::new(Told { at, snapshot, refusals, stubborn, commit_failures }) }
    }

    fn limited(&self, limit: fn(&mut Told) -> &mut Limit) -> Option<u64> {
        // Counters are whole whatever a panicking holder did.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        limit(&mut told).tell(Instant::now())
    }

    fn progress(&self, snapshot: &Snapshot) {
        let line = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let since = told.at.elapsed();
            let news = snapshot.totals.attempts != told.snapshot.totals.attempts || snapshot.under_way > 0;
            if since < PROGRESS_INTERVAL {
                return;
            }
            let before = std::mem::replace(&mut told.snapshot, snapshot.clone());
            told.at = Instant::now();
            news.then(|| progress_line(snapshot, &before, since))
        };
        if let Some(line) = line {
            info!(target: TARGET, "{line}");
        }
    }

    fn refused(&self, record: &Record, refusal: &crate::relay::dead_letter::Refusal, fate: OnRefusal) {
        let Some(untold) = self.limited(|told| &mut told.refusals) else { return };
        let status = refusal.status.map_or("no answer".into(), |status| format!("status {status}"));
        let fate = match fate {
            OnRefusal::DeadLetter => "is in the dead letters",
            OnRefusal::Drop => "was dropped",
            OnRefusal::Stop => "stops the run",
        };
        let more = if untold > 0 { format!(" (and {untold} more before it)") } else { String::new() };
        let attempts = refusal.attempts;
        warn!(
            target: TARGET,
            "{} {fate}: {status}, attempt {attempts}: {}{more}", Named(record), refusal.reason
        );
    }

    fn retrying(&self, record: &Record, attempt: u32, delay: Duration, cause: &str) {
        if attempt < STUBBORN_ATTEMPT {
            debug!(target: TARGET, "{}: {cause}; again in {delay:.1?}", Named(record));
            return;
        }
        if let Some(untold) = self.limited(|told| &mut told.stubborn) {
            let more =
                if untold > 0 { format!(" ({untold} more such lines left out)") } else { String::new() };
            warn!(
                target: TARGET,
                "{} failed {attempt} times: {cause}; again in {delay:.1?}. --max-attempts or --max-age would refuse it{more}",
                Named(record)
            );
        }
    }
}

impl Default for LogObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for LogObserver {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Started => info!(target: TARGET, "started"),
            Event::Assigned(positions) => info!(target: TARGET, "assigned {}", crate::relay::list(positions)),
            Event::Revoked(partitions) => info!(target: TARGET, "giving up {partitions:?}"),
            Event::Lost(partitions) => warn!(
                target: TARGET,
                "lost {partitions:?}: what was delivered of them and not committed is sent again by whoever has them next"
            ),
            Event::Notice(notice) => {
                let level = match notice.severity {
                    Severity::Info => Level::Info,
                    Severity::Warning => Level::Warn,
                    Severity::Error => Level::Error,
                };
                log!(target: TARGET, level, "{}", notice.text);
            }
            Event::WorkerWaiting(n) => debug!(target: TARGET, "Worker {n}: Waiting to acquire semaphore"),
            Event::WorkerRunning(n) => debug!(target: TARGET, "Worker {n}: Semaphore acquired, running"),
            Event::WorkerReleased(n) => debug!(target: TARGET, "Worker {n}: Semaphore released"),
            Event::BatchJoined => debug!(target: TARGET, "All workers have completed"),
            Event::BatchInterval(_) => debug!(target: TARGET, "Waiting for batch interval..."),
            Event::Delivered { record, took, .. } => {
                trace!(target: TARGET, "{} accepted in {took:.1?}", Named(record));
            }
            Event::Retrying { record, attempt, delay, cause } => {
                self.retrying(record, *attempt, *delay, cause)
            }
            Event::Probing { record } => debug!(target: TARGET, "{} goes ahead as a probe", Named(record)),
            Event::Change(change) => tell_change(change),
            Event::FewerThreads { running, wanted, error } => warn!(
                target: TARGET,
                "only {running} of {wanted} threads can be started ({error}): going on with these; raise the limit of \
                 processes, or lower --max-concurrency"
            ),
            Event::Refused { record, refusal, fate } => self.refused(record, refusal, *fate),
            Event::DeadLettersUnavailable { delay, error } => {
                error!(target: TARGET, "dead letters can't be kept: {error}; again in {delay:.1?}");
            }
            Event::Committed(positions) => {
                debug!(target: TARGET, "committed {}", crate::relay::list(positions))
            }
            Event::CommitFailed { error } => {
                if self.limited(|told| &mut told.commit_failures).is_some() {
                    warn!(target: TARGET, "{error}; trying again");
                }
            }
            Event::Progress(snapshot) => self.progress(snapshot),
            Event::Draining => info!(target: TARGET, "finishing what is in flight"),
            Event::Ended(totals) => info!(target: TARGET, "ended: {}", totals_line(totals)),
        }
    }
}

/// A change of state, once.
fn tell_change(change: &Change) {
    match change {
        Change::Paused { record, delay, cause, advice, everything } => {
            let what = if *everything { "all sending" } else { "sending to one target" };
            let record = Named(record);
            match advice {
                Some(advice) => {
                    error!(target: TARGET, "pausing {what} for {delay:.1?}: {record} was answered {cause}; {advice}");
                }
                None => {
                    warn!(target: TARGET, "pausing {what} for {delay:.1?}: {record} was answered {cause}")
                }
            }
        }
        Change::StillPaused { since, cause } => {
            warn!(target: TARGET, "all sending is still paused after {since:.0?}; the last answer: {cause}");
        }
        Change::Reopened { after, everything: true } => {
            info!(target: TARGET, "the destination accepts again after {after:.1?}");
        }
        Change::Reopened { after, everything: false } => {
            info!(target: TARGET, "the target accepts again after {after:.1?}");
        }
        Change::Paced { per_second } => {
            info!(target: TARGET, "the destination limits requests: spacing them out, from {per_second:.1}/s on");
        }
        Change::Suspected { partition, offset, cause } => warn!(
            target: TARGET,
            "topic {} partition {} offset {offset} was answered {cause} while others are accepted: it is retried by \
             itself and stops nothing; --max-attempts or --max-age would reject it in the end",
            partition.topic(), partition.number()
        ),
        Change::Stuck { partition, offset, attempts, cause } => {
            let cause = cause.as_ref().map(|cause| format!(" (last answer: {cause})")).unwrap_or_default();
            error!(
                target: TARGET,
                "topic {} partition {} waits for offset {offset}, sent {attempts} times{cause}: the partition is \
                 --window-size records ahead of it. --max-attempts or --max-age would reject it",
                partition.topic(), partition.number()
            );
        }
        Change::Dropped { .. } => {}
    }
}

/// A record by its place.
struct Named<'a>(&'a Record);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let partition = self.0.partition();
        write!(f, "topic {} partition {} offset {}", partition.topic(), partition.number(), self.0.offset())
    }
}

fn progress_line(now: &Snapshot, before: &Snapshot, since: Duration) -> String {
    let delivered = now.totals.delivered - before.totals.delivered.min(now.totals.delivered);
    let rate = delivered as f64 / since.as_secs_f64();
    let mut line = format!(
        "delivered {} ({rate:.1}/s), in flight {} of {}, retrying {}",
        now.totals.delivered, now.in_flight, now.limit, now.retrying
    );
    if now.paused {
        line.push_str(", paused");
    }
    if let Some(lag) = now.lag {
        line.push_str(&format!(", lag {lag}"));
    }
    if now.stalled > 0 {
        line.push_str(&format!(", {} stalled", partitions(now.stalled)));
    }
    if let Some(oldest) = now.oldest {
        line.push_str(&format!(", oldest unacknowledged {oldest:.1?}"));
    }
    line
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".into() } else { format!("{count} partitions") }
}

fn totals_line(totals: &Totals) -> String {
    let Totals { delivered, attempts, dead_lettered, dropped, pauses, most_in_flight, elapsed, .. } = totals;
    let unless_none = |what: &str, n: u64| if n == 0 { String::new() } else { format!(", {what} {n}") };
    let filtered = unless_none("filtered", totals.filtered);
    let remembered = unless_none("done before the start", totals.remembered);
    format!(
        "delivered {delivered} in {elapsed:.1?} with {attempts} requests, at most {most_in_flight} at once; dead \
         letters {dead_lettered}, dropped {dropped}, pauses {pauses}{filtered}{remembered}"
    )
}

/// Begins to log to stderr, as text or as JSON lines, panics included. Until [`set_verbosity`] only [`say`] is heard.
pub fn start(json: bool) {
    SINK.set_json(json);
    super::panics::log_panics();
    // It fails only if a logger is there already, which then does the work.
    let _ = log::set_logger(&SINK);
}

/// Chooses between JSON lines and text.
pub fn set_json(json: bool) {
    SINK.set_json(json);
}

/// How much is logged: 0 for what a person should see, above for more, below for less.
pub fn set_verbosity(verbosity: i8) {
    log::set_max_level(match verbosity {
        ..=-2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    });
}

/// Tells something whatever the verbosity, and even if the log has no room for it: the reason why a command ends. As
/// text it is `sluicegate: …`.
pub fn say(level: Level, text: &str) {
    SINK.push(Line { plain: true, ..Line::new(level, text.to_owned()) }, false);
}

/// Waits until everything logged is written, at most [`LONGEST_FLUSH`].
pub fn flush() {
    SINK.flush(LONGEST_FLUSH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let now = Instant::now();
        let mut limit = Limit::new(LINES_A_SECOND, Duration::from_secs(1), now);
        let told = (0..1_000).filter(|_| limit.tell(now).is_some()).count();
        assert_eq!(told, LINES_A_SECOND as usize);
        assert_eq!(limit.tell(now + Duration::from_secs(1)), Some(1_000 - u64::from(LINES_A_SECOND)));
    }

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
        let line = progress_line(&now, &Snapshot::default(), Duration::from_secs(10));
        assert_eq!(
            line,
            "delivered 150 (15.0/s), in flight 3 of 8, retrying 2, paused, lag 7, oldest unacknowledged 1.5s"
        );
    }
}
