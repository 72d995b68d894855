//! The metadata committed with a position: the identity of the log, and which records beyond the position are done.
//!
//! `sg2;TOPIC;CLUSTER;POSITION;REACH;EPOCH;TEXT`, on one line: the topic id, the cluster id, the committed position,
//! the offset after the last record that is done, the leader epoch of that record, and the caller's own text. Unknown
//! fields are empty.
//!
//! Tools that copy positions between clusters copy the metadata too, and other members of a group write none. So a note
//! counts only with the position and the cluster that it names. Any other text is ignored.

use crate::kafka::protocol::Uuid;
use crate::text::base64;

/// The prefix of a note, with the version of its format.
const PREFIX: &str = "sg2";
/// The maximum length of a cluster id, in characters: that of the ids that Kafka generates.
const LONGEST_CLUSTER_ID: usize = 22;

/// The longest [text](Note::text), in bytes, with which a note fits into what brokers take by default
/// (`offset.metadata.max.bytes`, 4,096).
pub(crate) const LONGEST_TEXT: usize = 3_950;

/// The metadata of a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The id of the topic that was read; zero if it is not known.
    pub topic: Uuid,
    /// The [name](cluster_name) of its cluster; empty if it is not known.
    pub cluster: String,
    /// The position that it was committed with.
    pub position: i64,
    /// The offset after the last record that is done; the position itself if no later record is done.
    pub reach: i64,
    /// The leader epoch of the last record before [`reach`](Self::reach); -1 if it is not known.
    pub epoch: i32,
    /// The caller's own text.
    pub text: String,
}

/// The cluster id as notes contain it: shortened, without characters that would break the format.
pub fn cluster_name(id: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    id.chars().filter(plain).take(LONGEST_CLUSTER_ID).collect()
}

impl Note {
    /// The text to commit; empty if neither the topic id nor any progress is known.
    pub fn encode(&self) -> String {
        let Self { topic, cluster, position, reach, epoch, text } = self;
        if *topic == Uuid::ZERO && text.is_empty() {
            return String::new();
        }
        let topic = if *topic == Uuid::ZERO { String::new() } else { base64::encode(&topic.0) };
        let epoch = if *epoch < 0 { String::new() } else { epoch.to_string() };
        format!("{PREFIX};{topic};{cluster};{position};{reach};{epoch};{text}")
    }

    /// Parses a note. `None` for any other text.
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
            text: "y".repeat(LONGEST_TEXT),
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
