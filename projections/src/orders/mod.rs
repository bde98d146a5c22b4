//! Orders: their state, timeline and receipts, purchase histories, and sales by day, week and month.

mod order;
mod order_step;
mod purchase_history;
mod sale;
mod sales_day;
mod sales_month;
mod sales_receipt;
mod sales_week;

pub use order::{Order, OrderLine};
pub use order_step::{OrderStep, StepKind};
pub use purchase_history::PurchaseHistory;
pub use sales_day::SalesDay;
pub use sales_month::SalesMonth;
pub use sales_receipt::SalesReceipt;
pub use sales_week::SalesWeek;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Order>();
    each.read_model::<OrderStep>();
    each.read_model::<SalesReceipt>();
    each.read_model::<PurchaseHistory>();
    each.read_model::<SalesDay>();
    each.read_model::<SalesMonth>();
    each.read_model::<SalesWeek>();
}

#[cfg(test)]
mod fixtures;
