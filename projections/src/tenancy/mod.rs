//! Tenancy: the stores of a tenant.

mod store;

pub use store::Store;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Store>();
}
