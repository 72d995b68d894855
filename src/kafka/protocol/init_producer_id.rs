//! `InitProducerId`: an idempotent producer gets a number of its own (KIP-98).

use super::{ApiKey, Decode, DecodeError, Encode, ErrorCode, Reader, Request, Writer};

/// Asks any broker, or the transaction's coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id; `None` for a producer that is only idempotent.
    pub transactional_id: Option<&'a str>,
    /// After how long an open transaction is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
}

impl Request for InitProducerIdRequest<'_> {
    const API: ApiKey = ApiKey::InitProducerId;
    type Response<'r> = InitProducerIdResponse;
}

impl Encode for InitProducerIdRequest<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.nullable_string("transactional_id", self.transactional_id);
        writer.int32(self.transaction_timeout_ms);
    }
}

impl<'a> Decode<'a> for InitProducerIdRequest<'a> {
    const SMALLEST: usize = 2 + 4;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            transactional_id: reader.nullable_string("transactional_id")?,
            transaction_timeout_ms: reader.int32("transaction_timeout_ms")?,
        })
    }
}

/// The number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// For how long the broker holds this client back, for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Why there is none.
    pub error_code: ErrorCode,
    /// The producer's id; -1 if there is none.
    pub producer_id: i64,
    /// Which of the producers with this id it is: former ones are refused.
    pub producer_epoch: i16,
}

impl Encode for InitProducerIdResponse {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.int64(self.producer_id);
        writer.int16(self.producer_epoch);
    }
}

impl Decode<'_> for InitProducerIdResponse {
    const SMALLEST: usize = 4 + 2 + 8 + 2;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            throttle_time_ms: reader.int32("throttle_time_ms")?,
            error_code: reader.error_code("error_code")?,
            producer_id: reader.int64("producer_id")?,
            producer_epoch: reader.int16("producer_epoch")?,
        })
    }
}
