//! Settled orders (PAY-10). Invariant: commission + net = gross, for the sale and for its refunds.

use domain::kernel::Recorded;
use domain::settlement::{SaleSettlement, SaleSettlementEvent, Split};
use domain::shared::{Currency, OrderId, Permission, StoreId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};
use crate::key;

/// Order that was settled with the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transaction {
    /// Settled order.
    pub order: OrderId,
    /// Store that sold.
    pub store: StoreId,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Amount that the customer paid, in minor units.
    pub gross_minor: i64,
    /// Commission of the platform, in minor units.
    pub commission_minor: i64,
    /// Share of the seller, in minor units.
    pub net_minor: i64,
    /// Sum of all refunds, in minor units.
    pub refunded_minor: i64,
    /// Commission that was given back for refunds, in minor units.
    pub commission_returned_minor: i64,
    /// Current status.
    pub status: TransactionStatus,
    /// Time at which the order was settled.
    pub settled_at: Timestamp,
}

/// Status of a settled order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    Settled,
    PartRefunded,
    Refunded,
}

impl ReadModel for Transaction {
    const NEEDS: Permission = Permission::SeeSettlement;
    const KEY: &'static [&'static str] = &["order"];
    const INDEXED: &'static [&'static str] = &["store", "status", "settled_at"];

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<SaleSettlementEvent>| match event.event {
            SaleSettlementEvent::Settled { order, .. } | SaleSettlementEvent::RefundSettled { order, .. } => {
                Some(key![order])
            }
        };
        from.stream::<SaleSettlement>(key, Self::on_settlement);
    }
}

impl Transaction {
    fn on_settlement(row: Option<Self>, event: &Recorded<SaleSettlementEvent>) -> Folded<Self> {
        match event.event {
            SaleSettlementEvent::Settled { order, store, split: Split { gross, commission, net } } => Ok(Some(Self {
                order,
                store,
                currency: gross.currency(),
                gross_minor: gross.minor(),
                commission_minor: commission.minor(),
                net_minor: net.minor(),
                refunded_minor: 0,
                commission_returned_minor: 0,
                status: TransactionStatus::Settled,
                settled_at: event.occurred_at,
            })),
            SaleSettlementEvent::RefundSettled { total, .. } => {
                let row = row.ok_or_else(Unfoldable::no_row)?;
                let status = match total.gross.minor() < row.gross_minor {
                    true => TransactionStatus::PartRefunded,
                    false => TransactionStatus::Refunded,
                };
                let (refunded_minor, commission_returned_minor) = (total.gross.minor(), total.commission.minor());
                Ok(Some(Self { refunded_minor, commission_returned_minor, status, ..row }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Money, Price};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    const ORDER: OrderId = OrderId::new(Uuid::from_u128(1));

    fn price(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    fn then(story: Story, event: SaleSettlementEvent) -> Story {
        story.then::<SaleSettlement>(SaleSettlement::id(ORDER), event)
    }

    #[test]
    fn transaction_has_its_shares_and_its_refunds() {
        let split = Split::of_sale(price(10_000));
        let store = StoreId::new(Uuid::from_u128(2));
        let settled = then(Story::new(), SaleSettlementEvent::Settled { order: ORDER, store, split });
        let row: Transaction = settled.row();
        assert_eq!((row.gross_minor, row.commission_minor, row.net_minor), (10_000, 300, 9_700));
        assert_eq!(row.status, TransactionStatus::Settled);
        for (refunded, returned, status) in
            [(5_000, 150, TransactionStatus::PartRefunded), (10_000, 300, TransactionStatus::Refunded)]
        {
            let total = Split::of_refunds(split, price(refunded));
            let event = SaleSettlementEvent::RefundSettled { order: ORDER, split: total, total };
            let row: Transaction = then(settled.clone(), event).row();
            assert_eq!((row.refunded_minor, row.commission_returned_minor, row.status), (refunded, returned, status));
        }
    }
}
