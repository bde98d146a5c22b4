//! Settlement of paid orders and their refunds, and the payment mode on which it depends.

use domain::orders::Order;
use domain::settlement::{PaymentMode, SaleSettlement, SettlementAccount};
use domain::shared::{Date, OrderId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates, rejected};

/// Set the way in which buyers pay. A tenant with settled sales stays in marketplace mode.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPaymentMode {
    pub mode: PaymentMode,
}

impl Command for SetPaymentMode {
    const NEEDS: Permission = Permission::ManagePayouts;

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<SettlementAccount>(context.tenant, |account| account.set_mode(self.mode, context.now))
    }
}

/// Settle a paid order and its refunds up to now, each once.
///
/// Does nothing for an order that was paid while buyers paid the tenant directly.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleSale {
    pub order: OrderId,
    /// The business day of the payment or the refund.
    pub on: Date,
    /// Time of the payment; absent for a refund, which does not settle an order that was not settled.
    pub paid_at: Option<Timestamp>,
}

impl Command for SettleSale {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order).stream::<SaleSettlement>(SaleSettlement::id(self.order));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<SettlementAccount>(context.tenant);
            self.streams(hint);
        })?;
        let account = desk.read::<SettlementAccount>(context.tenant)?;
        if self.paid_at.is_some_and(|at| account.mode_at(at) == PaymentMode::Marketplace) {
            self.settle_payment(desk, context)?;
        }
        self.settle_refunds(desk, context)
    }
}

impl SettleSale {
    fn settle_payment(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let order = desk.read::<Order>(self.order)?;
        let id = SaleSettlement::id(self.order);
        if !order.is_paid() || desk.read::<SaleSettlement>(id)?.sale().is_some() {
            return Ok(());
        }
        let (store, gross) = (order.store().map_err(rejected)?, order.total().map_err(rejected)?);
        desk.decide::<SaleSettlement>(id, |sale| sale.settle(self.order, store, gross))?;
        let Some(split) = desk.read::<SaleSettlement>(id)?.sale() else { return Ok(()) };
        desk.decide::<SettlementAccount>(context.tenant, |account| account.credit_sale(self.order, split, self.on))
    }

    fn settle_refunds(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let refunded = desk.read::<Order>(self.order)?.refunded().map_err(rejected)?;
        let id = SaleSettlement::id(self.order);
        let Some((split, _)) = desk.read::<SaleSettlement>(id)?.refund_due(refunded) else { return Ok(()) };
        desk.decide::<SaleSettlement>(id, |sale| sale.settle_refunds(self.order, refunded))?;
        desk.decide::<SettlementAccount>(context.tenant, |account| account.debit_refund(self.order, split, self.on))
    }
}
