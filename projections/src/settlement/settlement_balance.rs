//! Balances that the platform holds for a tenant (PAY-11). Invariant: credits − debits − payouts = balance.

use domain::kernel::Recorded;
use domain::settlement::{SettlementAccount, SettlementAccountEvent};
use domain::shared::{Currency, Permission, Price, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Balance of a tenant in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettlementBalance {
    /// Currency of all amounts.
    pub currency: Currency,
    /// Money available for a payout, in minor units; negative for a debt.
    pub balance_minor: i64,
    /// Net amounts of all sales, in minor units.
    pub credited_minor: i64,
    /// Net amounts of all refunds, in minor units.
    pub debited_minor: i64,
    /// Payouts that were requested and did not fail, in minor units.
    pub paid_out_minor: i64,
    /// Commission of the platform less what it gave back, in minor units.
    pub commission_minor: i64,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for SettlementBalance {
    const NEEDS: Permission = Permission::SeeSettlement;
    const KEY: &'static [&'static str] = &["currency"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<SettlementAccount>(
            |event| movement(&event.event).map(|movement| key![movement.net.currency()]),
            Self::on_account,
        );
    }
}

impl SettlementBalance {
    fn on_account(row: Option<Self>, event: &Recorded<SettlementAccountEvent>) -> Folded<Self> {
        let Some(Movement { net, commission }) = movement(&event.event) else { return Ok(row) };
        let mut row = row.unwrap_or_else(|| Self::empty(net.currency(), event.occurred_at));
        let (net, commission) = (net.minor(), commission.map_or(0, Price::minor));
        let (sum, field, net, is_credit) = match event.event {
            SettlementAccountEvent::SaleCredited { .. } => (&mut row.credited_minor, "credited_minor", net, true),
            SettlementAccountEvent::RefundDebited { .. } => (&mut row.debited_minor, "debited_minor", net, false),
            SettlementAccountEvent::PayoutReturned { .. } => {
                (&mut row.paid_out_minor, "paid_out_minor", net.saturating_neg(), true)
            }
            _ => (&mut row.paid_out_minor, "paid_out_minor", net, false),
        };
        add(sum, net, field)?;
        let signed = |amount: i64| if is_credit { amount.saturating_abs() } else { amount.saturating_neg() };
        add(&mut row.balance_minor, signed(net), "balance_minor")?;
        add(&mut row.commission_minor, signed(commission), "commission_minor")?;
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn empty(currency: Currency, changed_at: Timestamp) -> Self {
        Self {
            currency,
            balance_minor: 0,
            credited_minor: 0,
            debited_minor: 0,
            paid_out_minor: 0,
            commission_minor: 0,
            changed_at,
        }
    }
}

/// Amounts that an event moves.
struct Movement {
    net: Price,
    commission: Option<Price>,
}

fn movement(event: &SettlementAccountEvent) -> Option<Movement> {
    match *event {
        SettlementAccountEvent::ModeSet { .. } => None,
        SettlementAccountEvent::SaleCredited { split, .. } | SettlementAccountEvent::RefundDebited { split, .. } => {
            Some(Movement { net: split.net, commission: Some(split.commission) })
        }
        SettlementAccountEvent::PayoutDebited { amount, .. }
        | SettlementAccountEvent::PayoutReturned { amount, .. } => Some(Movement { net: amount, commission: None }),
    }
}

#[cfg(test)]
mod tests {
    use domain::settlement::{PaymentMode, Split};
    use domain::shared::{Date, Money, OrderId, PayoutId, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn price(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    #[test]
    fn balance_is_credits_less_debits_and_payouts() {
        let (order, payout) = (OrderId::new(Uuid::from_u128(1)), PayoutId::new(Uuid::from_u128(2)));
        let on: Date = "2026-11-20".parse().expect("a day");
        let sale = Split::of_sale(price(10_000));
        let row: SettlementBalance = [
            SettlementAccountEvent::ModeSet { mode: PaymentMode::Marketplace, at: Timestamp::from_micros(0) },
            SettlementAccountEvent::SaleCredited { order, split: sale, on },
            SettlementAccountEvent::RefundDebited { order, split: Split::of_refunds(sale, price(5_000)), on },
            SettlementAccountEvent::PayoutDebited { payout, amount: price(4_000), on },
            SettlementAccountEvent::PayoutDebited { payout, amount: price(800), on },
            SettlementAccountEvent::PayoutReturned { payout, amount: price(800), on },
        ]
        .into_iter()
        .fold(Story::new(), |story, event| story.then::<SettlementAccount>(TenantId::new(Uuid::from_u128(7)), event))
        .row();
        assert_eq!((row.credited_minor, row.debited_minor, row.paid_out_minor), (9_700, 4_850, 4_000));
        assert_eq!((row.balance_minor, row.commission_minor), (850, 150));
    }
}
