//! Payment and refund commands, as reported by the payment provider.

use domain::orders::{CancelledBy, Order, OrderStatus, Reference};
use domain::shared::{OrderId, Permission, Price};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expiry::not_paid_in_time;
use super::order::today;
use super::participant::HeldOrder;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates};

/// Record that an order is paid in full. Its stock reservations no longer expire.
///
/// Expired reservations are made again, also if the order was cancelled because it was not paid in time; it is then
/// pending again. If the stock is sold by then, or the order was cancelled for another reason, the payment is recorded and
/// must be refunded.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    pub order: OrderId,
    /// Exactly the total of the order.
    pub amount: Price,
    /// The id of the payment at the payment provider. The same reference counts once.
    pub reference: Reference,
}

impl Command for RecordPayment {
    const NEEDS: Permission = Permission::PayOrders;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let before = desk.read::<Order>(self.order)?;
        let on = today(desk, context, self.order)?;
        let pay = |order: &Order| order.record_payment(self.amount, self.reference.clone(), on);
        let is_cancelled = before.status() == Ok(OrderStatus::Cancelled);
        if before.is_paid() || (is_cancelled && !before.can_be_reinstated()) {
            return desk.decide::<Order>(self.order, pay);
        }
        let held = HeldOrder::read(desk, self.order)?;
        if held.can_be_confirmed(desk, context)? {
            desk.decide::<Order>(self.order, Order::reinstate)?;
            desk.decide::<Order>(self.order, pay)?;
            return held.confirm(desk, context);
        }
        desk.decide::<Order>(self.order, |order| order.cancel(CancelledBy::Engine, not_paid_in_time(), on))?;
        desk.decide::<Order>(self.order, pay)?;
        held.release(desk, context)
    }
}

/// Record a refund to the customer.
///
/// After 100 refunds of an order, only all that is left can be refunded at once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRefund {
    pub order: OrderId,
    /// All refunds together cannot exceed the payment.
    pub amount: Price,
    /// The id of the refund at the payment provider. The same reference counts once.
    pub reference: Reference,
}

impl Command for RecordRefund {
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.record_refund(self.amount, self.reference.clone(), on))
    }
}
