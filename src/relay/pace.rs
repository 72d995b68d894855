//! The gate before the destination: open, or closed for a time and reopened by one probe.
//!
//! Invariant: while it is closed nothing is sent but one probe at a time, and none before the time the
//! destination asked for. Pure: takes `now`, never sleeps. It knows answers only by what they say of the
//! destination, and records not at all.

use super::backoff::{Backoff, Jitter};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Whether a record may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It may.
    Open,
    /// It may, as the one probe.
    Probe,
    /// Not before then.
    ClosedUntil(Instant),
    /// Not before the probe under way is answered.
    AwaitingProbe,
}

/// What an answer says of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It works: it accepted a record, or refused one for what the record is.
    Works,
    /// It failed, perhaps because of the record.
    Failed,
    /// It can't take anything now, and nothing should come before `at_least` has passed.
    Overloaded {
        /// The destination's own wish, already capped.
        at_least: Option<Duration>,
    },
}

/// What a word did to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// It closed, or stays closed, for this long.
    Closed(Duration),
    /// It opened again after this long.
    Reopened(Duration),
}

/// The gate before the destination.
#[derive(Clone, Debug)]
pub struct Gate {
    state: State,
    backoff: Backoff,
    pause_after: NonZeroU32,
    failures_in_a_row: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    Closed { since: Instant, until: Instant, failed_probes: u32, probing: bool },
}

impl Gate {
    /// An open gate that closes when told that the destination is overloaded, or after `pause_after` failures in
    /// a row.
    pub fn new(backoff: Backoff, pause_after: NonZeroU32) -> Self {
        Self { state: State::Open, backoff, pause_after, failures_in_a_row: 0 }
    }

    /// Whether a record may be sent at `now`.
    pub fn passage(&self, now: Instant) -> Passage {
        match self.state {
            State::Open => Passage::Open,
            State::Closed { probing: true, .. } => Passage::AwaitingProbe,
            State::Closed { until, .. } if now < until => Passage::ClosedUntil(until),
            State::Closed { .. } => Passage::Probe,
        }
    }

    /// Whether all sending is paused.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The probe is on its way: nothing else goes until it is [answered](Self::answered).
    pub fn probe_sent(&mut self) {
        if let State::Closed { probing, .. } = &mut self.state {
            *probing = true;
        }
    }

