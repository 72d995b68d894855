//! This member's part in the [comparison of destinations](crate::kafka::group::destinations): what it says, and what it
//! makes of what the leader tells.

use super::{ConsumerError, ConsumerNotice};
use crate::kafka::config::MemberDestination;
use crate::kafka::group::destinations::{Comparison, Digest, Sender};

/// The member thread's side of the comparison.
pub(super) struct DestinationCheck {
    own: Option<MemberDestination>,
    group: String,
    is_admitted: bool,
    /// The last notice said that the destinations differ.
    differs: bool,
}

impl DestinationCheck {
    pub(super) fn new(own: Option<MemberDestination>, group: &str) -> Self {
        Self { own, group: group.to_owned(), is_admitted: false, differs: false }
    }

    /// What to compare with as the leader.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.own.map(|own| own.digest)
    }

    /// What the next join says.
    pub(super) fn sender(&self) -> Option<Sender> {
        self.own.map(|own| Sender { digest: own.digest, is_admitted: self.is_admitted })
    }

    /// Takes what came with an assignment. Returns a notice if it differs from what was told last.
    ///
    /// # Errors
    /// The assignment must not be taken up: others were there first and send elsewhere.
    pub(super) fn compared(
        &mut self,
        comparison: Option<Comparison>,
        has_partitions: bool,
    ) -> Result<Option<ConsumerNotice>, ConsumerError> {
        let Some(own) = self.own else { return Ok(None) };
        let group = || self.group.clone();
        let is_late = comparison == Some(Comparison::Latecomer) && !self.is_admitted;
        if is_late && own.must_be_shared {
            return Err(ConsumerError::SendsElsewhere { group: group() });
        }
        let differs = comparison.map_or(self.differs, |comparison| comparison != Comparison::Same);
        let notice = match (self.differs, differs) {
            (false, true) => Some(ConsumerNotice::DestinationsDiffer { group: group() }),
            (true, false) => Some(ConsumerNotice::DestinationsAgree { group: group() }),
            _ => None,
        };
        self.differs = differs;
        // An empty assignment without a word may be that of a member that the leader doesn't know yet.
        self.is_admitted |= comparison.is_some() || has_partitions;
        Ok(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(must_be_shared: bool) -> DestinationCheck {
        DestinationCheck::new(Some(MemberDestination { digest: [1; 8], must_be_shared }), "g")
    }

    #[test]
    fn a_latecomer_is_refused_where_all_have_to_send_alike_until_it_was_admitted() {
        let mut late = check(true);
        assert!(matches!(
            late.compared(Some(Comparison::Latecomer), true),
            Err(ConsumerError::SendsElsewhere { .. })
        ));
        assert!(!late.sender().unwrap().is_admitted);
        assert!(late.compared(None, false).is_ok() && !late.sender().unwrap().is_admitted);
        assert!(late.compared(None, true).is_ok() && late.sender().unwrap().is_admitted);
        let told = late.compared(Some(Comparison::Latecomer), true);
        assert!(matches!(told, Ok(Some(ConsumerNotice::DestinationsDiffer { .. }))));
    }

    #[test]
    fn each_change_is_told_once() {
        let mut member = check(false);
        let mut told = |comparison| member.compared(comparison, true).unwrap();
        assert_eq!(told(Some(Comparison::Same)), None);
        let differ = Some(ConsumerNotice::DestinationsDiffer { group: "g".into() });
        assert_eq!(told(Some(Comparison::Latecomer)), differ);
        assert_eq!(told(Some(Comparison::Mixed)), None);
        assert_eq!(told(None), None);
        assert_eq!(told(Some(Comparison::Mixed)), None);
        let agree = Some(ConsumerNotice::DestinationsAgree { group: "g".into() });
        assert_eq!(told(Some(Comparison::Same)), agree);
        assert_eq!(told(Some(Comparison::Same)), None);
    }

    #[test]
    fn without_a_destination_nothing_is_said() {
        let mut member = DestinationCheck::new(None, "g");
        assert!(matches!(member.compared(Some(Comparison::Latecomer), true), Ok(None)));
        assert_eq!((member.sender(), member.digest()), (None, None));
    }
}
