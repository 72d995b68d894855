//! Nothing less than all of a message is taken for one, and nothing more. (That each version is read and written as
//! it is by Kafka, `schemas` shows.)

use super::messages::{MESSAGES, Message};
use super::{golden, schema};
use sluicegate::kafka::protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use sluicegate::kafka::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use sluicegate::kafka::protocol::{ApiKey, ErrorCode, Format, Request};

/// Messages in each version: those that real brokers took and sent, and some drawn at random.
pub fn all() -> impl Iterator<Item = (&'static Message, Format, Vec<Vec<u8>>)> {
    MESSAGES.iter().flat_map(|message| {
        message.formats().map(move |format| {
            let mut found = golden::bodies(message, format.version);
            found.extend(schema::samples(message, format, 16));
            (message, format, found)
        })
    })
}

#[test]
fn no_message_can_be_cut_short_at_any_byte() {
    for (message, format, bodies) in all() {
        for bytes in bodies {
            for length in 0..bytes.len() {
                let read = message.rewrite(&bytes[..length], format);
                assert!(read.is_err(), "{} {format:?}: {length} of {bytes:?}", message.name);
            }
        }
    }
}

#[test]
fn no_message_may_be_followed_by_anything() {
    for (message, format, bodies) in all() {
        for mut bytes in bodies {
            bytes.push(0);
            let error = message.rewrite(&bytes, format).unwrap_err();
            assert!(error.to_string().ends_with("is followed by 1 bytes that mean nothing"), "{error}");
        }
    }
}

/// Newer versions ask for several groups at once; an answer without the one that was asked for says nothing of it.
#[test]
fn an_answer_about_no_group_is_not_one_that_says_there_is_nothing() {
    let mut answer = OffsetFetchResponse::default();
    OffsetFetchRequest::restore(&mut answer, 7);
    assert_eq!(answer.error_code, ErrorCode::NONE);
    OffsetFetchRequest::restore(&mut answer, 8);
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    let mut answer = FindCoordinatorResponse::default();
    FindCoordinatorRequest::restore(&mut answer, 4);
    assert_eq!(answer.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
}

#[test]
fn every_api_has_its_request_and_its_response() {
    for api in ApiKey::ALL {
        let names: Vec<_> = MESSAGES.iter().filter(|m| m.api == *api).map(|m| m.name.to_owned()).collect();
        assert_eq!(names, [format!("{api}Request"), format!("{api}Response")]);
    }
}

/// Counts of elements are held against it, so it must not be too large; and not too small, or the bound is none.
#[test]
fn the_smallest_size_of_each_message_is_the_size_of_one_of_zeros() {
    for message in MESSAGES {
        for format in message.formats() {
            let smallest = (message.smallest)(format);
            // In a flexible version a zero is a null, which not all may be, and a one is empty.
            let zeros = vec![u8::from(format.flexible); smallest];
            if let Ok(written) = message.rewrite(&zeros, format) {
                assert_eq!(written.len(), smallest, "{} {format:?}", message.name);
            } else {
                assert!(format.flexible, "{} {format:?}", message.name);
            }
        }
    }
}
