//! The error codes of a group's coordinator, and which of them are final.

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
    /// 24: the group's name is not valid.
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

    /// Whether a retry would fail in the same way until somebody changes names, rights, settings or versions.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::InconsistentGroupProtocol
                | Self::InvalidGroupId
                | Self::InvalidSessionTimeout
                | Self::GroupAuthorizationFailed
                | Self::UnsupportedVersion
                | Self::GroupMaxSizeReached
                | Self::FencedInstanceId
        )
    }
}

impl std::error::Error for GroupError {}

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
