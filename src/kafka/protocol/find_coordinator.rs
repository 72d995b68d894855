//! `FindCoordinator`: finds the broker that coordinates a group.

use super::ErrorCode;
use super::describe::{describe, request};

describe! {
    /// Asks any broker.
    pub struct FindCoordinatorRequest<'a> {
        key: &'a str => 0..=3; "The group's name."
        key_type: i8 => 1..; "0 for a group, 1 for a transactional id."
        coordinator_keys: Vec<&'a str> => 4..; "The groups' names."
    }

    /// The coordinator.
    pub struct FindCoordinatorResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        error_code: ErrorCode => 0..=3; "Why there is none."
        error_message: Option<&'a str> = Some("") => 1..=3, ignorable; "The same in words."
        node_id: i32 => 0..=3; "The coordinator's number."
        host: &'a str => 0..=3; "Where it says that clients reach it."
        port: i32 => 0..=3; "Its port there."
        coordinators: Vec<FindCoordinatorResponseCoordinator<'a>> => 4..; "The coordinators."
    }

    /// The coordinators.
    pub struct FindCoordinatorResponseCoordinator<'a> {
        key: &'a str => 4..; "The coordinator key."
        node_id: i32 => 4..; "The node id."
        host: &'a str => 4..; "The host name."
        port: i32 => 4..; "The port."
        error_code: ErrorCode => 4..; "The error code, or 0 if there was no error."
        error_message: Option<&'a str> = Some("") => 4.., ignorable;
            "The error message, or null if there was no error."
    }
}

request!(FindCoordinatorRequest<'_>, FindCoordinator, 'r FindCoordinatorResponse<'r> {
    // From version 4 on one request asks for several groups.
    fn reshaped(&self, version: i16) -> Option<Self> {
        let alone = version >= 4 && self.coordinator_keys.is_empty();
        alone.then(|| Self { key: "", coordinator_keys: vec![self.key], ..self.clone() })
    }

    fn restore(response: &mut FindCoordinatorResponse<'_>, version: i16) {
        if version >= 4 {
            let nobody = FindCoordinatorResponseCoordinator {
                error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
                ..FindCoordinatorResponseCoordinator::default()
            };
            let found = response.coordinators.pop().unwrap_or(nobody);
            (response.error_code, response.error_message) = (found.error_code, found.error_message);
            (response.node_id, response.host, response.port) = (found.node_id, found.host, found.port);
        }
    }
});
