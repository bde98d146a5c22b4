//! Flash sales: timed sales of limited units at a reduced price.

mod flash_sale;
mod flash_sale_event;

pub use flash_sale::{ALLOTMENT_MOST, FlashSale};
pub use flash_sale_event::{FlashSaleEvent, FlashSaleRejection, SaleTerms};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<FlashSale>();
}
