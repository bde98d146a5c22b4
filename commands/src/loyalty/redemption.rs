//! What points buy, from being bought to being used or given up.

use domain::loyalty::{LoyaltyAccount, LoyaltyProgram, Redemption};
use domain::shared::{CustomerId, Permission, RedemptionId, RewardId};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::today;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject, rejected};

/// Buy a reward with points. It then waits to be used.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemReward {
    pub customer: CustomerId,
    /// Made by the caller, so that sending it again buys no second one.
    pub redemption: RedemptionId,
    pub reward: RewardId,
}

impl Command for RedeemReward {
    const NEEDS: Permission = Permission::RedeemPoints;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Redemption>(self.redemption).stream::<LoyaltyAccount>(LoyaltyAccount::id(self.customer));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<Tenant>(context.tenant).stream::<LoyaltyProgram>(context.tenant);
            self.streams(hint);
        })?;
        // What was bought before stays bought, whatever has become of the reward since.
        if desk.read::<Redemption>(self.redemption)?.is_made(self.customer, self.reward).map_err(rejected)? {
            return Ok(());
        }
        let on = today(desk, context)?;
        let program = desk.read::<LoyaltyProgram>(context.tenant)?;
        let terms = program.reward(self.reward).map_err(rejected)?;
        desk.decide::<Redemption>(self.redemption, |redemption| {
            redemption.open(self.customer, self.reward, terms, on)
        })?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.redeem(self.redemption, self.reward, terms.cost, on)
        })
    }
}

/// Report that a bought reward was used.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRedemptionApplied {
    pub customer: CustomerId,
    pub redemption: RedemptionId,
}

impl Command for MarkRedemptionApplied {
    const NEEDS: Permission = Permission::ManagePoints;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Redemption>(self.redemption);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context)?;
        desk.decide::<Redemption>(self.redemption, |redemption| redemption.mark_applied(self.customer, on))
    }
}

/// Take a bought reward back and return its points.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRedemption {
    pub customer: CustomerId,
    pub redemption: RedemptionId,
}

impl Command for CancelRedemption {
    const NEEDS: Permission = Permission::ManagePoints;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Redemption>(self.redemption).stream::<LoyaltyAccount>(LoyaltyAccount::id(self.customer));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context)?;
        let returned = desk.read::<Redemption>(self.redemption)?.returnable();
        desk.decide::<Redemption>(self.redemption, |redemption| redemption.cancel(self.customer, on))?;
        let Some(points) = returned else { return Ok(()) };
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.give_back(self.customer, self.redemption, points, on)
        })
    }
}

/// Write down that a bought reward was not used in time. Its points stay spent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireRedemption {
    pub customer: CustomerId,
    pub redemption: RedemptionId,
}

impl Command for ExpireRedemption {
    const NEEDS: Permission = Permission::ManagePoints;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Redemption>(self.redemption);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context)?;
        desk.decide::<Redemption>(self.redemption, |redemption| redemption.expire(self.customer, on))
    }
}
