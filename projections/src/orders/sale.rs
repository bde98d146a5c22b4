//! Contribution of an order event to sales figures.

use domain::orders::OrderEvent;
use domain::shared::{Currency, Date, Price, StoreId};

/// Contribution of one event to the figures of a period.
#[derive(Clone, Copy)]
pub(super) struct Sale {
    pub(super) store: StoreId,
    /// Business day in the time zone of the store.
    pub(super) day: Date,
    pub(super) currency: Currency,
    /// Numbers of placed, paid and cancelled orders.
    pub(super) orders: [i64; 3],
    pub(super) paid_minor: i64,
    pub(super) refunded_minor: i64,
}

pub(super) fn sale(event: &OrderEvent) -> Option<Sale> {
    let sale = |store, day, total: Price, orders| Sale {
        store,
        day,
        currency: total.currency(),
        orders,
        paid_minor: 0,
        refunded_minor: 0,
    };
    match *event {
        OrderEvent::Placed { store, placed_on, ref price, .. } => {
            Some(sale(store, placed_on, price.total(), [1, 0, 0]))
        }
        OrderEvent::Imported { store, ordered_on, total, .. } => {
            Some(Sale { paid_minor: total.minor(), ..sale(store, ordered_on, total, [1, 1, 0]) })
        }
        OrderEvent::Paid { store, on, amount, .. } | OrderEvent::PaidLate { store, on, amount, .. } => {
            Some(Sale { paid_minor: amount.minor(), ..sale(store, on, amount, [0, 1, 0]) })
        }
        OrderEvent::Refunded { store, on, amount, .. } => {
            Some(Sale { refunded_minor: amount.minor(), ..sale(store, on, amount, [0, 0, 0]) })
        }
        OrderEvent::Cancelled { store, on, total, .. } => Some(sale(store, on, total, [0, 0, 1])),
        OrderEvent::Accepted { .. }
        | OrderEvent::Ready { .. }
        | OrderEvent::InTransit { .. }
        | OrderEvent::Delivered { .. }
        | OrderEvent::Reinstated { .. }
        | OrderEvent::UnitsReturned { .. } => None,
    }
}
