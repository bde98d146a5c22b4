//! A tenant's points programme. There is one, so that its commands name none.

use domain::loyalty::{EarningRules, LoyaltyProgram, Rate};
use domain::shared::{Permission, PositivePoints, Price, RewardId, Text, Title};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject, rejected};

/// Say what earns points from now on. What was earned before stays as it was.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEarningRules {
    /// What a purchase earns.
    pub purchase: Rate,
    /// What signing up earns, if anything.
    pub signup: Option<PositivePoints>,
}

impl Command for SetEarningRules {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let rules = EarningRules { purchase: self.purchase, signup: self.signup };
        desk.decide::<LoyaltyProgram>(context.tenant, |program| program.set_earning_rules(rules))
    }
}

/// Let points be earned from now on.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableProgram {}

impl Command for EnableProgram {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<LoyaltyProgram>(context.tenant, LoyaltyProgram::enable)
    }
}

/// Let no points be earned for now. Balances stay, and can be spent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableProgram {}

impl Command for DisableProgram {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<LoyaltyProgram>(context.tenant, LoyaltyProgram::disable)
    }
}

/// Give points a name of their own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameCurrency {
    /// What one is called, such as Star.
    pub singular: Text<50>,
    /// What several are called, such as Stars.
    pub plural: Text<50>,
}

impl Command for NameCurrency {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<LoyaltyProgram>(context.tenant, |program| {
            program.name_currency(self.singular.clone(), self.plural.clone())
        })
    }
}

/// Offer one more thing that points buy.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddReward {
    /// Made by the caller, so that sending it again offers no second one.
    pub reward: RewardId,
    pub name: Title,
    /// How many points it costs.
    pub cost: PositivePoints,
    /// What it takes off the price of an order, in the currency of the tenant.
    pub value: Price,
}

impl Command for AddReward {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<Tenant>(context.tenant).stream::<LoyaltyProgram>(context.tenant);
        })?;
        desk.read::<Tenant>(context.tenant)?.require_currency(self.value.currency()).map_err(rejected)?;
        desk.decide::<LoyaltyProgram>(context.tenant, |program| {
            program.add_reward(self.reward, self.name.clone(), self.cost, self.value)
        })
    }
}

/// Take a reward off the list. What was bought stays good.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireReward {
    pub reward: RewardId,
}

impl Command for RetireReward {
    const NEEDS: Permission = Permission::ManageProgram;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<LoyaltyProgram>(context.tenant, |program| program.retire_reward(self.reward))
    }
}
