//! Admin requests: create, grow and delete topics; describe configs; list groups.

use super::broker::{Answered, Broker, Call};
use super::configs::{self, Setting};
use super::state::State;
use crate::kafka::protocol::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsRequestTopic, CreatePartitionsResponse,
    CreatePartitionsResponseTopic,
};
use crate::kafka::protocol::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsResponse, CreateTopicsResponseConfig,
    CreateTopicsResponseTopic,
};
use crate::kafka::protocol::delete_topics::{
    DeleteTopicsRequest, DeleteTopicsRequestTopic, DeleteTopicsResponse, DeleteTopicsResponseTopic,
};
use crate::kafka::protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsRequestResource, DescribeConfigsResponse,
    DescribeConfigsResponseConfig, DescribeConfigsResponseResult, DescribeConfigsResponseSynonym,
};
use crate::kafka::protocol::list_groups::{ListGroupsRequest, ListGroupsResponse, ListGroupsResponseGroup};
use crate::kafka::protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;

/// Config resource types, by Kafka's numbers (`ConfigResource.Type`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The only group type that the sandbox has.
const CLASSIC: &str = "classic";
/// Every partition has exactly one replica.
const REPLICATION_FACTOR: i16 = 1;

/// An error code, with an optional message for people.
type Refused = (ErrorCode, String);

fn refused(code: ErrorCode, why: impl Into<String>) -> Refused {
    (code, why.into())
}

/// A valid request to create a topic.
struct Plan {
    partitions: i32,
    /// The leader of each partition, if the client assigned the replicas.
    leaders: Vec<i32>,
    configs: BTreeMap<String, String>,
}

