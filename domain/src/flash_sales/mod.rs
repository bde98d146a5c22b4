//! Flash sales: timed sales of limited units at a reduced price.

mod flash_sale;
mod flash_sale_event;
mod sale_entry;
mod sale_occasion;

pub use flash_sale::{ALLOTMENT_MOST, FlashSale};
pub use flash_sale_event::{FlashSaleEvent, FlashSaleRejection, SaleTerms};
pub use sale_entry::{SaleEntry, SaleEntryEvent, SaleEntryRejection};
pub use sale_occasion::{
    OCCASION_PRODUCTS_MOST, OccasionContent, SaleOccasion, SaleOccasionEvent, SaleOccasionRejection,
};

use crate::kernel::Visitor;
use crate::shared::Seconds;

/// Time after which an order in a flash sale expires unless it is paid (INV-09).
pub const SALE_HOLD_TIME: Seconds = Seconds(5 * 60);

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<FlashSale>();
    each.aggregate::<SaleEntry>();
    each.aggregate::<SaleOccasion>();
}
