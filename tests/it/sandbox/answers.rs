//! Answers that go wrong: what each does to our client. Nothing is lost, nothing out of order, and it goes on.

use crate::sandbox::reader::{REQUEST_TIMEOUT, Reader, group, sandbox, write};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode};
use sluicegate::kafka::sandbox::faults::Fault;
use std::time::Duration;

/// What can happen to the bytes of an answer.
const OF_CONNECTION: [Fault; 9] = [
    Fault::Drop,
    Fault::Lose,
    Fault::NoAnswer,
    Fault::Cut(2),
    Fault::Cut(10),
    Fault::Garbage,
    Fault::Stranger,
    Fault::HalfClose,
    Fault::Slow(Duration::from_millis(2_000)),
];
/// So many sandboxes at once.
const AT_ONCE: usize = 12;

/// Lets a member read, has these answers go wrong, and lets it read on.
fn survives(api: ApiKey, fault: Fault, times: usize) {
    let what = format!("{api} {fault:?}");
    let sandbox = sandbox(1);
    write(&sandbox, 5);
    let faults = sandbox.faults();
    let from_the_start = !matches!(api, ApiKey::Heartbeat);
    let inject = || faults.inject(api, fault, times);
    if from_the_start {
        inject();
    }
    let mut reader = Reader::member(&sandbox);
    reader.until_all(&what, &sandbox);
    if api == ApiKey::SyncGroup && faults.left(api) > 0 {
        // One that is only slow is not asked for again by itself.
        faults.rebalance(crate::sandbox::reader::GROUP);
    }
    reader.until(&what, |_| faults.left(api) == 0);
    inject();
    write(&sandbox, 5);
    if [ApiKey::Fetch, ApiKey::Heartbeat, ApiKey::OffsetCommit].contains(&api) {
        reader.until(&what, |_| faults.left(api) == 0);
    } else {
        // It is asked for where the group has to begin anew.
        faults.rebalance(crate::sandbox::reader::GROUP);
    }
    write(&sandbox, 5);
    reader.until_all(&what, &sandbox);
}

fn all_survive(cases: &[(ApiKey, Fault)], times: usize) {
    for cases in cases.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for (api, fault) in cases {
                scope.spawn(|| survives(*api, *fault, times));
            }
        });
    }
}

fn each(apis: &[ApiKey], faults: &[Fault]) -> Vec<(ApiKey, Fault)> {
    apis.iter().flat_map(|api| faults.iter().map(|fault| (*api, *fault))).collect()
}

#[test]
fn no_connection_that_breaks_loses_a_record() {
    assert!(Duration::from_millis(2_000) > REQUEST_TIMEOUT * 2);
    let apis = [
        ApiKey::Metadata,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::Heartbeat,
        ApiKey::OffsetFetch,
        ApiKey::OffsetCommit,
    ];
    all_survive(&each(&apis, &OF_CONNECTION), 2);
}

#[test]
fn no_error_of_a_leader_loses_a_record() {
    let errors = [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::OFFSET_NOT_AVAILABLE,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::OFFSET_OUT_OF_RANGE,
    ]
    .map(Fault::Error);
    let of_fetch = [Fault::Corrupt, Fault::Throttle(Duration::from_millis(100))];
    let mut cases = each(&[ApiKey::Fetch], &errors);
    cases.extend(each(&[ApiKey::Fetch], &of_fetch));
    cases.extend(each(&[ApiKey::ListOffsets], &errors[..7]));
    all_survive(&cases, 3);
}

#[test]
fn no_error_of_a_coordinator_loses_a_record() {
    let moved = [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
    ]
    .map(Fault::Error);
    let all = [
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::Heartbeat,
        ApiKey::OffsetFetch,
        ApiKey::OffsetCommit,
    ];
    let mut cases = each(&all, &moved);
    let fenced =
        [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID];
    let members = [ApiKey::SyncGroup, ApiKey::Heartbeat, ApiKey::OffsetCommit];
    cases.extend(each(&members, &fenced.map(Fault::Error)));
    all_survive(&cases, 2);
}

#[test]
fn a_commit_without_metadata_goes_where_one_with_it_is_too_large() {
    let sandbox = sandbox(1);
    write(&sandbox, 5);
    let mut reader = Reader::member(&sandbox);
    reader.metadata = "x".repeat(5_000);
    reader.until_all("metadata", &sandbox);
}

#[test]
fn what_nothing_mends_ends_in_a_sentence() {
    for (api, code, said) in [
        (ApiKey::JoinGroup, ErrorCode::GROUP_AUTHORIZATION_FAILED, "group"),
        (ApiKey::JoinGroup, ErrorCode::INVALID_SESSION_TIMEOUT, "session"),
        (ApiKey::JoinGroup, ErrorCode::GROUP_MAX_SIZE_REACHED, "group"),
        (ApiKey::JoinGroup, ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "assignor"),
        (ApiKey::Heartbeat, ErrorCode::FENCED_INSTANCE_ID, "instance"),
        (ApiKey::Metadata, ErrorCode::TOPIC_AUTHORIZATION_FAILED, "topic"),
        (ApiKey::Fetch, ErrorCode::TOPIC_AUTHORIZATION_FAILED, "read"),
        (ApiKey::OffsetCommit, ErrorCode::GROUP_AUTHORIZATION_FAILED, "group"),
    ] {
        let sandbox = sandbox(1);
        write(&sandbox, 1);
        sandbox.faults().inject(api, Fault::Error(code), 1_000);
        let mut reader = Reader::member(&sandbox);
        let text = reader.fails(&format!("{api} {code}"));
        assert!(text.to_lowercase().contains(said), "{api} {code}: {text}");
    }
}

#[test]
fn a_corrupt_batch_stops_its_partition_and_is_not_skipped() {
    let sandbox = sandbox(1);
    write(&sandbox, 2);
    let spoilt = sluicegate::record::Partition::new(crate::sandbox::reader::TOPIC, 1);
    sandbox.faults().inject_at(ApiKey::Fetch, spoilt.clone(), Fault::Corrupt, 1_000);
    let mut reader = Reader::member(&sandbox);
    reader.until("its end", |reader| reader.was_told("nothing more is read of this partition"));
    write(&sandbox, 1);
    reader.until("the others", |reader| {
        reader.seen.iter().all(|(partition, offsets)| *partition == spoilt || offsets.len() == 9)
    });
    // The bit that flips is in the last batch of what is fetched.
    reader.until("what is whole", |reader| reader.seen.get(&spoilt).is_some_and(|seen| *seen == [0, 1, 2]));
    reader.until("its commit", |_| sandbox.committed(crate::sandbox::reader::GROUP).get(&spoilt) == Some(&3));
}

#[test]
fn a_static_member_that_is_replaced_says_so() {
    use sluicegate::kafka::config::Share;
    let sandbox = sandbox(1);
    write(&sandbox, 1);
    let named = || {
        let settings = sluicegate::kafka::group::membership::MembershipSettings {
            instance_id: Some("one".into()),
            ..group()
        };
        Reader::open(&sandbox, crate::sandbox::reader::config(Share::Group(settings)))
    };
    let mut first = named();
    first.until_all("alone", &sandbox);
    let mut second = named();
    second.until("the place of the first", |second| second.owned.len() == 4);
    let text = first.fails("two with one name");
    assert!(text.contains("one"), "{text}");
    write(&sandbox, 1);
    second.until("what is new", |second| second.seen.values().map(Vec::len).sum::<usize>() == 12);
}
