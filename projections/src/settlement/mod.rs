//! Settlement: transactions, balances and payouts.

mod payout;
mod settlement_balance;
mod transaction;

pub use payout::Payout;
pub use settlement_balance::SettlementBalance;
pub use transaction::{Transaction, TransactionStatus};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Payout>();
    each.read_model::<SettlementBalance>();
    each.read_model::<Transaction>();
}
