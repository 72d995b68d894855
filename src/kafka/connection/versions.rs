//! What a broker speaks, held against what is spoken here.

use crate::kafka::protocol::ApiKey;
use crate::kafka::protocol::api_versions::ApiVersionsResponseKey;

/// The APIs of a broker with their versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(Vec<ApiVersionsResponseKey>);

impl Versions {
    pub(super) fn new(mut keys: Vec<ApiVersionsResponseKey>) -> Self {
        keys.sort_by_key(|key| key.api_key);
        Self(keys)
    }

    /// The lowest and the highest version in which the broker speaks an API; `None` if it doesn't know it.
    pub fn range(&self, api: ApiKey) -> Option<(i16, i16)> {
        let place = self.0.binary_search_by_key(&api.number(), |key| key.api_key).ok()?;
        self.0.get(place).map(|key| (key.min_version, key.max_version))
    }

    /// Whether the broker speaks the version of an API that is [spoken here](ApiKey::version).
    pub fn supports(&self, api: ApiKey) -> bool {
        self.range(api).is_some_and(|(lowest, highest)| (lowest..=highest).contains(&api.version()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(api_key: i16, min_version: i16, max_version: i16) -> ApiVersionsResponseKey {
        ApiVersionsResponseKey { api_key, min_version, max_version }
    }

    #[test]
    fn an_api_is_spoken_if_our_version_is_in_its_range() {
        let fetch = ApiKey::Fetch;
        let (number, ours) = (fetch.number(), fetch.version());
        let with = |lowest, highest| Versions::new(vec![key(99, 0, 9), key(number, lowest, highest)]);
        assert!(with(ours, ours).supports(fetch) && with(0, 99).supports(fetch));
        assert!(!with(0, ours - 1).supports(fetch) && !with(ours + 1, 99).supports(fetch));
        assert_eq!(with(4, 18).range(fetch), Some((4, 18)));
        assert_eq!(with(4, 18).range(ApiKey::Produce), None);
        assert!(!Versions::default().supports(fetch));
    }
}
