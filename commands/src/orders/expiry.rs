//! Expiry of unpaid orders.

use domain::orders::{CancelledBy, Order, OrderStatus};
use domain::shared::{OrderId, Permission, Reason, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::today;
use super::participant::HeldOrder;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates, rejected};

/// Cancel an order that was not paid in time, and record that its stock reservations have expired.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireOrder {
    pub order: OrderId,
    /// The deadline for its payment.
    pub until: Timestamp,
}

impl Command for ExpireOrder {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_due(self.until)?;
        let order = desk.read::<Order>(self.order)?;
        if order.is_paid() || order.status().map_err(rejected)? == OrderStatus::Cancelled {
            return Ok(());
        }
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.cancel(CancelledBy::Engine, not_paid_in_time(), on))?;
        HeldOrder::read(desk, self.order)?.expire(desk, context)
    }
}

/// Reason of the cancellation of an order whose payment came too late or never.
pub(super) fn not_paid_in_time() -> Reason {
    "not paid in time".parse().expect("a short visible text is a reason")
}
