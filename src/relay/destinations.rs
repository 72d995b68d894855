//! The origin and its targets, each with a pause of its own, so that one tenant's failures do not stop another's
//! records.
//!
//! Without placeholders in the URL the origin is the only target. With them, each target is paused on its own. The
//! origin is paused only where several targets in a row turn records away before any was accepted, or where no
//! connection can be made. Pure.

use super::pause::{Pause, PauseEffect, Readiness, SentRequest};
use super::transport::Target;
use super::verdict::PauseCause;
use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Before anything was accepted, this many targets that turn records away pause the origin.
const ENOUGH_TARGETS: usize = 3;
/// Targets with a pause of their own, at most. The others share the origin's.
pub(crate) const MOST_TARGETS: usize = 4_096;

/// The pauses of the origin and of its targets.
#[derive(Debug)]
pub(super) struct Destinations {
    fresh: Pause,
    origin: Pause,
    targets: HashMap<Target, Pause>,
    /// Targets that are set aside, by the time of the next look.
    due: BTreeSet<(Instant, Target)>,
    /// The same targets, with that time where there is one.
    aside: HashMap<Target, Option<Instant>>,
    /// The last two different targets that were accepted.
    accepted: [Option<Target>; 2],
    /// Different targets that turned something away since anything was accepted, as far as that matters.
    turned_away: BTreeSet<Target>,
}

impl Destinations {
    pub(super) fn new(backoff: Backoff, pause_after: NonZeroU32, limit_is_found: bool) -> Self {
        let fresh = Pause::new(backoff, pause_after, limit_is_found);
        Self {
            origin: fresh.clone(),
            fresh,
            targets: HashMap::new(),
            due: BTreeSet::new(),
            aside: HashMap::new(),
            accepted: [None; 2],
            turned_away: BTreeSet::new(),
        }
    }

    /// The origin's pause.
    pub(super) fn origin(&self) -> &Pause {
        &self.origin
    }

    /// The target's pause; the origin's where it has none of its own.
    pub(super) fn of(&self, target: Target) -> &Pause {
        self.targets.get(&target).unwrap_or(&self.origin)
    }

    pub(super) fn of_mut(&mut self, target: Target) -> &mut Pause {
        self.targets.get_mut(&target).unwrap_or(&mut self.origin)
    }

    /// Whether the target has a pause of its own.
    pub(super) fn is_known(&self, target: Target) -> bool {
        self.targets.contains_key(&target)
    }

    /// Whether a record of this target may be sent, the origin aside.
    pub(super) fn passage(&self, target: Target, now: Instant) -> Readiness {
        self.targets.get(&target).map_or(Readiness::Open, |pause| pause.passage(now))
    }

    /// A record is sent. Returns how long nothing else was in flight to its target.
    pub(super) fn sent(&mut self, target: Target, sequence: u64, probes: Probes, now: Instant) -> Duration {
        let of_origin = self.origin.sent(sequence, probes.origin, now);
        if target == Target::ONLY {
            return of_origin;
        }
        if !self.targets.contains_key(&target) && self.has_room() {
            self.targets.insert(target, self.fresh.clone());
        }
        match self.targets.get_mut(&target) {
            Some(pause) => pause.sent(sequence, probes.target, now),
            None => of_origin,
        }
    }

    /// Whether there is room for another target; idle ones are forgotten first.
    fn has_room(&mut self) -> bool {
        if self.targets.len() >= MOST_TARGETS {
            let aside = &self.aside;
            self.targets.retain(|target, pause| !pause.is_idle() || aside.contains_key(target));
        }
        self.targets.len() < MOST_TARGETS
    }

    /// Applies an acceptance to the target and to the origin. Returns the target's effect first.
    pub(super) fn works(
        &mut self,
        target: Target,
        sending: SentRequests,
        limit: usize,
        now: Instant,
    ) -> [PauseEffect; 2] {
        self.turned_away.clear();
        if self.accepted[0] != Some(target) {
            self.accepted = [Some(target), self.accepted[0]];
        }
        self.each(target, sending, |pause, sending, _| pause.works(sending, limit, now))
    }

