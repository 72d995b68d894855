//! The addresses of the destination's name: looked up again at a bounded age, by one thread at a time, awaited until
//! the deadline at most. The system's resolver has no deadline, hence a thread per lookup, not per request.
//!
//! While a name can't be looked up its last addresses are used, for a bounded time and with a warning. They keep the
//! resolver's order, which may spread load, but an address that failed moves to the end for a while: a dead one costs
//! its head start once, and the next connection after a bad answer reaches another host.

use super::outage_notice::OutageNotice;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a name becomes addresses; an error is a sentence.
pub type Resolver = Arc<dyn Fn(&str, u16) -> Result<Vec<SocketAddr>, String> + Send + Sync>;

/// For how long the addresses of a name are used after the last lookup that succeeded, unless set otherwise.
pub const LONGEST_STALE: Duration = Duration::from_secs(600);
/// How long a connection waits for new addresses while it has old ones.
const RENEWAL_WAIT: Duration = Duration::from_millis(500);
/// The wait after a failed lookup while old addresses are usable.
const LOOKUP_REST: Duration = Duration::from_secs(1);
/// A lookup that takes longer counts as failing.
const SLOW_LOOKUP: Duration = Duration::from_secs(5);
/// How long a failed address stays at the end.
const AVOIDED_FOR: Duration = Duration::from_secs(60);
/// Failed addresses remembered, at most.
const MOST_AVOIDED: usize = 32;

/// The system's resolver.
pub fn system() -> Resolver {
    Arc::new(|host, port| crate::net::resolve(host, port).map_err(|error| error.to_string()))
}

/// How addresses are looked up, and for how long they are used.
#[derive(Clone)]
pub struct NameCacheSettings {
    /// Looks up.
    pub resolver: Resolver,
    /// Older addresses are looked up again.
    pub age: Duration,
    /// Older addresses are used no longer, though the name can't be looked up.
    pub stale: Duration,
    /// Called when addresses are used that could not be renewed.
    pub warn: fn(&str),
}

/// The addresses of a name.
pub struct NameCache {
    host: String,
    port: u16,
    settings: NameCacheSettings,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<KnownAddresses>,
    looked: Condvar,
}

#[derive(Default)]
struct KnownAddresses {
    /// Since when a lookup has been under way.
    looking: Option<Instant>,
    /// What the last lookup that succeeded found.
    addresses: Option<(Instant, Vec<SocketAddr>)>,
    /// Why the last lookup failed, and when.
    failure: Option<(Instant, String)>,
    /// Addresses with trouble, the latest last.
    avoided: Vec<(SocketAddr, Instant)>,
    /// When to warn that the name can't be looked up.
    outage: OutageNotice,
}

impl NameCache {
    /// Knows nothing yet of `host`.
    pub fn new(host: &str, port: u16, settings: NameCacheSettings) -> Self {
        Self { host: host.into(), port, settings, shared: Arc::default() }
    }

    /// The addresses, the most promising first.
    ///
    /// # Errors
    /// The name can't be looked up, and what was known of it is too old: a sentence.
    pub fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let mut known = self.shared.lock();
        if known.are_younger(self.settings.age) {
            return Ok(known.ordered(Instant::now()));
        }
        let usable = known.are_younger(self.settings.stale);
        let rests = known.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < LOOKUP_REST);
        if known.looking.is_none() && !(usable && rests) {
            known.failure = None;
            known.looking = Some(Instant::now());
            if let Err(error) = self.look() {
                known.looking = None;
                let failure = format!("no thread can be started to look up {}: {error}", self.host);
                known.failure = Some((Instant::now(), failure));
            }
        }
        // Addresses that are old are better than none, if there is time left to connect to them.
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = if usable { RENEWAL_WAIT.min(left / 2) } else { left };
        known = self.wait(known, wait);
        let now = Instant::now();
        if known.are_renewed() {
            return Ok(known.ordered(now));
        }
        let why = known.trouble(&self.host, now);
        if !known.are_younger(self.settings.stale) {
            return Err(why.unwrap_or_else(|| format!("the name {} was not resolved in time", self.host)));
        }
        let (addresses, age) = (known.ordered(now), known.age());
        let told = why.filter(|_| known.outage.is_due(now));
        drop(known);
        if let Some(why) = told {
            let (age, most) = (age.as_secs(), self.settings.stale.as_secs());
            (self.settings.warn)(&format!(
                "{why}; going on with the addresses of {} found {age} s ago, for at most {most} s in all",
                self.host
            ));
        }
        Ok(addresses)
    }

    /// Remembers that this address failed: it is tried last for a while.
    pub fn avoid(&self, address: SocketAddr) {
        let mut known = self.shared.lock();
        known.avoided.retain(|(avoided, _)| *avoided != address);
        if known.avoided.len() >= MOST_AVOIDED {
            known.avoided.remove(0);
        }
        known.avoided.push((address, Instant::now()));
    }

    fn wait<'a>(
        &self,
        mut known: MutexGuard<'a, KnownAddresses>,
        wait: Duration,
    ) -> MutexGuard<'a, KnownAddresses> {
        let begun = Instant::now();
        while known.looking.is_some() {
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.looked.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        known
    }

    fn look(&self) -> std::io::Result<()> {
        let (host, port) = (self.host.clone(), self.port);
        let (resolver, shared) = (Arc::clone(&self.settings.resolver), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("name lookup".into());
        thread.spawn(move || {
            let mut looking = PendingLookup { shared, found: Err(format!("looking up {host} panicked")) };
            looking.found = match resolver(&host, port) {
                Ok(addresses) if addresses.is_empty() => Err(format!("the name {host} has no address")),
                found => found,
            };
        })?;
        Ok(())
    }
}

