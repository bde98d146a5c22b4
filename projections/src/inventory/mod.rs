//! Inventory: stock levels, stock movements and reservations.

mod reservation;
mod stock_level;
mod stock_movement;

pub use reservation::{Reservation, ReservationStatus};
pub use stock_level::{StockLevel, StockStatus};
pub use stock_movement::{MovementKind, StockMovement};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<StockLevel>();
    each.read_model::<StockMovement>();
    each.read_model::<Reservation>();
}
