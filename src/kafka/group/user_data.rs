//! What members of this client tell each other in the user data of subscriptions and assignments.
//!
//! Two forms, told apart by their first bytes:
//!
//! - `sg` 1: a [share of the group's limit](limit_shares), then entries. Versions that knew of nothing but shares sent
//!   and read this form without entries; they ignore what follows the share.
//! - `sg` 2: entries alone. Those versions take it for foreign bytes, which is right: it has no share.
//!
//! An entry is a tag, the length of its value (one byte each), and the value. Unknown tags and further bytes of a value
//! are skipped, so later versions can add both. The bytes come from any client: what makes no sense says nothing.

use super::destinations::{Comparison, Sender};
use super::limit_shares;

/// The beginning of user data without a share.
const ENTRIES_ALONE: [u8; 3] = *b"sg\x02";
/// Tag of a member's [`Sender`]: its digest, then whether it is admitted.
const SENDER: u8 = 1;
const SENDER_LENGTH: u8 = 9;
/// Tag of the leader's [`Comparison`] for a member.
const COMPARISON: u8 = 2;

/// The entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserData {
    /// A member's claim on the group's limit, or the leader's grant.
    pub(crate) share: Option<u32>,
    /// From a member: where it sends.
    pub(crate) sender: Option<Sender>,
    /// From the leader: how that compares with the others.
    pub(crate) comparison: Option<Comparison>,
}

impl UserData {
    /// No bytes if there is nothing to say.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        if let Some(Sender { digest, is_admitted }) = self.sender {
            entries.extend([SENDER, SENDER_LENGTH]);
            entries.extend(digest);
            entries.push(is_admitted.into());
        }
        if let Some(comparison) = self.comparison {
            let number = match comparison {
                Comparison::Same => 0,
                Comparison::Mixed => 1,
                Comparison::Latecomer => 2,
            };
            entries.extend([COMPARISON, 1, number]);
        }
        match self.share {
            Some(share) => [limit_shares::encode(share), entries].concat(),
            None if entries.is_empty() => entries,
            None => [&ENTRIES_ALONE[..], &entries].concat(),
        }
    }

    /// Reads any bytes; what is not understood is left out.
    pub fn decode(bytes: &[u8]) -> Self {
        let (share, mut rest) = match limit_shares::decode(bytes) {
            Some((share, entries)) => (Some(share), entries),
            None => (None, bytes.strip_prefix(&ENTRIES_ALONE).unwrap_or_default()),
        };
        let mut data = Self { share, ..Self::default() };
        while let [tag, length, following @ ..] = rest
            && let Some((value, after)) = following.split_at_checked(usize::from(*length))
        {
            match *tag {
                SENDER => data.sender = sender(value),
                COMPARISON => data.comparison = comparison(value),
                _ => {}
            }
            rest = after;
        }
        data
    }
}

fn sender(value: &[u8]) -> Option<Sender> {
    let (digest, after) = value.split_first_chunk()?;
    Some(Sender { digest: *digest, is_admitted: *after.first()? != 0 })
}

fn comparison(value: &[u8]) -> Option<Comparison> {
    match value.first()? {
        0 => Some(Comparison::Same),
        1 => Some(Comparison::Mixed),
        2 => Some(Comparison::Latecomer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENDS: Sender = Sender { digest: *b"\x01\x02\x03\x04\x05\x06\x07\x08", is_admitted: true };

    fn any_data() -> impl Strategy<Value = UserData> {
        let sender =
            any::<([u8; 8], bool)>().prop_map(|(digest, is_admitted)| Sender { digest, is_admitted });
        let comparison =
            prop::sample::select(vec![Comparison::Same, Comparison::Mixed, Comparison::Latecomer]);
        let entries = (any::<Option<u32>>(), prop::option::of(sender), prop::option::of(comparison));
        entries.prop_map(|(share, sender, comparison)| UserData { share, sender, comparison })
    }

    #[test]
    fn members_that_know_only_the_limit_are_understood_and_understand() {
        let share = UserData { share: Some(7), ..UserData::default() };
        assert_eq!(share.encode(), limit_shares::encode(7));
        assert_eq!(UserData::decode(&limit_shares::encode(7)), share);
        let both = UserData { sender: Some(SENDS), ..share };
        assert_eq!(limit_shares::decode(&both.encode()).map(|(share, _)| share), Some(7));
        let no_share = UserData { share: None, ..both };
        assert_eq!(limit_shares::decode(&no_share.encode()), None, "no claim, rather than one of 0");
        assert_eq!(no_share.encode(), b"sg\x02\x01\x09\x01\x02\x03\x04\x05\x06\x07\x08\x01");
        assert!(UserData::default().encode().is_empty());
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        let foreign = [
            &b""[..],
            b"sg",
            b"sg\x02",
            b"sg\x03\x02\x01\x01",
            b"sg\x02\x02",
            b"sg\x02\x02\x01",
            b"sg\x02\x02\x00",
            b"sg\x02\x02\x01\x03",
            b"sg\x02\x01\x08\x01\x02\x03\x04\x05\x06\x07\x08",
            b"sg\x02\x01\xff\x01\x02\x03\x04\x05\x06\x07\x08\x01",
            b"\0\0\0\x05",
        ];
        for bytes in foreign {
            assert_eq!(UserData::decode(bytes), UserData::default(), "{bytes:?}");
        }
        let later = b"sg\x02\x63\x02\x01\x01\x01\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x01\x05\x05\x02\x01\x01";
        let known = UserData { sender: Some(SENDS), comparison: Some(Comparison::Mixed), share: None };
        assert_eq!(UserData::decode(later), known);
    }

    proptest! {
        #[test]
        fn is_read_as_it_was_written(data in any_data()) {
            prop_assert_eq!(UserData::decode(&data.encode()), data);
        }

        #[test]
        fn no_bytes_make_it_panic(
            data in any_data(),
            cut in 0..30_usize,
            more in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut bytes = data.encode();
            bytes.truncate(cut);
            bytes.extend(&more);
            let _ = UserData::decode(&bytes);
            let _ = UserData::decode(&more);
            let _ = UserData::decode(&[&ENTRIES_ALONE[..], &more].concat());
        }
    }
}
