//! The limit of open files: raised to what a delivery needs, or the delivery is made to fit it. Connections to the
//! webhook can then never leave Kafka's and files without a descriptor.

use crate::relay::adaptive_limit::ConcurrencyBounds;
use crate::relay::settings::RelaySettings;
use std::num::NonZeroUsize;

/// Descriptors for everything but the webhook: connections to brokers, files, signals, lookups of names.
pub(super) const RESERVE: u64 = 64;
/// Descriptors a request may need for a moment: a connection that is being replaced, and its replacement.
const PER_REQUEST: u64 = 2;

/// Raises the soft limit as far as the hard one allows and as these requests at once need it. Returns the limit.
/// Where limits can't be read, no limit is assumed.
pub(super) fn raise_for(requests: usize) -> u64 {
    let wanted = (requests as u64).saturating_mul(PER_REQUEST).saturating_add(RESERVE);
    rlimit::increase_nofile_limit(wanted).unwrap_or(u64::MAX)
}

/// Makes `settings` fit the limit of open files; a warning if it had to.
pub(super) fn fit(settings: &mut RelaySettings, limit: u64) -> Option<String> {
    let wanted = settings.max_concurrency;
    let room = usize::try_from(limit.saturating_sub(RESERVE)).unwrap_or(usize::MAX);
    let most = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
    if wanted <= most {
        return None;
    }
    settings.max_concurrency = most;
    settings.auto_concurrency =
        settings.auto_concurrency.and_then(|bounds| ConcurrencyBounds::new(bounds.min().min(most), most));
    Some(format!(
        "--max-concurrency {wanted} is lowered to {most}: the limit of open files is {limit}, and {RESERVE} of them \
         are reserved for Kafka and files. Raise the limit (ulimit -n, LimitNOFILE=) or lower the flag"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(n: usize) -> RelaySettings {
        RelaySettings { max_concurrency: NonZeroUsize::new(n).unwrap(), ..RelaySettings::default() }
    }

    #[test]
    fn requests_fit_what_kafka_leaves() {
        for (limit, wanted, most) in
            [(1_024, 64, 64), (128, 64, 64), (127, 64, 63), (64, 64, 1), (0, 8, 1), (u64::MAX, 4_096, 4_096)]
        {
            let mut settings = settings(wanted);
            let warning = fit(&mut settings, limit);
            assert_eq!(settings.max_concurrency.get(), most, "{limit}");
            assert_eq!(warning.is_some(), most < wanted);
            let names = |text: String| {
                [format!("--max-concurrency {wanted}"), format!("to {most}:"), format!("is {limit},")]
                    .iter()
                    .all(|part| text.contains(part))
            };
            assert!(warning.is_none_or(names));
        }
    }

    #[test]
    fn the_adaptive_limit_fits_as_well() {
        let n = |n| NonZeroUsize::new(n).unwrap();
        let mut settings =
            RelaySettings { auto_concurrency: ConcurrencyBounds::new(n(32), n(64)), ..settings(64) };
        assert!(fit(&mut settings, RESERVE + 16).is_some());
        assert_eq!(settings.auto_concurrency, ConcurrencyBounds::new(n(16), n(16)));
    }
}
