//! Flash sale commands and policies.

mod flash_sale;
mod policies;
mod sale_entry;
mod window;

pub use flash_sale::*;
pub use policies::*;
pub use sale_entry::*;
pub use window::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<ScheduleFlashSale>();
    each.command::<ChangeFlashSale>();
    each.command::<CancelFlashSale>();
    each.command::<EnterFlashSale>();
    each.command::<StartFlashSale>();
    each.command::<EndFlashSale>();
    each.policy::<RecordSaleWindow>();
}
