//! The API versions of a broker, compared with those of this client.

use crate::kafka::protocol::ApiKey;
use crate::kafka::protocol::api_versions::ApiVersionsResponseKey;

/// The APIs that a group member needs. An error about one of them names all that are missing.
const NEEDED: [ApiKey; 10] = [
    ApiKey::Metadata,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::OffsetFetch,
    ApiKey::OffsetCommit,
];

/// The API versions of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(Vec<ApiVersionsResponseKey>);

/// An API without a common version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The API.
    pub(crate) api: ApiKey,
    /// The broker's lowest and highest version; `None` if it lacks the API.
    pub(crate) range: Option<(i16, i16)>,
}

impl Versions {
    /// From an ApiVersions response.
    pub fn new(mut keys: Vec<ApiVersionsResponseKey>) -> Self {
        keys.sort_by_key(|key| key.api_key);
        Self(keys)
    }

    /// The broker's lowest and highest version of an API; `None` if it lacks the API.
    pub(crate) fn range(&self, api: ApiKey) -> Option<(i16, i16)> {
        let place = self.0.binary_search_by_key(&api.number(), |key| key.api_key).ok()?;
        self.0.get(place).map(|key| (key.min_version, key.max_version))
    }

    /// The highest common version of an API; `None` if there is none.
    pub fn negotiated(&self, api: ApiKey) -> Option<i16> {
        self.negotiated_up_to(api, api.newest())
    }

    /// Like [`negotiated`](Self::negotiated), but at most `newest`.
    pub(crate) fn negotiated_up_to(&self, api: ApiKey, newest: i16) -> Option<i16> {
        let (lowest, highest) = self.range(api)?;
        let version = highest.min(newest);
        (version >= lowest.max(oldest_asked(api))).then_some(version)
    }

    /// Whether there is a common version of an API.
    pub(crate) fn supports(&self, api: ApiKey) -> bool {
        self.negotiated(api).is_some()
    }

    /// This API and the [`NEEDED`] ones, as far as there is no common version.
    pub(super) fn missing(&self, api: ApiKey) -> Vec<Missing> {
        let others = NEEDED.into_iter().filter(|other| *other != api && !self.0.is_empty());
        let missing = std::iter::once(api).chain(others).filter(|api| !self.supports(*api));
        missing.map(|api| Missing { api, range: self.range(api) }).collect()
    }
}

/// The lowest version that this client uses.
pub(super) fn oldest_asked(api: ApiKey) -> i16 {
    match api {
        // Version 0 is followed by tokens without frames.
        ApiKey::SaslHandshake => 1,
        // Lower versions lack what this client always asks for: not to create topics, and read_committed.
        ApiKey::Metadata => 4,
        ApiKey::ListOffsets => 2,
        _ => *api.versions().start(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(api_key: i16, min_version: i16, max_version: i16) -> ApiVersionsResponseKey {
        ApiVersionsResponseKey { api_key, min_version, max_version }
    }

    #[test]
    fn the_highest_version_that_both_sides_know_is_used() {
        for api in ApiKey::ALL.iter().copied() {
            let (oldest, newest) = (oldest_asked(api), api.newest());
            assert!(oldest <= newest, "{api}");
            let with =
                |lowest, highest| Versions::new(vec![key(99, 0, 9), key(api.number(), lowest, highest)]);
            assert_eq!(with(0, 99).negotiated(api), Some(newest));
            assert_eq!(with(0, oldest).negotiated(api), Some(oldest));
            assert_eq!(with(newest, 99).negotiated(api), Some(newest));
            assert_eq!(with(-1, oldest - 1).negotiated(api), None);
            assert_eq!(with(newest + 1, 99).negotiated(api), None);
            assert!(!Versions::default().supports(api));
        }
        let fetch = Versions::new(vec![key(1, 4, 18)]);
        assert_eq!((fetch.range(ApiKey::Fetch), fetch.range(ApiKey::Produce)), (Some((4, 18)), None));
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let most = NEEDED.into_iter().filter(|api| *api != ApiKey::JoinGroup).map(|api| match api {
            ApiKey::Fetch => key(1, 0, 3),
            api => key(api.number(), 0, 99),
        });
        let versions = Versions::new(most.collect());
        let missing = |api| versions.missing(api).iter().map(|one| (one.api, one.range)).collect::<Vec<_>>();
        let both = [(ApiKey::Fetch, Some((0, 3))), (ApiKey::JoinGroup, None)];
        assert_eq!(missing(ApiKey::Fetch), both);
        assert_eq!(missing(ApiKey::Produce), [&[(ApiKey::Produce, None)][..], &both].concat());
    }
}
