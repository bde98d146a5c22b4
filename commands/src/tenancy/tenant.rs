//! An organisation that runs shops here, in its own lane.

use domain::shared::{Currency, Permission, Reason, Slug, StoreId, Title, Zone};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject};

/// Let a registered tenant begin to work, with a first store that bears its name.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenTenant {
    pub name: Title,
    pub subdomain: Slug,
    /// The currency of all prices of the tenant, for ever.
    pub currency: Currency,
    /// The zone in which the business days of the first store begin and end.
    pub zone: Zone,
}

impl Command for OpenTenant {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    /// The stream is that of the tenant it is sent in.
    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let store = Tenant::first_store(context.tenant);
        desk.decide::<Tenant>(context.tenant, |tenant| {
            tenant.open(self.name.clone(), self.subdomain.clone(), self.currency, self.zone.clone(), store)
        })
    }
}

/// Open one more store of the tenant.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStore {
    /// Made by the caller, so that sending it again opens no second store.
    pub store: StoreId,
    pub name: Title,
    /// The zone in which the business days of the store begin and end.
    pub zone: Zone,
}

impl Command for OpenStore {
    const NEEDS: Permission = Permission::ManageStores;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<Tenant>(context.tenant, |tenant| {
            tenant.open_store(self.store, self.name.clone(), self.zone.clone())
        })
    }
}

/// Follow the platform's decision that the tenant takes no new orders for now; those it has can be finished.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowSuspension {
    pub reason: Reason,
    /// Which decision of the platform it is. An older one than the last that was followed comes too late.
    pub decision: i64,
}

impl Command for FollowSuspension {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<Tenant>(context.tenant, |tenant| tenant.suspend(self.reason.clone(), self.decision))
    }
}

/// Follow the platform's decision that the tenant takes orders again.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowReinstatement {
    /// Which decision of the platform it is. An older one than the last that was followed comes too late.
    pub decision: i64,
}

impl Command for FollowReinstatement {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<Tenant>(context.tenant, |tenant| tenant.reinstate(self.decision))
    }
}
