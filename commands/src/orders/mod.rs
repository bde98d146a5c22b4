//! Wishes about what is bought.

mod expiry;
mod holding;
mod imported;
mod order;
mod payment;
mod placing;
mod policies;

pub use expiry::*;
pub use imported::*;
pub use order::*;
pub use payment::*;
pub use placing::*;
pub use policies::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<PlaceOrder>();
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
    each.command::<ImportOrder>();
    each.command::<CancelImportedOrder>();
    each.policy::<ExpireUnpaidOrder>();
}
