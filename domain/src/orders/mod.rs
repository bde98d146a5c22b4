//! Orders, their payment, their fulfilment and their receipts.

mod order;
mod order_event;
mod order_line;
mod order_status;
#[cfg(test)]
mod order_tests;
mod public_order_event;
mod sales_receipt;

pub use order::{Import, LINES_MOST, Order, Placement, REFUNDS_MOST};
pub use order_event::{OrderEvent, OrderRejection, Reference};
pub use order_line::OrderLine;
pub use order_status::{CancelledBy, OrderStatus, PaymentStatus};
pub use sales_receipt::{
    ReceiptBook, ReceiptBookEvent, ReceiptBookRejection, SalesReceipt, SalesReceiptContent, SalesReceiptEvent,
    SalesReceiptRejection,
};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Order>();
    each.aggregate::<SalesReceipt>();
    each.aggregate::<ReceiptBook>();
}