    pub(super) fn inconclusive(&mut self, target: Target, sending: SentRequests, now: Instant) {
        self.each(target, sending, |pause, sending, _| {
            pause.inconclusive(sending, now);
            PauseEffect::default()
        });
    }

    pub(super) fn failed(
        &mut self,
        target: Target,
        sending: SentRequests,
        now: Instant,
        jitter: &mut Jitter,
    ) -> [PauseEffect; 2] {
        let by_itself = self.is_by_itself(target);
        self.each(target, sending, |pause, sending, is_target| {
            // Failures of one target say nothing about the origin while other targets accept.
            match is_target == by_itself || sending.is_probe {
                true => pause.failed(sending, now, jitter),
                false => {
                    pause.inconclusive(sending, now);
                    PauseEffect::default()
                }
            }
        })
    }

    pub(super) fn turned_away(
        &mut self,
        target: Target,
        sending: SentRequests,
        (after, cause): (Option<Duration>, PauseCause),
        is_suspect: bool,
        now: Instant,
        jitter: &mut Jitter,
    ) -> [PauseEffect; 2] {
        let by_itself = cause != PauseCause::Connection && self.is_by_itself(target);
        if self.turned_away.len() < ENOUGH_TARGETS {
            self.turned_away.insert(target);
        }
        self.each(target, sending, |pause, sending, is_target| {
            let concerns = is_target == by_itself || sending.is_probe;
            match concerns {
                true => pause.turned_away(sending, (after, cause), is_suspect, now, jitter),
                false => {
                    pause.inconclusive(sending, now);
                    PauseEffect::default()
                }
            }
        })
    }

    /// Whether a pause would be the target's own: other targets are accepted, or few were turned away so far.
    fn is_by_itself(&self, target: Target) -> bool {
        let others = self.accepted.iter().flatten().any(|accepted| *accepted != target);
        let is_alone = self.turned_away.iter().filter(|other| **other != target).count() + 1 < ENOUGH_TARGETS;
        self.targets.get(&target).is_some_and(|pause| pause.is_closed() || others || is_alone)
    }

    fn each(
        &mut self,
        target: Target,
        sendings: SentRequests,
        mut tell: impl FnMut(&mut Pause, &SentRequest, bool) -> PauseEffect,
    ) -> [PauseEffect; 2] {
        let of_target = self.targets.get_mut(&target).map(|pause| tell(pause, &sendings.target, true));
        // Where the target has no memory of its own, the origin's stands for both.
        let of_origin = tell(&mut self.origin, &sendings.origin, false);
        [of_target.unwrap_or_default(), of_origin]
    }

    // ---- targets that stand aside --------------------------------------------------------------------------

    /// The target can't take any at the moment: it is looked at again at `until`, or after its next answer.
    pub(super) fn set_aside(&mut self, target: Target, until: Option<Instant>) {
        self.bring_back(target);
        self.aside.insert(target, until);
        if let Some(until) = until {
            self.due.insert((until, target));
        }
    }

    /// The target is looked at like any other again. Says whether it stood aside.
    pub(super) fn bring_back(&mut self, target: Target) -> bool {
        let was = self.aside.remove(&target);
        if let Some(Some(until)) = was {
            self.due.remove(&(until, target));
        }
        was.is_some()
    }

    /// Whether the target stands aside until something happens: an answer, or a record to probe with.
    pub(super) fn waits_for_records(&self, target: Target) -> bool {
        matches!(self.aside.get(&target), Some(None))
    }

    /// Whether the target stands aside.
    pub(super) fn is_aside(&self, target: Target) -> bool {
        self.aside.contains_key(&target)
    }

    /// The next target to look at again, and when.
    pub(super) fn next_due(&self) -> Option<(Instant, Target)> {
        self.due.first().copied()
    }
}

/// Which pauses a record probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probes {
    pub(crate) origin: bool,
    pub(crate) target: bool,
}

/// A request as the origin and as its target see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentRequests {
    pub(crate) origin: SentRequest,
    pub(crate) target: SentRequest,
}
