//! Domain layer: aggregates that decide on commands. It depends neither on storage nor on the API.
//!
//! **Never here:** async, clocks, random numbers, I/O, floats. Time, ids and random values come in as arguments.
//! **To add an aggregate** (ARCHITECTURE.md, *To add something*): one file in its context, and one line in the `visit`
//! of that context.

pub mod kernel;
pub mod shared;
pub mod testing;

pub mod analytics;
pub mod catalogue;
pub mod customers;
pub mod flash_sales;
pub mod integrations;
pub mod inventory;
pub mod loyalty;
pub mod orders;
pub mod referrals;
pub mod reviews;
pub mod settlement;
pub mod social;
pub mod tenancy;

use kernel::Visitor;

/// For each context: calls [`Visitor::context`] with the name of the context's module, then the `visit` of that module.
/// The layers `commands` and `projections` list their contexts with this macro too.
#[macro_export]
macro_rules! visit_contexts {
    ($($context:ident::visit($each:ident);)*) => {$(
        $each.context(stringify!($context));
        $context::visit($each);
    )*};
}

/// Visits every aggregate, context by context.
pub fn visit(each: &mut impl Visitor) {
    visit_contexts! {
        analytics::visit(each);
        catalogue::visit(each);
        customers::visit(each);
        flash_sales::visit(each);
        integrations::visit(each);
        inventory::visit(each);
        loyalty::visit(each);
        orders::visit(each);
        referrals::visit(each);
        reviews::visit(each);
        settlement::visit(each);
        social::visit(each);
        tenancy::visit(each);
    }
}
