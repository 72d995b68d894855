//! `Produce`: append records to partitions.

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// The records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// The transaction they belong to.
    pub transactional_id: Option<&'a str>,
    /// Who has them before the answer: -1 all replicas in sync, 1 the leader, 0 nobody (and no answer).
    pub acks: i16,
    /// For how long the leader may wait for the replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The topics.
    pub topic_data: Vec<ProduceRequestTopic<'a>>,
}

impl Request for ProduceRequest<'_> {
    const API: ApiKey = ApiKey::Produce;
    type Response<'r> = ProduceResponse<'r>;
}

impl Encode for ProduceRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.nullable_string("transactional_id", self.transactional_id);
        writer.int16(self.acks);
        writer.int32(self.timeout_ms);
        writer.array("topic_data", &self.topic_data);
    }
}

impl<'a> Decode<'a> for ProduceRequest<'a> {
    const SMALLEST: usize = 2 + 2 + 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            transactional_id: reader.nullable_string("transactional_id")?,
            acks: reader.int16("acks")?,
            timeout_ms: reader.int32("timeout_ms")?,
            topic_data: reader.array("topic_data")?,
        })
    }
}

/// Records for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequestTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partition_data: Vec<ProduceRequestPartition<'a>>,
}

impl Encode for ProduceRequestTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partition_data", &self.partition_data);
    }
}

impl<'a> Decode<'a> for ProduceRequestTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partition_data: reader.array("partition_data")? })
    }
}

/// Records for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequestPartition<'a> {
    /// The partition's number.
    pub index: i32,
    /// One record batch.
    pub records: Option<&'a [u8]>,
}

impl Encode for ProduceRequestPartition<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.index);
        writer.nullable_bytes("records", self.records);
    }
}

impl<'a> Decode<'a> for ProduceRequestPartition<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { index: reader.int32("index")?, records: reader.nullable_bytes("records")? })
    }
}

/// What was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse<'a> {
    /// The topics.
    pub responses: Vec<ProduceResponseTopic<'a>>,
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
}

impl Encode for ProduceResponse<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array("responses", &self.responses);
        writer.int32(self.throttle_time_ms);
    }
}

impl<'a> Decode<'a> for ProduceResponse<'a> {
    const SMALLEST: usize = 4 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            responses: reader.array("responses")?,
            throttle_time_ms: reader.int32("throttle_time_ms")?,
        })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponseTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partition_responses: Vec<ProduceResponsePartition<'a>>,
}

impl Encode for ProduceResponseTopic<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string("name", self.name);
        writer.array("partition_responses", &self.partition_responses);
    }
}

impl<'a> Decode<'a> for ProduceResponseTopic<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.string("name")?, partition_responses: reader.array("partition_responses")? })
    }
}

/// What was appended to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponsePartition<'a> {
    /// The partition's number.
    pub index: i32,
    /// Why nothing was.
    pub error_code: ErrorCode,
    /// The offset of the first record.
    pub base_offset: i64,
    /// When, where the topic's timestamps are the broker's; else -1. In milliseconds.
    pub log_append_time_ms: i64,
    /// The first offset of the partition.
    pub log_start_offset: i64,
    /// The records on whose account nothing was appended (KIP-467).
    pub record_errors: Vec<ProduceResponseRecordError<'a>>,
    /// The error in words.
    pub error_message: Option<&'a str>,
}

impl Encode for ProduceResponsePartition<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.index);
        writer.error_code(self.error_code);
        writer.int64(self.base_offset);
        writer.int64(self.log_append_time_ms);
        writer.int64(self.log_start_offset);
        writer.array("record_errors", &self.record_errors);
        writer.nullable_string("error_message", self.error_message);
    }
}

impl<'a> Decode<'a> for ProduceResponsePartition<'a> {
    const SMALLEST: usize = 4 + 2 + 8 + 8 + 8 + 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: reader.int32("index")?,
            error_code: reader.error_code("error_code")?,
            base_offset: reader.int64("base_offset")?,
            log_append_time_ms: reader.int64("log_append_time_ms")?,
            log_start_offset: reader.int64("log_start_offset")?,
            record_errors: reader.array("record_errors")?,
            error_message: reader.nullable_string("error_message")?,
        })
    }
}

/// A record that the broker doesn't accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponseRecordError<'a> {
    /// Its place in the batch.
    pub batch_index: i32,
    /// Why.
    pub batch_index_error_message: Option<&'a str>,
}

impl Encode for ProduceResponseRecordError<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.batch_index);
        writer.nullable_string("batch_index_error_message", self.batch_index_error_message);
    }
}

impl<'a> Decode<'a> for ProduceResponseRecordError<'a> {
    const SMALLEST: usize = 4 + 2;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            batch_index: reader.int32("batch_index")?,
            batch_index_error_message: reader.nullable_string("batch_index_error_message")?,
        })
    }
}
