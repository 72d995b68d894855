//! `DeleteTopics`: delete topics with all their records.

use super::describe::{describe, request};
use super::{ErrorCode, Uuid};

describe! {
    /// Asks the controller.
    pub struct DeleteTopicsRequest<'a> {
        topics: Vec<DeleteTopicsRequestTopic<'a>> => 6..; "The topics."
        topic_names: Vec<&'a str> => 0..=5, ignorable; "The topics' names."
        timeout_ms: i32 => 0..; "How long to wait for the end of them, in milliseconds."
    }

    /// A topic to delete, by its name or by its id.
    pub struct DeleteTopicsRequestTopic<'a> {
        name: Option<&'a str> => 6..; "Its name."
        topic_id: Uuid => 6..; "Its id."
    }

    /// What was deleted.
    pub struct DeleteTopicsResponse<'a> {
        throttle_time_ms: i32 => 1.., ignorable;
            "For how long the broker holds this client back, for its quota, in milliseconds."
        responses: Vec<DeleteTopicsResponseTopic<'a>> => 0..; "The topics."
    }

    /// Whether a topic was deleted.
    pub struct DeleteTopicsResponseTopic<'a> {
        name: Option<&'a str> = Some("") => 0.., null 6..; "Its name."
        topic_id: Uuid => 6.., ignorable; "Its id."
        error_code: ErrorCode => 0..; "Why it wasn't deleted."
        error_message: Option<&'a str> => 5.., ignorable; "The same in words."
    }
}

request!(DeleteTopicsRequest<'_>, DeleteTopics, 'r DeleteTopicsResponse<'r> {
    // From version 6 on a topic may be named by its id.
    fn reshaped(&self, version: i16) -> Option<Self> {
        let by_name = version >= 6 && self.topics.is_empty();
        let named = self.topic_names.iter().map(|name| Some(*name));
        let topics = named.map(|name| DeleteTopicsRequestTopic { name, topic_id: Uuid::ZERO });
        by_name.then(|| Self { topics: topics.collect(), ..self.clone() })
    }
});
