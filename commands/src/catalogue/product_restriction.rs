//! Restriction of products by the platform, and its effect in the tenant that sells them.

use domain::catalogue::{Product, ProductRestriction};
use domain::shared::{Permission, ProductId, Reason, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, StreamCommand, StreamOf, Subject, TenantStates, VerbOf};

/// Forbid the sale of a product of a tenant. It is taken off sale shortly after, and its seller cannot publish it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestrictProduct {
    pub tenant: TenantId,
    pub product: ProductId,
    /// Shown to the team of the tenant.
    pub reason: Reason,
}

impl Command for RestrictProduct {
    const NEEDS: Permission = Permission::ManageTenants;
    const WHILE: TenantStates = TenantStates::ANY;

    fn subject(&self) -> Subject {
        Subject::Platform
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<ProductRestriction>(ProductRestriction::id(self.tenant, self.product));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_platform()?;
        let order =
            |restriction: &ProductRestriction| restriction.order(self.tenant, self.product, self.reason.clone());
        desk.decide::<ProductRestriction>(ProductRestriction::id(self.tenant, self.product), order)
    }
}

/// Permit the sale of a restricted product again. Shortly after, its seller can publish it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftRestriction {
    pub tenant: TenantId,
    pub product: ProductId,
}

impl Command for LiftRestriction {
    const NEEDS: Permission = Permission::ManageTenants;
    const WHILE: TenantStates = TenantStates::ANY;
    // A repeat would find the product no longer restricted.
    const DECIDED_ONCE: bool = true;

    fn subject(&self) -> Subject {
        Subject::Platform
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<ProductRestriction>(ProductRestriction::id(self.tenant, self.product));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_platform()?;
        let lift = |restriction: &ProductRestriction| restriction.lift(self.tenant, self.product);
        desk.decide::<ProductRestriction>(ProductRestriction::id(self.tenant, self.product), lift)
    }
}

/// Apply a restriction by the platform: the product is taken off sale.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowProductRestriction {
    pub product: ProductId,
    pub reason: Reason,
    /// The number of the decision of the platform. Only a number above that of the last applied decision has an effect.
    pub decision: i64,
}

impl StreamCommand for FollowProductRestriction {
    type Aggregate = Product;
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> = |command| command.product;
    const VERB: VerbOf<Self> = |command, product, _| product.restrict(command.reason.clone(), command.decision);
}

/// Apply the end of a restriction by the platform: the seller can publish the product again.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowLifting {
    pub product: ProductId,
    /// The number of the decision of the platform. Only a number above that of the last applied decision has an effect.
    pub decision: i64,
}

impl StreamCommand for FollowLifting {
    type Aggregate = Product;
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> = |command| command.product;
    const VERB: VerbOf<Self> = |command, product, _| product.lift_restriction(command.decision);
}
