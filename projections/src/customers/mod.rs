//! Customers.

mod customer;

pub use customer::Customer;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Customer>();
}
