//! The error codes of a group's coordinator, and which of them are final.

use std::fmt;

/// An error code of the group APIs, by Kafka's own names (`org.apache.kafka.common.protocol.Errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// 14: the coordinator is still loading the group's state.
    CoordinatorLoadInProgress,
    /// 15: no broker coordinates the group at present.
    CoordinatorNotAvailable,
    /// 16: another broker coordinates the group.
    NotCoordinator,
    /// 22: the group has another generation by now.
    IllegalGeneration,
    /// 23: the members have no assignor in common.
    InconsistentGroupProtocol,
    /// 24: the group's name is not valid.
    InvalidGroupId,
    /// 25: the coordinator does not know the member, perhaps no longer.
    UnknownMemberId,
    /// 26: the session timeout is outside the range that the brokers allow.
    InvalidSessionTimeout,
    /// 27: a rebalance is under way: the members have to rejoin.
    RebalanceInProgress,
    /// 30: the principal may not read with this group.
    GroupAuthorizationFailed,
    /// 35: the broker does not support this version of the request.
    UnsupportedVersion,
    /// 79: rejoin with the member id of this response (KIP-394).
    MemberIdRequired,
    /// 81: the group has the maximum number of members.
    GroupMaxSizeReached,
    /// 82: another process has joined with the same instance id (KIP-345).
    FencedInstanceId,
    /// Any other code.
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

    /// The error of a response's code; `None` for 0, which is no error.
    pub fn from_code(code: i16) -> Option<Self> {
        let named = || Self::NAMED.iter().find(|(number, _)| *number == code).map(|(_, error)| *error);
        (code != 0).then(|| named().unwrap_or(Self::Other(code)))
    }

    /// The error code in the protocol.
    pub(crate) fn code(self) -> i16 {
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
