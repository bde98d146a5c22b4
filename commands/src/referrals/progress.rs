//! Progress of a referral by what the friend does.

use domain::referrals::{Advocate, Condition, Referral, ReferralTerms};
use domain::shared::{CustomerId, OrderId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates};

/// Record that a friend registered or paid an order. Does nothing for a customer who was not referred.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualifyReferral {
    pub friend: CustomerId,
    /// The paid order. Left out for a registration.
    pub order: Option<OrderId>,
}

impl Command for QualifyReferral {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    // The rules of referrals can change before a repeat.
    const DECIDED_ONCE: bool = true;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Referral>(Referral::id(self.friend));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let id = Referral::id(self.friend);
        if desk.read::<Referral>(id)?.pending_advocate().is_none() {
            return Ok(());
        }
        let Ok(rules) = desk.read::<ReferralTerms>(context.tenant)?.active() else { return Ok(()) };
        match (rules.condition, self.order) {
            (Condition::Signup, None) => complete(desk, context, self.friend),
            (Condition::Purchase, Some(order)) => {
                let completes_at = context.now.after(rules.window());
                desk.decide::<Referral>(id, |referral| referral.qualify(order, completes_at))?;
                if rules.window_days == 0 { complete(desk, context, self.friend) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// Complete a referral at the end of its window, unless it was refused.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishReferral {
    pub friend: CustomerId,
    /// The end of the window.
    pub due: Timestamp,
}

impl Command for FinishReferral {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Referral>(Referral::id(self.friend));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_due(self.due)?;
        match desk.read::<Referral>(Referral::id(self.friend))?.pending_advocate() {
            Some(_) => complete(desk, context, self.friend),
            None => Ok(()),
        }
    }
}

/// Refuse a referral because the first order of the friend was cancelled. Does nothing for another order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefuseReferral {
    pub friend: CustomerId,
    pub order: OrderId,
}

impl Command for RefuseReferral {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Referral>(Referral::id(self.friend));
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Referral>(Referral::id(self.friend), |referral| referral.refuse(self.order))
    }
}

/// Completes a referral and counts it for its advocate, once. Rejects a refused one.
pub(super) fn complete(desk: &mut Desk, context: &Context, friend: CustomerId) -> Result<(), Refusal> {
    let id = Referral::id(friend);
    let advocate = desk.read::<Referral>(id)?.pending_advocate();
    desk.decide::<Referral>(id, Referral::complete)?;
    let Some(advocate) = advocate else { return Ok(()) };
    let Ok(rules) = desk.read::<ReferralTerms>(context.tenant)?.active() else { return Ok(()) };
    desk.decide::<Advocate>(Advocate::id(advocate), |state| {
        state.count_friend(advocate, friend, rules.goal, rules.advocate_points, rules.friend_points)
    })
}
