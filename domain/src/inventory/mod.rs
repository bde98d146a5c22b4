//! Inventory: stock and reservations.

mod allotment;
mod stock_event;
mod stock_item;

pub use stock_event::{StockEvent, StockRejection};
pub use stock_item::{OPEN_RESERVATIONS_MOST, StockItem};

use crate::kernel::Visitor;
use crate::shared::Seconds;

/// Time after which a reservation expires unless it is confirmed (INV-09).
pub const HOLD_TIME: Seconds = Seconds(15 * 60);

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<StockItem>();
}
