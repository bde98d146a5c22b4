//! Read side: what people look at, folded from what happened.
//!
//! **Here:** read models, one file each, and the projector that keeps them. **Never here:** decisions, commands, SQL,
//! a runtime, a clock. **To add a read model:** one file in its context, one line in that context's `visit`.

pub mod kernel;
pub mod ports;
pub mod projector;
pub mod question;
pub mod testing;

pub mod inventory;

use kernel::Visitor;

/// Shows every read model of the house to `each`, context by context.
pub fn visit(each: &mut impl Visitor) {
    inventory::visit(each);
}
