//! Order commands and policies.

mod checkout;
mod expiry;
mod import;
mod order;
mod participant;
mod payment;
mod placement;
mod policies;
mod sale_allotment;
mod sales_receipt;
mod stock_hold;

pub use checkout::*;
pub use expiry::*;
pub use import::*;
pub use order::*;
pub use payment::*;
pub use placement::*;
pub use policies::*;
pub use sales_receipt::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<PlaceOrder>();
    each.command::<CheckOut>();
    each.command::<RecordPayment>();
    each.command::<AcceptOrder>();
    each.command::<RejectOrder>();
    each.command::<MarkReady>();
    each.command::<MarkInTransit>();
    each.command::<MarkDelivered>();
    each.command::<MoveOrder>();
    each.command::<CancelOrder>();
    each.command::<RecordRefund>();
    each.command::<ExpireOrder>();
    each.command::<IssueSalesReceipt>();
    each.command::<ImportOrder>();
    each.command::<CancelImportedOrder>();
    each.policy::<ExpireUnpaidOrder>();
    each.policy::<IssueSalesReceiptOnPayment>();
}
