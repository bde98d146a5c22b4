//! States of a tenant, and sets of them in which a command is allowed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of an open tenant, as ordered by the platform (TEN-22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Nothing is restricted.
    #[default]
    Active,
    /// The tenant sells what it has on offer, and offers nothing new.
    Restricted,
    /// The tenant takes no new orders. Existing orders are completed.
    Suspended,
    /// The tenant has ended for good. What it owes is settled: cancellations, refunds and returns.
    Closed,
}

impl TenantState {
    /// All states, in order of severity.
    pub const ALL: [Self; 4] = [Self::Active, Self::Restricted, Self::Suspended, Self::Closed];
}

/// States of a tenant in which a command is allowed. Every set contains [`TenantState::Active`].
///
/// The sets are nested: a command that is allowed in one state is allowed in all less severe ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantStates {
    before_opening: bool,
    most_severe: TenantState,
}

impl TenantStates {
    /// For commands that offer something new or change what is offered.
    pub const ACTIVE: Self = Self::up_to(TenantState::Active);
    /// For commands that sell what is on offer.
    pub const SELLING: Self = Self::up_to(TenantState::Restricted);
    /// For commands that complete what was sold.
    pub const OPERATING: Self = Self::up_to(TenantState::Suspended);
    /// For commands that withdraw, give back, or record a fact.
    pub const OPENED: Self = Self::up_to(TenantState::Closed);
    /// For commands of the platform, also before the tenant is open.
    pub const ANY: Self = Self { before_opening: true, ..Self::OPENED };

    const fn up_to(most_severe: TenantState) -> Self {
        Self { before_opening: false, most_severe }
    }

    /// True if the set contains the state; `None` is a tenant that is not open yet.
    pub fn contains(self, state: Option<TenantState>) -> bool {
        state.map_or(self.before_opening, |state| state <= self.most_severe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_nested_by_severity_and_only_the_widest_contains_a_tenant_that_is_not_open() {
        let sets = [TenantStates::ACTIVE, TenantStates::SELLING, TenantStates::OPERATING, TenantStates::OPENED];
        for (count, set) in (1..).zip(sets) {
            assert_eq!(TenantState::ALL.iter().filter(|state| set.contains(Some(**state))).count(), count);
            assert!(set.contains(Some(TenantState::Active)) && !set.contains(None));
        }
        let any = TenantStates::ANY;
        assert!(any.contains(None) && TenantState::ALL.iter().all(|state| any.contains(Some(*state))));
    }
}
