//! Orders of other shop systems: paid there, moved there, and known here for points and figures.

use domain::orders::{Import, Order, Reference};
use domain::shared::{CustomerId, OrderId, Permission, Price, Reason, Seconds, StoreId, Text, Timestamp, Units};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::today;
use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject, rejected};

/// By how much the clock of another system may be ahead; wide enough for one that takes local time for UTC.
const CLOCK_AHEAD_MOST: Seconds = Seconds(24 * 60 * 60);

/// Take over a paid order of another shop system. No stock is set aside for it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// Derived by the caller from the other system's own id, so that importing again makes no second order.
    pub order: OrderId,
    pub customer: CustomerId,
    /// The store here that stands for the other system.
    pub store: StoreId,
    /// In the currency of the tenant.
    pub total: Price,
    /// How many pieces were bought.
    pub units: Units,
    /// When it was ordered there.
    pub ordered_at: Timestamp,
    /// The system, and what the order is called there.
    pub source: Text<100>,
}

impl Command for ImportOrder {
    const NEEDS: Permission = Permission::ImportOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if self.ordered_at > context.now.after(CLOCK_AHEAD_MOST) {
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "ordered_at", "this lies in the future")));
        }
        desk.fetch(|hint| self.streams(hint.stream::<Tenant>(context.tenant)))?;
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
        desk.decide::<Order>(self.order, |order| order.import(import))
    }

    fn occurred_at(&self) -> Option<Timestamp> {
        Some(self.ordered_at)
    }
}

/// Follow another shop system that cancelled an order and gave the money back.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelImportedOrder {
    pub order: OrderId,
    pub reason: Reason,
    /// What the refund is called at whoever moved the money.
    pub reference: Reference,
}

impl Command for CancelImportedOrder {
    const NEEDS: Permission = Permission::ImportOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.cancel_imported(self.reason.clone(), self.reference.clone(), on))
    }
}
