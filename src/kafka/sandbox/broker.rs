//! The broker that all connections share: the state behind one lock, and the path from a request to its response.
//!
//! No I/O happens here. Requests that wait (a fetch for records, a join for other members) share one condition
//! variable, each with its own deadline. Group timers are checked whenever a request looks at the group.

use super::SandboxSettings;
use super::report::{Client, Closing};
use super::rules::{Fault, Rules};
use super::state::State;
use crate::kafka::protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse, ApiVersionsResponseKey};
use crate::kafka::protocol::{ApiKey, Decode, Encode, ErrorCode, Reader, frame_response, request_body};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest a waiting request sleeps before it checks its condition again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// APIs that are never offered: the sandbox has no authentication.
const UNSERVED: [ApiKey; 2] = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];

/// One broker, or all brokers of a small cluster.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) settings: SandboxSettings,
    /// The port of each node, starting with node 1.
    pub(super) ports: Vec<u16>,
    /// Part of every member id, so that ids differ from those of an earlier sandbox.
    pub(super) seed: u64,
    /// The cluster id that `Metadata` returns; random, different for each sandbox.
    pub(super) cluster_id: String,
    state: Mutex<State>,
    changed: Condvar,
}

/// The context of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) client_id: &'a str,
    /// The node that received the request.
    pub(super) node: i32,
    /// The local and the remote address of the connection.
    pub(super) here: IpAddr,
    pub(super) there: IpAddr,
    pub(super) throttle_ms: i32,
}

/// What to do with the connection after a request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The response frame; `None` for a request without response (Produce with acks=0).
    pub(super) answer: Option<Vec<u8>>,
    /// The fault to apply while sending it.
    pub(super) fault: Option<Fault>,
    /// How long to read nothing more from the client.
    pub(super) throttle: Duration,
}

/// The response frame, if there is one; or why the connection has to be closed.
pub(super) type Answered = Result<Option<Vec<u8>>, Closing>;

impl Broker {
    pub(super) fn new(settings: SandboxSettings, ports: Vec<u16>, seed: u64) -> Self {
        let state = State {
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            coordinator: 1,
            rules: Rules::default(),
            closed: false,
            serial: 0,
        };
        let cluster_id = format!("sandbox-{seed:016x}");
        Self { settings, ports, seed, cluster_id, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No change leaves the state half done, so a panic elsewhere can't have corrupted it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiting requests after a change.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, at most until the deadline.
    pub(super) fn wait<'g>(&self, state: MutexGuard<'g, State>, until: Instant) -> MutexGuard<'g, State> {
        let time = until.saturating_duration_since(Instant::now()).min(LOOK_AGAIN);
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for this long, or until the sandbox stops.
    pub(super) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.closed && Instant::now() < until {
            state = self.wait(state, until);
        }
    }

