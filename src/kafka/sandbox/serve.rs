//! Record requests: metadata, produce, fetch, offsets.

use super::broker::{Answered, Broker, Call};
use super::log::{Log, NOBODY};
use super::state::State;
use crate::kafka::protocol::fetch::{
    FetchRequest, FetchRequestPartition, FetchResponse, FetchResponseEpochEnd, FetchResponsePartition,
    FetchResponseTopic,
};
use crate::kafka::protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::kafka::protocol::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsResponse, ListOffsetsResponsePartition,
    ListOffsetsResponseTopic,
};
use crate::kafka::protocol::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::kafka::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestPartition, OffsetForLeaderEpochResponse,
    OffsetForLeaderEpochResponsePartition, OffsetForLeaderEpochResponseTopic,
};
use crate::kafka::protocol::produce::{
    ProduceRequest, ProduceRequestPartition, ProduceResponse, ProduceResponsePartition, ProduceResponseTopic,
};
use crate::kafka::protocol::{ApiKey, ErrorCode, Uuid};
use std::time::{Duration, Instant};

/// The longest a fetch waits for records, whatever it asks for.
const LONGEST_POLL: Duration = Duration::from_secs(60);
/// The largest fetch response in bytes, unless its first batch alone is larger.
const LARGEST_FETCH: usize = 50 << 20;
/// Special timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The local log start offset (KIP-405); without tiered storage, the log start.
const EARLIEST_LOCAL: i64 = -4;

/// The result of reading a partition.
struct Read {
    index: i32,
    outcome: Result<Vec<u8>, ErrorCode>,
    /// The diverging epoch, if the reader's log diverges (KIP-595).
    parting: Option<(i32, i64)>,
    start: i64,
    end: i64,
}

