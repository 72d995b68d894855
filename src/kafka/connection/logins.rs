//! The history of this client's logins, by TLS or SASL. A login refused before any broker has accepted this client is
//! final; a later one is retried, with backoff per broker, and logged.
//!
//! It also remembers the address of each broker that failed last, so that the next attempt begins with another one.
//!
//! Valid credentials seldom become invalid, and some brokers refuse valid ones: Amazon MSK answers
//! SASL_AUTHENTICATION_FAILED above its limit of new connections (20 per second and broker, 4 on its smallest). Takes
//! `now`, and knows no sockets.

use crate::timing::backoff::Backoff;
use crate::timing::jitter::Jitter;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The pause after a broker's first refusal; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The minimum time between two warnings about the same broker.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// At most this many refusing brokers are remembered.
const MOST_BROKERS: usize = 256;

/// The logins of one client at all brokers.
#[derive(Debug)]
pub(super) struct Logins {
    /// Whether any broker has accepted this client.
    accepted: bool,
    refusing: HashMap<String, Refusing>,
    /// By broker: the address that the last attempt ended with.
    failed: HashMap<String, SocketAddr>,
    jitter: Jitter,
}

/// A broker that refused the last login.
#[derive(Debug)]
struct Refusing {
    refusals: u32,
    /// The earliest time of the next login.
    until: Instant,
    told: Instant,
}

/// What to do after a refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Give up: no broker has accepted this client yet.
    Final,
    /// Retry after this pause.
    Retry {
        pause: Duration,
        /// The number of consecutive refusals.
        refusals: u32,
        /// Whether a warning is due.
        tell: bool,
    },
}

impl Logins {
    pub(super) fn new(jitter: Jitter) -> Self {
        Self { accepted: false, refusing: HashMap::new(), failed: HashMap::new(), jitter }
    }

    /// Starts a login. At a broker that refuses, only one login at a time is tried. Returns the address that the last
    /// attempt ended with, if it failed.
    ///
    /// # Errors
    /// The time until the next login may be tried.
    pub(super) fn begin(&mut self, broker: &str, now: Instant) -> Result<Option<SocketAddr>, Duration> {
        let failed = self.failed.get(broker).copied();
        let Some(refusing) = self.refusing.get_mut(broker) else { return Ok(failed) };
        let left = refusing.until.saturating_duration_since(now);
        if !left.is_zero() {
            return Err(left);
        }
        // The next login waits too, unless this one is accepted.
        refusing.until = now + pause(refusing.refusals, &mut self.jitter);
        Ok(failed)
    }

    /// An attempt failed at this address.
    pub(super) fn failed(&mut self, broker: &str, address: SocketAddr) {
        if self.failed.len() >= MOST_BROKERS && !self.failed.contains_key(broker) {
            // Harmless: the next attempts begin with their first address.
            self.failed.clear();
        }
        self.failed.insert(broker.to_owned(), address);
    }

    /// A broker has accepted this client.
    pub(super) fn accepted(&mut self, broker: &str) {
        self.accepted = true;
        self.refusing.remove(broker);
        self.failed.remove(broker);
    }

    /// A broker has refused a login.
    pub(super) fn refused(&mut self, broker: &str, now: Instant) -> Refusal {
        if !self.accepted {
            return Refusal::Final;
        }
        if self.refusing.len() >= MOST_BROKERS && !self.refusing.contains_key(broker) {
            let oldest = self.refusing.iter().min_by_key(|(_, it)| it.until).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.refusing.remove(&name));
        }
        let refusing = self.refusing.entry(broker.to_owned());
        let refusing = refusing.or_insert(Refusing { refusals: 0, until: now, told: now });
        refusing.refusals = refusing.refusals.saturating_add(1);
        let tell = refusing.refusals == 1 || now.saturating_duration_since(refusing.told) >= TELL_AGAIN;
        if tell {
            refusing.told = now;
        }
        let pause = pause(refusing.refusals, &mut self.jitter);
        refusing.until = now + pause;
        Refusal::Retry { pause, refusals: refusing.refusals, tell }
    }
}