    /// An answer came, to the probe or to a request that was sent before the gate closed. The latter can
    /// lengthen a pause but neither end it nor make its backoff grow: what many requests at once learn
    /// together is one piece of news.
    pub fn answered(
        &mut self,
        was_probe: bool,
        word: Word,
        now: Instant,
        jitter: &mut Jitter,
    ) -> Option<Shift> {
        match word {
            Word::Works => self.failures_in_a_row = 0,
            Word::Failed | Word::Overloaded { .. } => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            }
        }
        match (self.state, word) {
            (State::Open, Word::Works) => None,
            (State::Open, Word::Failed) if self.failures_in_a_row < self.pause_after.get() => None,
            (State::Open, Word::Failed) => Some(self.close(now, 0, None, now, jitter)),
            (State::Open, Word::Overloaded { at_least }) => Some(self.close(now, 0, at_least, now, jitter)),
            (State::Closed { since, .. }, Word::Works) if was_probe => {
                self.state = State::Open;
                Some(Shift::Reopened(now.saturating_duration_since(since)))
            }
            (State::Closed { since, failed_probes, .. }, word) if was_probe => {
                let at_least = if let Word::Overloaded { at_least } = word { at_least } else { None };
                Some(self.close(since, failed_probes.saturating_add(1), at_least, now, jitter))
            }
            (State::Closed { .. }, Word::Overloaded { at_least: Some(wish) }) => {
                self.lengthen(now, wish);
                None
            }
            (State::Closed { .. }, _) => None,
        }
    }

    fn close(
        &mut self,
        since: Instant,
        failed_probes: u32,
        at_least: Option<Duration>,
        now: Instant,
        jitter: &mut Jitter,
    ) -> Shift {
        let delay = self.backoff.delay(failed_probes.saturating_add(1), at_least, jitter);
        let until = now.checked_add(delay).unwrap_or(now);
        self.state = State::Closed { since, until, failed_probes, probing: false };
        Shift::Closed(delay)
    }

    fn lengthen(&mut self, now: Instant, wish: Duration) {
        if let (State::Closed { until, .. }, Some(wished)) = (&mut self.state, now.checked_add(wish)) {
            *until = wished.max(*until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Gate, Instant, Jitter) {
        let pause_after = NonZeroU32::new(3).unwrap();
        (Gate::new(Backoff::default(), pause_after), Instant::now(), Jitter::seeded(7))
    }

    const OVERLOADED: Word = Word::Overloaded { at_least: None };

    fn overloaded_for(seconds: u64) -> Word {
        Word::Overloaded { at_least: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn one_probe_goes_after_the_time_asked_for_and_its_acceptance_reopens() {
        let (mut gate, now, mut jitter) = gate();
        assert!(matches!(gate.answered(false, overloaded_for(5), now, &mut jitter), Some(Shift::Closed(_))));
        assert!(matches!(gate.passage(now + Duration::from_millis(4_999)), Passage::ClosedUntil(_)));
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.passage(later), Passage::Probe);
        gate.probe_sent();
        assert_eq!(gate.passage(later), Passage::AwaitingProbe);
        let reopened = gate.answered(true, Word::Works, later, &mut jitter);
        assert_eq!(reopened, Some(Shift::Reopened(Duration::from_secs(60))));
        assert_eq!(gate.passage(later), Passage::Open);
    }

    #[test]
    fn many_answers_at_once_are_one_piece_of_news() {
        let (mut gate, now, mut jitter) = gate();
        assert!(gate.answered(false, OVERLOADED, now, &mut jitter).is_some());
        for _ in 0..100 {
            assert_eq!(gate.answered(false, OVERLOADED, now, &mut jitter), None);
        }
        assert_eq!(gate.passage(now + Duration::from_millis(200)), Passage::Probe);
    }

    #[test]
    fn a_late_answer_lengthens_the_pause_and_never_ends_it() {
        let (mut gate, now, mut jitter) = gate();
        gate.answered(false, OVERLOADED, now, &mut jitter);
        gate.answered(false, overloaded_for(30), now, &mut jitter);
        gate.answered(false, Word::Works, now, &mut jitter);
        assert!(matches!(gate.passage(now + Duration::from_secs(29)), Passage::ClosedUntil(_)));
        assert_eq!(gate.passage(now + Duration::from_secs(30)), Passage::Probe);
    }

    #[test]
    fn failures_in_a_row_close_it_and_an_acceptance_between_starts_the_count_again() {
        let (mut gate, now, mut jitter) = gate();
        for _ in 0..10 {
            assert_eq!(gate.answered(false, Word::Failed, now, &mut jitter), None);
            assert_eq!(gate.answered(false, Word::Failed, now, &mut jitter), None);
            assert_eq!(gate.answered(false, Word::Works, now, &mut jitter), None);
        }
        assert_eq!(gate.answered(false, Word::Failed, now, &mut jitter), None);
        assert_eq!(gate.answered(false, Word::Failed, now, &mut jitter), None);
        assert!(matches!(gate.answered(false, Word::Failed, now, &mut jitter), Some(Shift::Closed(_))));
    }

    #[test]
    fn the_pause_grows_with_each_failed_probe_up_to_the_maximum() {
        let (mut gate, mut now, mut jitter) = gate();
        gate.answered(false, OVERLOADED, now, &mut jitter);
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            if let Passage::ClosedUntil(until) = gate.passage(now) {
                now = until;
            }
            gate.probe_sent();
            let Some(Shift::Closed(delay)) = gate.answered(true, Word::Failed, now, &mut jitter) else {
                panic!("a failed probe keeps the gate closed");
            };
            longest = longest.max(delay);
        }
        assert!(longest > Duration::from_secs(50) && longest <= Duration::from_secs(60), "{longest:?}");
    }
}
