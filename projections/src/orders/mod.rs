//! Orders: their state, timeline and receipts, purchase histories and daily sales.

mod order;
mod order_step;
mod purchase_history;
mod sales_day;
mod sales_receipt;

pub use order::{Order, OrderLine};
pub use order_step::{OrderStep, StepKind};
pub use purchase_history::PurchaseHistory;
pub use sales_day::SalesDay;
pub use sales_receipt::SalesReceipt;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Order>();
    each.read_model::<OrderStep>();
    each.read_model::<SalesReceipt>();
    each.read_model::<PurchaseHistory>();
    each.read_model::<SalesDay>();
}

#[cfg(test)]
mod fixtures;
