//! Customer commands.

mod customer;

pub use customer::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<RegisterCustomer>();
    each.command::<ImportCustomer>();
    each.command::<UpdateProfile>();
}
