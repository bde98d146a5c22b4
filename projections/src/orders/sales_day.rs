//! Daily sales of a store (ANA-03, ANA-11). Invariant: net = paid − refunded.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{Currency, Date, Permission, StoreId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sale::{Sale, sale};
use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Sales of one store on one business day in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SalesDay {
    /// Store that sold.
    pub store: StoreId,
    /// Business day in the time zone of the store.
    pub day: Date,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Number of orders placed, paid or not.
    pub placed_orders: i64,
    /// Number of orders paid.
    pub paid_orders: i64,
    /// Number of orders cancelled, including those that a late payment opened again.
    pub cancelled_orders: i64,
    /// Total paid, in minor units.
    pub paid_minor: i64,
    /// Total refunded on this day, in minor units, independent of the day of payment.
    pub refunded_minor: i64,
    /// Total paid minus total refunded, in minor units.
    pub net_minor: i64,
}

impl ReadModel for SalesDay {
    const NEEDS: Permission = Permission::SeeSales;
    const KEY: &'static [&'static str] = &["store", "day", "currency"];
    const INDEXED: &'static [&'static str] = &["day"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Order>(
            |event| sale(&event.event).map(|sale| key![sale.store, sale.day, sale.currency]),
            Self::on_order,
        );
    }
}

impl SalesDay {
    fn on_order(row: Option<Self>, event: &Recorded<OrderEvent>) -> Folded<Self> {
        let Some(sale) = sale(&event.event) else { return Ok(row) };
        let mut row = row.unwrap_or_else(|| Self::new(sale));
        let [placed, paid, cancelled] = sale.orders;
        add(&mut row.placed_orders, placed, "placed_orders")?;
        add(&mut row.paid_orders, paid, "paid_orders")?;
        add(&mut row.cancelled_orders, cancelled, "cancelled_orders")?;
        add(&mut row.paid_minor, sale.paid_minor, "paid_minor")?;
        add(&mut row.refunded_minor, sale.refunded_minor, "refunded_minor")?;
        add(&mut row.net_minor, sale.paid_minor.saturating_sub(sale.refunded_minor), "net_minor")?;
        Ok(Some(row))
    }

    fn new(Sale { store, day, currency, .. }: Sale) -> Self {
        Self {
            store,
            day,
            currency,
            placed_orders: 0,
            paid_orders: 0,
            cancelled_orders: 0,
            paid_minor: 0,
            refunded_minor: 0,
            net_minor: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{cancelled, imported, paid, placed, refunded};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn day_counts_the_events_of_that_day() {
        let story = placed(placed(Story::new(), 1, "2026-11-20"), 2, "2026-11-20");
        let story = imported(paid(story, 1, "2026-11-20"), 3, "2026-11-21");
        let days: Vec<SalesDay> = refunded(cancelled(story, 2, "2026-11-21"), 1, 400, 400, "2026-11-21").rows();
        let orders: Vec<_> =
            days.iter().map(|day| (day.placed_orders, day.paid_orders, day.cancelled_orders)).collect();
        assert_eq!(orders, [(2, 1, 0), (1, 1, 1)]);
        let money: Vec<_> = days.iter().map(|day| (day.paid_minor, day.refunded_minor, day.net_minor)).collect();
        assert_eq!(money, [(1000, 0, 1000), (3000, 400, 2600)]);
    }
}
