//! What is committed beside a position: which log it was read from, and what is done beyond it.
//!
//! `sg2;TOPIC;CLUSTER;POSITION;REACH;EPOCH;TEXT`, all on one line: the topic's id and the cluster's, the position that
//! it was written for, the offset behind the last record that is done, the leader epoch of that record, and the core's
//! own text. A field that isn't known is empty.
//!
//! Tools that copy positions from cluster to cluster copy what stands beside them too, and other members of a group
//! write nothing. So a note counts only beside the very position that it names, and in the cluster that it names.
//! Any other text says nothing.

use crate::kafka::protocol::Uuid;
use crate::text::base64;

/// What a note begins with; another form would have another number.
const PREFIX: &str = "sg2";
/// So much of a cluster's id is kept: all of it, where Kafka made it.
const LONGEST_CLUSTER_ID: usize = 22;

/// What stands beside a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The id of the topic that was read; zero where it isn't known.
    pub topic: Uuid,
    /// The id of its cluster, shortened; empty where it isn't known.
    pub cluster: String,
    /// The position that it was written for.
    pub position: i64,
    /// Behind the last record that is done; the position itself where nothing is done beyond it.
    pub reach: i64,
    /// The leader epoch of the last record before [`reach`](Self::reach); -1 where it isn't known.
    pub epoch: i32,
    /// What the core wants back.
    pub text: String,
}

/// What a cluster is called in notes.
pub fn cluster_name(id: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    id.chars().filter(plain).take(LONGEST_CLUSTER_ID).collect()
}

impl Note {
    /// As it is committed. Nothing, where there is nothing to say.
    pub fn encode(&self) -> String {
        let Self { topic, cluster, position, reach, epoch, text } = self;
        if *topic == Uuid::ZERO && text.is_empty() {
            return String::new();
        }
        let topic = if *topic == Uuid::ZERO { String::new() } else { base64::encode(&topic.0) };
        let epoch = if *epoch < 0 { String::new() } else { epoch.to_string() };
        format!("{PREFIX};{topic};{cluster};{position};{reach};{epoch};{text}")
    }

    /// Reads one. `None` for any other text.
    pub fn decode(text: &str) -> Option<Self> {
        let mut fields = text.splitn(7, ';');
        fields.next().filter(|prefix| *prefix == PREFIX)?;
        let topic = match fields.next()? {
            "" => Uuid::ZERO,
            id => Uuid(base64::decode(id)?.try_into().ok()?),
        };
        let cluster = fields.next()?.to_owned();
        let position = fields.next()?.parse().ok()?;
        let reach = fields.next()?.parse().ok().filter(|reach| *reach >= position)?;
        let epoch = match fields.next()? {
            "" => -1,
            epoch => epoch.parse().ok()?,
        };
        Some(Self { topic, cluster, position, reach, epoch, text: fields.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::offset_runs;
    use proptest::prelude::*;

    /// The longest metadata that a broker takes by default (`offset.metadata.max.bytes`).
    const MOST_METADATA: usize = 4_096;

    #[test]
    fn the_longest_is_taken_by_a_broker() {
        let note = Note {
            topic: Uuid([0xff; 16]),
            cluster: cluster_name(&"x".repeat(100)),
            position: i64::MAX - 1,
            reach: i64::MAX,
            epoch: i32::MAX,
            text: "y".repeat(offset_runs::LONGEST),
        };
        let text = note.encode();
        assert!(text.len() <= MOST_METADATA, "{}", text.len());
        assert_eq!(Note::decode(&text), Some(note));
    }

    #[test]
    fn nothing_to_say_is_no_text_and_no_other_text_is_a_note() {
        assert_eq!(Note { position: 7, reach: 9, epoch: 3, ..Note::default() }.encode(), "");
        for text in [
            "",
            "sg1:AAEB",
            "sg2",
            "sg2;;;7;9;3",
            "sg2;;;7;6;3;",
            "sg2;AAAA;;7;7;;",
            "sg3;;;7;7;;x",
            "x;;;7;7;;x",
        ] {
            assert_eq!(Note::decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_says_what_it_was_told(
            id in any::<[u8; 16]>(), cluster in ".{0,40}", position in 0..i64::MAX / 2, beyond in 0..1_000_i64,
            epoch in -1..i32::MAX, text in "[ -~]{1,60}",
        ) {
            let (topic, cluster) = (Uuid(id), cluster_name(&cluster));
            let note = Note { topic, cluster, position, reach: position + beyond, epoch, text };
            prop_assert_eq!(Note::decode(&note.encode()), Some(note));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(sg2)?[;0-9A-Za-z+/=-]{0,80}") {
            let _ = Note::decode(&text);
        }
    }
}
