//! Addresses of the destination's name: looked up again at a bounded age, by one thread at a time, waited for no
//! longer than the deadline. A resolver of the system knows no deadline, hence the thread; it is one per lookup,
//! not one per request.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a name becomes addresses; an error is a sentence.
pub type Resolver = Arc<dyn Fn(&str, u16) -> Result<Vec<SocketAddr>, String> + Send + Sync>;

/// The system's resolver.
pub fn system() -> Resolver {
    Arc::new(|host, port| crate::net::resolve(host, port).map_err(|error| error.to_string()))
}

/// A name with what is known of it.
pub struct Names {
    host: String,
    port: u16,
    age: Duration,
    resolver: Resolver,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    looked: Condvar,
}

#[derive(Default)]
struct Known {
    looking: bool,
    /// What the last lookup that succeeded found.
    addresses: Option<(Instant, Arc<[SocketAddr]>)>,
    /// Why the last lookup failed.
    failure: Option<String>,
}

impl Names {
    /// Addresses of `host` are looked up again when they are older than `age`.
    pub fn new(host: &str, port: u16, age: Duration, resolver: Resolver) -> Self {
        Self { host: host.into(), port, age, resolver, shared: Arc::default() }
    }

    /// The addresses. Where a name that was known can't be looked up now, its last ones still count.
    pub fn addresses(&self, deadline: Instant) -> Result<Arc<[SocketAddr]>, String> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, self.port)].into());
        }
        let mut known = self.shared.lock();
        if let Some((at, addresses)) = &known.addresses
            && at.elapsed() < self.age
        {
            return Ok(Arc::clone(addresses));
        }
        if !known.looking {
            known.failure = None;
            known.looking = true;
            if let Err(error) = self.look() {
                known.looking = false;
                known.failure = Some(format!("no thread can be started to look up {}: {error}", self.host));
            }
        }
        // Addresses that are old are better than none, if there is time left to connect to them.
        let deadline = match known.addresses {
            Some(_) => deadline - deadline.saturating_duration_since(Instant::now()) / 2,
            None => deadline,
        };
        while known.looking {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.looked.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match (&known.addresses, &known.failure) {
            (Some((_, addresses)), _) => Ok(Arc::clone(addresses)),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(format!("the name {} was not resolved in time", self.host)),
        }
    }

    fn look(&self) -> std::io::Result<()> {
        let (host, port) = (self.host.clone(), self.port);
        let (resolver, shared) = (Arc::clone(&self.resolver), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("name lookup".into());
        thread.spawn(move || {
            let mut looking = Looking { shared, found: Err(format!("looking up {host} panicked")) };
            looking.found = resolver(&host, port);
        })?;
        Ok(())
    }
}

/// A lookup; whatever becomes of it, those who wait are told.
struct Looking {
    shared: Arc<Shared>,
    found: Result<Vec<SocketAddr>, String>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        let found = std::mem::replace(&mut self.found, Ok(Vec::new()));
        let mut known = self.shared.lock();
        known.looking = false;
        match found {
            Ok(addresses) => known.addresses = Some((Instant::now(), addresses.into())),
            Err(failure) => known.failure = Some(failure),
        }
        drop(known);
        self.shared.looked.notify_all();
    }
}

impl Shared {
    /// What is known stays as good as it was when a thread panics.
    fn lock(&self) -> MutexGuard<'_, Known> {
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
        let names = Names::new("hook.example", 80, Duration::from_secs(3_600), Arc::clone(&resolver));
        for _ in 0..10 {
            assert_eq!(names.addresses(soon()).unwrap()[0].port(), 0);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let names = Names::new("hook.example", 80, Duration::ZERO, resolver);
        let ports: Vec<u16> = (0..3).map(|_| names.addresses(soon()).unwrap()[0].port()).collect();
        assert_eq!(ports, [1, 2, 3]);
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let names = Names::new("::1", 9, Duration::ZERO, Arc::new(|_, _| Err("asked".into())));
        assert_eq!(names.addresses(soon()).unwrap()[..], ["[::1]:9".parse().unwrap()]);
    }

    #[test]
    fn the_last_addresses_count_while_the_resolver_fails() {
        let turn = AtomicU16::new(0);
        let resolver: Resolver = Arc::new(move |_, port| match turn.fetch_add(1, Ordering::SeqCst) {
            1 => Ok(vec![([192, 0, 2, 1], port).into()]),
            turn => Err(format!("failure {turn}")),
        });
        let names = Names::new("hook.example", 80, Duration::ZERO, resolver);
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
        let names = Names::new("hook.example", 80, Duration::ZERO, resolver);
        for _ in 0..3 {
            let failure = names.addresses(Instant::now() + Duration::from_millis(20)).unwrap_err();
            assert!(failure.contains("not resolved in time"), "{failure}");
        }
        drop(release);
        assert!(names.addresses(soon()).is_err());
        assert!(begun.load(Ordering::SeqCst) <= 2);
    }
}
