//! Tenancy: a tenant, its stores and the progress of its setup.

mod setup_progress;
mod store;
mod tenant;

pub use setup_progress::SetupProgress;
pub use store::Store;
pub use tenant::Tenant;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<SetupProgress>();
    each.read_model::<Store>();
    each.read_model::<Tenant>();
}