impl Broker {
    pub(super) fn create_topics(&self, call: &Call<'_>, request: &CreateTopicsRequest<'_>) -> Answered {
        let mut state = self.lock();
        let mut made = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let twice = request.topics.iter().filter(|other| other.name == topic.name).count() > 1;
            let outcome = match twice {
                true => Err(refused(ErrorCode::INVALID_REQUEST, "Duplicate topic name.")),
                false => self.create(&mut state, call, topic, request.validate_only),
            };
            made.push((topic.name, state.id(topic.name), outcome));
        }
        drop(state);
        self.wake();
        let topics = made.iter().map(|(name, topic_id, outcome)| {
            let nothing = CreateTopicsResponseTopic { name, ..CreateTopicsResponseTopic::default() };
            match outcome {
                Ok((partitions, settings)) => CreateTopicsResponseTopic {
                    topic_id: if request.validate_only { Uuid::ZERO } else { *topic_id },
                    error_message: None,
                    num_partitions: *partitions,
                    replication_factor: REPLICATION_FACTOR,
                    configs: Some(settings.iter().map(of_created).collect()),
                    ..nothing
                },
                Err((error_code, why)) => {
                    CreateTopicsResponseTopic { error_code: *error_code, error_message: Some(why), ..nothing }
                }
            }
        });
        let topics = topics.collect();
        call.framed(&CreateTopicsResponse { throttle_time_ms: call.throttle_ms, topics })
    }

    /// Creates a topic; returns its number of partitions and its configs.
    fn create(
        &self,
        state: &mut State,
        call: &Call<'_>,
        topic: &CreateTopicsRequestTopic<'_>,
        validate_only: bool,
    ) -> Result<(i32, Vec<Setting>), Refused> {
        if let Some(code) = state.rules.error(call.api, Some((topic.name, 0))) {
            return Err(refused(code, "It was asked to fail."));
        }
        let Plan { partitions, leaders, configs } = self.plan(topic)?;
        self.may_make(state, topic.name, partitions).map_err(|code| {
            let name = topic.name;
            refused(code, format!("Topic '{name}' with {partitions} partitions can't be made: {code}"))
        })?;
        let settings = configs::of_topic(&self.settings, &configs);
        if !validate_only {
            let made = self.new_topic(state, topic.name, partitions, 0);
            made.map_err(|code| refused(code, code.to_string()))?;
            if let Some(topic) = state.topics.get_mut(topic.name) {
                topic.configs = configs;
                topic.logs.iter_mut().zip(leaders).for_each(|(log, leader)| log.begin_with(leader));
            }
        }
        Ok((partitions, settings))
    }

    /// Validates a request to create a topic, with the errors of Kafka's `ReplicationControlManager`.
    fn plan(&self, topic: &CreateTopicsRequestTopic<'_>) -> Result<Plan, Refused> {
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            if let Some(value) = config.value {
                configs::check(config.name, value).map_err(|why| refused(ErrorCode::INVALID_CONFIG, why))?;
                configs.insert(config.name.to_owned(), value.to_owned());
            }
        }
        let nodes = i16::try_from(self.ports.len()).unwrap_or(i16::MAX);
        if topic.assignments.is_empty() {
            let factor = topic.replication_factor;
            if factor == 0 || factor < -1 {
                let why = "Replication factor must be larger than 0, or -1 to use the default value.";
                return Err(refused(ErrorCode::INVALID_REPLICATION_FACTOR, why));
            }
            if factor > nodes {
                let why =
                    format!("Replication factor {factor} is larger than the number of brokers, {nodes}.");
                return Err(refused(ErrorCode::INVALID_REPLICATION_FACTOR, why));
            }
            let partitions =
                if topic.num_partitions == -1 { self.settings.partitions } else { topic.num_partitions };
            return Ok(Plan { partitions, leaders: Vec::new(), configs });
        }
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            let why = "A manual partition assignment was specified, so the numbers of partitions and of replicas \
                       must be -1.";
            return Err(refused(ErrorCode::INVALID_REQUEST, why));
        }
        let wrong = |why: &str| refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why);
        let mut leaders = BTreeMap::new();
        for assignment in &topic.assignments {
            let known = |id: &i32| (1..=i32::from(nodes)).contains(id);
            let leader = assignment.broker_ids.first().filter(|_| assignment.broker_ids.iter().all(known));
            let leader =
                leader.ok_or_else(|| wrong("The assignment names no broker, or one that isn't there."))?;
            leaders.insert(assignment.partition_index, *leader);
        }
        let whole =
            leaders.len() == topic.assignments.len() && leaders.keys().copied().eq((0..).take(leaders.len()));
        if !whole {
            return Err(wrong("Partitions should be a consecutive 0-based integer sequence."));
        }
        let partitions = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
        Ok(Plan { partitions, leaders: leaders.into_values().collect(), configs })
    }

    pub(super) fn delete_topics(&self, call: &Call<'_>, request: &DeleteTopicsRequest<'_>) -> Answered {
        let by_name = request
            .topic_names
            .iter()
            .map(|name| DeleteTopicsRequestTopic { name: Some(*name), topic_id: Uuid::ZERO });
        let asked: Vec<_> = by_name.chain(request.topics.iter().cloned()).collect();
        let mut state = self.lock();
        let mut deleted = Vec::with_capacity(asked.len());
        for topic in &asked {
            let name = state.name(topic.name.unwrap_or_default(), topic.topic_id);
            let id = match topic.topic_id {
                Uuid::ZERO => state.id(topic.name.unwrap_or_default()),
                id => id,
            };
            let outcome = name.clone().and_then(|name| {
                state.rules.error(call.api, Some((&name, 0))).map_or(Ok(()), Err)?;
                state.delete_topic(&name)
            });
            deleted.push((name.ok(), id, outcome));
        }
        drop(state);
        self.wake();
        let responses = deleted.iter().map(|(name, topic_id, outcome)| DeleteTopicsResponseTopic {
            name: name.as_deref(),
            topic_id: *topic_id,
            error_code: outcome.err().unwrap_or(ErrorCode::NONE),
            error_message: None,
        });
        let responses = responses.collect();
        call.framed(&DeleteTopicsResponse { throttle_time_ms: call.throttle_ms, responses })
    }

    pub(super) fn create_partitions(
        &self,
        call: &Call<'_>,
        request: &CreatePartitionsRequest<'_>,
    ) -> Answered {
        let mut state = self.lock();
        let mut grown = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            grown.push((topic.name, self.grow(&mut state, call, topic, request.validate_only)));
        }
        drop(state);
        self.wake();
        let results = grown.iter().map(|(name, outcome)| CreatePartitionsResponseTopic {
            name,
            error_code: outcome.as_ref().err().map_or(ErrorCode::NONE, |(code, _)| *code),
            error_message: outcome.as_ref().err().map(|(_, why)| why.as_str()),
        });
        let results = results.collect();
        call.framed(&CreatePartitionsResponse { throttle_time_ms: call.throttle_ms, results })
    }

    fn grow(
        &self,
        state: &mut State,
        call: &Call<'_>,
        topic: &CreatePartitionsRequestTopic<'_>,
        validate_only: bool,
    ) -> Result<(), Refused> {
        let CreatePartitionsRequestTopic { name, count, assignments } = topic;
        if let Some(code) = state.rules.error(call.api, Some((name, 0))) {
            return Err(refused(code, "It was asked to fail."));
        }
        if assignments.is_some() {
            let why = "The sandbox chooses itself who leads a new partition.";
            return Err(refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        let done = match validate_only {
            true => self.may_grow(state, name, *count).map(drop),
            false => self.add_partitions(state, name, *count),
        };
        done.map_err(|code| refused(code, format!("Topic '{name}' can't have {count} partitions: {code}")))
    }

    pub(super) fn describe_configs(&self, call: &Call<'_>, request: &DescribeConfigsRequest<'_>) -> Answered {
        let mut state = self.lock();
        let described: Vec<_> =
            request.resources.iter().map(|resource| self.settings_of(&mut state, call, resource)).collect();
        drop(state);
        let results = request.resources.iter().zip(&described).map(|(resource, settings)| {
            let wanted = |setting: &&Setting| match resource.configuration_keys.as_deref() {
                None | Some([]) => true,
                Some(names) => names.contains(&setting.name),
            };
            let settings_here = settings.iter().flatten().filter(wanted);
            DescribeConfigsResponseResult {
                error_code: settings.as_ref().err().map_or(ErrorCode::NONE, |(code, _)| *code),
                error_message: settings.as_ref().err().map(|(_, why)| why.as_str()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs: settings_here
                    .map(|setting| of_described(setting, request.include_synonyms))
                    .collect(),
            }
        });
        let results = results.collect();
        call.framed(&DescribeConfigsResponse { throttle_time_ms: call.throttle_ms, results })
    }

    fn settings_of(
        &self,
        state: &mut State,
        call: &Call<'_>,
        resource: &DescribeConfigsRequestResource<'_>,
    ) -> Result<Vec<Setting>, Refused> {
        let name = resource.resource_name;
        if let Some(code) = state.rules.error(call.api, Some((name, 0))) {
            return Err(refused(code, "It was asked to fail."));
        }
        match resource.resource_type {
            TOPIC => {
                let topic = state.topics.get(name);
                let topic = topic.ok_or_else(|| refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ""))?;
                Ok(configs::of_topic(&self.settings, &topic.configs))
            }
            BROKER if name == call.node.to_string() => Ok(configs::of_broker(&self.settings, call.node)),
            BROKER => {
                let why = format!("Unexpected broker id, expected {} but received {name}", call.node);
                Err(refused(ErrorCode::INVALID_REQUEST, why))
            }
            other => {
                let why = format!("The sandbox has no settings of the resource type {other}");
                Err(refused(ErrorCode::INVALID_REQUEST, why))
            }
        }
    }

    pub(super) fn list_groups(&self, call: &Call<'_>, request: &ListGroupsRequest<'_>) -> Answered {
        let wanted = |filter: &[&str], what: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(what))
        };
        let mut state = self.lock();
        let injected = state.rules.error(call.api, None);
        let coordinates = state.coordinator == call.node && injected.is_none();
        let groups = state.groups.iter().filter(|(_, group)| {
            coordinates
                && wanted(&request.states_filter, group.phase.name())
                && wanted(&request.types_filter, CLASSIC)
        });
        let groups = groups.map(|(name, group)| ListGroupsResponseGroup {
            group_id: name,
            protocol_type: group.protocol_type(),
            group_state: group.phase.name(),
            group_type: CLASSIC,
        });
        let (throttle_time_ms, error_code) = (call.throttle_ms, injected.unwrap_or(ErrorCode::NONE));
        call.framed(&ListGroupsResponse { throttle_time_ms, error_code, groups: groups.collect() })
    }
}

fn of_created(setting: &Setting) -> CreateTopicsResponseConfig<'_> {
    CreateTopicsResponseConfig {
        name: setting.name,
        value: Some(&setting.value),
        read_only: false,
        config_source: setting.origin as i8,
        is_sensitive: false,
    }
}

fn of_described(setting: &Setting, with_synonyms: bool) -> DescribeConfigsResponseConfig<'_> {
    let (name, value, config_source) = (setting.name, Some(setting.value.as_str()), setting.origin as i8);
    let synonym = DescribeConfigsResponseSynonym { name, value, source: config_source };
    DescribeConfigsResponseConfig {
        name,
        value,
        read_only: setting.origin == configs::Origin::Broker,
        config_source,
        is_sensitive: false,
        synonyms: if with_synonyms { vec![synonym] } else { Vec::new() },
        config_type: setting.kind as i8,
        documentation: None,
    }
}
