//! Money that came and money that went back, as whoever moved it reports.

use domain::orders::{Order, Reference};
use domain::shared::{OrderId, Permission, Price};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::holding::holding_of;
use super::order::today;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject};

/// Record that an order is paid in full. Its stock is kept for it from then on.
///
/// Where the hold on the stock has passed, the stock is set aside anew; if it is sold by now, the payment is refused
/// with `OUT_OF_STOCK`, stays unrecorded, and the money has to go back.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    pub order: OrderId,
    /// Exactly the total of the order.
    pub amount: Price,
    /// What the payment is called at whoever moved the money; the same reference counts once.
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
        holding_of(desk, self.order)?.confirm(desk, context)
    }
}

/// Record that money went back to the customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRefund {
    pub order: OrderId,
    /// All refunds together never exceed what was paid.
    pub amount: Price,
    /// What the refund is called at whoever moved the money; the same reference counts once.
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
