//! What is written is read again, and nothing less than all of it is taken for a message.

use super::samples::{MESSAGES, smallest};

#[test]
fn every_message_is_read_as_it_was_written() {
    for message in MESSAGES {
        (message.round_trip)();
    }
}

#[test]
fn no_message_can_be_cut_short_at_any_byte() {
    for message in MESSAGES {
        for bytes in message.encodings(64) {
            for length in 0..bytes.len() {
                assert!(
                    (message.rewrite)(&bytes[..length]).is_err(),
                    "{}: {length} of {bytes:?}",
                    message.name
                );
            }
        }
    }
}

#[test]
fn no_message_may_be_followed_by_anything() {
    for message in MESSAGES {
        for mut bytes in message.encodings(16) {
            bytes.push(0);
            let error = (message.rewrite)(&bytes).unwrap_err();
            assert!(error.to_string().ends_with("is followed by 1 bytes that mean nothing"), "{error}");
        }
    }
}

#[test]
fn every_api_has_its_request_and_its_response() {
    use sluicegate::kafka::protocol::ApiKey;
    for api in ApiKey::ALL {
        let names: Vec<_> = MESSAGES.iter().filter(|m| m.api == api).map(|m| m.name.to_owned()).collect();
        assert_eq!(names, [format!("{api}Request"), format!("{api}Response")]);
    }
}

/// Counts of elements are held against it, so it must not be too large; and not too small, or the bound is none.
#[test]
fn the_smallest_size_of_each_struct_is_the_size_of_one_of_zeros() {
    for (name, said, found) in smallest() {
        assert_eq!(said, found, "{name}");
    }
}
