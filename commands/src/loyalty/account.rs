//! Manual changes of a point balance.

use domain::loyalty::LoyaltyAccount;
use domain::shared::{CustomerId, Date, Permission, Points, Reason};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates, rejected};

/// Correct the balance of a customer manually, not below zero.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustPoints {
    pub customer: CustomerId,
    /// Points to add; negative to remove.
    pub change: Points,
    pub reason: Reason,
}

impl Command for AdjustPoints {
    const NEEDS: Permission = Permission::ManagePoints;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<LoyaltyAccount>(LoyaltyAccount::id(self.customer));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context)?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.adjust(self.customer, self.change, self.reason.clone(), on)
        })
    }
}

/// Current business day of the tenant's first store. Points belong to no store, so the days of this one count.
pub(super) fn today(desk: &mut Desk, context: &Context) -> Result<Date, Refusal> {
    let store = Tenant::first_store(context.tenant);
    desk.read::<Tenant>(context.tenant)?.day_at(store, context.now).map_err(rejected)
}
