//! Flash sale commands and policies.

mod flash_sale;
mod policies;
mod sale_entry;
mod sale_occasion;
mod window;

pub use flash_sale::*;
pub use policies::*;
pub use sale_entry::*;
pub use sale_occasion::*;
pub use window::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<ScheduleFlashSale>();
    each.command::<ChangeFlashSale>();
    each.command::<CancelFlashSale>();
    each.command::<ScheduleSaleOccasion>();
    each.command::<CancelSaleOccasion>();
    each.command::<EnterFlashSale>();
    each.command::<StartFlashSale>();
    each.command::<EndFlashSale>();
    each.policy::<RecordSaleWindow>();
}
