//! Tenancy: a tenant and its stores.

mod store;
mod tenant;

pub use store::Store;
pub use tenant::Tenant;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Store>();
    each.read_model::<Tenant>();
}
