//! What there is, where, and for whom it is set aside.

mod stock_item;

pub use stock_item::{OPEN_RESERVATIONS_MOST, StockEvent, StockItem, StockRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<StockItem>();
}