    /// Handles one request frame received by `node`, and notes in `client` who sent it.
    pub(super) fn handle(
        &self,
        frame: &[u8],
        node: i32,
        (here, there): (IpAddr, IpAddr),
        client: &mut Client,
    ) -> Result<Outcome, Closing> {
        let mut reader = Reader::new(frame);
        let (header, _) = request_body(&mut reader)
            .map_err(|error| Closing::Because(format!("the header of its request can't be read: {error}")))?;
        client.has_id(header.client_id);
        let unspoken =
            |spoken| Closing::Unspoken { api_key: header.api_key, version: header.api_version, spoken };
        let api = ApiKey::from_i16(header.api_key).ok_or_else(|| unspoken(None))?;
        let offered = self.offered(api).ok_or_else(|| unspoken(None))?;
        let spoken = (*offered.start().max(api.versions().start()), *offered.end().min(api.versions().end()));
        let is_spoken = (spoken.0..=spoken.1).contains(&header.api_version);
        if !is_spoken && api != ApiKey::ApiVersions {
            return Err(unspoken(Some(spoken)));
        }
        let (fault, throttle) = {
            let mut state = self.lock();
            state.rules.expire(Instant::now());
            (state.rules.of_connection(api), state.rules.throttle(api).unwrap_or_default())
        };
        if matches!(fault, Some(Fault::Drop | Fault::HalfClose)) {
            return Ok(Outcome { fault, ..Outcome::default() });
        }
        let call = Call {
            api,
            version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.unwrap_or_default(),
            node,
            here,
            there,
            throttle_ms: i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX),
        };
        let answer = match (api, is_spoken) {
            (ApiKey::ApiVersions, false) => self.api_versions(&call, None, client),
            (ApiKey::ApiVersions, true) => self.api_versions(&call, Some(call.read(reader)?), client),
            _ => self.answer(&call, reader),
        };
        Ok(Outcome { answer: answer?, fault, throttle })
    }

    fn answer(&self, call: &Call<'_>, reader: Reader<'_>) -> Answered {
        match call.api {
            ApiKey::Metadata => self.metadata(call, &call.read(reader)?),
            ApiKey::Produce => self.produce(call, &call.read(reader)?),
            ApiKey::Fetch => self.fetch(call, &call.read(reader)?),
            ApiKey::ListOffsets => self.list_offsets(call, &call.read(reader)?),
            ApiKey::OffsetForLeaderEpoch => self.epoch_ends(call, &call.read(reader)?),
            ApiKey::InitProducerId => self.init_producer(call, &call.read(reader)?),
            ApiKey::FindCoordinator => self.find_coordinator(call, &call.read(reader)?),
            ApiKey::JoinGroup => self.join_group(call, &call.read(reader)?),
            ApiKey::SyncGroup => self.sync_group(call, &call.read(reader)?),
            ApiKey::Heartbeat => self.heartbeat(call, &call.read(reader)?),
            ApiKey::LeaveGroup => self.leave_group(call, &call.read(reader)?),
            ApiKey::OffsetCommit => self.offset_commit(call, &call.read(reader)?),
            ApiKey::OffsetFetch => self.offset_fetch(call, &call.read(reader)?),
            ApiKey::DescribeGroups => self.describe_groups(call, &call.read(reader)?),
            ApiKey::ListGroups => self.list_groups(call, &call.read(reader)?),
            ApiKey::CreateTopics => self.create_topics(call, &call.read(reader)?),
            ApiKey::DeleteTopics => self.delete_topics(call, &call.read(reader)?),
            ApiKey::CreatePartitions => self.create_partitions(call, &call.read(reader)?),
            ApiKey::DescribeConfigs => self.describe_configs(call, &call.read(reader)?),
            // ApiVersions is handled above; the others are never offered.
            ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
                Err(Closing::Unspoken { api_key: call.api.number(), version: call.version, spoken: None })
            }
        }
    }

    /// The versions of an API that are offered: all that can be decoded.
    ///
    /// Except that `Produce` starts at 0 unless a table says otherwise, as in Kafka 4 (KAFKA-18659): librdkafka
    /// infers from ancient versions which compression codecs a broker supports, and then uses the highest version.
    fn offered(&self, api: ApiKey) -> Option<RangeInclusive<i16>> {
        match (&self.settings.versions, api) {
            _ if UNSERVED.contains(&api) => None,
            (Some(table), _) => table.get(&api).cloned(),
            (None, ApiKey::Produce) => Some(0..=*api.versions().end()),
            (None, _) => Some(api.versions()),
        }
    }

    /// Answers ApiVersions. A version that isn't offered gets a version 0 response without decoding the request
    /// (KIP-511).
    fn api_versions(
        &self,
        call: &Call<'_>,
        request: Option<ApiVersionsRequest<'_>>,
        client: &mut Client,
    ) -> Answered {
        if let Some(request) = request.as_ref().filter(|_| call.version >= 3) {
            client.has_software(request.client_software_name, request.client_software_version);
        }
        let offered = ApiKey::ALL.iter().filter_map(|api| Some((*api, self.offered(*api)?)));
        let key = |(api, versions): (ApiKey, RangeInclusive<i16>)| ApiVersionsResponseKey {
            api_key: api.number(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        };
        let is_spoken = request.is_some();
        let response = ApiVersionsResponse {
            error_code: if is_spoken { ErrorCode::NONE } else { ErrorCode::UNSUPPORTED_VERSION },
            api_keys: offered.map(key).collect(),
            throttle_time_ms: call.throttle_ms,
            ..ApiVersionsResponse::default()
        };
        Call { version: if is_spoken { call.version } else { 0 }, ..*call }.framed(&response)
    }
}

