//! Import of orders from other shop systems. Such an order is paid and fulfilled there, and recorded here for points
//! and reports.

use domain::orders::{Import, Order, OrderRejection, Reference};
use domain::shared::{CustomerId, OrderId, Permission, Price, Reason, Seconds, StoreId, Text, Timestamp, Units};
use domain::tenancy::{NameClaim, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::today;
use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, TenantStates, rejected};

/// Largest accepted lead of another system's clock over ours: one day, which covers a system that sends local time as
/// UTC.
const CLOCK_AHEAD_MOST: Seconds = Seconds(24 * 60 * 60);

/// Import a paid order from another shop system. It reserves no stock.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// Derived by the caller from the id in the other system, so that a repeated import creates no second order.
    pub order: OrderId,
    pub customer: CustomerId,
    /// The store that represents the other system here.
    pub store: StoreId,
    /// In the currency of the tenant.
    pub total: Price,
    /// Number of units bought.
    pub units: Units,
    /// The time at which it was ordered there.
    pub ordered_at: Timestamp,
    /// The other system, and the id of the order there. It is imported once, under one id.
    pub source: Text<100>,
}

impl Command for ImportOrder {
    const NEEDS: Permission = Permission::ImportOrders;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if self.ordered_at > context.now.after(CLOCK_AHEAD_MOST) {
            return Err(Refusal::Misuse(Misuse::new(
                "INVALID_FIELD",
                "ordered_at",
                "expected a time that is not in the future",
            )));
        }
        let (claim, id) =
            (NameClaim::source_id("order", context.tenant.uuid(), self.source.as_str()), self.order.uuid());
        desk.fetch(|hint| {
            hint.stream::<NameClaim>(claim);
            self.streams(hint);
        })?;
        let tenant = desk.read::<Tenant>(context.tenant)?;
        tenant.require_currency(self.total.currency()).map_err(rejected)?;
        let import = Import {
            customer: self.customer,
            store: self.store,
            total: self.total,
            units: self.units,
            ordered_on: tenant.day_at(self.store, self.ordered_at).map_err(rejected)?,
            source: self.source.clone(),
        };
        if let Some(order) = desk.read::<NameClaim>(claim)?.owner().filter(|owner| *owner != id) {
            return Err(rejected(OrderRejection::SourceImported { order: OrderId::new(order) }));
        }
        desk.decide::<Order>(self.order, |order| order.import(import))?;
        desk.decide::<NameClaim>(claim, |source| source.claim("source", id))
    }

    fn occurred_at(&self) -> Option<Timestamp> {
        Some(self.ordered_at)
    }
}

/// Record that another shop system has cancelled and refunded an imported order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelImportedOrder {
    pub order: OrderId,
    pub reason: Reason,
    /// The id of the refund at the payment provider.
    pub reference: Reference,
}

impl Command for CancelImportedOrder {
    const NEEDS: Permission = Permission::ImportOrders;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.cancel_imported(self.reason.clone(), self.reference.clone(), on))
    }
}
