//! Settlement commands and policies.

mod payout;
mod policies;
mod sale;

pub use payout::*;
pub use policies::*;
pub use sale::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<SetPaymentMode>();
    each.command::<SettleSale>();
    each.command::<RequestPayout>();
    each.command::<ConfirmPayout>();
    each.command::<FailPayout>();
    each.policy::<SettleOnOrderPaid>();
    each.policy::<SettleOnOrderRefunded>();
}
