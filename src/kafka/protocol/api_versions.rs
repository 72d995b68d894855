//! `ApiVersions`: the APIs and versions of a broker. The first request on a connection.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks. (Before version 3 it has nothing to say.)
    pub struct ApiVersionsRequest<'a> {
        client_software_name: &'a str => 3.., ignorable; "What the client is: letters, digits, `.` and `-`."
        client_software_version: &'a str => 3.., ignorable; "Its version, in the same letters."
    }

    /// What a broker speaks. One that doesn't speak the version of the request says so in version 0 (KIP-511).
    pub struct ApiVersionsResponse<'a> {
        error_code: ErrorCode => 0..; "Why there is nothing to say."
        api_keys: Vec<ApiVersionsResponseKey> => 0..; "The APIs."
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        supported_features: Vec<ApiVersionsResponseSupportedFeature<'a>> => 3.., tag 0, ignorable;
            "Features that the broker knows, with their levels."
        finalized_features_epoch: i64 = -1 => 3.., tag 1, ignorable;
            "Grows with each change of `finalized_features`; -1 if unknown."
        finalized_features: Vec<ApiVersionsResponseFinalizedFeature<'a>> => 3.., tag 2, ignorable;
            "Features that are on in the whole cluster."
        zk_migration_ready: bool => 3.., tag 3, ignorable; "Whether a controller is ready to leave ZooKeeper."
    }

    /// Features that are on in the whole cluster.
    pub struct ApiVersionsResponseFinalizedFeature<'a> {
        name: &'a str => 3..; "The name of the feature."
        max_version_level: i16 => 3..; "The cluster-wide finalized max version level for the feature."
        min_version_level: i16 => 3..; "The cluster-wide finalized min version level for the feature."
    }

    /// Features that the broker knows, with their levels.
    pub struct ApiVersionsResponseSupportedFeature<'a> {
        name: &'a str => 3..; "The name of the feature."
        min_version: i16 => 3..; "The minimum supported version for the feature."
        max_version: i16 => 3..; "The maximum supported version for the feature."
    }

    /// The versions of one API.
    pub struct ApiVersionsResponseKey {
        api_key: i16 => 0..; "The API's number; many have no [`ApiKey`](super::ApiKey)."
        min_version: i16 => 0..; "The lowest."
        max_version: i16 => 0..; "The highest."
    }
}

request!(ApiVersionsRequest<'_>, ApiVersions, 'r ApiVersionsResponse<'r>);
