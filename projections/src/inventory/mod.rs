//! Inventory: stock levels, movements, daily figures, reservations, alerts and shortages.

mod low_stock_alert;
mod reservation;
mod stock_day;
mod stock_level;
mod stock_movement;
mod stock_shortage;

pub use low_stock_alert::LowStockAlert;
pub use reservation::{Reservation, ReservationStatus};
pub use stock_day::StockDay;
pub use stock_level::{StockLevel, StockStatus};
pub use stock_movement::{MovementKind, StockMovement};
pub use stock_shortage::StockShortage;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<StockLevel>();
    each.read_model::<StockMovement>();
    each.read_model::<StockDay>();
    each.read_model::<Reservation>();
    each.read_model::<LowStockAlert>();
    each.read_model::<StockShortage>();
}
