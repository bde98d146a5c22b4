//! Settlement: the money that the platform holds for a tenant, its commission, and payouts.

mod account;
mod payout;
mod sale_settlement;
mod split;

pub use account::{PaymentMode, SettlementAccount, SettlementAccountEvent, SettlementAccountRejection};
pub use payout::{Payout, PayoutEvent, PayoutRejection, PayoutStatus};
pub use sale_settlement::{SaleSettlement, SaleSettlementEvent};
pub use split::Split;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Payout>();
    each.aggregate::<SaleSettlement>();
    each.aggregate::<SettlementAccount>();
}
