//! Domain layer: aggregates that decide on commands. It knows nothing of storage or of the API.
//!
//! **Never here:** async, clocks, random numbers, I/O, floats. Time, ids and random values come in as arguments.
//! **To add an aggregate** (ARCHITECTURE.md, *To add something*): one file in its context, and one line in the `visit`
//! of that context.

pub mod kernel;
pub mod shared;
pub mod testing;

pub mod catalogue;
pub mod customers;
pub mod integrations;
pub mod inventory;
pub mod loyalty;
pub mod orders;
pub mod tenancy;

use kernel::Visitor;

/// Visits every aggregate of the workspace, context by context.
pub fn visit(each: &mut impl Visitor) {
    catalogue::visit(each);
    customers::visit(each);
    integrations::visit(each);
    inventory::visit(each);
    loyalty::visit(each);
    orders::visit(each);
    tenancy::visit(each);
}
