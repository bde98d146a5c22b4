//! Payment and refund commands, as reported by the payment provider.

use domain::orders::{Order, Reference};
use domain::shared::{OrderId, Permission, Price};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::today;
use super::stock_hold::stock_hold_of;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject};

/// Record that an order is paid in full. Its stock reservations no longer expire.
///
/// Expired reservations are made again. If the stock is sold by then, the command is rejected with `OUT_OF_STOCK`, the
/// payment is not recorded, and the money must be refunded.
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

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let was_paid = desk.read::<Order>(self.order)?.is_paid();
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.record_payment(self.amount, self.reference.clone(), on))?;
        if was_paid {
            return Ok(());
        }
        stock_hold_of(desk, self.order)?.confirm(desk, context)
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

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.record_refund(self.amount, self.reference.clone(), on))
    }
}
