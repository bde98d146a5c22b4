//! What may run out: so that a crowd can be asked to come back later, before it troubles the scribe.

use domain::kernel::Aggregate;

use super::{Refusal, Rejected, StreamRef, rejected};

/// What a command takes from streams that may run out. A matter of speed only, never of the outcome.
#[derive(Debug, Default)]
pub struct Scarce(Vec<Taking>);

/// That a command takes from one stream, and what it is refused with where nothing is left there.
#[derive(Clone, Debug)]
pub struct Taking {
    pub stream: StreamRef,
    gone: Rejected,
}

impl Scarce {
    /// It takes from this stream. `gone` is the rejection by its aggregate when nothing is left.
    pub fn take<A: Aggregate>(&mut self, id: A::Id, gone: A::Rejection) -> &mut Self {
        self.take_with::<A>(id, gone, |refusal| refusal)
    }

    /// Like [`Self::take`], for a command that adds details to the rejections of its aggregates.
    pub fn take_with<A: Aggregate>(
        &mut self,
        id: A::Id,
        gone: A::Rejection,
        detailed: impl FnOnce(Refusal) -> Refusal,
    ) -> &mut Self {
        if let Refusal::Rejected(gone) = detailed(rejected(gone)) {
            self.0.push(Taking { stream: StreamRef::of::<A>(id), gone });
        }
        self
    }

    pub fn into_takings(self) -> Vec<Taking> {
        self.0
    }
}

impl Taking {
    /// Whether a rejection says that nothing is left of this.
    pub fn is_gone(&self, rejected: &Rejected) -> bool {
        // Not by the message: in a rolling update another version may have written it.
        (&rejected.code, &rejected.details) == (&self.gone.code, &self.gone.details)
    }
}

#[cfg(test)]
mod tests {
    use domain::inventory::{StockItem, StockRejection};
    use domain::shared::StockItemId;
    use uuid::Uuid;

    use super::*;

    fn refused(rejection: StockRejection) -> Rejected {
        match rejected(rejection) {
            Refusal::Rejected(rejected) => rejected,
            other => panic!("expected a rejection, got {other:?}"),
        }
    }

    #[test]
    fn only_a_rejection_with_nothing_left_means_sold_out() {
        let mut scarce = Scarce::default();
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: 3 };
        scarce.take::<StockItem>(StockItemId::new(Uuid::from_u128(7)), sold_out.clone());
        let taking = scarce.into_takings().pop().expect("one was taken");
        assert!(taking.is_gone(&refused(sold_out)));
        assert!(!taking.is_gone(&refused(StockRejection::OutOfStock { free: 1, wanted: 3 })));
        assert!(!taking.is_gone(&refused(StockRejection::NotStocked {})));
    }

    #[test]
    fn a_rejection_is_recognised_after_it_was_sent_as_json() {
        let mut scarce = Scarce::default();
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: 3 };
        scarce.take::<StockItem>(StockItemId::new(Uuid::from_u128(7)), sold_out.clone());
        let taking = scarce.into_takings().pop().expect("one was taken");
        let json = serde_json::to_string(&refused(sold_out)).expect("a rejection is JSON");
        assert!(taking.is_gone(&serde_json::from_str(&json).expect("a rejection reads again")));
    }
}
