//! Sales receipts of paid orders.

use domain::orders::{Order, ReceiptBook, SalesReceipt, SalesReceiptContent};
use domain::shared::{Date, OrderId, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates, rejected};

/// Issue the sales receipt of a paid order, once, under the next number of the year of its payment.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueSalesReceipt {
    pub order: OrderId,
    /// The business day of the payment.
    pub on: Date,
}

impl Command for IssueSalesReceipt {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order).stream::<SalesReceipt>(SalesReceipt::id(self.order));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let book = ReceiptBook::id(context.tenant, self.on.year());
        desk.fetch(|hint| {
            self.streams(hint);
            hint.stream::<ReceiptBook>(book);
        })?;
        if desk.read::<SalesReceipt>(SalesReceipt::id(self.order))?.is_issued() {
            return Ok(());
        }
        let number = desk.read::<ReceiptBook>(book)?.next();
        let order = desk.read::<Order>(self.order)?;
        let (customer, store) = (order.customer().map_err(rejected)?, order.store().map_err(rejected)?);
        let total = order.total().map_err(rejected)?;
        let content = SalesReceiptContent { order: self.order, customer, store, total, on: self.on, number };
        desk.decide::<ReceiptBook>(book, |book| book.take(self.order, number))?;
        desk.decide::<SalesReceipt>(SalesReceipt::id(self.order), |receipt| receipt.issue(&content))
    }
}
