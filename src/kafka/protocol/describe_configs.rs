//! `DescribeConfigs`: the settings of topics and brokers.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks any broker, or the one whose configuration it is.
    pub struct DescribeConfigsRequest<'a> {
        resources: Vec<DescribeConfigsRequestResource<'a>> => 0..;
            "The resources whose configurations we want to describe."
        include_synonyms: bool => 1..; "True if we should include all synonyms."
        include_documentation: bool => 3..; "True if we should include configuration documentation."
    }

    /// The resources whose configurations we want to describe.
    pub struct DescribeConfigsRequestResource<'a> {
        resource_type: i8 => 0..; "The resource type."
        resource_name: &'a str => 0..; "The resource name."
        configuration_keys: Option<Vec<&'a str>> = Some(Vec::new()) => 0..;
            "The configuration keys to list, or null to list all configuration keys."
    }

    /// The configurations.
    pub struct DescribeConfigsResponse<'a> {
        throttle_time_ms: i32 => 0..;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        results: Vec<DescribeConfigsResponseResult<'a>> => 0..; "The results for each resource."
    }

    /// The results for each resource.
    pub struct DescribeConfigsResponseResult<'a> {
        error_code: ErrorCode => 0..;
            "The error code, or 0 if we were able to successfully describe the configurations."
        error_message: Option<&'a str> = Some("") => 0..;
            "The error message, or null if we were able to successfully describe the configurations."
        resource_type: i8 => 0..; "The resource type."
        resource_name: &'a str => 0..; "The resource name."
        configs: Vec<DescribeConfigsResponseConfig<'a>> => 0..; "Each listed configuration."
    }

    /// Each listed configuration.
    pub struct DescribeConfigsResponseConfig<'a> {
        name: &'a str => 0..; "The configuration name."
        value: Option<&'a str> = Some("") => 0..; "The configuration value."
        read_only: bool => 0..; "True if the configuration is read-only."
        config_source: i8 = -1 => 1.., ignorable; "The configuration source."
        is_sensitive: bool => 0..; "True if this configuration is sensitive."
        synonyms: Vec<DescribeConfigsResponseSynonym<'a>> => 1.., ignorable;
            "The synonyms for this configuration key."
        config_type: i8 => 3.., ignorable; "The configuration data type."
        documentation: Option<&'a str> = Some("") => 3.., null 0.., ignorable;
            "The configuration documentation."
    }

    /// The synonyms for this configuration key.
    pub struct DescribeConfigsResponseSynonym<'a> {
        name: &'a str => 1..; "The synonym name."
        value: Option<&'a str> = Some("") => 1.., null 0..; "The synonym value."
        source: i8 => 1..; "The synonym source."
    }
}

request!(DescribeConfigsRequest<'_>, DescribeConfigs, 'r DescribeConfigsResponse<'r>);
