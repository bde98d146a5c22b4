//! Settlement account: the money that the platform holds for a tenant (PAY-08, PAY-09, PAY-11, PAY-12).
//!
//! Invariants: credits − debits − payouts = balance, in each currency; a payout never exceeds the balance. Only refunds
//! can leave a debt. While buyers pay the tenant directly, which they do at first, the platform holds nothing. A tenant
//! that has settled sales stays in marketplace mode, because their refunds are settled too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Split;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Date, Money, OrderId, PayoutId, Price, TenantId, Timestamp};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SettlementAccount {
    /// Changes of the payment mode, in order of time.
    modes: Vec<(Timestamp, PaymentMode)>,
    /// Balance in minor units of each currency in which sales were settled.
    balances: Vec<(Currency, i64)>,
}

/// Way in which buyers pay a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    /// Buyers pay the tenant directly; the platform holds no money and takes no commission.
    #[default]
    Direct,
    /// Buyers pay the platform, which keeps its commission and pays out the rest.
    Marketplace,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SettlementAccountEvent {
    /// The way in which buyers pay was set.
    #[serde(rename = "settlement.mode_set")]
    ModeSet { mode: PaymentMode, at: Timestamp },
    /// The net amount of a sale was credited.
    #[serde(rename = "settlement.sale_credited")]
    SaleCredited { order: OrderId, split: Split, on: Date },
    /// The net amount of a refund was debited.
    #[serde(rename = "settlement.refund_debited")]
    RefundDebited { order: OrderId, split: Split, on: Date },
    /// The amount of a requested payout was debited.
    #[serde(rename = "settlement.payout_debited")]
    PayoutDebited { payout: PayoutId, amount: Price, on: Date },
    /// The amount of a payout that failed was returned.
    #[serde(rename = "settlement.payout_returned")]
    PayoutReturned { payout: PayoutId, amount: Price, on: Date },
}

/// Rejections of a settlement account.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SettlementAccountRejection {
    #[error("buyers pay this tenant directly; there is nothing to pay out")]
    DirectPayments {},
    #[error("a tenant with settled sales stays in marketplace mode")]
    SalesSettled {},
    #[error("{wanted} exceeds the balance of {balance}")]
    BalanceTooLow { balance: Money, wanted: Price },
}

impl Rejection for SettlementAccountRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::SalesSettled {} => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl SettlementAccount {
    /// Sets the way in which buyers pay from `at` on.
    pub fn set_mode(&self, mode: PaymentMode, at: Timestamp) -> Decision<Self> {
        match mode {
            _ if mode == self.mode() => Ok(vec![]),
            PaymentMode::Direct if !self.balances.is_empty() => Err(SettlementAccountRejection::SalesSettled {}),
            _ => Ok(vec![SettlementAccountEvent::ModeSet { mode, at }]),
        }
    }

    /// Credits the net amount of a sale. The caller ensures with [`SaleSettlement`](super::SaleSettlement) that it is
    /// settled once.
    pub fn credit_sale(&self, order: OrderId, split: Split, on: Date) -> Decision<Self> {
        Ok(vec![SettlementAccountEvent::SaleCredited { order, split, on }])
    }

    /// Debits the net amount of a refund, even if it is paid out already.
    pub fn debit_refund(&self, order: OrderId, split: Split, on: Date) -> Decision<Self> {
        Ok(vec![SettlementAccountEvent::RefundDebited { order, split, on }])
    }

    /// Debits a payout. Rejects an amount above the balance. The caller ensures that the payout is new.
    pub fn debit_payout(&self, payout: PayoutId, amount: Price, on: Date) -> Decision<Self> {
        if self.mode() == PaymentMode::Direct {
            return Err(SettlementAccountRejection::DirectPayments {});
        }
        let currency = amount.currency();
        let balance = Money { minor: self.balance(currency), currency };
        if amount.minor() > balance.minor {
            return Err(SettlementAccountRejection::BalanceTooLow { balance, wanted: amount });
        }
        Ok(vec![SettlementAccountEvent::PayoutDebited { payout, amount, on }])
    }

    /// Returns the amount of a payout that failed.
    pub fn return_payout(&self, payout: PayoutId, amount: Price, on: Date) -> Decision<Self> {
        Ok(vec![SettlementAccountEvent::PayoutReturned { payout, amount, on }])
    }

    /// The way in which buyers pay now.
    pub fn mode(&self) -> PaymentMode {
        self.modes.last().map_or(PaymentMode::Direct, |(_, mode)| *mode)
    }

    /// The way in which a buyer paid at a time. Payments are settled later than they are made.
    pub fn mode_at(&self, at: Timestamp) -> PaymentMode {
        let set = self.modes.iter().rev().find(|(since, _)| *since <= at);
        set.map_or(PaymentMode::Direct, |(_, mode)| *mode)
    }