impl Call<'_> {
    /// Decodes the request body. Trailing bytes are ignored as in Kafka: librdkafka sends some with `Metadata`.
    fn read<'de, T: Decode<'de>>(&self, mut body: Reader<'de>) -> Result<T, Closing> {
        let Self { api, version, .. } = self;
        let failed = |error| Closing::Because(format!("its {api} version {version} can't be read: {error}"));
        body.read("request").map_err(failed)
    }

    /// Encodes the response frame.
    pub(super) fn framed<R: Encode>(&self, response: &R) -> Answered {
        let Self { api, version, .. } = self;
        let mut out = Vec::new();
        let framed = frame_response(response, *api, *version, self.correlation_id, &mut out);
        let failed =
            |error| Closing::Because(format!("{api} version {version} has no way to answer it: {error}"));
        framed.map(|()| Some(out)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::protocol::response_body;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    /// Requests that real brokers accepted, at least one for each version of each API.
    const KEPT: [&str; 2] = [
        include_str!("../../../tests/it/protocol/golden/2.8.2.hex"),
        include_str!("../../../tests/it/protocol/golden/4.3.1.hex"),
    ];

    fn requests() -> Vec<Vec<u8>> {
        let byte = |hex: &str, at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let lines = KEPT.iter().flat_map(|kept| kept.lines()).filter_map(|line| line.strip_prefix("> "));
        let frames = lines.map(|hex| (8..hex.len()).step_by(2).map(|at| byte(hex, at)).collect());
        frames.collect()
    }

    /// A closed broker, where no request waits.
    fn closed() -> Broker {
        let broker = Broker::new(SandboxSettings::default(), vec![9092], 1);
        broker.lock().closed = true;
        broker
    }

    fn ask(broker: &Broker, frame: &[u8]) -> Result<Outcome, Closing> {
        let mut client = Client::new((Ipv4Addr::LOCALHOST, 4000).into());
        broker.handle(frame, 1, (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()), &mut client)
    }

    #[test]
    fn what_real_brokers_took_is_taken() {
        let broker = closed();
        let mut taken = BTreeSet::new();
        for frame in requests() {
            let api = ApiKey::from_i16(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
            let answered = ask(&broker, &frame).is_ok();
            assert_eq!(answered, !UNSERVED.contains(&api), "{api}");
            taken.extend(answered.then_some((api, i16::from_be_bytes([frame[2], frame[3]]))));
        }
        let served = ApiKey::ALL.iter().filter(|api| !UNSERVED.contains(api));
        let all: BTreeSet<_> =
            served.flat_map(|api| api.versions().map(move |version| (*api, version))).collect();
        assert_eq!(taken, all);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_refused(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            keep in any::<prop::sample::Index>(),
        ) {
            let broker = closed();
            for frame in requests() {
                let mut spoilt = frame.clone();
                for (at, byte) in &flips {
                    *at.get_mut(&mut spoilt) = *byte;
                }
                // Neither may panic; any result is fine.
                let _ = ask(&broker, &spoilt);
                let _ = ask(&broker, &frame[..keep.index(frame.len())]);
            }
        }
    }

    #[test]
    fn a_version_too_new_gets_the_first_one_with_what_is_spoken() {
        // Version 9, with a flexible header and an unknown body.
        let frame = [0, 18, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 0, 9, 9, 9];
        let answer = ask(&closed(), &frame).unwrap().answer.unwrap();
        let mut reader = Reader::new(&answer[4..]);
        assert_eq!(response_body(&mut reader, ApiKey::ApiVersions, 9), Ok(7));
        let response: ApiVersionsResponse<'_> = reader.whole().unwrap();
        assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
        let own = response.api_keys.iter().find(|key| key.api_key == ApiKey::ApiVersions.number()).unwrap();
        assert_eq!((own.min_version, own.max_version), (0, 4));
    }
}
