//! What this process may use of a concurrency limit that it shares with other members of a consumer group. How the
//! members agree on their shares is up to the source.

use super::semaphore::Semaphore;
use std::sync::Arc;

/// What this process may use of the limit, and what it uses: the ceiling of the semaphore that every request needs a
/// permit of. Shared by the source, which sets it, and the workers.
#[derive(Clone, Debug)]
pub struct GroupPermits {
    semaphore: Arc<Semaphore>,
}

const UNLIMITED: u32 = u32::MAX;

impl GroupPermits {
    /// Without a limit of the group.
    pub fn unlimited() -> Self {
        Self { semaphore: Arc::new(Semaphore::new(usize::MAX)) }
    }

    /// Nothing until something is granted.
    pub fn none() -> Self {
        let share = Self::unlimited();
        share.grant(0);
        share
    }

    /// The semaphore whose permits the share bounds.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// The number of requests it may have in flight.
    pub fn granted(&self) -> u32 {
        self.granted_and_used().0
    }

    /// What it may have in flight and what it has, read at the same time.
    pub fn granted_and_used(&self) -> (u32, u32) {
        let (ceiling, in_use) = self.semaphore.ceiling_and_use();
        let count = |n: usize| u32::try_from(n).unwrap_or(UNLIMITED);
        (count(ceiling), count(in_use))
    }

    /// Sets the number of requests that it may have in flight. Those beyond it finish before new ones are sent.
    pub fn grant(&self, granted: u32) {
        self.semaphore.set_ceiling(usize::try_from(granted).unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_bounds_the_permits_and_those_that_are_out_count_as_used() {
        let share = GroupPermits::none();
        let enter = || share.semaphore().try_acquire().unwrap();
        assert!(enter().is_none());
        share.grant(2);
        let (first, second) = (enter(), enter());
        assert!(first.is_some() && second.is_some() && enter().is_none());
        share.grant(1);
        assert_eq!(share.granted_and_used(), (1, 2));
        drop(first);
        assert!(enter().is_none());
        drop(second);
        assert_eq!((share.granted_and_used(), enter().is_some()), ((1, 0), true));
        let unlimited = GroupPermits::unlimited();
        let permits: Vec<_> = (0..1_000).map(|_| unlimited.semaphore().try_acquire().unwrap()).collect();
        assert!(permits.iter().all(Option::is_some));
    }
}
