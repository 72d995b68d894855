//! Signals: the first drains; one that is repeated later ends the process at once.

use super::{Exit, Failure};
use crate::observe::log;
use crate::relay::stop::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::time::{Duration, Instant};

/// A signal that is repeated within this time of the first counts as the same one: `timeout`, shells and process
/// managers signal a process and its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Finish what is in flight, commit and end.
    Drain,
    /// End now.
    EndAtOnce,
}

/// The signals that came so far. Only SIGTERM and SIGINT are insistent: SIGHUP says that a terminal was closed, which
/// may come at any time while the process drains.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    first: Option<Instant>,
}

impl Heard {
    fn signal(&mut self, signal: i32, now: Instant) -> Action {
        if signal == SIGHUP {
            return Action::Drain;
        }
        let first = *self.first.get_or_insert(now);
        match now.saturating_duration_since(first) < SAME_SIGNAL {
            true => Action::Drain,
            false => Action::EndAtOnce,
        }
    }
}

/// These signals don't end the process from now on, but wait here to be taken.
///
/// # Errors
/// Signals can't be watched.
pub(super) fn watch_for(signals: &[i32]) -> Result<Signals, Failure> {
    Signals::new(signals).map_err(|error| Failure::failed(format!("can't watch for signals: {error}")))
}

/// From now on signals drain the run that `stop` stops.
///
/// # Errors
/// Signals can't be watched, or there is no thread for it.
pub(super) fn drain_on_signal(stop: &Stop) -> Result<(), Failure> {
    let mut signals = watch_for(&watched())?;
    let stop = stop.clone();
    let watch = move || {
        let mut heard = Heard::default();
        for signal in signals.forever() {
            match heard.signal(signal, Instant::now()) {
                Action::Drain => stop.request(),
                Action::EndAtOnce => {
                    ::log::warn!(target: "sluicegate", "a second signal: ending at once, with nothing more committed");
                    log::flush();
                    std::process::exit(Exit::Failed as i32);
                }
            }
        }
    };
    let started = std::thread::Builder::new().name("signals".into()).spawn(watch);
    started
        .map(drop)
        .map_err(|error| Failure::failed(format!("no thread can be started ({error}): raise ulimit -u")))
}

/// SIGHUP is left alone where it is ignored: that is what `nohup` asks for.
fn watched() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut watched = vec![SIGTERM, SIGINT];
    if !ignores(&status, SIGHUP) {
        watched.push(SIGHUP);
    }
    watched
}

/// Whether a process with this `/proc/PID/status` ignores a signal; without such a file (elsewhere than on Linux) none.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Drain, EndAtOnce};

    /// The action for each of these signals, given with its milliseconds after the start.
    fn actions(signals: &[(i32, u64)]) -> Vec<Action> {
        let (mut heard, start) = (Heard::default(), Instant::now());
        signals.iter().map(|(signal, ms)| heard.signal(*signal, start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn a_signal_that_is_repeated_within_a_second_is_the_same() {
        assert_eq!(actions(&[(SIGTERM, 0), (SIGTERM, 0), (SIGINT, 999)]), [Drain; 3]);
        assert_eq!(actions(&[(SIGTERM, 0), (SIGTERM, 1_000)]), [Drain, EndAtOnce]);
        // Repetitions don't move the second on.
        assert_eq!(actions(&[(SIGINT, 0), (SIGINT, 900), (SIGINT, 1_100)]), [Drain, Drain, EndAtOnce]);
    }

    #[test]
    fn a_closed_terminal_drains_and_never_insists() {
        assert_eq!(actions(&[(SIGHUP, 0), (SIGHUP, 5_000), (SIGTERM, 9_000)]), [Drain; 3]);
        assert_eq!(actions(&[(SIGTERM, 0), (SIGHUP, 5_000), (SIGTERM, 9_000)]), [Drain, Drain, EndAtOnce]);
    }

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, SIGHUP) && ignores(status, 13) && !ignores(status, SIGTERM));
        assert!(!ignores("", SIGHUP) && !ignores("SigIgn:\tnonsense", SIGHUP));
    }
}
