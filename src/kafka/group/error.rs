//! What a group's coordinator says when it refuses, and which of it no patience mends.

use std::fmt;

/// An error code of the group APIs, by Kafka's own names (`org.apache.kafka.common.protocol.Errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// 14: the right broker, still reading the group's state.
    CoordinatorLoadInProgress,
    /// 15: no broker has the group for now.
    CoordinatorNotAvailable,
    /// 16: another broker has the group.
    NotCoordinator,
    /// 22: the group has gone on to another generation.
    IllegalGeneration,
    /// 23: the members have no assignor in common.
    InconsistentGroupProtocol,
    /// 24: the group's name is none.
    InvalidGroupId,
    /// 25: the coordinator doesn't know the member, or no longer.
    UnknownMemberId,
    /// 26: the session timeout is outside of what the brokers allow.
    InvalidSessionTimeout,
    /// 27: the members have to join again.
    RebalanceInProgress,
    /// 30: no right to read with this group.
    GroupAuthorizationFailed,
    /// 35: the broker doesn't speak this version of the request.
    UnsupportedVersion,
    /// 79: join again with the id that came along (KIP-394).
    MemberIdRequired,
    /// 81: the group takes no more members.
    GroupMaxSizeReached,
    /// 82: another process has joined with the same instance id (KIP-345).
    FencedInstanceId,
    /// Any other.
    Other(i16),
}

impl GroupError {
    const NAMED: [(i16, Self); 14] = [
        (14, Self::CoordinatorLoadInProgress),
        (15, Self::CoordinatorNotAvailable),
        (16, Self::NotCoordinator),
        (22, Self::IllegalGeneration),
        (23, Self::InconsistentGroupProtocol),
        (24, Self::InvalidGroupId),
        (25, Self::UnknownMemberId),
        (26, Self::InvalidSessionTimeout),
        (27, Self::RebalanceInProgress),
        (30, Self::GroupAuthorizationFailed),
        (35, Self::UnsupportedVersion),
        (79, Self::MemberIdRequired),
        (81, Self::GroupMaxSizeReached),
        (82, Self::FencedInstanceId),
    ];

    /// What the error code of an answer says; `None` for 0, which is no error.
    pub fn from_code(code: i16) -> Option<Self> {
        let named = || Self::NAMED.iter().find(|(number, _)| *number == code).map(|(_, error)| *error);
        (code != 0).then(|| named().unwrap_or(Self::Other(code)))
    }

    /// The code on the wire.
    pub fn code(self) -> i16 {
        match self {
            Self::Other(code) => code,
            named => Self::NAMED.iter().find(|(_, error)| *error == named).map_or(-1, |(code, _)| *code),
        }
    }

    /// For what no retry mends: the sentence that says what to do.
    pub(super) fn sentence(self, group: &str, instance_id: Option<&str>) -> Option<String> {
        Some(match self {
            Self::InconsistentGroupProtocol => format!(
                "Group {group} has members with other assignors than this one: let all of them offer the same one, \
                 or take another group name."
            ),
            Self::InvalidGroupId => format!("{group:?} is no valid name for a group: take another."),
            Self::InvalidSessionTimeout => format!(
                "The brokers don't allow this session timeout for group {group}: choose one between their \
                 group.min.session.timeout.ms and group.max.session.timeout.ms."
            ),
            Self::GroupAuthorizationFailed => format!(
                "This user may not read with group {group}: have the operation Read on that group granted to it."
            ),
            Self::UnsupportedVersion => format!(
                "The coordinator of group {group} doesn't speak the group protocol in the version used here: \
                 brokers from 2.4 on do."
            ),
            Self::GroupMaxSizeReached => {
                format!("Group {group} is full: run fewer members, or raise group.max.size on the brokers.")
            }
            Self::FencedInstanceId => format!(
                "Another member of group {group} has joined with the instance id {}: give each instance its own.",
                instance_id.unwrap_or("of this one")
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(code) => write!(f, "error {code}"),
            named => write!(f, "{named:?} ({})", named.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_as_it_went() {
        assert_eq!(GroupError::from_code(0), None);
        for code in (i16::MIN..=i16::MAX).filter(|code| *code != 0) {
            assert_eq!(GroupError::from_code(code).unwrap().code(), code);
        }
        assert_eq!(GroupError::from_code(25), Some(GroupError::UnknownMemberId));
        assert_eq!(GroupError::from_code(25).unwrap().to_string(), "UnknownMemberId (25)");
    }
}