impl State {
    /// The requested log, if this node is the leader and the client's leader epoch is current.
    fn led(
        &mut self,
        call: &Call<'_>,
        (name, id): (&str, Uuid),
        partition: i32,
        epoch: i32,
    ) -> Result<&mut Log, ErrorCode> {
        let topic = self.name(name, id)?;
        if let Some(code) = self.rules.error(call.api, Some((&topic, partition))) {
            return Err(code);
        }
        let log = self.log_mut(&topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        log.check_epoch(epoch)?;
        match log.leader == call.node {
            true => Ok(log),
            false => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }
}

impl Broker {
    pub(super) fn metadata(&self, call: &Call<'_>, request: &MetadataRequest<'_>) -> Answered {
        let host = call.here.to_string();
        let node = |(node_id, port): (i32, &u16)| MetadataResponseBroker {
            node_id,
            host: &host,
            port: (*port).into(),
            rack: None,
        };
        let mut state = self.lock();
        let asked: Vec<Result<String, Uuid>> = match &request.topics {
            None => state.topics.keys().cloned().map(Ok).collect(),
            Some(topics) => topics.iter().map(|topic| asked(&state, topic)).collect(),
        };
        let may_make = request.allow_auto_topic_creation && self.settings.make_topics;
        let mut topics = Vec::with_capacity(asked.len());
        for asked in &asked {
            let name = match asked {
                Ok(name) => name.as_str(),
                Err(id) => {
                    topics.push(MetadataResponseTopic {
                        error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                        // Before version 12 the name isn't nullable.
                        name: (call.version < 12).then_some(""),
                        topic_id: *id,
                        ..MetadataResponseTopic::default()
                    });
                    continue;
                }
            };
            if state.rules.omits(name) {
                continue;
            }
            let made = match may_make {
                true => self.make_topic(&mut state, name, self.settings.partitions),
                false => Ok(()),
            };
            topics.push(of_topic(&mut state, name, made));
        }
        let brokers = match state.rules.hides_brokers() {
            true => Vec::new(),
            false => (1..).zip(&self.ports).map(node).collect(),
        };
        drop(state);
        let response = MetadataResponse {
            throttle_time_ms: call.throttle_ms,
            brokers,
            cluster_id: Some(&self.cluster_id),
            controller_id: 1,
            topics,
            ..MetadataResponse::default()
        };
        call.framed(&response)
    }

    pub(super) fn produce(&self, call: &Call<'_>, request: &ProduceRequest<'_>) -> Answered {
        let mut state = self.lock();
        let refused = match request.acks {
            _ if request.transactional_id.is_some() => Some(ErrorCode::INVALID_TXN_STATE),
            -1..=1 => None,
            _ => Some(ErrorCode::INVALID_REQUIRED_ACKS),
        };
        let mut append = |topic: (&str, Uuid), data: &ProduceRequestPartition<'_>| {
            let appended = match refused {
                Some(code) => Err(code),
                None => state.led(call, topic, data.index, -1).and_then(|log| {
                    let base = log.append(data.records.unwrap_or_default())?;
                    Ok((base, log.start()))
                }),
            };
            ProduceResponsePartition {
                index: data.index,
                error_code: appended.err().unwrap_or(ErrorCode::NONE),
                base_offset: appended.map_or(-1, |(base, _)| base),
                log_start_offset: appended.map_or(-1, |(_, start)| start),
                ..ProduceResponsePartition::default()
            }
        };
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in &request.topic_data {
            let partition_responses =
                topic.partition_data.iter().map(|data| append((topic.name, topic.topic_id), data)).collect();
            let (name, topic_id) = (topic.name, topic.topic_id);
            responses.push(ProduceResponseTopic { name, topic_id, partition_responses });
        }
        drop(state);
        self.wake();
        if request.acks == 0 {
            return Ok(None);
        }
        let throttle_time_ms = call.throttle_ms;
        call.framed(&ProduceResponse { responses, throttle_time_ms, ..ProduceResponse::default() })
    }

    pub(super) fn fetch(&self, call: &Call<'_>, request: &FetchRequest<'_>) -> Answered {
        let respond = |error_code, responses| {
            // No fetch sessions (KIP-227): session id 0 tells the client so.
            let throttle_time_ms = call.throttle_ms;
            call.framed(&FetchResponse {
                throttle_time_ms,
                error_code,
                responses,
                ..FetchResponse::default()
            })
        };
        if request.session_id != 0 {
            return respond(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, Vec::new());
        }
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(LONGEST_POLL);
        let until = Instant::now() + wait;
        let wanted = usize::try_from(request.min_bytes).unwrap_or(0);
        let mut state = self.lock();
        let mut read = loop {
            let read = read_all(&mut state, call, request);
            let bytes = read
                .iter()
                .flatten()
                .filter_map(|read| read.outcome.as_ref().ok())
                .map(Vec::len)
                .sum::<usize>();
            let failed = read.iter().flatten().any(|read| read.outcome.is_err() || read.parting.is_some());
            if failed || bytes >= wanted || state.closed || Instant::now() >= until {
                break read;
            }
            state = self.wait(state, until);
        };
        for (topic, parts) in request.topics.iter().zip(&mut read) {
            let name = state.name(topic.topic, topic.topic_id).unwrap_or_default();
            for part in parts {
                let records = part.outcome.as_mut().ok().and_then(|records| records.last_mut());
                if let Some(last) = records
                    && state.rules.corrupts(&name, part.index)
                {
                    *last ^= 1;
                }
            }
        }
        drop(state);
        let of = |part| fetched(part, request.isolation_level);
        let responses = request.topics.iter().zip(&read).map(|(topic, parts)| FetchResponseTopic {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: parts.iter().map(of).collect(),
        });
        respond(ErrorCode::NONE, responses.collect())
    }

    pub(super) fn list_offsets(&self, call: &Call<'_>, request: &ListOffsetsRequest<'_>) -> Answered {
        let mut state = self.lock();
        let mut find = |topic: &str, asked: &ListOffsetsRequestPartition| {
            let log = state.led(call, (topic, Uuid::ZERO), asked.partition_index, asked.current_leader_epoch);
            let found = log.map(|log| {
                let (timestamp, offset) = match asked.timestamp {
                    LATEST => (-1, log.end()),
                    EARLIEST | EARLIEST_LOCAL => (-1, log.start()),
                    // Special timestamps of newer versions, e.g. for tiered storage.
                    ..EARLIEST => (-1, -1),
                    since => log.first_since(since).unwrap_or((-1, -1)),
                };
                // Before version 4 the response has no leader epoch.
                (timestamp, offset, if offset >= 0 && call.version >= 4 { log.epoch_at(offset) } else { -1 })
            });
            let (timestamp, offset, leader_epoch) = found.unwrap_or((-1, -1, -1));
            ListOffsetsResponsePartition {
                partition_index: asked.partition_index,
                error_code: found.err().unwrap_or(ErrorCode::NONE),
                timestamp,
                offset,
                leader_epoch,
            }
        };
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|asked| find(topic.name, asked)).collect();
            topics.push(ListOffsetsResponseTopic { name: topic.name, partitions });
        }
        drop(state);
        call.framed(&ListOffsetsResponse { throttle_time_ms: call.throttle_ms, topics })
    }

    pub(super) fn epoch_ends(&self, call: &Call<'_>, request: &OffsetForLeaderEpochRequest<'_>) -> Answered {
        let mut state = self.lock();
        let mut find = |topic: &str, asked: &OffsetForLeaderEpochRequestPartition| {
            let log = state.led(call, (topic, Uuid::ZERO), asked.partition, asked.current_leader_epoch);
            let found = log.map(|log| log.epoch_end(asked.leader_epoch).unwrap_or((-1, -1)));
            let (leader_epoch, end_offset) = found.unwrap_or((-1, -1));
            OffsetForLeaderEpochResponsePartition {
                error_code: found.err().unwrap_or(ErrorCode::NONE),
                partition: asked.partition,
                leader_epoch,
                end_offset,
            }
        };
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|asked| find(topic.topic, asked)).collect();
            topics.push(OffsetForLeaderEpochResponseTopic { topic: topic.topic, partitions });
        }
        drop(state);
        call.framed(&OffsetForLeaderEpochResponse { throttle_time_ms: call.throttle_ms, topics })
    }

    pub(super) fn init_producer(&self, call: &Call<'_>, request: &InitProducerIdRequest<'_>) -> Answered {
        let mut state = self.lock();
        let injected = state.rules.error(call.api, None);
        // Transactions are not supported.
        let refused = request.transactional_id.map(|_| ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        let error_code = injected.or(refused).unwrap_or(ErrorCode::NONE);
        let given = error_code == ErrorCode::NONE;
        let id = if given { i64::try_from(state.next_serial()).unwrap_or(i64::MAX) } else { -1 };
        drop(state);
        call.framed(&InitProducerIdResponse {
            throttle_time_ms: call.throttle_ms,
            error_code,
            producer_id: id,
            producer_epoch: if given { 0 } else { -1 },
        })
    }
}

