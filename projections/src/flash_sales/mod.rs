//! Flash sales: figures for the team, and what buyers see while a sale is running.

mod flash_sale;
mod sale_offer;

pub use flash_sale::{FlashSale, SaleStatus};
pub use sale_offer::SaleOffer;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<FlashSale>();
    each.read_model::<SaleOffer>();
}
