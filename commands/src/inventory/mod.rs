//! Inventory commands and policies: stock and reservations.

mod policies;
mod reservation;
mod stock_item;

pub use policies::*;
pub use reservation::*;
pub use stock_item::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<OpenStockItem>();
    each.command::<CloseStockItem>();
    each.command::<ReceiveStock>();
    each.command::<AdjustStock>();
    each.command::<CountStock>();
    each.command::<RestockReturn>();
    each.command::<SetLowStockThreshold>();
    each.command::<ReserveStock>();
    each.command::<ConfirmReservation>();
    each.command::<ReleaseReservation>();
    each.command::<CommitReservation>();
    each.command::<ExpireReservation>();
    each.policy::<ExpirePassedReservation>();
}
