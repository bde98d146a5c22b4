//! Monthly sales of a store (ANA-01). Invariant: net = paid − refunded.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{Currency, Date, Permission, StoreId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sale::{Sale, sale};
use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Sales of one store in one month in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SalesMonth {
    /// Store that sold.
    pub store: StoreId,
    /// First day of the month, by business days in the time zone of the store.
    pub month: Date,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Number of orders paid.
    pub paid_orders: i64,
    /// Total paid minus total refunded, in minor units.
    pub net_minor: i64,
    /// Mean amount of a paid order, before refunds, in minor units and rounded down.
    pub average_order_minor: i64,
    /// Total paid, in minor units.
    pub paid_minor: i64,
}

impl ReadModel for SalesMonth {
    const NEEDS: Permission = Permission::SeeSales;
    const KEY: &'static [&'static str] = &["store", "month", "currency"];
    const INDEXED: &'static [&'static str] = &["month"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Order>(
            |event| sale(&event.event).map(|sale| key![sale.store, sale.day.month(), sale.currency]),
            Self::on_order,
        );
    }
}

impl SalesMonth {
    fn on_order(row: Option<Self>, event: &Recorded<OrderEvent>) -> Folded<Self> {
        let Some(sale) = sale(&event.event) else { return Ok(row) };
        let mut row = row.unwrap_or_else(|| Self::new(sale));
        add(&mut row.paid_orders, sale.orders[1], "paid_orders")?;
        add(&mut row.paid_minor, sale.paid_minor, "paid_minor")?;
        add(&mut row.net_minor, sale.paid_minor.saturating_sub(sale.refunded_minor), "net_minor")?;
        row.average_order_minor = row.paid_minor.checked_div(row.paid_orders).unwrap_or(0);
        Ok(Some(row))
    }

    fn new(Sale { store, day, currency, .. }: Sale) -> Self {
        let month = day.month();
        Self { store, month, currency, paid_orders: 0, net_minor: 0, average_order_minor: 0, paid_minor: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{imported, paid, placed, refunded};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn month_has_the_sum_of_its_days() {
        let story = paid(placed(Story::new(), 1, "2026-11-30"), 1, "2026-11-30");
        let story = imported(refunded(story, 1, 400, 400, "2026-12-01"), 2, "2026-12-02");
        let rows: Vec<SalesMonth> = imported(story, 3, "2026-12-07").rows();
        let figures: Vec<_> = rows.iter().map(|row| (row.month.to_string(), row.paid_orders, row.net_minor)).collect();
        let figures: Vec<_> = figures.iter().map(|(from, orders, net)| (from.as_str(), *orders, *net)).collect();
        assert_eq!(figures, [("2026-11-01", 1, 1000), ("2026-12-01", 2, 5600)]);
        assert_eq!(rows[1].average_order_minor, 3000);
    }
}
