//! Customers.

mod customer;

pub use customer::{Customer, CustomerEvent, CustomerRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Customer>();
}
