//! What a receiver has counted.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// Ids of accepted events that are remembered, to tell duplicates: with 8 bytes each and what holds them, at most
/// 40 MB. An older one is forgotten, and its event counts as new again.
pub(crate) const MOST_IDS: usize = 1_000_000;
/// Moments that are kept for a picture.
const MOST_FLIGHTS: usize = 100_000;

/// What a receiver has counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Requests answered with 2xx, duplicates included.
    pub(crate) accepted: usize,
    /// Accepted events that had been accepted before.
    pub(crate) duplicates: usize,
    /// Requests beyond what it can take at once.
    pub(crate) turned_away: usize,
    /// Requests whose signature could not be verified.
    pub(crate) unverified: usize,
    /// Requests answered with another status because it was asked to.
    pub(crate) refused: usize,
    /// What was no request, or too large a one.
    pub(crate) unreadable: usize,
    /// The most requests in flight at once.
    pub(crate) most: usize,
    /// How many were in flight from each moment on; kept for pictures only.
    pub(crate) flights: Vec<(Instant, usize)>,
}

/// Counts requests as they come and go.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    keeps_flights: bool,
    in_flight: usize,
    seen: Seen,
}

impl Tally {
    pub(super) fn new(keeps_flights: bool) -> Self {
        Self { keeps_flights, ..Self::default() }
    }

    /// Another request is in flight. Returns how many there are.
    pub(super) fn begin(&mut self) -> usize {
        self.in_flight += 1;
        self.counts.most = self.counts.most.max(self.in_flight);
        self.moved();
        self.in_flight
    }

    /// One less.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.moved();
    }

    fn moved(&mut self) {
        if self.keeps_flights && self.counts.flights.len() < MOST_FLIGHTS {
            self.counts.flights.push((Instant::now(), self.in_flight));
        }
    }

    /// Counts an accepted event. Returns whether it is a duplicate; without an id none is.
    pub(super) fn accept(&mut self, id: Option<&str>) -> bool {
        self.counts.accepted += 1;
        let duplicate = id.is_some_and(|id| !self.seen.insert(id));
        self.counts.duplicates += usize::from(duplicate);
        duplicate
    }
}

impl Counts {
    /// From the first request to the end of the last; zero without [`flights`](Self::flights).
    pub(crate) fn took(&self) -> Duration {
        let ends = self.flights.first().zip(self.flights.last());
        ends.map_or(Duration::ZERO, |((first, _), (last, _))| last.duration_since(*first))
    }

    /// How often nothing was in flight for at least `gap`, between the first request and the last.
    pub(crate) fn pauses(&self, gap: Duration) -> usize {
        let quiet = |pair: &&[(Instant, usize)]| pair[0].1 == 0 && pair[1].0 - pair[0].0 >= gap;
        self.flights.windows(2).filter(quiet).count()
    }
}

/// The last ids, as hashes with a key of this process: their length costs nothing, and two of a million share a hash
/// once in some 40 million runs.
#[derive(Debug, Default)]
struct Seen {
    hasher: RandomState,
    hashes: HashSet<u64>,
    oldest_first: VecDeque<u64>,
}

impl Seen {
    /// Returns whether the id is new.
    fn insert(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        if !self.hashes.insert(hash) {
            return false;
        }
        self.oldest_first.push_back(hash);
        if self.oldest_first.len() > MOST_IDS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_until_a_million_others_came() {
        let mut tally = Tally::default();
        assert!(!tally.accept(Some("a")) && tally.accept(Some("a")) && !tally.accept(None));
        (0..MOST_IDS).for_each(|n| _ = tally.accept(Some(&n.to_string())));
        assert!(!tally.accept(Some("a")));
        assert_eq!(tally.seen.hashes.len(), MOST_IDS);
        assert_eq!((tally.counts.duplicates, tally.counts.accepted), (1, MOST_IDS + 4));
    }

    #[test]
    fn moments_are_bounded_and_kept_only_where_asked_for() {
        let mut tally = Tally::default();
        assert_eq!((tally.begin(), tally.begin(), tally.counts.flights.len()), (1, 2, 0));
        let mut tally = Tally::new(true);
        (0..MOST_FLIGHTS).for_each(|_| {
            tally.begin();
            tally.end();
        });
        assert_eq!((tally.counts.flights.len(), tally.counts.most), (MOST_FLIGHTS, 1));
    }
}