/// The name of a requested topic, or the unknown id.
fn asked(state: &State, topic: &MetadataRequestTopic<'_>) -> Result<String, Uuid> {
    match topic.name {
        Some(name) => Ok(name.to_owned()),
        None => state.name("", topic.topic_id).map_err(|_| topic.topic_id),
    }
}

/// A topic's metadata; `made` is why it couldn't be created, if it doesn't exist.
fn of_topic<'a>(state: &mut State, name: &'a str, made: Result<(), ErrorCode>) -> MetadataResponseTopic<'a> {
    let unknown = made.err().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let injected = state.rules.error(ApiKey::Metadata, Some((name, 0)));
    let topic = state.topics.get(name);
    let error_code = injected.or(topic.is_none().then_some(unknown)).unwrap_or(ErrorCode::NONE);
    let logs = topic.filter(|_| error_code.is_none()).into_iter().flat_map(|topic| &topic.logs);
    MetadataResponseTopic {
        error_code,
        name: Some(name),
        topic_id: if error_code == unknown { Uuid::ZERO } else { state.id(name) },
        partitions: (0..).zip(logs).map(of_partition).collect(),
        ..MetadataResponseTopic::default()
    }
}

fn of_partition((partition_index, log): (i32, &Log)) -> MetadataResponsePartition {
    let is_led = log.leader != NOBODY;
    let replica = vec![log.replica];
    MetadataResponsePartition {
        error_code: if is_led { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE },
        partition_index,
        leader_id: log.leader,
        leader_epoch: log.epoch(),
        replica_nodes: replica.clone(),
        isr_nodes: replica.clone(),
        offline_replicas: if is_led { Vec::new() } else { replica },
    }
}

/// Reads the partitions in the request's order, within its size limits.
fn read_all(state: &mut State, call: &Call<'_>, request: &FetchRequest<'_>) -> Vec<Vec<Read>> {
    let most = usize::try_from(request.max_bytes).unwrap_or(0).min(LARGEST_FETCH);
    let mut bytes = 0;
    let mut read_one = |topic: (&str, Uuid), asked: &FetchRequestPartition| {
        let of_partition = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
        let limit = of_partition.min(most.saturating_sub(bytes));
        let mut read =
            Read { index: asked.partition, outcome: Ok(Vec::new()), parting: None, start: -1, end: -1 };
        read.outcome = state.led(call, topic, asked.partition, asked.current_leader_epoch).and_then(|log| {
            (read.start, read.end) = (log.start(), log.end());
            read.parting = log.parts_from(asked.fetch_offset, asked.last_fetched_epoch)?;
            if read.parting.is_some() {
                return Ok(Vec::new());
            }
            log.read(asked.fetch_offset, limit, bytes == 0)
        });
        bytes = bytes.saturating_add(read.outcome.as_ref().map_or(0, Vec::len));
        read
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let of = (topic.topic, topic.topic_id);
        topics.push(topic.partitions.iter().map(|asked| read_one(of, asked)).collect());
    }
    topics
}

fn fetched(read: &Read, isolation_level: i8) -> FetchResponsePartition<'_> {
    FetchResponsePartition {
        partition_index: read.index,
        error_code: read.outcome.as_ref().err().copied().unwrap_or(ErrorCode::NONE),
        high_watermark: read.end,
        last_stable_offset: read.end,
        log_start_offset: read.start,
        diverging_epoch: read
            .parting
            .map(|(epoch, end_offset)| FetchResponseEpochEnd { epoch, end_offset })
            .unwrap_or_default(),
        aborted_transactions: (isolation_level == 1).then(Vec::new),
        records: Some(read.outcome.as_deref().unwrap_or_default()),
        ..FetchResponsePartition::default()
    }
}
