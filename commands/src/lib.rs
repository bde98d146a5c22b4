//! Write side: the commands, the desk they decide on, and the scribe that puts them in order.
//!
//! **Never here:** async, runtimes, clocks, databases, read models.
//! **To add a command:** one verb in the domain, one struct here in the file of its aggregate, one line in its
//! context's `visit`.

pub mod kernel;

pub mod inventory;
pub mod scribe;

use kernel::Visitor;

/// Shows every command and policy of the house to `each`, context by context.
pub fn visit(each: &mut impl Visitor) {
    inventory::visit(each);
}
