//! What a broker speaks, held against what is spoken here.

use crate::kafka::protocol::ApiKey;
use crate::kafka::protocol::api_versions::ApiVersionsResponseKey;

/// What a group's member can't do without. An error about one API names all of these that are missing.
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

/// The APIs of a broker with their versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(Vec<ApiVersionsResponseKey>);

/// An API of which no version is spoken by both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The API.
    pub api: ApiKey,
    /// The broker's lowest and highest version; `None` if it does not know the API.
    pub range: Option<(i16, i16)>,
}

impl Versions {
    /// As a broker's answer names them.
    pub fn new(mut keys: Vec<ApiVersionsResponseKey>) -> Self {
        keys.sort_by_key(|key| key.api_key);
        Self(keys)
    }

    /// The lowest and the highest version in which the broker speaks an API; `None` if it doesn't know it.
    pub fn range(&self, api: ApiKey) -> Option<(i16, i16)> {
        let place = self.0.binary_search_by_key(&api.number(), |key| key.api_key).ok()?;
        self.0.get(place).map(|key| (key.min_version, key.max_version))
    }

    /// The version in which an API is called: the highest that both sides know; `None` if there is none.
    pub fn negotiated(&self, api: ApiKey) -> Option<i16> {
        self.negotiated_up_to(api, api.newest())
    }

    /// The same for a request that a version above `newest` can't carry.
    pub fn negotiated_up_to(&self, api: ApiKey, newest: i16) -> Option<i16> {
        let (lowest, highest) = self.range(api)?;
        let version = highest.min(newest);
        (version >= lowest.max(oldest_asked(api))).then_some(version)
    }

    /// Whether an API can be called.
    pub fn supports(&self, api: ApiKey) -> bool {
        self.negotiated(api).is_some()
    }

    /// This API and all others without which nothing is consumed, as far as they can't be called.
    pub(super) fn missing(&self, api: ApiKey) -> Vec<Missing> {
        let others = NEEDED.into_iter().filter(|other| *other != api && !self.0.is_empty());
        let missing = std::iter::once(api).chain(others).filter(|api| !self.supports(*api));
        missing.map(|api| Missing { api, range: self.range(api) }).collect()
    }
}

/// The lowest version that the client asks for.
pub(super) fn oldest_asked(api: ApiKey) -> i16 {
    match api {
        // Version 0 is followed by tokens without frames around them.
        ApiKey::SaslHandshake => 1,
        // Below these a request can't ask for what this client always does: that no topic is made, and that no
        // record is seen before its transaction is committed.
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