impl KnownAddresses {
    fn age(&self) -> Duration {
        self.addresses.as_ref().map_or(Duration::MAX, |(at, _)| at.elapsed())
    }

    fn are_younger(&self, age: Duration) -> bool {
        self.addresses.is_some() && self.age() < age
    }

    /// Whether the last lookup is over and succeeded.
    fn are_renewed(&self) -> bool {
        self.addresses.is_some() && self.looking.is_none() && self.failure.is_none()
    }

    /// Why there are no new addresses, if that is worth a word.
    fn trouble(&self, host: &str, now: Instant) -> Option<String> {
        let slow = self.looking.is_some_and(|since| now.saturating_duration_since(since) >= SLOW_LOOKUP);
        let failed = self.failure.as_ref().map(|(_, why)| why.clone());
        failed.or_else(|| slow.then(|| format!("the resolver does not answer for {host}")))
    }

    /// The known addresses, those with trouble last, the latest trouble at the very end.
    fn ordered(&self, now: Instant) -> Vec<SocketAddr> {
        let all = self.addresses.as_ref().map(|(_, all)| all.as_slice()).unwrap_or_default();
        let avoided = self.avoided.iter();
        let avoided = avoided.filter(|(_, since)| now.saturating_duration_since(*since) < AVOIDED_FOR);
        let avoided: Vec<SocketAddr> =
            avoided.map(|(address, _)| *address).filter(|address| all.contains(address)).collect();
        let good = all.iter().copied().filter(|address| !avoided.contains(address));
        good.chain(avoided.iter().copied()).collect()
    }
}

/// A lookup under way; when it ends, even by a panic, the waiting threads are woken.
struct PendingLookup {
    shared: Arc<Shared>,
    found: Result<Vec<SocketAddr>, String>,
}

impl Drop for PendingLookup {
    fn drop(&mut self) {
        let found = std::mem::replace(&mut self.found, Ok(Vec::new()));
        let now = Instant::now();
        let mut known = self.shared.lock();
        known.looking = None;
        match found {
            Ok(addresses) => {
                known.addresses = Some((now, addresses));
                known.failure = None;
                known.outage = OutageNotice::default();
            }
            Err(failure) => known.failure = Some((now, failure)),
        }
        drop(known);
        self.shared.looked.notify_all();
    }
}