    /// Balance in minor units; negative for a debt.
    pub fn balance(&self, currency: Currency) -> i64 {
        self.balances.iter().find(|(known, _)| *known == currency).map_or(0, |(_, minor)| *minor)
    }

    fn add(&mut self, currency: Currency, minor: i64) {
        match self.balances.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, balance)) => *balance = balance.saturating_add(minor),
            None => self.balances.push((currency, minor)),
        }
    }
}

impl Aggregate for SettlementAccount {
    const TYPE: &'static str = "SettlementAccount";
    type Id = TenantId;
    type Event = SettlementAccountEvent;
    type Rejection = SettlementAccountRejection;

    fn apply(&mut self, event: &SettlementAccountEvent) {
        match *event {
            SettlementAccountEvent::ModeSet { mode, at } => self.modes.push((at, mode)),
            SettlementAccountEvent::SaleCredited { split, .. } => self.add(split.net.currency(), split.net.minor()),
            SettlementAccountEvent::RefundDebited { split, .. } => {
                self.add(split.net.currency(), split.net.minor().saturating_neg());
            }
            SettlementAccountEvent::PayoutDebited { amount, .. } => {
                self.add(amount.currency(), amount.minor().saturating_neg());
            }
            SettlementAccountEvent::PayoutReturned { amount, .. } => self.add(amount.currency(), amount.minor()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{at, id, price, today, usd};
    use crate::testing::{Given, given};

    const ORDER: OrderId = OrderId::new(id(1));
    const PAYOUT: PayoutId = PayoutId::new(id(2));

    fn marketplace() -> Given<SettlementAccount> {
        let mode = PaymentMode::Marketplace;
        given([])
            .when(|account: &SettlementAccount| account.set_mode(mode, at(100)))
            .then_once([SettlementAccountEvent::ModeSet { mode, at: at(100) }])
    }

    fn credited(gross: i64) -> Given<SettlementAccount> {
        let split = Split::of_sale(price(gross));
        marketplace()
            .when(|account| account.credit_sale(ORDER, split, today()))
            .then([SettlementAccountEvent::SaleCredited { order: ORDER, split, on: today() }])
    }

    fn paid_out(amount: i64) -> Given<SettlementAccount> {
        let event = SettlementAccountEvent::PayoutDebited { payout: PAYOUT, amount: price(amount), on: today() };
        credited(10_000).when(|account| account.debit_payout(PAYOUT, price(amount), today())).then([event])
    }

    #[test]
    fn whole_balance_can_be_paid_out_and_no_more() {
        paid_out(9_700).holds(|account| account.balance(usd()) == 0);
        let balance = Money { minor: 9_700, currency: usd() };
        let rejection = SettlementAccountRejection::BalanceTooLow { balance, wanted: price(9_701) };
        credited(10_000).when(|account| account.debit_payout(PAYOUT, price(9_701), today())).then_rejected(rejection);
    }

    #[test]
    fn failed_payout_returns_to_the_balance() {
        let event = SettlementAccountEvent::PayoutReturned { payout: PAYOUT, amount: price(9_700), on: today() };
        paid_out(9_700)
            .when(|account| account.return_payout(PAYOUT, price(9_700), today()))
            .then([event])
            .holds(|account| account.balance(usd()) == 9_700);
    }

    #[test]
    fn refund_after_a_payout_leaves_a_debt() {
        let split = Split::of_sale(price(10_000));
        paid_out(9_700)
            .when(|account| account.debit_refund(ORDER, split, today()))
            .then([SettlementAccountEvent::RefundDebited { order: ORDER, split, on: today() }])
            .holds(|account| account.balance(usd()) == -9_700);
    }

    #[test]
    fn direct_mode_has_no_payouts() {
        given([])
            .when(|account: &SettlementAccount| account.debit_payout(PAYOUT, price(1), today()))
            .then_rejected(SettlementAccountRejection::DirectPayments {});
        given([]).holds(|account: &SettlementAccount| account.mode() == PaymentMode::Direct);
    }

    #[test]
    fn payment_is_judged_by_the_mode_of_its_time() {
        marketplace().holds(|account| {
            account.mode_at(at(99)) == PaymentMode::Direct && account.mode_at(at(100)) == PaymentMode::Marketplace
        });
    }

    #[test]
    fn mode_is_fixed_once_sales_are_settled() {
        let direct = PaymentMode::Direct;
        marketplace()
            .when(|account| account.set_mode(direct, at(200)))
            .then([SettlementAccountEvent::ModeSet { mode: direct, at: at(200) }]);
        credited(100)
            .when(|account| account.set_mode(direct, at(200)))
            .then_rejected(SettlementAccountRejection::SalesSettled {});
    }
}