impl Default for Logins {
    fn default() -> Self {
        Self::new(Jitter::new())
    }
}

fn pause(refusals: u32, jitter: &mut Jitter) -> Duration {
    let bounds = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).unwrap_or_default();
    bounds.pause(refusals, None, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins() -> (Logins, Instant) {
        (Logins::new(Jitter::seeded(7)), Instant::now())
    }

    fn pause_of(refusal: Refusal) -> Duration {
        match refusal {
            Refusal::Retry { pause, .. } => pause,
            Refusal::Final => panic!("it is final"),
        }
    }

    #[test]
    fn a_refusal_is_final_until_any_broker_has_let_the_client_in() {
        let (mut logins, now) = logins();
        assert_eq!(logins.refused("a:1", now), Refusal::Final);
        assert_eq!(logins.begin("a:1", now), Ok(None), "nothing is to be waited for");
        logins.accepted("b:1");
        assert!(matches!(logins.refused("a:1", now), Refusal::Retry { refusals: 1, tell: true, .. }));
    }

    #[test]
    fn a_broker_that_refuses_is_asked_ever_less_often_and_others_as_before() {
        let (mut logins, mut now) = logins();
        logins.accepted("a:1");
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pause = pause_of(logins.refused("a:1", now));
            assert_eq!(logins.begin("a:1", now), Err(pause));
            assert_eq!(logins.begin("b:1", now), Ok(None));
            now += pause;
            assert_eq!(logins.begin("a:1", now), Ok(None));
            pauses.push(pause);
        }
        assert!(pauses[0] >= FIRST_PAUSE / 2 && pauses[0] <= FIRST_PAUSE, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE), "{pauses:?}");
        assert!(pauses[11] >= LONGEST_PAUSE / 2, "{pauses:?}");
        logins.accepted("a:1");
        assert_eq!(logins.begin("a:1", now), Ok(None));
        assert!(pause_of(logins.refused("a:1", now)) <= FIRST_PAUSE, "it begins anew");
    }

    #[test]
    fn while_a_broker_refuses_one_login_at_a_time_is_tried() {
        let (mut logins, now) = logins();
        logins.accepted("a:1");
        let then = now + pause_of(logins.refused("a:1", now));
        assert_eq!(logins.begin("a:1", then), Ok(None));
        assert!(logins.begin("a:1", then).is_err(), "the other thread's turn comes later");
        assert!(
            logins.begin("a:1", then + LONGEST_PAUSE).is_ok(),
            "a login that never ended blocks none for good"
        );
    }

    #[test]
    fn the_address_that_failed_is_remembered_until_the_broker_is_reached() {
        let (mut logins, now) = logins();
        let address = SocketAddr::from(([10, 0, 0, 1], 9092));
        logins.failed("a:1", address);
        assert_eq!((logins.begin("a:1", now), logins.begin("b:1", now)), (Ok(Some(address)), Ok(None)));
        logins.accepted("a:1");
        assert_eq!(logins.begin("a:1", now), Ok(None));
        for port in 0..2 * MOST_BROKERS {
            logins.failed(&format!("a:{port}"), address);
        }
        assert_eq!(logins.failed.len(), MOST_BROKERS);
    }

    #[test]
    fn people_are_told_at_once_and_then_now_and_again() {
        let (mut logins, begun) = logins();
        logins.accepted("a:1");
        let told = |refusal| matches!(refusal, Refusal::Retry { tell: true, .. });
        let mut at = Vec::new();
        for second in 0..100 {
            if told(logins.refused("a:1", begun + Duration::from_secs(second))) {
                at.push(second);
            }
        }
        assert_eq!(at, [0, 30, 60, 90]);
    }

    #[test]
    fn no_more_brokers_are_remembered_than_that() {
        let (mut logins, now) = logins();
        logins.accepted("a:1");
        for port in 0..2 * MOST_BROKERS {
            let _ = logins.refused(&format!("a:{port}"), now + Duration::from_secs(port as u64));
        }
        assert_eq!(logins.refusing.len(), MOST_BROKERS);
        assert!(logins.refusing.contains_key(&format!("a:{}", 2 * MOST_BROKERS - 1)));
    }
}