impl Shared {
    /// What is known stays as good as it was when a thread panics.
    fn lock(&self) -> MutexGuard<'_, KnownAddresses> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU16, Ordering};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn names(resolver: Resolver, age: Duration) -> NameCache {
        NameCache::new(
            "hook.example",
            80,
            NameCacheSettings { resolver, age, stale: LONGEST_STALE, warn: |_| () },
        )
    }

    /// Each lookup finds another address: its number is the port.
    fn counting() -> (Arc<AtomicU16>, Resolver) {
        let count = Arc::new(AtomicU16::new(0));
        let counted = Arc::clone(&count);
        (
            count,
            Arc::new(move |_, _| Ok(vec![([192, 0, 2, 1], counted.fetch_add(1, Ordering::SeqCst)).into()])),
        )
    }

    #[test]
    fn a_name_is_looked_up_once_until_its_addresses_are_old() {
        let (count, resolver) = counting();
        let names = names(Arc::clone(&resolver), Duration::from_secs(3_600));
        for _ in 0..10 {
            assert_eq!(names.addresses(soon()).unwrap()[0].port(), 0);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let names = self::names(resolver, Duration::ZERO);
        let ports: Vec<u16> = (0..3).map(|_| names.addresses(soon()).unwrap()[0].port()).collect();
        assert_eq!(ports, [1, 2, 3]);
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let settings = NameCacheSettings {
            resolver: Arc::new(|_, _| Err("asked".into())),
            age: Duration::ZERO,
            stale: Duration::ZERO,
            warn: |_| (),
        };
        let names = NameCache::new("::1", 9, settings);
        assert_eq!(names.addresses(soon()).unwrap()[..], ["[::1]:9".parse().unwrap()]);
    }

    #[test]
    fn the_last_addresses_count_while_the_resolver_fails() {
        let turn = AtomicU16::new(0);
        let resolver: Resolver = Arc::new(move |_, port| match turn.fetch_add(1, Ordering::SeqCst) {
            1 => Ok(vec![([192, 0, 2, 1], port).into()]),
            turn => Err(format!("failure {turn}")),
        });
        let names = names(resolver, Duration::ZERO);
        assert_eq!(names.addresses(soon()), Err("failure 0".into()));
        let found = names.addresses(soon()).unwrap();
        assert_eq!(names.addresses(soon()).unwrap(), found);
    }

    #[test]
    fn a_resolver_that_hangs_costs_the_deadline_and_one_thread() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (held, begun) = (Mutex::new(held), Arc::new(AtomicU16::new(0)));
        let count = Arc::clone(&begun);
        let resolver: Resolver = Arc::new(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = held.lock().unwrap().recv();
            panic!("a resolver may even panic")
        });
        let names = names(resolver, Duration::ZERO);
        for _ in 0..3 {
            let failure = names.addresses(Instant::now() + Duration::from_millis(20)).unwrap_err();
            assert!(failure.contains("not resolved in time"), "{failure}");
        }
        drop(release);
        assert!(names.addresses(soon()).is_err());
        assert!(begun.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn a_name_that_stops_resolving_is_told_and_ends_with_its_addresses() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let stale = Duration::from_millis(600);
        let turn = AtomicU16::new(0);
        let resolver: Resolver = Arc::new(move |host, port| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![([192, 0, 2, 1], port).into()]),
            _ => Err(format!("{host} has no address")),
        });
        let warn = |line: &str| TOLD.lock().unwrap().push(line.to_owned());
        let settings = NameCacheSettings { resolver, age: Duration::ZERO, stale, warn };
        let names = NameCache::new("hook.example", 80, settings);
        let begun = Instant::now();
        let found = names.addresses(soon()).unwrap();
        let failure = loop {
            match names.addresses(soon()) {
                Ok(addresses) => assert_eq!(addresses, found),
                Err(failure) => break failure,
            }
            std::thread::yield_now();
        };
        assert!(begun.elapsed() >= stale, "{:?}", begun.elapsed());
        assert_eq!(failure, "hook.example has no address");
        let told = TOLD.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("hook.example has no address; going on with the addresses of"),
            "{told:?}"
        );
    }

    #[test]
    fn an_address_with_trouble_goes_to_the_end() {
        let address = |last| SocketAddr::from(([192, 0, 2, last], 80));
        let all = vec![address(1), address(2), address(3)];
        let found = all.clone();
        let names = names(Arc::new(move |_, _| Ok(found.clone())), Duration::MAX);
        assert_eq!(names.addresses(soon()).unwrap(), all);
        names.avoid(address(1));
        assert_eq!(names.addresses(soon()).unwrap(), [address(2), address(3), address(1)]);
        names.avoid(address(2));
        names.avoid(address(9));
        assert_eq!(names.addresses(soon()).unwrap(), [address(3), address(1), address(2)]);
        names.avoid(address(1));
        assert_eq!(names.addresses(soon()).unwrap(), [address(3), address(2), address(1)]);
        let later = Instant::now() + AVOIDED_FOR;
        assert_eq!(names.shared.lock().ordered(later), all, "it gets another chance");
        (0..=255).for_each(|last| names.avoid(address(last)));
        assert_eq!(names.shared.lock().avoided.len(), MOST_AVOIDED);
    }
}
