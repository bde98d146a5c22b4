//! Demands: the streams that a command draws on and that can sell out. While the sold-out cache has an entry for one of
//! them, the edge answers `SOLD_OUT_FOR_NOW` without asking the scribe.

use domain::kernel::Aggregate;

use super::{Refusal, Rejected, StreamRef, rejected};

/// Collects the demands of one command.
#[derive(Debug, Default)]
pub struct Demands(Vec<Demand>);

/// A stream that a command draws on, and the rejection that the command gets if nothing is left there.
#[derive(Clone, Debug)]
pub struct Demand {
    pub stream: StreamRef,
    sold_out: Rejected,
}

impl Demands {
    /// Adds a stream. `sold_out` is the rejection that its aggregate returns when nothing is left.
    pub fn add<A: Aggregate>(&mut self, id: A::Id, sold_out: A::Rejection) -> &mut Self {
        self.add_with::<A>(id, sold_out, |refusal| refusal)
    }

    /// Like [`Self::add`], for a command that adds details to the rejections of its aggregates.
    pub fn add_with<A: Aggregate>(
        &mut self,
        id: A::Id,
        sold_out: A::Rejection,
        detailed: impl FnOnce(Refusal) -> Refusal,
    ) -> &mut Self {
        if let Refusal::Rejected(sold_out) = detailed(rejected(sold_out)) {
            self.0.push(Demand { stream: StreamRef::of::<A>(id), sold_out });
        }
        self
    }

    pub fn into_demands(self) -> Vec<Demand> {
        self.0
    }
}

impl Demand {
    /// True if this rejection of the command says that nothing is left of the stream.
    pub fn is_sold_out(&self, rejected: &Rejected) -> bool {
        // The message is not compared: in a rolling update, another version may word it differently.
        (&rejected.code, &rejected.details) == (&self.sold_out.code, &self.sold_out.details)
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
        let mut demands = Demands::default();
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: 3 };
        demands.add::<StockItem>(StockItemId::new(Uuid::from_u128(7)), sold_out.clone());
        let demand = demands.into_demands().pop().expect("one demand was added");
        assert!(demand.is_sold_out(&refused(sold_out)));
        assert!(!demand.is_sold_out(&refused(StockRejection::OutOfStock { free: 1, wanted: 3 })));
        assert!(!demand.is_sold_out(&refused(StockRejection::NotStocked {})));
    }

    #[test]
    fn a_rejection_is_recognised_after_it_was_sent_as_json() {
        let mut demands = Demands::default();
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: 3 };
        demands.add::<StockItem>(StockItemId::new(Uuid::from_u128(7)), sold_out.clone());
        let demand = demands.into_demands().pop().expect("one demand was added");
        let json = serde_json::to_string(&refused(sold_out)).expect("a rejection is JSON");
        assert!(demand.is_sold_out(&serde_json::from_str(&json).expect("a rejection reads again")));
    }
}
