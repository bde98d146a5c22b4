//! What there is, where, and for whom it is set aside.

mod stock_item;

pub use stock_item::{OPEN_RESERVATIONS_MOST, StockEvent, StockItem, StockRejection};

use crate::kernel::Visitor;
use crate::shared::Seconds;

/// How long stock is held for somebody who has not paid yet (INV-09).
pub const HOLD_TIME: Seconds = Seconds(15 * 60);

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<StockItem>();
}
